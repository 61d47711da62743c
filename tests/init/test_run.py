"""The main job through real processes on a directory store: miss, tune, publish, hit; and every bad input."""

import json
import os
import shlex
import signal
import stat
import sys
import time

import jsonschema
import pytest
from tests.pods import FACTS, RECORDING, REPLAY, ROOT, Pod

SCHEMA = json.loads((ROOT / "docs" / "schemas" / "run-report.json").read_text())
TUNE = ("--tuner", "command", "--tuner-command", REPLAY)


@pytest.fixture
def store(tmp_path):
    (tmp_path / "store").mkdir()
    return (tmp_path / "store").as_uri()


@pytest.fixture
def pod(tmp_path, store):
    return Pod(tmp_path / "pod-a", store)


def bundle_of(tmp_path):
    [path] = (tmp_path / "store").rglob("bundle.json")
    return path


def tuner(program, *arguments):
    return ("--tuner", "command", "--tuner-command", shlex.join([sys.executable, "-c", program, *arguments]))


def check(done, outcome, reason, code=0):
    assert done.ending == (outcome, reason), done.stderr
    assert done.code == code, done.stderr
    assert done.report["exit_code"] == code
    jsonschema.validate(done.report, SCHEMA)
    assert "Traceback" not in done.stderr
    return done.report


def test_the_first_pod_tunes_and_the_second_finds_it_with_one_request(tmp_path, store):
    first, second = Pod(tmp_path / "a", store, tp=2), Pod(tmp_path / "b", store, tp=2)

    tuned = check(first.run(*TUNE), "tuned", "published")
    hit = check(second.run(*TUNE), "hit", "found")

    assert hit["requests"] == 1
    assert hit["saved_s"] == tuned["tune_s"] > 0
    assert hit["key"] == tuned["key"]
    assert first.files() == second.files()
    assert list(second.rank_files()) == ["rank_tp0_pp0_dp0.json", "rank_tp1_pp0_dp0.json"]
    assert set(second.rank_files().values()) == {RECORDING.read_bytes()}
    shown = {
        name: hit["coverage"][name] for name in ("ops", "entries", "max_bucket", "excluded", "completeness")
    }
    # the recording is of one of the model's four shapes, and the report says so
    assert shown == {
        "ops": {"fp8_gemm": 9}, "entries": 9, "max_bucket": 4096, "excluded": {}, "completeness": "incomplete"
    }  # fmt: skip
    assert any("the bundle is incomplete" in warning for warning in hit["warnings"])


def test_every_input_of_key_and_environment_stands_in_the_bundle(tmp_path, pod):
    pod.run(*TUNE)
    identity = json.loads(bundle_of(tmp_path).read_text())["identity"]

    assert identity["key_inputs"]["quantization"] == "modelopt_fp8"
    assert identity["metadata"] == json.loads(FACTS.read_text())["metadata"]


def test_files_are_readable_and_the_directory_stays_writable(pod):
    pod.run(*TUNE)
    for path in pod.cache.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o755 if path.is_dir() else 0o644)


def test_a_complete_local_set_makes_no_request(pod):
    pod.run(*TUNE)

    again = check(Pod(pod.root, "s3://nowhere/at-all").run(), "local", "complete")

    assert again["requests"] == 0


def test_without_a_store_a_pod_starts_cold(tmp_path):
    pod = Pod(tmp_path, "")
    check(pod.run(), "cold", "no-store")


def test_a_miss_without_a_tuner_is_cold(pod):
    check(pod.run(), "cold", "miss")
    check(pod.run("--strict"), "cold", "miss", 18)
    assert pod.files() == {}


def test_the_termination_log_has_the_report(pod):
    pod.root.mkdir()
    (pod.root / "termination-log").touch()
    done = pod.run(*TUNE)

    assert json.loads((pod.root / "termination-log").read_text())["nonce"] == done.report["nonce"]


def test_another_gpu_with_the_same_key_tunes_its_own(tmp_path, store):
    h100 = Pod(tmp_path / "a", store)
    facts = json.loads(FACTS.read_text())
    facts["gpu"]["name"] = facts["metadata"]["gpu"] = "NVIDIA H200"
    (tmp_path / "h200.json").write_text(json.dumps(facts))
    recording = json.loads(RECORDING.read_text())
    recording["_metadata"]["gpu"] = "NVIDIA H200"
    (tmp_path / "recording.json").write_text(json.dumps(recording))
    h200 = Pod(tmp_path / "b", store, facts=tmp_path / "h200.json")

    one = check(h100.run(*TUNE), "tuned", "published")
    two = check(
        h200.run(*TUNE[:3], TUNE[3].replace(str(RECORDING), str(tmp_path / "recording.json"))),
        "tuned",
        "published",
    )

    assert one["key"] == two["key"]
    assert one["environment"] != two["environment"]
    assert len(list((tmp_path / "store").rglob("bundle.json"))) == 2


def test_what_the_site_adds_to_identity_separates_pods(tmp_path, store):
    check(Pod(tmp_path / "a", store).run(*TUNE, "--identity-extra", "driver=580"), "tuned", "published")
    check(Pod(tmp_path / "b", store).run("--identity-extra", "driver=595"), "cold", "miss")
    check(Pod(tmp_path / "c", store).run("--identity-extra", "driver=580"), "hit", "found")


# -- bad input --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "environ", "reason", "code"),
    [
        (("--engine-version", "0.5.99"), {}, "unknown-engine-version", 17),
        ((), {"AUTOTUNE_STOER": "x"}, "bad-settings", 2),
        (("--no-such-flag",), {}, "bad-settings", 2),
        (("--wait", "soon"), {}, "bad-settings", 2),
        ((), {"LWS_GROUP_SIZE": "2", "LWS_WORKER_INDEX": "1"}, "replica-group", 23),
        ((), {"SGLANG_FLASHINFER_AUTOTUNE_CACHE": "0"}, "engine-cache-off", 24),
    ],
    ids=["version", "variable", "flag", "value", "group", "off"],
)
def test_given_bad_input_then_skipped_by_name_and_exit_0_unless_strict(pod, flags, environ, reason, code):
    pod.environ = environ

    check(pod.run(*TUNE, *flags), "skipped", reason)
    check(pod.run(*TUNE, *flags, "--strict"), "skipped", reason, code)
    assert pod.files() == {}


def test_given_a_command_line_that_does_not_decide_the_key_then_the_pod_is_told_what_to_state(tmp_path, pod):
    (tmp_path / "config.json").write_text('{"model_type": "of-the-future", "architectures": ["New"]}')
    flags = ("--model-config", str(tmp_path))

    report = check(pod.run(*TUNE, *flags), "skipped", "undecidable")
    assert "model_type 'of-the-future'" in report["detail"]
    assert "--field" in report["detail"]
    stated = {
        "model_path": "m", "dtype": "torch.bfloat16", "quantization": "modelopt_fp8", "moe_runner_backend": "auto",
        "tp_size": 1, "pp_size": 1, "attn_dp_size": 1, "moe_ep_size": 1, "config_class": "NewConfig",
    }  # fmt: skip
    fields = [part for name, value in stated.items() for part in ("--field", f"{name}={value}")]
    report = check(pod.run(*TUNE, *flags, *fields), "tuned", "published")
    assert report["key_source"] == "override"


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("import os; os.abort()", "tuner-crashed"),
        ("import sys; print('the last line', file=sys.stderr); sys.exit(3)", "tuner-crashed"),
        ("pass", "tuner-wrote-nothing"),
        (
            "import json, os; [open(p, 'w').write('{\"_metadata\": {') for p in json.loads(os.environ['AUTOTUNE_RANK_FILES'])]",
            "tuner-bad-file",
        ),
        (
            "import json, os; [open(p, 'w').write(json.dumps({'_metadata': {'gpu': 'NVIDIA H200'}})) "
            "for p in json.loads(os.environ['AUTOTUNE_RANK_FILES'])]",
            "tuner-environment",
        ),
    ],
    ids=["abort", "exit-3", "nothing", "half", "foreign"],
)
def test_given_a_bad_tuner_then_cold_and_nothing_published_and_the_fleet_cools_down(
    tmp_path, store, program, reason
):
    pod = Pod(tmp_path / "a", store)

    report = check(pod.run(*tuner(program)), "cold", reason)

    assert list((tmp_path / "store").rglob("bundle.json")) == []
    assert pod.files() == {}
    check(Pod(tmp_path / "b", store).run(*TUNE), "cold", "tune-failed-recently")
    if "last line" in program:
        assert report["tail"] == ["the last line"]


def test_given_a_tuner_that_hangs_then_the_deadline_is_kept_and_no_child_is_left(tmp_path, pod):
    marker = tmp_path / "pid"
    program = (
        "import os, signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(600)"
    )
    began = time.monotonic()
    done = pod.run(*tuner(program, str(marker)), "--deadline", "12")

    check(done, "cold", done.report["reason"])
    assert done.report["reason"] in ("tuner-timeout", "deadline")
    assert time.monotonic() - began < 14
    with pytest.raises(ProcessLookupError):
        os.kill(int(marker.read_text()), 0)


def test_given_an_empty_but_valid_result_then_it_is_published_and_the_fleet_does_not_try_again(
    tmp_path, store
):
    metadata = json.dumps({"_metadata": json.loads(FACTS.read_text())["metadata"]})
    program = f"import json, os; [open(p, 'w').write({metadata!r}) for p in json.loads(os.environ['AUTOTUNE_RANK_FILES'])]"

    report = check(Pod(tmp_path / "a", store).run(*tuner(program)), "tuned", "empty")
    assert report["coverage"]["entries"] == 0
    pod = Pod(tmp_path / "b", store)
    check(pod.run(*TUNE), "hit", "empty")
    assert pod.files() == {}


def spoil(path, how):
    document = json.loads(path.read_text())
    if how == "corrupt":
        path.write_bytes(path.read_bytes()[:-40])
    elif how == "schema":
        path.write_text(json.dumps({**document, "schema": "autotune-cache/bundle/v9"}))
    elif how == "digest":
        document["files"] = {digest: text + " " for digest, text in document["files"].items()}
        path.write_text(json.dumps(document))
    elif how == "large":
        path.write_bytes(b" " * 50_000_000)
    elif how == "deep":
        path.write_bytes(b"[" * 1_000_000)
    elif how == "names":
        document["ranks"] = {f"../{name}": digest for name, digest in document["ranks"].items()}
        path.write_text(json.dumps(document))
    elif how == "other-names":
        document["ranks"] = {f"x{name}": digest for name, digest in document["ranks"].items()}
        path.write_text(json.dumps(document))
    elif how == "address":
        document["identity"]["key"] = "f" * 16
        path.write_text(json.dumps(document))
    elif how == "foreign":
        import hashlib

        [text] = document["files"].values()
        text = text.replace("NVIDIA H100 80GB HBM3", "NVIDIA H200")
        digest = hashlib.sha256(text.encode()).hexdigest()
        document["files"] = {digest: text}
        document["ranks"] = dict.fromkeys(document["ranks"], digest)
        path.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("corrupt", "bundle-corrupt"),
        ("schema", "bundle-unknown-schema"),
        ("digest", "bundle-digest-mismatch"),
        ("large", "bundle-too-large"),
        ("deep", "bundle-too-deep"),
        ("names", "bundle-corrupt"),
        ("other-names", "bundle-wrong-rank-files"),
        ("address", "bundle-foreign"),
        ("foreign", "bundle-foreign-environment"),
    ],
)
def test_given_a_bad_bundle_then_cold_and_it_is_neither_used_nor_overwritten(tmp_path, store, how, reason):
    Pod(tmp_path / "a", store).run(*TUNE)
    spoil(bundle_of(tmp_path), how)
    before = bundle_of(tmp_path).read_bytes()
    pod = Pod(tmp_path / "b", store)

    check(pod.run(*TUNE), "cold", reason)
    check(pod.run(*TUNE, "--strict"), "cold", reason, 13)

    assert pod.files() == {}
    assert bundle_of(tmp_path).read_bytes() == before


@pytest.mark.parametrize("body", [b'{"_metadata": {', b""], ids=["cut", "empty"])
def test_given_a_file_that_would_crash_the_engine_then_it_is_moved_aside_even_without_a_bundle(pod, body):
    pod.run(*TUNE)
    [path] = pod.cache.rglob("rank_*.json")
    path.write_bytes(body)
    (pod.root / "empty-store").mkdir()
    pod.store = (pod.root / "empty-store").as_uri()

    report = check(pod.run(), "cold", "miss")

    assert report["moved_aside"] == {path.name: path.name + ".aside"}
    assert list(pod.rank_files()) == [path.name + ".aside"]


def test_given_a_foreign_file_then_it_is_replaced_by_the_bundle_and_the_report_says_so(pod):
    pod.run(*TUNE)
    [path] = pod.cache.rglob("rank_*.json")
    path.write_text(path.read_text().replace("H100", "H200"))

    report = check(pod.run(), "hit", "found")

    assert report["moved_aside"] == {path.name: path.name + ".aside"}
    assert path.read_bytes() == RECORDING.read_bytes()


def test_given_a_cache_dir_that_is_a_file_then_cold(pod):
    pod.root.mkdir()
    pod.cache.write_text("")

    done = pod.run(*TUNE)
    assert done.report["reason"] in ("cache-dir-unreadable", "place-failed")
    check(done, "cold", done.report["reason"])


def test_given_a_cache_dir_that_cannot_be_written_then_cold(tmp_path, store):
    Pod(tmp_path / "a", store).run(*TUNE)
    pod = Pod(tmp_path / "b", store, flags=("--cache-dir", "/proc/autotune-cannot-write-here"))

    done = pod.run()
    assert done.report["reason"].startswith("place-")
    check(done, "cold", done.report["reason"])


@pytest.mark.parametrize(
    "facts", ["", "[]", '{"gpu": {"name": 5}}', '{"surprise": 1}'], ids=["empty", "list", "type", "key"]
)
def test_given_a_bad_facts_file_then_skipped_by_name(tmp_path, store, facts):
    (tmp_path / "facts.json").write_text(facts)
    pod = Pod(tmp_path / "a", store, facts=tmp_path / "facts.json")

    done = pod.run(*TUNE)
    assert done.report["reason"].startswith("facts-")
    check(done, "skipped", done.report["reason"])


def wait_for(condition, seconds=20):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it never happened"
        time.sleep(0.02)


def test_given_sigterm_while_tuning_then_the_claim_is_released_and_the_next_pod_need_not_wait(
    tmp_path, store
):
    pod = Pod(tmp_path / "a", store)
    marker = tmp_path / "started"
    program = "import sys, time; open(sys.argv[1], 'w').close(); time.sleep(600)"
    process = pod.start(*tuner(program, str(marker)))
    wait_for(marker.exists)

    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=20)

    assert (json.loads(stdout)["outcome"], json.loads(stdout)["reason"]) == ("cold", "terminated"), stderr
    assert process.returncode == 0
    [claim] = (tmp_path / "store").rglob("claim.json")
    assert json.loads(claim.read_text())["state"] == "released"
    began = time.monotonic()
    check(Pod(tmp_path / "b", store).run(*TUNE), "tuned", "published")
    assert time.monotonic() - began < 15


def test_given_sigterm_while_the_engines_python_is_asked_then_terminated(tmp_path, store):
    facts = json.loads(FACTS.read_text())
    del facts["metadata"]
    (tmp_path / "facts.json").write_text(json.dumps(facts))
    python, marker = tmp_path / "python", tmp_path / "asked"
    python.write_text(f"#!/bin/sh\ntouch {marker}\nsleep 60\n")
    python.chmod(0o755)
    pod = Pod(tmp_path / "a", store, facts=tmp_path / "facts.json", flags=("--python", str(python)))
    process = pod.start(*TUNE)
    wait_for(marker.exists)

    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=20)

    assert (json.loads(stdout)["outcome"], json.loads(stdout)["reason"]) == ("cold", "terminated"), stderr


@pytest.mark.parametrize("delay_s", [0.05, 0.2, 0.4, 0.6, 0.8, 1.0, 1.3, 1.6, 2.0])
def test_given_sigterm_at_any_moment_then_a_named_ending_and_no_torn_directory(tmp_path, store, delay_s):
    pod = Pod(tmp_path / "a", store, tp=2)
    process = pod.start(*TUNE)
    time.sleep(delay_s)
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=20)

    if process.returncode == -signal.SIGTERM:
        assert stdout == "", "killed before the interpreter had read our code"
    else:
        report = json.loads(stdout)
        assert process.returncode == 0
        assert report["outcome"] in ("cold", "tuned", "hit"), stderr
    assert len(pod.rank_files()) in (0, 2)
    successor = Pod(tmp_path / "b", store, tp=2).run(*TUNE)
    assert successor.ending in (("tuned", "published"), ("hit", "found")), successor.stderr
    check(Pod(tmp_path / "c", store, tp=2).run(), "hit", "found")
