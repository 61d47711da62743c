"""The directory store: the contract, and what only real processes and a real file system can show."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from cache_store.clock import fresh_nonce
from cache_store.errors import ErrorKind
from cache_store.objects import Missing, NotWritten, Written
from cache_store.objects.directory import DirectoryStore
from cache_store.objects.version_files import KEPT_S, VersionedFile, sweep
from cache_store.testing.contract import MissingRootContract, ObjectStoreContract, raises

PROGRAM = Path(__file__).with_name("directory_process.py")


class TestDirectory(ObjectStoreContract):
    many = 300

    @pytest.fixture
    def store(self, tmp_path):
        return DirectoryStore(tmp_path, nonce=fresh_nonce)


class TestDirectoryWithoutRoot(MissingRootContract):
    @pytest.fixture
    def store(self, tmp_path):
        return DirectoryStore(tmp_path / "never-mounted", nonce=fresh_nonce)


@pytest.fixture
def store(tmp_path):
    return DirectoryStore(tmp_path / "root", nonce=fresh_nonce)


@pytest.fixture(autouse=True)
def root(tmp_path):
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def open_root():
    """A directory that other users can reach, as tmp_path is not."""
    path = Path(tempfile.mkdtemp(prefix="directory-store-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def started(root, *arguments):
    command = [sys.executable, str(PROGRAM), str(root), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def ran(root, *arguments):
    process = started(root, *arguments)
    return process.communicate(timeout=60)[0], process.returncode


# -- people --------------------------------------------------------------------------------------------------------


def test_the_newest_version_is_a_plain_file_at_its_key(store, root):
    first = store.put_if_absent("a/b/claim.json", b"first")
    assert (root / "a/b/claim.json").read_bytes() == b"first"
    store.put_if_match("a/b/claim.json", b"second", first.etag)
    plain = root / "a/b/claim.json"
    assert plain.read_bytes() == b"second"
    assert plain.is_file()
    assert not plain.is_symlink()
    store.delete("a/b/claim.json")
    assert not plain.exists()


def test_a_file_that_was_copied_in_can_be_read_replaced_and_deleted(store, root):
    (root / "a").mkdir()
    (root / "a/k").write_bytes(b"by hand")
    seen = store.get("a/k", limit_bytes=100)
    assert seen.body == b"by hand"
    assert [entry.key for entry in store.list("")] == ["a/k"]
    assert isinstance(store.put_if_absent("a/k", b"x"), NotWritten)
    assert isinstance(store.put_if_match("a/k", b"replaced", seen.etag), Written)
    assert isinstance(store.put_if_match("a/k", b"again", seen.etag), NotWritten)
    assert (root / "a/k").read_bytes() == b"replaced"
    store.delete("a/k")
    assert isinstance(store.get("a/k", limit_bytes=100), Missing)


def test_removing_a_directory_removes_its_objects(store, root):
    store.put_if_absent("a/b/k", b"x")
    shutil.rmtree(root / "a")
    assert isinstance(store.get("a/b/k", limit_bytes=10), Missing)
    assert isinstance(store.put_if_absent("a/b/k", b"y"), Written)


def test_an_object_below_an_object_is_refused(store):
    store.put_if_absent("a", b"x")
    with raises(ErrorKind.INVALID):
        store.put_if_absent("a/b", b"x")
    store.put_if_absent("c/d", b"x")
    with raises(ErrorKind.INVALID):
        store.put_if_absent("c", b"x")
    assert [entry.key for entry in store.list("")] == ["a", "c/d"]


def test_the_stores_own_names_are_no_keys(store):
    store.put_if_absent("a/k", b"x")
    with raises(ErrorKind.INVALID):
        store.get("a/.~k/00000001", limit_bytes=10)


def test_modes_do_not_depend_on_the_umask(root):
    before = os.umask(0o077)
    try:
        store = DirectoryStore(root, nonce=fresh_nonce, file_mode=0o666, dir_mode=0o777)
        store.put_if_absent("a/b/k", b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((root / "a/b/k").stat().st_mode) == 0o666
    assert stat.S_IMODE((root / "a").stat().st_mode) == 0o777
    assert stat.S_IMODE((root / "a/b").stat().st_mode) == 0o777


def test_age_is_by_the_file_systems_clock(store, root):
    store.put_if_absent("k", b"x")
    version = root / ".~k" / "00000001"
    then = version.stat().st_mtime - 90
    os.utime(version, (then, then))
    assert 89 < store.get("k", limit_bytes=10).age_s < 95


# -- races between processes -----------------------------------------------------------------------------------------


def test_of_sixteen_processes_exactly_one_wins_each_round_of_both_verbs(store, root, tmp_path):
    rounds, writers = 20, 16
    store.put_if_absent("k", b"begin")
    go = tmp_path / "go"
    processes = [started(root, "race", "k", rounds, go) for _ in range(writers)]
    try:
        for number in range(rounds):
            for process in processes:
                assert process.stdout.readline() == f"ready {number}\n"
            Path(f"{go}{number}").touch()
            won = [process.stdout.readline().split() for process in processes]
            assert [line[:2] for line in won] == [["won", str(number)]] * writers
            created = [process.pid for process, line in zip(processes, won, strict=True) if line[2] == "1"]
            replaced = [process.pid for process, line in zip(processes, won, strict=True) if line[3] == "1"]
            assert len(created) == len(replaced) == 1, (
                f"round {number}: {created} created, {replaced} replaced"
            )
            assert store.get(f"k-{number}", limit_bytes=100).body == b"%d" % created[0]
            assert store.get("k", limit_bytes=100).body == b"%d %d" % (number, replaced[0])
            assert (root / "k").read_bytes() == b"%d %d" % (number, replaced[0])
            Path(f"{go}{number}.done").touch()
        assert [process.wait(30) for process in processes] == [0] * writers
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert [entry.key for entry in store.list("k-")] == sorted(f"k-{number}" for number in range(rounds))


def test_a_counter_of_many_processes_loses_no_update(store, root):
    store.put_if_absent("counter", b"0 nobody")
    processes = [started(root, "count", "counter", 25) for _ in range(8)]
    for process in processes:
        process.communicate(timeout=90)
    assert [process.returncode for process in processes] == [0] * 8
    assert store.get("counter", limit_bytes=100).body.split()[0] == b"200"
    assert (root / "counter").read_bytes().split()[0] == b"200"
    assert sorted(int(path.name) for path in (root / ".~counter").iterdir()) == list(range(1, 202))


# -- writers that pause ------------------------------------------------------------------------------------------------


@contextmanager
def paused(root, key, verb, event):
    """A writer that stopped before `event`; when the block is over it goes on, and its answer is in the list."""
    process = started(root, "pause", key, verb, event)
    answer = []
    try:
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        yield answer
        process.send_signal(signal.SIGCONT)
        answer.append(process.communicate(timeout=30)[0].strip())
    finally:
        process.kill()
        process.communicate()


def test_a_writer_that_paused_before_its_rename_does_not_set_the_plain_file_back(store, root):
    """Given a writer stopped between link and rename, when others replace its version, then theirs stays visible."""
    store.put_if_absent("k", b"first")
    with paused(root, "k", "put_if_match", "os.rename") as answer:
        seen = store.get("k", limit_bytes=100)
        assert seen.body == b"paused", "its link was the write"
        assert (root / "k").read_bytes() == b"first"
        store.put_if_match("k", b"newer", seen.etag)
    assert answer[0].startswith("Written")
    assert (root / "k").read_bytes() == b"newer"
    assert store.get("k", limit_bytes=100).body == b"newer"


def test_a_writer_that_paused_before_its_rename_does_not_bring_a_deleted_object_back(store, root):
    with paused(root, "d/k", "put_if_absent", "os.rename"):
        store.delete("d/k")
    assert not (root / "d/k").exists()
    assert isinstance(store.get("d/k", limit_bytes=100), Missing)
    assert list(store.list("")) == []


def test_a_writer_that_paused_before_its_link_loses_to_a_replacement(store, root):
    etag = store.put_if_absent("k", b"first").etag
    with paused(root, "k", "put_if_match", "os.link") as answer:
        store.put_if_match("k", b"newer", etag)
    assert answer == ["NotWritten(status=412)"]
    assert store.get("k", limit_bytes=100).body == (root / "k").read_bytes() == b"newer"


@pytest.mark.parametrize("again", [None, b"first", b"other"], ids=["gone", "same bytes", "other bytes"])
def test_a_writer_that_paused_before_its_link_loses_to_a_deletion(store, root, again):
    """Given a writer that looked at version 1, when that was deleted and perhaps created again, then it is refused."""
    store.put_if_absent("k", b"first")
    with paused(root, "k", "put_if_match", "os.link") as answer:
        store.delete("k")
        if again is not None:
            store.put_if_absent("k", again)
    assert answer == ["NotWritten(status=412)"]
    seen = store.get("k", limit_bytes=100)
    assert isinstance(seen, Missing) if again is None else seen.body == again


# -- crashes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["put_if_absent", "put_if_match", "delete"])
def test_a_writer_killed_before_any_step_leaves_the_old_or_the_new_object_and_blocks_nobody(root, verb):
    """Given a writer that is killed before its n-th file system call, for every n: old or new, and the next one writes."""
    outcomes = []
    for step in range(1, 60):
        store = DirectoryStore(root, nonce=fresh_nonce)
        key = f"d{step}/k"
        if verb != "put_if_absent":
            store.put_if_absent(key, b"old")
        output, code = ran(root, "die", key, verb, step)
        seen = store.get(key, limit_bytes=100)
        body = None if isinstance(seen, Missing) else seen.body
        assert body in (
            {None, b"new"}
            if verb == "put_if_absent"
            else {b"old", b"new"}
            if verb == "put_if_match"
            else {b"old", None}
        )
        plain = root / key
        assert not plain.exists() or plain.read_bytes() in {b"old", b"new"}
        assert [entry.key for entry in store.list(f"d{step}/")] == ([key] if body is not None else [])
        after = (
            store.put_if_absent(key, b"after")
            if body is None
            else store.put_if_match(key, b"after", seen.etag)
        )
        assert isinstance(after, Written)
        assert plain.read_bytes() == store.get(key, limit_bytes=100).body == b"after"
        outcomes.append(body)
        if "survived" in output:
            assert code == 0
            break
        assert code == -9
    else:
        pytest.fail("the write has more steps than were tried")
    assert len(outcomes) >= 5, "the steps were not met"
    assert len(set(outcomes)) == 2, "both ends must have been seen"


def test_what_a_crashed_writer_left_is_never_listed_and_goes_away(store, root):
    written = store.put_if_absent("a/k", b"x")
    litter = root / "a/.~k/tmp-crashed"
    litter.write_bytes(b"half")
    (root / "a/.~never").mkdir()
    (root / "a/.~never/tmp-crashed").write_bytes(b"half")
    assert [entry.key for entry in store.list("")] == ["a/k"]
    assert isinstance(store.get("a/never", limit_bytes=10), Missing)
    store.put_if_match("a/k", b"y", written.etag)
    assert litter.exists(), "it may still be in use"


def test_old_versions_and_litter_are_removed_by_a_later_write(root):
    """Time stamps of links cannot be set back, so the method is told that it is later."""
    file = VersionedFile(root / "k", nonce=fresh_nonce, file_mode=0o664, dir_mode=0o775)
    for number in (1, 2, 3):
        file.step(file.write_temp(b"%d" % number), number)
    litter = file.write_temp(b"litter")
    now = litter.stat().st_ctime
    file._prune(3, now + KEPT_S - 60)
    assert len(list((root / ".~k").iterdir())) == 4
    file._prune(3, now + KEPT_S + 60)
    assert [path.name for path in (root / ".~k").iterdir()] == ["00000003"]
    assert file.current().number == 3


def test_what_was_deleted_long_ago_leaves_nothing_behind(store, root):
    for key in (".probe/1", ".probe/2", ".probe/3", ".probe/kept"):
        store.put_if_absent(key, b"x")
    for key in (".probe/1", ".probe/2", ".probe/3"):
        store.delete(key)
    (root / ".probe/.~2/tmp-of-a-writer").write_bytes(b"")
    (root / ".probe/.~now-of-a-reader").write_bytes(b"")
    now = (root / ".probe/.~3/00000002").lstat().st_ctime
    sweep(root / ".probe", now + KEPT_S - 60)
    assert len(list((root / ".probe").iterdir())) == 6
    sweep(root / ".probe", now + KEPT_S + 60)
    assert sorted(path.name for path in (root / ".probe").iterdir()) == [".~2", ".~kept", "kept"]
    assert isinstance(store.put_if_absent(".probe/1", b"y"), Written)
    assert isinstance(store.put_if_absent(".probe/2", b"y"), Written)


def test_a_plain_file_that_a_paused_writer_set_back_is_repaired_by_the_next_write(store, root):
    first = store.put_if_absent("k", b"first")
    second = store.put_if_match("k", b"second", first.etag)
    (root / "k").unlink()
    (root / "k").write_bytes(b"first")
    assert store.get("k", limit_bytes=10).body == b"second"
    store.put_if_match("k", b"third", second.etag)
    assert (root / "k").read_bytes() == b"third"


def test_a_writer_that_was_stopped_for_long_says_that_it_does_not_know(store, root):
    """Given a temporary file from an hour before the link, when the link succeeds, then TIMEOUT: read back."""
    file = VersionedFile(root / "k", nonce=fresh_nonce, file_mode=0o664, dir_mode=0o775)
    temp = file.write_temp(b"x")
    then = temp.stat().st_mtime - KEPT_S
    os.utime(temp, (then, then))
    assert file.step(temp, 1).is_certain is False
    assert store.get("k", limit_bytes=10).body == b"x"


# -- file systems that refuse --------------------------------------------------------------------------------------------


def test_a_volume_that_may_only_be_read_is_read_without_a_date_and_denied_for_writing(open_root):
    store = DirectoryStore(open_root, nonce=fresh_nonce)
    etag = store.put_if_absent("a/k", b"x").etag
    for path in [open_root, *open_root.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    assert ran(open_root, "once", "get", "a/k")[0].startswith("StoredObject(body=b'x'")
    assert "date=None" in ran(open_root, "once", "get", "a/k")[0]
    assert ran(open_root, "once", "get", "a/none")[0] == "Missing(date=None)\n"
    assert ran(open_root, "once", "put_if_absent", "a/new")[0].startswith("StoreError denied")
    assert ran(open_root, "once", "put_if_match", "a/k", etag)[0].startswith("StoreError denied")


def test_a_file_that_may_not_be_read_is_denied_and_not_missing(open_root):
    store = DirectoryStore(open_root, nonce=fresh_nonce)
    store.put_if_absent("a/k", b"x")
    (open_root / "a/.~k/00000001").chmod(0o600)
    assert ran(open_root, "once", "get", "a/k")[0].startswith("StoreError denied")
    (open_root / "a/.~k").chmod(0o700)
    assert ran(open_root, "once", "get", "a/k")[0].startswith("StoreError denied")


def test_a_full_disk_is_unavailable_says_why_and_leaves_nothing(store, root):
    output, _ = ran(root, "full", "a/k")
    assert output.startswith("StoreError unavailable")
    assert "File too large (errno 27)" in output
    assert isinstance(store.get("a/k", limit_bytes=10), Missing)
    assert list(store.list("")) == []
    assert list((root / "a/.~k").iterdir()) == []
