"""All ranks or none; whole files or the old ones; modes that let the engine read and rewrite."""

import errno
import os
import shlex
import stat
import subprocess
import sys
import threading
import time

import pytest
from tests.bundles import H100, H200, rank_file

from autotune_init import place as module
from autotune_init.local_files import examine
from autotune_init.place import Ownership, PlaceFailed, place

NAMES = ("rank_tp0_pp0_dp0.json", "rank_tp1_pp0_dp0.json")
DEFAULT = Ownership()
NEW = dict.fromkeys(NAMES, rank_file(tactic=5))


def put(directory, contents=NEW, *, made_at=None, ownership=DEFAULT, nonce="n1", must_agree=True):
    local = examine(directory, NAMES, H100, must_agree=must_agree)
    return place(contents, local, made_at=made_at, ownership=ownership, nonce=nonce)


def tree(directory):
    return {p.name: p.read_bytes() for p in directory.iterdir()} if directory.exists() else None


def test_files_arrive_with_modes_that_an_engine_of_another_uid_can_read(tmp_path):
    old = os.umask(0o077)
    try:
        placed = put(tmp_path / "a" / "b")
    finally:
        os.umask(old)

    assert placed.written == NAMES
    assert tree(tmp_path / "a" / "b") == NEW
    assert stat.S_IMODE((tmp_path / "a" / "b" / NAMES[0]).stat().st_mode) == 0o644
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o755


def test_modes_and_owner_are_settings(tmp_path):
    put(tmp_path / "a", ownership=Ownership(0o660, 0o770, os.getuid(), os.getgid()))

    assert stat.S_IMODE((tmp_path / "a" / NAMES[0]).stat().st_mode) == 0o660
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o770


def test_placing_twice_changes_nothing(tmp_path):
    put(tmp_path)
    before = (tmp_path / NAMES[0]).stat()

    again = put(tmp_path)

    assert (again.written, again.kept) == ((), NAMES)
    assert (tmp_path / NAMES[0]).stat().st_ino == before.st_ino


def test_a_valid_newer_file_stays_and_nothing_is_mixed_with_it(tmp_path):
    newer = rank_file(tactic=9)
    (tmp_path / NAMES[0]).write_bytes(newer)

    with pytest.raises(PlaceFailed) as caught:
        put(tmp_path, made_at=(tmp_path / NAMES[0]).stat().st_mtime - 60)

    assert caught.value.reason == "local-newer"
    assert tree(tmp_path) == {NAMES[0]: newer}


def test_a_valid_older_file_is_replaced(tmp_path):
    (tmp_path / NAMES[0]).write_bytes(rank_file(tactic=1))

    put(tmp_path, made_at=(tmp_path / NAMES[0]).stat().st_mtime + 60)

    assert tree(tmp_path) == NEW


@pytest.mark.parametrize(
    "blocking", [rank_file(H200), b'{"_metadata": {', b"{}"], ids=["foreign", "cut", "bare"]
)
def test_a_file_that_would_block_the_engine_is_moved_aside_and_said(tmp_path, blocking):
    (tmp_path / NAMES[1]).write_bytes(blocking)

    placed = put(tmp_path)

    assert placed.moved_aside == {NAMES[1]: NAMES[1] + ".aside"}
    assert tree(tmp_path) == {**NEW, NAMES[1] + ".aside": blocking}


def test_rank_files_that_disagree_are_replaced_even_if_newer(tmp_path):
    (tmp_path / NAMES[0]).write_bytes(rank_file(tactic=1))
    (tmp_path / NAMES[1]).write_bytes(rank_file(tactic=2))

    put(tmp_path, made_at=0.0)

    assert tree(tmp_path) == NEW


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO])
@pytest.mark.parametrize("step", ["open", "fsync", "replace", "link"])
@pytest.mark.parametrize("nth", [1, 2])
def test_given_an_io_error_when_placing_then_the_directory_is_as_it_was(
    tmp_path, monkeypatch, error, step, nth
):
    directory = tmp_path / "cache"
    if step == "link" or nth == 2:
        directory.mkdir()
        (directory / NAMES[1]).write_bytes(b"corrupt")
        (directory / NAMES[0]).write_bytes(rank_file(H200))
    before = tree(directory)
    calls = {"n": 0}

    def failing(original):
        def call(*args, **kwargs):
            calls["n"] += 1
            if calls["n"] == nth:
                raise OSError(error, os.strerror(error), "x")
            return original(*args, **kwargs)

        return call

    monkeypatch.setattr(module.os, step, failing(getattr(os, step)))
    with pytest.raises(PlaceFailed) as caught:
        put(directory)
    monkeypatch.undo()

    assert caught.value.reason in {"place-disk-full", "place-denied", "place-failed"}
    assert (caught.value.reason == "place-disk-full") == (error in (errno.ENOSPC, errno.EDQUOT))
    assert tree(directory) == before


def test_given_a_bad_file_that_goes_while_it_is_replaced_when_placing_then_nothing_is_put_aside(
    tmp_path, monkeypatch
):
    """Another pod on the volume was quicker."""
    directory = tmp_path / "cache"
    directory.mkdir()
    (directory / NAMES[0]).write_bytes(b"corrupt")
    link = os.link

    def gone(source, target):
        if os.path.exists(source):
            os.unlink(source)
        link(source, target)

    monkeypatch.setattr(module.os, "link", gone)

    placed = put(directory)

    assert placed.moved_aside == {}
    assert tree(directory) == NEW


PLACE = (
    "import sys; from pathlib import Path; from tests.unit.test_place import put, PlaceFailed\n"
    "try:\n put(Path(sys.argv[1]) / 'cache')\n"
    "except PlaceFailed as failure: print(failure.reason, sorted(str(p) for p in Path(sys.argv[1]).rglob('*.json*')))"
)


def test_given_a_full_disk_when_placing_then_nothing_stays(tmp_path):
    """given a file system (its own, in a namespace) with room for one of two files, when both are placed, then none is"""
    room = 12 + len(NEW[NAMES[0]]) // 1024
    script = (
        f"mount -t tmpfs -o size={room}k tmpfs {tmp_path} && head -c 8192 /dev/zero > {tmp_path}/taken && "
        f"exec {sys.executable} -c {shlex.quote(PLACE)} {tmp_path}"
    )
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script]
    if subprocess.run([*command[:-2], "-c", "true"], capture_output=True, check=False).returncode:
        message = "this machine gives no user namespaces, so no file system can be filled"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.stdout.strip() == "place-disk-full []", done.stderr


def test_given_a_file_size_limit_when_placing_then_nothing_stays(tmp_path):
    limit = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200));"
    done = subprocess.run(
        [sys.executable, "-c", limit + PLACE, str(tmp_path)], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "place-failed []"
    assert tree(tmp_path) == {}


def test_given_several_pods_when_they_place_into_one_volume_then_every_name_is_always_whole(tmp_path):
    stop = threading.Event()
    torn = []

    def watch():
        while not stop.is_set():
            for name in NAMES:
                try:
                    body = (tmp_path / name).read_bytes()
                except FileNotFoundError:
                    continue
                if body != NEW[name]:
                    torn.append(body)

    def one(number):
        for turn in range(20):
            put(tmp_path, nonce=f"{number}-{turn}")

    watcher = threading.Thread(target=watch)
    watcher.start()
    pods = [threading.Thread(target=one, args=(n,)) for n in range(6)]
    for pod in pods:
        pod.start()
    for pod in pods:
        pod.join()
    stop.set()
    watcher.join()

    assert torn == []
    assert tree(tmp_path) == NEW


def test_directories_below_a_volume_with_a_common_group_keep_that_group(tmp_path):
    """The kubelet sets fsGroup's set-group-ID bit on a volume; without it an engine of another uid is shut out below."""
    volume = tmp_path / "volume"
    volume.mkdir()
    volume.chmod(0o2775)
    target = volume / "flashinfer" / "key"

    place({"a.json": b"{}"}, examine(target, ("a.json",), H100, must_agree=False), made_at=None,
          ownership=Ownership(dir_mode=0o775), nonce="n")  # fmt: skip

    assert [stat.S_IMODE(path.stat().st_mode) for path in (target.parent, target)] == [0o2775, 0o2775]


def test_given_files_that_a_killed_pod_left_when_they_are_a_day_old_then_the_next_placing_removes_them(
    tmp_path,
):
    name = NAMES[0]
    left = {f".{name}.0a1b.tmp": 2 * 86400, f".{name}.0a1b.old": 2 * 86400, f".{name}.young.tmp": 60}
    others = {".other.json.0a1b.tmp": 2 * 86400, f".{name}.aside": 2 * 86400, "notes.txt": 2 * 86400}
    now = time.time()
    for one, age_s in {**left, **others}.items():
        (tmp_path / one).write_bytes(b"x")
        os.utime(tmp_path / one, (now - age_s, now - age_s))

    put(tmp_path)

    assert set(tree(tmp_path)) == {*NAMES, f".{name}.young.tmp", *others}
