"""One day of an operator: every command that reads or changes a bucket, as processes, on a real S3 server."""

import json
import os
import pty
import subprocess
import sys

import pytest
from tests.bundles import H200, bundle, identity, rank_file
from tests.cli.conftest import check_document
from tests.pods import ROOT, clean_environ

from cache_store.objects.open_url import open_store

GOOD, OTHER, BAD = identity(), identity(H200), identity(key="b" * 16)
WHY = ("--reason", "day's work", "--by", "ann", "--yes")


@pytest.fixture
def bucket(s3):
    store = open_store(s3.url, environ=s3.environ)
    store.put_if_absent(GOOD.address.bundle_key, bundle().encode())
    store.put_if_absent(OTHER.address.bundle_key, bundle(who=OTHER, tune_s=7.0).encode())
    store.put_if_absent(BAD.address.bundle_key, b'{"schema": "autotune-cache/bundle/v1"}')
    store.close()
    return s3


@pytest.fixture
def ops(bucket):
    def run(*args, code=0, url=bucket.url):
        done = subprocess.run(
            [sys.executable, "-m", "cache_store.cli", "--store", url, *map(str, args), "--json"],
            cwd=ROOT,
            env=clean_environ(**bucket.environ),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, done.stderr
        return check_document(json.loads(done.stdout))

    return run


def test_a_day(ops, bucket, tmp_path):
    found = ops("ls", "--gpu", "h200", "--sort", "-age,model")
    assert [row["address"] for row in found["bundles"]] == [str(OTHER.address)]
    assert ops("ls", "--state", "unreadable")["bundles"][0]["address"] == str(BAD.address)
    assert ops("diff", GOOD.address, OTHER.address)["identity"][0]["name"] == "gpu"

    state = tmp_path / "state"
    assert ops("verify", "--state", state, code=13)["counts"]["corrupt"] == 1
    repaired = ops("verify", "--state", state, "--repair", *WHY[2:], code=0)
    assert [row["is_remembered"] for row in repaired["bundles"] if row["verdict"] == "sound"] == [True, True]
    assert repaired["repairs"]["results"][0]["verdict"] == "changed"
    assert ops("verify")["counts"]["corrupt"] == 0

    assert ops("quarantine", OTHER.address, *WHY)["counts"]["changed"] == 1
    assert ops("retire", OTHER.address, *WHY, code=27)["results"][0]["reason"] == "quarantined"
    assert ops("restore", OTHER.address, *WHY, "--even-quarantined")["counts"]["changed"] == 1

    archive, elsewhere = tmp_path / "all.tar.gz", f"{bucket.url}-elsewhere"
    assert ops("export", archive, code=0)["counts"]["exported"] == 2
    assert ops("import", archive, "--yes", url=elsewhere)["counts"]["changed"] == 2
    assert ops("cp", elsewhere, "--yes")["counts"]["unchanged"] == 2
    assert ops("pull", GOOD.address, tmp_path / "files")["written"] == list(bundle().ranks)
    assert (tmp_path / "files" / "rank_tp0_pp0_dp0.json").read_bytes() == rank_file()

    counted = ops("stats")
    assert {one["name"]: one["count"] for one in counted["states"] if one["count"]} == {
        "published": 2,
        "tombstone": 1,
    }
    assert ops("gc", "--older-than", "1d", "--yes")["counts"] == {
        "retire": 0,
        "clean": 0,
        "forget": 0,
        "keep": 3,
    }


def test_a_terminal_sees_how_far_it_is_and_a_pipe_does_not(bucket):
    leader, follower = pty.openpty()
    shown = []
    with open(os.devnull, "wb") as nowhere:
        for stderr in (follower, subprocess.PIPE):
            process = subprocess.Popen(
                [sys.executable, "-m", "cache_store.cli", "--store", bucket.url, "verify"],
                cwd=ROOT,
                env=clean_environ(**bucket.environ, TERM="xterm"),
                stdout=nowhere,
                stderr=stderr,
            )
            told = process.communicate(timeout=60)[1]
            shown.append(told if told is not None else os.read(leader, 65536))
    os.close(follower)
    os.close(leader)

    assert b"3/3" in shown[0]
    assert b"3/3" not in shown[1]
    assert b"\x1b" not in shown[1]
