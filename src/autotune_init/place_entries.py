"""A bundle's entries become files of FlashInfer's own store, beside those that are there: a union.

An entry that is there and good stays, byte for byte, whatever the bundle says and whichever is newer. FlashInfer
publishes each winner with one atomic rename, with no lock and for the last writer (flashinfer/autotune_cache.py,
0.7.0 to 0.7.2), so such an entry was measured by this volume's own engines, and one of them may be running by it now;
any good entry serves as well as another, and what is not in the bundle belongs to other models. An entry that FlashInfer
would call a miss is moved aside and replaced.

Between our look and our rename FlashInfer may publish an entry of the same name: then the last whole file wins, as
among its own writers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from autotune_init.local_files import FileState, LocalFile, LocalSet, examine_entry
from autotune_init.place import Ownership, Placed, PlaceFailed, place
from cache_store.store_entries import ENTRIES_FOLDER, MANIFEST_NAME

REPLACED = (FileState.ABSENT, FileState.CORRUPT)


def place_entries(
    contents: Mapping[str, bytes], directory: Path, *, ownership: Ownership, nonce: str
) -> Placed:
    """Write the entries that are missing or bad. `contents` were checked (`store_entries.check_entries`), all of them.

    `directory` is `<root>/v2/<env_hash>`. Raises `PlaceFailed`; then every entry and the manifest are as they were.
    """
    folder = directory / ENTRIES_FOLDER
    try:
        present = _names_in(folder)
        is_manifest_there = (directory / MANIFEST_NAME).exists()
        entries = {
            name: examine_entry(folder / name) if name in present else LocalFile(name, FileState.ABSENT)
            for name in sorted(contents)
            if name != MANIFEST_NAME
        }
    except OSError as error:
        raise PlaceFailed("cache-dir-unreadable", f"{error.filename}: {error.strerror}") from error
    wanted = {name: found for name, found in entries.items() if found.state in REPLACED}
    # an entry that we may not read may be a good one of the engine's own user
    kept = tuple(name for name in entries if name not in wanted)
    if not wanted:
        return Placed((), kept, {})
    created = [path for path in (directory, *directory.parents) if not path.exists()]
    before = () if is_manifest_there else _place_manifest(contents, directory, ownership, nonce)
    try:
        placed = place(
            {name: contents[name] for name in wanted},
            LocalSet(folder, wanted, ranks_agree=True),
            made_at=None,
            ownership=ownership,
            nonce=nonce,
        )
    except PlaceFailed:
        _take_back([directory / name for name in before], created)
        raise
    return Placed((*before, *placed.written), kept, placed.moved_aside)


def _names_in(folder: Path) -> frozenset[str]:
    try:
        return frozenset(path.name for path in folder.iterdir())
    except FileNotFoundError:
        return frozenset()


def _place_manifest(
    contents: Mapping[str, bytes], directory: Path, ownership: Ownership, nonce: str
) -> tuple[str, ...]:
    """First, as FlashInfer's `_ensure_dirs` does. It reads no manifest back and replaces none, nor do we."""
    absent = {MANIFEST_NAME: LocalFile(MANIFEST_NAME, FileState.ABSENT)}
    return place(
        {MANIFEST_NAME: contents[MANIFEST_NAME]},
        LocalSet(directory, absent, ranks_agree=True),
        made_at=None,
        ownership=ownership,
        nonce=nonce,
    ).written


def _take_back(files: Sequence[Path], directories: Sequence[Path]) -> None:
    """What we made ourselves, innermost first; a directory stays if somebody has put something there meanwhile."""
    try:
        for file in files:
            file.unlink(missing_ok=True)
        for directory in directories:
            directory.rmdir()
    except OSError:
        return  # the first error is the one to report
