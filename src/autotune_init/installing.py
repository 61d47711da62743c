"""The one difference between an engine with rank files and FlashInfer's own store: what is good, and how it is placed."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from autotune_init.engines import EngineCache
from autotune_init.engines.flashinfer_store import manifest_of
from autotune_init.local_files import (
    FileState,
    LocalFile,
    LocalSet,
    check_foreign_bytes,
    check_names,
    examine,
    examine_entry,
)
from autotune_init.place import Ownership, Placed, PlaceFailed, Staged, move_aside, place, stage
from autotune_init.place_entries import place_entries
from cache_store.annotation import Protocol
from cache_store.dataclass import dataclass
from cache_store.rank_file import RankFile
from cache_store.store_entries import (
    ENTRIES_FOLDER,
    MANIFEST_NAME,
    check_entries,
    check_entry_names,
    path_in_store,
)


class Installing(Protocol):
    """Contents from outside become files of this pod's engine."""

    @property
    def local(self) -> LocalSet:
        """What was there when we looked; a complete set needs no store."""

    def check_names(self, names: Collection[str]) -> None:
        """Before a content is fetched. Raises `BadRankFile` where `check` would, whatever the contents are."""

    def check(self, contents: Mapping[str, bytes]) -> Mapping[str, RankFile]:
        """The contents as rank files, none for entries. Raises `BadRankFile` unless all are good and are this pod's."""

    def check_mine(self, contents: Mapping[str, bytes]) -> None:
        """As `check`, for what this pod alone has tuned for its own ranks."""

    def lying(self, names: Iterable[str]) -> tuple[LocalFile, ...]:
        """Those files of a bundle that has these names that lie here. Raises OSError."""

    def move_aside(self, names: Iterable[str]) -> dict[str, str]:
        """Out of the engine's way, old name -> new one; with one of a pod's ranks all of them. Raises OSError."""

    def stage(self, contents: Mapping[str, bytes], *, nonce: str) -> Staged:
        """Write what was checked beside its place, whatever lies there. Raises `PlaceFailed`."""

    def place(self, contents: Mapping[str, bytes], *, made_at: float | None, nonce: str) -> Placed:
        """Write what was checked. `made_at` as in `place.decide`. Raises `PlaceFailed`; then all is as it was."""


def installing_of(cache: EngineCache, metadata: Mapping[str, str], ownership: Ownership) -> Installing:
    """Raises OSError where the engine's directory cannot be looked into."""
    directory = Path(cache.directory)
    if cache.kind == "entries":
        return Entries(directory, manifest_of(metadata, cache.resolved), ownership)
    local = examine(directory, cache.rank_files, metadata, must_agree=cache.ranks_must_agree)
    return RankFiles(cache, metadata, ownership, local)


@dataclass(frozen=True)
class RankFiles:
    """Implements `Installing`: this pod's ranks, all or none."""

    cache: EngineCache
    metadata: Mapping[str, str]
    ownership: Ownership
    local: LocalSet

    def check_names(self, names: Collection[str]) -> None:
        check_names(names, self.cache.all_rank_files)

    def check(self, contents: Mapping[str, bytes]) -> Mapping[str, RankFile]:
        return check_foreign_bytes(
            contents, self.cache.all_rank_files, self.metadata, must_agree=self.cache.ranks_must_agree
        )

    def check_mine(self, contents: Mapping[str, bytes]) -> None:
        names = self.cache.rank_files
        check_foreign_bytes(contents, names, self.metadata, must_agree=self.cache.ranks_must_agree)

    def lying(self, names: Iterable[str]) -> tuple[LocalFile, ...]:
        return tuple(self.local.files[name] for name in names if name in self.local.files)

    def move_aside(self, names: Iterable[str]) -> dict[str, str]:
        if not list(names):
            return {}
        there = self.local.in_state(FileState.VALID, FileState.CORRUPT)
        return {found.name: move_aside(self.local.directory, found.name) for found in there}

    def stage(self, contents: Mapping[str, bytes], *, nonce: str) -> Staged:
        mine = {name: contents[name] for name in self.cache.rank_files}
        # pods of a group that agree are worth more than one file that is newer
        return stage(mine, self.local, made_at=math.inf, ownership=self.ownership, nonce=nonce)

    def place(self, contents: Mapping[str, bytes], *, made_at: float | None, nonce: str) -> Placed:
        mine = {name: contents[name] for name in self.cache.rank_files}
        return place(mine, self.local, made_at=made_at, ownership=self.ownership, nonce=nonce)


@dataclass(frozen=True)
class Entries:
    """Implements `Installing`: a union of entries. Nobody can know which of them the engine will need."""

    directory: Path
    manifest: Mapping[str, str]
    ownership: Ownership

    @property
    def local(self) -> LocalSet:
        """Never complete; and a bad entry does not stop the engine, so nothing has to be moved out of its way."""
        return LocalSet(self.directory, {}, ranks_agree=True)

    def check_names(self, names: Collection[str]) -> None:
        check_entry_names(names)

    def check(self, contents: Mapping[str, bytes]) -> Mapping[str, RankFile]:
        check_entries(contents, self.manifest)
        return {}

    def check_mine(self, contents: Mapping[str, bytes]) -> None:
        self.check(contents)

    def lying(self, names: Iterable[str]) -> tuple[LocalFile, ...]:
        return tuple(
            examine_entry(self.directory / path_in_store(name)) for name in names if name != MANIFEST_NAME
        )

    def move_aside(self, names: Iterable[str]) -> dict[str, str]:
        folder = self.directory / ENTRIES_FOLDER
        return {name: move_aside(folder, name) for name in names}

    def stage(self, contents: Mapping[str, bytes], *, nonce: str) -> Staged:  # noqa: ARG002 -- plan.judge_group ends such a pod before
        raise PlaceFailed("place-failed", "FlashInfer's own store is nothing that a group installs together")

    def place(self, contents: Mapping[str, bytes], *, made_at: float | None, nonce: str) -> Placed:  # noqa: ARG002 -- an entry's age decides nothing
        return place_entries(contents, self.directory, ownership=self.ownership, nonce=nonce)
