"""Real `autotune-init run` processes on a real S3 server, and on servers that misbehave."""

import json
import subprocess
import time
import urllib.request
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.pods import RECORDING, REPLAY, Done, Pod

TUNE = ("--tuner", "command", "--tuner-command", REPLAY)
FAULT_SECONDS = 12
ADAPTERS = pytest.mark.parametrize("adapter", ["obstore", "fsspec"])


def version_the_bucket(endpoint, bucket):
    body = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    request = urllib.request.Request(f"{endpoint}/{bucket}?versioning", data=body, method="PUT")
    with urllib.request.urlopen(request, timeout=10):
        pass


def versions_of(endpoint, bucket):
    """Keys of all object versions, one row a version."""
    with urllib.request.urlopen(f"{endpoint}/{bucket}?versions&max-keys=1000", timeout=10) as answer:
        root = ET.fromstring(answer.read())
    space = root.tag.partition("}")[0] + "}" if "}" in root.tag else ""
    return [one.find(f"{space}Key").text for one in root.iter(f"{space}Version")]


@ADAPTERS
def test_given_an_empty_bucket_when_20_pods_start_at_once_then_one_tunes_and_all_have_the_same_bytes(
    tmp_path, ministack, bucket, s3, adapter
):
    version_the_bucket(ministack, bucket)
    pods = [
        Pod(tmp_path / f"pod-{n}", s3.url, tp=2, environ=s3.environ, flags=("--store-adapter", adapter))
        for n in range(20)
    ]

    processes = [pod.start(*TUNE) for pod in pods]
    with ThreadPoolExecutor(len(processes)) as readers:
        ends = list(
            readers.map(lambda process: (*process.communicate(timeout=240), process.returncode), processes)
        )
    reports = [Done(code, stdout, stderr).report for stdout, stderr, code in ends]

    outcomes = sorted(report["outcome"] for report in reports)
    assert outcomes.count("tuned") == 1, [end[1] for end in ends]
    assert set(outcomes) <= {"tuned", "waited", "hit"}
    assert len({report["nonce"] for report in reports}) == 1
    assert {json.dumps({k: v.decode() for k, v in pod.rank_files().items()}) for pod in pods} == {
        json.dumps(dict.fromkeys(["rank_tp0_pp0_dp0.json", "rank_tp1_pp0_dp0.json"], RECORDING.read_text()))
    }
    keys = versions_of(ministack, bucket)
    assert len([key for key in keys if key.endswith("/bundle.json")]) == 1
    assert not [key for key in keys if "/.probe/" in key and key.endswith("left")]


def test_given_a_pod_that_only_waits_when_another_tunes_then_it_takes_that_bundle_and_writes_nothing(
    tmp_path, s3
):
    tuning = Pod(tmp_path / "tuning", s3.url, environ=s3.environ)
    waiting = Pod(tmp_path / "waiting", s3.url, environ=s3.environ)
    alone = waiting.run("--tuner", "wait").report
    tuner = tuning.start("--tuner", "command", "--tuner-command", f"sh -c 'sleep 4; {REPLAY}'")
    while "this pod tunes" not in tuner.stderr.readline():
        assert tuner.poll() is None

    report = waiting.run("--tuner", "wait").report

    tuner.communicate(timeout=60)
    assert (alone["outcome"], alone["reason"], alone["requests"]) == ("cold", "miss", 2)
    assert (report["outcome"], report["reason"]) == ("waited", "found")
    assert waiting.rank_files() == tuning.rank_files()


@ADAPTERS
def test_given_an_engine_with_credentials_of_another_bucket_then_the_store_is_asked_with_its_own_alone(
    tmp_path, stub, adapter
):
    models = {
        "AWS_ACCESS_KEY_ID": "models",
        "AWS_SECRET_ACCESS_KEY": "models",
        "AWS_SESSION_TOKEN": "of-the-models",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    }
    own = {f"AUTOTUNE_STORE_{name}": value for name, value in stub.environ.items() if name.startswith("AWS_")}
    show = tmp_path / "shown"
    tuner = f"sh -c 'env > {show}; exec {REPLAY}'"
    pod = Pod(tmp_path, "s3://b/fleet", environ=models | own, flags=("--store-adapter", adapter))

    report = pod.run("--tuner", "command", "--tuner-command", tuner).report

    assert report["outcome"] == "tuned", report
    for _, _, headers in stub.requests:
        assert f"Credential={stub.access_key}/" in headers["authorization"]
        assert "x-amz-security-token" not in headers
    seen = dict(line.split("=", 1) for line in show.read_text().splitlines() if line.startswith("AWS_"))
    assert {name: seen.get(name) for name in models} == models, (
        "a tuner that is the engine needs its own bucket"
    )


@ADAPTERS
def test_a_hit_costs_one_request(tmp_path, s3, adapter):
    flags = ("--store-adapter", adapter)
    first = Pod(tmp_path / "a", s3.url, environ=s3.environ, flags=flags).run(*TUNE)
    second = Pod(tmp_path / "b", s3.url, environ=s3.environ, flags=flags).run()

    assert first.ending == ("tuned", "published"), first.stderr
    assert second.ending == ("hit", "found"), second.stderr
    assert second.report["requests"] == 1


def test_both_adapters_read_each_others_bundles(tmp_path, s3):
    Pod(tmp_path / "a", s3.url, environ=s3.environ, flags=("--store-adapter", "fsspec")).run(*TUNE)
    hit = Pod(tmp_path / "b", s3.url, environ=s3.environ, flags=("--store-adapter", "obstore")).run()

    assert hit.ending == ("hit", "found"), hit.stderr


@ADAPTERS
@pytest.mark.parametrize(
    ("fault", "reasons"),
    [
        ("403", {"store-denied"}),
        ("503", {"store-unavailable"}),
        ("hang", {"store-timeout"}),
        ("truncate", {"store-unavailable", "store-timeout"}),
        ("drip", {"store-timeout", "store-unavailable"}),
        ("garbage", {"store-unavailable"}),
    ],
)
def test_given_a_bad_store_then_cold_in_time_and_nothing_is_lost(tmp_path, stub, adapter, fault, reasons):
    seed = Pod(tmp_path / "seed", "s3://bucket/p", environ=stub.environ)
    assert seed.run(*TUNE).ending == ("tuned", "published")
    before = dict(stub.objects)
    stub.fault = fault
    pod = Pod(
        tmp_path / "pod",
        "s3://bucket/p",
        environ=stub.environ,
        flags=("--store-adapter", adapter, "--request-timeout", "1"),
    )

    began = time.monotonic()
    done = pod.run(*TUNE, "--deadline", "20")

    assert done.ending[0] == "cold", done.stderr
    assert done.ending[1] in reasons, done.stdout
    assert done.code == 0
    assert time.monotonic() - began < FAULT_SECONDS
    assert pod.files() == {}
    assert stub.objects == before


@ADAPTERS
def test_given_a_missing_bucket_then_cold_by_name(tmp_path, ministack, s3, adapter):
    pod = Pod(tmp_path, "s3://no-such-bucket/p", environ=s3.environ, flags=("--store-adapter", adapter))

    done = pod.run(*TUNE, "--strict")

    assert done.ending == ("cold", "store-not-found"), done.stderr
    assert done.code == 10


def test_given_an_image_without_root_certificates_when_a_pod_starts_then_it_tunes_and_the_next_one_hits(
    tmp_path, s3
):
    environ = {**s3.environ, "SSL_CERT_FILE": "/not/in/this/image.pem"}

    endings = [
        Pod(tmp_path / name, s3.url, environ=environ).run(*TUNE).ending for name in ("first", "second")
    ]

    assert endings == [("tuned", "published"), ("hit", "found")]


@ADAPTERS
def test_given_a_certificate_that_nobody_trusts_then_cold_and_the_detail_says_tls(
    tmp_path, tls_stub, adapter
):
    pod = Pod(
        tmp_path,
        "s3://bucket/p",
        environ=tls_stub.environ,
        flags=("--store-adapter", adapter, "--request-timeout", "2"),
    )

    done = pod.run(*TUNE)

    assert done.ending == ("cold", "store-unavailable"), done.stderr
    assert "TLS" in done.report["detail"]


@pytest.mark.parametrize(
    ("dialect", "reason"),
    [
        ("ignores", "store-ignores-conditions"),
        ("overwrites", "store-ignores-conditions"),
        ("creates-only", "store-create-only"),
        ("rejects-501", "store-unsupported"),
    ],
)
def test_given_a_store_that_does_not_keep_conditions_then_it_is_refused_for_tuning_with_that_word(
    tmp_path, stub, dialect, reason
):
    stub.dialect = dialect

    done = Pod(tmp_path / "a", "s3://bucket/p", environ=stub.environ).run(*TUNE, "--strict")

    assert done.ending == ("cold", reason), done.stderr
    assert done.code == 21
    assert [key for key in stub.objects if key.endswith(("bundle.json", "claim.json"))] == []


def test_given_a_store_that_does_not_keep_conditions_then_it_can_still_be_read(tmp_path, stub):
    Pod(tmp_path / "a", "s3://bucket/p", environ=stub.environ).run(*TUNE)
    stub.dialect = "ignores"

    assert Pod(tmp_path / "b", "s3://bucket/p", environ=stub.environ).run().ending == ("hit", "found")


@ADAPTERS
@pytest.mark.parametrize("nth", range(1, 9))
def test_given_an_answer_that_is_lost_when_the_write_landed_then_it_counts(tmp_path, stub, adapter, nth):
    """given the nth write's connection is reset after it was stored, when we read back, then it is known as ours"""
    stub.drop_answer_of = nth
    pod = Pod(
        tmp_path,
        "s3://bucket/p",
        environ=stub.environ,
        flags=("--store-adapter", adapter, "--request-timeout", "3"),
    )

    done = pod.run(*TUNE)

    assert done.ending == ("tuned", "published"), done.stderr
    assert Pod(tmp_path / "next", "s3://bucket/p", environ=stub.environ).run().ending == ("hit", "found")


def test_given_bytes_on_the_wire_then_no_bundle_was_ever_written_without_a_condition(tmp_path, stub):
    for name in ("a", "b"):
        subprocess.run(Pod(tmp_path / name, "s3://bucket/p").command(*TUNE), check=True, capture_output=True,
                       env={**stub.environ, "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}, cwd=RECORDING.parents[2])  # fmt: skip

    puts = [
        (path, headers)
        for method, path, headers in stub.requests
        if method == "PUT" and "/.probe/" not in path
    ]
    assert len([path for path, _ in puts if path.endswith("bundle.json")]) == 1
    for path, headers in puts:
        assert "if-none-match" in headers or "if-match" in headers, path
