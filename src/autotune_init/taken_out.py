"""Which files in the engine's directory are those of a bundle that ops have quarantined.

A persistent volume keeps them when the bucket no longer hands them out. An engine saves its file again with what it has
tuned since (FlashInfer 0.7.2 flashinfer/autotuner/autotuner.py `save_configs` merges), so a file that holds all of the
bundle's entries is the bundle's, whatever else is in it. Files that an engine tuned alone are not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from autotune_init.local_files import FileState, LocalFile
from cache_store.bundle import digest_of
from cache_store.rank_file import BadRankFile, parse_rank_file

CopyOf = Callable[[], Mapping[str, bytes]]


def are_of_bundle(found: Iterable[LocalFile], ranks: Mapping[str, str], copy: CopyOf) -> tuple[str, ...]:
    """Names of the files that are the bundle's. `ranks`: file -> digest, as its tombstone says.

    `copy` hands out its contents, file -> bytes, and is asked at most once, and only where digests do not settle it.
    """
    kept: Mapping[str, bytes] | None = None
    names: list[str] = []
    for one in found:
        if one.state is not FileState.VALID or one.name not in ranks:
            continue
        if digest_of(one.body) != ranks[one.name]:
            kept = copy() if kept is None else kept
            if not _holds(one.body, kept.get(one.name)):
                continue
        names.append(one.name)
    return tuple(names)


def _holds(body: bytes, original: bytes | None) -> bool:
    if original is None:
        return False
    try:
        there, taken_out = parse_rank_file(body).entries, parse_rank_file(original).entries
    except BadRankFile:
        return False
    return bool(taken_out) and all(there.get(key) == value for key, value in taken_out.items())
