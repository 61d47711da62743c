"""A union: what is there and good stays untouched, what is missing or bad is written, and nothing is half done."""

import os
import stat

import pytest
from tests.bundles import ENTRY
from tests.unit.test_store_entries import KEY, MANIFEST, NAME, contents, entry

from autotune_init import place as module
from autotune_init.place import Ownership, PlaceFailed
from autotune_init.place_entries import place_entries
from cache_store.store_entries import MANIFEST_NAME, check_entries, encode_manifest, entry_name

OTHER = entry_name(ENTRY)
DEFAULT = Ownership()


def put(directory, files=None, ownership=DEFAULT):
    return place_entries(files or contents(KEY, ENTRY), directory, ownership=ownership, nonce="n1")


def tree(directory):
    return {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def local_entry(directory, name, body):
    (directory / "entries").mkdir(parents=True, exist_ok=True)
    path = directory / "entries" / name
    path.write_bytes(body)
    os.utime(path, (1, 1))
    return path


def test_an_empty_root_gets_the_manifest_and_every_entry_readable_by_another_uid(tmp_path):
    old = os.umask(0o077)
    try:
        placed = put(tmp_path / "root" / "v2" / "hash")
    finally:
        os.umask(old)

    assert set(placed.written) == {MANIFEST_NAME, NAME, OTHER}
    assert tree(tmp_path / "root" / "v2" / "hash") == {
        MANIFEST_NAME: encode_manifest(MANIFEST),
        f"entries/{NAME}": entry(),
        f"entries/{OTHER}": entry(ENTRY),
    }
    for path in (tmp_path / "root").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o755 if path.is_dir() else 0o644)


def test_modes_and_owner_are_settings(tmp_path):
    put(tmp_path / "hash", ownership=Ownership(0o660, 0o770, os.getuid(), os.getgid()))

    assert stat.S_IMODE((tmp_path / "hash" / "entries" / NAME).stat().st_mode) == 0o660
    assert stat.S_IMODE((tmp_path / "hash" / "entries").stat().st_mode) == 0o770


def test_a_good_local_entry_stays_though_the_bundle_has_another_tactic(tmp_path):
    local = local_entry(tmp_path, NAME, entry(tactic=2))
    before = local.stat()

    placed = put(tmp_path)

    assert placed.kept == (NAME,)
    assert local.read_bytes() == entry(tactic=2)
    after = local.stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_mode) == (
        before.st_ino, before.st_mtime_ns, before.st_mode,
    )  # fmt: skip


def test_two_workloads_become_a_union(tmp_path):
    put(tmp_path, contents(KEY))
    placed = put(tmp_path, contents(ENTRY))

    assert placed.written == (OTHER,)
    assert set(tree(tmp_path)) == {MANIFEST_NAME, f"entries/{NAME}", f"entries/{OTHER}"}


def test_what_is_not_in_the_bundle_is_not_looked_at(tmp_path):
    strange = local_entry(tmp_path, "ffffffffffffffffffffffff.json", b"another model's, half written")
    put(tmp_path)

    assert strange.read_bytes() == b"another model's, half written"


@pytest.mark.parametrize(
    "body",
    [b"", entry()[:-5], b"[]", entry(ENTRY), entry(runner=...)],
    ids=["empty", "cut", "list", "another-key", "no-runner"],
)
def test_a_bad_local_entry_is_moved_aside_where_flashinfer_does_not_look(tmp_path, body):
    local_entry(tmp_path, NAME, body)

    placed = put(tmp_path)

    assert placed.moved_aside == {NAME: f"{NAME}.aside"}
    assert (tmp_path / "entries" / NAME).read_bytes() == entry()
    assert (tmp_path / "entries" / f"{NAME}.aside").read_bytes() == body
    assert sorted(path.name for path in (tmp_path / "entries").glob("*.json")) == sorted([NAME, OTHER])


def test_placing_twice_changes_nothing(tmp_path):
    put(tmp_path)
    before = {path: path.stat() for path in tmp_path.rglob("*")}

    again = put(tmp_path)

    assert (again.written, set(again.kept)) == ((), {NAME, OTHER})
    assert {path: path.stat() for path in tmp_path.rglob("*")} == before


def test_a_manifest_that_is_there_is_nobodys_business(tmp_path):
    (tmp_path / MANIFEST_NAME).write_bytes(b"garbage, which FlashInfer never reads")
    put(tmp_path)

    assert (tmp_path / MANIFEST_NAME).read_bytes() == b"garbage, which FlashInfer never reads"


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_given_a_full_disk_at_any_file_then_all_is_as_it_was(tmp_path, monkeypatch, nth):
    root = tmp_path / "root"
    real, count = module._write_temp, [0]

    def full(path, body, ownership):
        count[0] += 1
        if count[0] == nth:
            raise OSError(28, "No space left on device", str(path))
        real(path, body, ownership)

    monkeypatch.setattr(module, "_write_temp", full)
    with pytest.raises(PlaceFailed) as caught:
        put(root / "v2" / "hash")

    assert caught.value.reason == "place-disk-full"
    assert not root.exists()


def test_given_a_full_disk_beside_local_entries_then_they_are_all_that_is_there(tmp_path, monkeypatch):
    local_entry(tmp_path, NAME, b"bad")

    def full(path, _body, _ownership):
        if path.rpartition("/")[2].startswith(f".{OTHER}"):
            raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(module, "_write_temp", full)
    with pytest.raises(PlaceFailed):
        put(tmp_path)

    assert tree(tmp_path) == {f"entries/{NAME}": b"bad"}


def test_a_file_where_the_store_should_be_is_told(tmp_path):
    (tmp_path / "v2").write_bytes(b"")
    with pytest.raises(PlaceFailed) as caught:
        put(tmp_path / "v2" / "hash")

    assert caught.value.reason == "cache-dir-unreadable"


def test_what_is_placed_passes_the_check_it_came_through(tmp_path):
    put(tmp_path)
    files = {path.name: path.read_bytes() for path in tmp_path.rglob("*.json")}

    assert set(check_entries(files, MANIFEST)) == {NAME, OTHER}
