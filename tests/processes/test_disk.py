"""Pods whose disk is full, or whose cache dir goes away while they run: cold by name, exit code 0, nothing half there."""

import contextlib
import os
import queue
import shutil
import subprocess

import pytest
from tests.processes import gates
from tests.processes.pods import Nursery, Pod, bring_tuner, tuning
from tests.processes.rounds import Gate

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@pytest.fixture(scope="module")
def nursery():
    with Nursery() as nursery:
        yield nursery


@pytest.fixture
def store(tmp_path):
    (tmp_path / "store").mkdir()
    bring_tuner(tmp_path)
    return (tmp_path / "store").as_uri()


def run(nursery, pod):
    one = nursery.start(pod)
    assert nursery.wait(one, 60)
    return one.report


def ending(report):
    return report["outcome"], report["reason"]


@contextlib.contextmanager
def full_disk(folder):
    """A mounted file system with room for one small file, not for two. Not root, or no right to mount: None."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={16 * PAGE_BYTES}", "tmpfs", str(folder)], capture_output=True, check=False
    )  # fmt: skip
    if mounted.returncode:
        yield None
        return
    try:
        (folder / "cache").mkdir()
        with (folder / "filler").open("wb") as filler:
            filler.write(bytes(15 * PAGE_BYTES))
        yield folder / "cache"
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("is_holder", [True, False], ids=["who-tuned", "who-found"])
def test_given_a_full_disk_then_cold_by_name_and_the_fleet_has_the_bundle_all_the_same(
    tmp_path, nursery, store, is_holder
):
    flags = tuning(0.1, tmp_path)
    with full_disk(tmp_path / "disk") as cache:
        full = Pod(tmp_path / "full", "full", store, flags=flags, cache_dir=cache)
        reason = "place-disk-full"
        if cache is None:  # may not mount: a limit on the size of files is the next best thing
            full.largest_file_bytes, reason = 1024, "place-failed"
        if is_holder and cache is None:
            pytest.skip(
                "a file system cannot be mounted here, and a limit on files would stop the tuner, too"
            )
        if not is_holder:
            assert ending(run(nursery, Pod(tmp_path / "first", "first", store, flags=flags))) == (
                "tuned",
                "published",
            )

        report = run(nursery, full)

        assert ending(report) == ("cold", reason), full.last.stderr.read_text()
        assert full.last.code == 0
        assert full.visible() == {}
        assert full.hidden() == []
    other = Pod(tmp_path / "other", "other", store)
    assert ending(run(nursery, other)) == ("hit", "found")
    assert len(other.visible()) == 2


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (gates.MID_TUNE, ("tuned", "published")),
        (gates.BEFORE_PLACE, ("tuned", "published")),
        (gates.BETWEEN_FILES, ("cold", "place-failed")),
    ],
)
def test_given_a_cache_dir_that_is_removed_meanwhile_then_it_is_made_again_or_the_pod_is_cold(
    tmp_path, nursery, store, at, expected
):
    pod = Pod(tmp_path / "pod", "pod", store, flags=tuning(1.2, tmp_path))
    pod.cache.mkdir(parents=True)
    address, arrivals = f"/tmp/gate-disk-{os.getpid()}-{at}", queue.SimpleQueue()
    with Gate(address, arrivals):
        one = nursery.start(pod, at=at, gate=address)
        line, said = arrivals.get(timeout=30)
        shutil.rmtree(pod.cache)
        line.sendall(b"g")
        assert nursery.wait(one, 60)

    assert said["step"] == at
    assert ending(one.report) == expected, one.stderr.read_text()
    assert one.code == 0
    assert len(pod.visible()) == (2 if expected[0] == "tuned" else 0)
    assert pod.hidden() == []
    assert ending(run(nursery, Pod(tmp_path / "other", "other", store))) == ("hit", "found")
