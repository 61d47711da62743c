"""A quarantine reaches pods that keep the bundle on a volume of their own. Real processes, a real S3 server, the real CLI."""

import json
import os
import subprocess
import sys

import pytest
from tests.bundles import H100
from tests.pods import RECORDING, REPLAY, ROOT, Pod, clean_environ
from tests.unit.test_store_entries import KEY, NAME, entry

from autotune_init.engines.flashinfer_store import env_hash
from cache_store.store_entries import entry_name

RECHECK = ("--local", "recheck")
TUNE = ("--tuner", "command", "--tuner-command", REPLAY)
RANK = "rank_tp0_pp0_dp0.json"


@pytest.fixture
def pod(tmp_path, s3):
    return Pod(tmp_path / "pod", s3.url, environ=s3.environ)


def ops(s3, *args):
    command = [sys.executable, "-m", "cache_store.cli", "--store", s3.url, *args]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=clean_environ(**s3.environ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def address(s3):
    [row] = json.loads(ops(s3, "ls", "--json"))["bundles"]
    return row["address"]


def take_out(s3, name="quarantine", **more):
    return ops(s3, name, address(s3), "--reason", "wrong results", "--by", "ann", "--yes")


def rank_file_of(pod):
    [path] = pod.cache.rglob(RANK)
    return path


def save_as_engine(path, change):
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def test_given_a_volume_with_a_quarantined_bundle_when_it_is_rechecked_then_it_is_out_of_the_engines_way(
    pod, s3
):
    tuned = pod.run(*TUNE)
    take_out(s3)

    trusting = pod.run()
    checking = pod.run(*RECHECK)
    again = pod.run(*RECHECK, *TUNE)

    assert tuned.ending == ("tuned", "published"), tuned.stderr
    assert trusting.ending == ("local", "complete")
    assert trusting.report["requests"] == 0
    assert checking.ending == ("cold", "quarantined")
    assert checking.report["requests"] == 1
    assert checking.report["moved_aside"] == {RANK: f"{RANK}.aside"}
    assert set(pod.rank_files()) == {f"{RANK}.aside"}
    assert again.ending == ("cold", "quarantined"), "and nobody tunes it again"


def test_given_a_file_that_the_engine_has_saved_again_with_more_then_it_is_the_bundles_all_the_same(pod, s3):
    pod.run(*TUNE)
    save_as_engine(
        rank_file_of(pod), lambda document: document.update({"('mm', 'R', ((1,),), ())": ["R", 1]})
    )
    take_out(s3)

    done = pod.run(*RECHECK)

    assert done.ending == ("cold", "quarantined"), done.stderr
    assert done.report["requests"] == 2, "the bundle, and its copy"
    assert set(pod.rank_files()) == {f"{RANK}.aside"}


def test_given_files_that_the_engine_has_tuned_alone_then_they_stay(pod, s3):
    def other_tactics(document):
        for key, value in document.items():
            if not key.startswith("_"):
                document[key] = [value[0], 99]

    pod.run(*TUNE)
    save_as_engine(rank_file_of(pod), other_tactics)
    take_out(s3)
    before = pod.rank_files()

    done = pod.run(*RECHECK)

    assert done.ending == ("local", "complete"), done.stderr
    assert "quarantined" in done.report["detail"]
    assert pod.rank_files() == before


def test_given_a_bundle_that_was_only_retired_then_the_volume_is_used(pod, s3):
    pod.run(*TUNE)
    take_out(s3, "retire")

    done = pod.run(*RECHECK, *TUNE)

    assert done.ending == ("local", "complete"), "it is no reason to tune at this very start"
    assert done.report["requests"] == 1


def test_given_nothing_against_it_then_rechecking_costs_one_request(pod, s3):
    pod.run(*TUNE)

    done = pod.run(*RECHECK)

    assert done.ending == ("local", "complete")
    assert done.report["requests"] == 1


def test_given_a_store_that_is_away_then_the_volume_is_used_and_it_says_so(pod):
    pod.run(*TUNE)
    pod.store = "s3://absent-bucket/fleet"

    done = pod.run(*RECHECK)

    assert done.ending == ("local", "unchecked")
    assert "store-not-found" in done.report["detail"]
    assert set(pod.rank_files()) == {RANK}


def test_given_a_newer_bundle_then_it_takes_the_older_files_place(pod, s3):
    pod.run(*TUNE)
    save_as_engine(
        rank_file_of(pod), lambda document: document.update({"('mm', 'R', ((1,),), ())": ["R", 1]})
    )
    os.utime(rank_file_of(pod), (1, 1))

    done = pod.run(*RECHECK)

    assert done.ending == ("hit", "found"), done.stderr
    assert rank_file_of(pod).read_bytes() == RECORDING.read_bytes()


def test_given_files_that_are_newer_than_the_bundle_then_they_stay(pod):
    pod.run(*TUNE)
    save_as_engine(
        rank_file_of(pod), lambda document: document.update({"('mm', 'R', ((1,),), ())": ["R", 1]})
    )
    os.utime(rank_file_of(pod), (2**31, 2**31))
    before = pod.rank_files()

    done = pod.run(*RECHECK)

    assert done.ending == ("local", "complete"), done.stderr
    assert pod.rank_files() == before


def test_given_one_rank_of_two_that_is_the_quarantined_bundles_then_no_mixed_set_is_left(tmp_path, s3):
    pod = Pod(tmp_path / "pod", s3.url, tp=2, environ=s3.environ)
    pod.run(*TUNE)
    [second] = pod.cache.rglob("rank_tp1_pp0_dp0.json")
    save_as_engine(second, lambda document: document.update({"_generation": 7}))
    take_out(s3)

    done = pod.run(*RECHECK)

    assert done.ending == ("cold", "quarantined"), done.stderr
    assert set(pod.rank_files()) == {f"{RANK}.aside", "rank_tp1_pp0_dp0.json.aside"}


def test_given_a_volume_that_cannot_be_written_then_it_says_so(pod, s3):
    pod.run(*TUNE)
    take_out(s3)
    folder = rank_file_of(pod).parent
    mounted = subprocess.run(["mount", "--bind", "-o", "ro", folder, folder], check=False)
    assert mounted.returncode == 0, "this test needs root"
    try:
        done = pod.run(*RECHECK)
    finally:
        subprocess.run(["umount", folder], check=True)

    assert done.ending == ("cold", "quarantined"), done.stderr
    assert any("stay in the engine's way" in one for one in done.report["warnings"])


def test_given_flashinfers_own_store_then_the_quarantined_entries_go_and_others_stay(tmp_path, s3):
    facts = {"gpu": {"name": H100["gpu"], "capability": [9, 0]}, "packages": {}, "metadata": H100}
    (tmp_path / "facts.json").write_text(json.dumps(facts))
    pod = Pod(
        tmp_path / "pod",
        s3.url,
        facts=tmp_path / "facts.json",
        environ=s3.environ,
        flags=("--engine", "flashinfer"),
        engine=("vllm", "serve", "model"),
    )
    folder = "$FLASHINFER_AUTOTUNE_CACHE_DIR/v2/" + env_hash(H100) + "/entries"
    (tmp_path / "entry").write_bytes(entry())
    tuner = f'sh -c \'mkdir -p "{folder}" && cp {tmp_path}/entry "{folder}/{NAME}"\''
    tuned = pod.run("--tuner", "command", "--tuner-command", tuner)
    other = KEY.replace("64", "128")
    [path] = pod.cache.rglob(NAME)
    (path.parent / entry_name(other)).write_bytes(entry(other))
    take_out(s3)

    done = pod.run()

    assert tuned.ending == ("tuned", "published"), tuned.stderr
    assert done.ending == ("cold", "quarantined"), done.stderr
    assert {one.name for one in path.parent.iterdir()} == {f"{NAME}.aside", entry_name(other)}
