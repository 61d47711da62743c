"""What already lies in the engine's directory. Starts by doubting the disk: nothing is trusted because it exists.

Says what FlashInfer would do with each file (`load_configs` and `_classify_metadata_mismatches`, FlashInfer 0.7.2
flashinfer/autotuner/autotuner.py; for entries of its own store `ManagedAutotuneCache.lookup`, autotune_cache.py): load
it, ignore it, or die on it. It does not prove that the entries are the ones the engine will ask for.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from enum import Enum
from pathlib import Path

from cache_store.dataclass import dataclass, replace
from cache_store.rank_file import MAX_RANK_FILE_BYTES, BadRankFile, RankFile, parse_rank_file
from cache_store.store_entries import MAX_ENTRY_BYTES, BadEntry, parse_entry

WILDCARD = "*"
UNDETECTED = frozenset({"unknown", "None"})


class FileState(str, Enum):
    """What the engine would do with one file."""

    ABSENT = "absent"
    VALID = "valid"  # it would be loaded
    SOFT = "soft"  # ignored, and replaced by the engine's next save
    FOREIGN = "foreign"  # ignored and never overwritten: re-tunes on every start
    CORRUPT = "corrupt"  # JSONDecodeError out of autotune(cache=...): the engine dies at start
    UNREADABLE = "unreadable"  # PermissionError out of autotune(cache=...)


@dataclass(frozen=True)
class LocalFile:
    """One rank file on disk. `body` and `written_at` (Unix seconds) only where it could be read."""

    name: str
    state: FileState
    detail: str = ""
    body: bytes = b""
    written_at: float = 0.0


@dataclass(frozen=True)
class LocalSet:
    """All rank files of this pod, as found."""

    directory: Path
    files: Mapping[str, LocalFile]
    ranks_agree: bool

    @property
    def is_complete(self) -> bool:
        """The engine would load every rank's file and profile nothing that is in them."""
        return (
            bool(self.files)
            and self.ranks_agree
            and all(f.state is FileState.VALID for f in self.files.values())
        )

    def in_state(self, *states: FileState) -> tuple[LocalFile, ...]:
        return tuple(found for found in self.files.values() if found.state in states)


def examine(
    directory: Path, names: tuple[str, ...], metadata: Mapping[str, str], *, must_agree: bool
) -> LocalSet:
    """Look at each of `names` in `directory`. Raises OSError only where the directory itself cannot be looked into."""
    files: dict[str, LocalFile] = {}
    for name in names:
        files[name] = _examine_one(directory / name, metadata)
    bodies = [found.body for found in files.values() if found.state is FileState.VALID]
    return LocalSet(directory, files, ranks_agree=not must_agree or are_equal_as_json(bodies))


def _examine_one(path: Path, metadata: Mapping[str, str]) -> LocalFile:
    found = _read(path, MAX_RANK_FILE_BYTES)
    if found.state is not FileState.VALID:
        return found
    try:
        rank_file = parse_rank_file(found.body)
    except BadRankFile as problem:
        # without _metadata FlashInfer loads everything unchecked: as dangerous as a wrong file
        return replace(found, state=FileState.CORRUPT, detail=f"{problem.reason}: {problem.detail}")
    state, detail = judge_metadata(rank_file.metadata, metadata)
    return replace(found, state=state, detail=detail)


def examine_entry(path: Path) -> LocalFile:
    """One entry of FlashInfer's own store: ABSENT, VALID, CORRUPT (a miss with a warning) or UNREADABLE to us.

    Raises `NotADirectoryError`.
    """
    found = _read(path, MAX_ENTRY_BYTES)
    if found.state is not FileState.VALID:
        return found
    try:
        parse_entry(path.name, found.body)
    except BadEntry as problem:
        return replace(found, state=FileState.CORRUPT, detail=f"{problem.reason}: {problem.detail}")
    return found


def _read(path: Path, limit_bytes: int) -> LocalFile:
    """The file as it lies there, called VALID; one byte past the limit is enough to see that it is too large."""
    try:
        with path.open("rb") as file:
            body = file.read(limit_bytes + 1)
            written_at = path.stat().st_mtime
    except FileNotFoundError:
        return LocalFile(path.name, FileState.ABSENT)
    except NotADirectoryError:
        raise
    except OSError as error:
        return LocalFile(path.name, FileState.UNREADABLE, error.strerror or str(error))
    return LocalFile(path.name, FileState.VALID, "", body, written_at)


def judge_metadata(saved: Mapping[str, str], current: Mapping[str, str]) -> tuple[FileState, str]:
    """FlashInfer's own comparison: every current field must be saved with the same value, or as "*"."""
    soft = ""
    for name, value in current.items():
        have = saved.get(name)
        if have in (value, WILDCARD):
            continue
        text = f"{name} is {have!r}, this pod's is {value!r}"
        if have is not None and have not in UNDETECTED:
            return FileState.FOREIGN, text
        soft = soft or text
    return (FileState.SOFT, soft) if soft else (FileState.VALID, "")


def are_equal_as_json(bodies: list[bytes]) -> bool:
    """SGLang >= 0.5.19 compares the parsed files of a TP group and deletes all of them if they differ."""
    if len(set(bodies)) <= 1:
        return True
    first, *rest = (json.loads(body) for body in bodies)
    return all(other == first for other in rest)


def check_names(found: Collection[str], names: Collection[str]) -> None:
    """Raises `BadRankFile` unless every rank's file is among those `found`, and no other."""
    missing, extra = sorted({*names} - {*found}), sorted({*found} - {*names})
    if missing or extra:
        raise BadRankFile("wrong-rank-files", f"missing {missing[:4]}, unexpected {extra[:4]}")


def check_foreign_bytes(
    contents: Mapping[str, bytes], names: tuple[str, ...], metadata: Mapping[str, str], *, must_agree: bool
) -> dict[str, RankFile]:
    """Bytes from outside (a bucket, a tuner) become files only if every rank's is there and is this pod's.

    Raises `BadRankFile` with a reason and the file's name. Stricter than FlashInfer: no wildcards, no soft fields.
    """
    check_names(contents.keys(), names)
    parsed: dict[str, RankFile] = {}
    for name in names:
        try:
            parsed[name] = parse_rank_file(contents[name])
        except BadRankFile as problem:
            raise BadRankFile(problem.reason, f"{name}: {problem.detail}") from None
        if dict(parsed[name].metadata) != dict(metadata):
            _, detail = judge_metadata(parsed[name].metadata, metadata)
            raise BadRankFile("foreign-environment", f"{name}: {detail or 'other fields than this pod has'}")
    if must_agree and not are_equal_as_json(list(contents.values())):
        raise BadRankFile(
            "ranks-disagree", "this engine release throws rank files away unless they are equal"
        )
    return parsed
