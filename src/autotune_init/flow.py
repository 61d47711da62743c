"""The loop: look at the disk, ask the store, take part in a tune, place. Ask plan.py, do the step, say how it ended."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from datetime import datetime

from autotune_init.installing import Installing, installing_of
from autotune_init.local_files import FileState, LocalSet
from autotune_init.outcomes import Outcome
from autotune_init.place import PlaceFailed, move_aside
from autotune_init.plan import (
    End,
    Participate,
    Place,
    after_lookup,
    after_quarantine,
    after_recheck,
    before_lookup,
    judge_contents,
)
from autotune_init.pod_start import Ending, Pod, Tools
from autotune_init.taken_out import are_of_bundle
from cache_store.bundle import BadBundle
from cache_store.dataclass import dataclass, replace
from cache_store.errors import StoreError
from cache_store.lookup import copy_of, fetch_contents, look_up, unreachable
from cache_store.objects import ObjectStore
from cache_store.rank_file import BadRankFile
from cache_store.register import Quarantined


def warm(pod: Pod, tools: Tools) -> Ending:
    """Run one pod to its ending. Raises `Cancelled` when told to stop; then nothing is half done."""
    try:
        installing = installing_of(pod.cache, pod.identity.environment.metadata, pod.ownership)
    except OSError as error:
        return Ending(Outcome.COLD, "cache-dir-unreadable", f"{error.filename}: {error.strerror}")
    local = installing.local
    step = before_lookup(local, has_store=tools.open_store is not None, rechecks=pod.rechecks_local)
    if isinstance(step, End) or tools.open_store is None:
        return _end(step if isinstance(step, End) else End(Outcome.COLD, "no-store"), local)
    try:
        store = tools.open_store()
    except StoreError as error:
        return _end(End(Outcome.COLD, unreachable(error).reason, str(error)), local)
    try:
        return _with_store(store, pod, tools, installing)
    finally:
        store.close()


@dataclass(frozen=True)
class Prepared:
    """A bundle's contents, fetched and found good for this pod; and what a person should be warned of."""

    contents: Mapping[str, bytes]
    warnings: tuple[str, ...]


def _with_store(store: ObjectStore, pod: Pod, tools: Tools, installing: Installing) -> Ending:
    step: End | Participate | Place
    state = look_up(store, pod.identity)
    tools.clock.sleep(0)
    if isinstance(state, Quarantined):
        return _quarantined(state, store, pod, installing)
    if installing.local.is_complete:
        step = after_recheck(state, installing.local)
    else:
        step = after_lookup(state, takes_part=tools.waits or tools.tuner is not None)
    if isinstance(step, Participate):
        from autotune_init.take_part import participate  # a hit does without all of the protocol

        step = participate(step, store, pod, tools, installing)
    if isinstance(step, End):
        return _end(step, installing.local)
    return _install(step, store, pod, tools, installing)


def _quarantined(state: Quarantined, store: ObjectStore, pod: Pod, installing: Installing) -> Ending:
    """Neither used nor tuned; and what lies here of it goes out of the engine's way."""
    tombstone, moved, warnings = state.tombstone, dict[str, str](), tuple[str, ...]()
    names: tuple[str, ...] = ()
    try:
        names = are_of_bundle(
            installing.lying(tombstone.ranks),
            tombstone.ranks,
            functools.partial(copy_of, store, pod.identity, tombstone),
        )
        moved = installing.move_aside(names)
    except OSError as error:
        warnings = (f"quarantined files stay in the engine's way: {error.filename}: {error.strerror}",)
    ending = _end(after_quarantine(state, installing.local, moved=bool(names)), installing.local)
    return replace(ending, moved_aside={**ending.moved_aside, **moved}, warnings=warnings)


def prepare(step: Place, store: ObjectStore, pod: Pod, installing: Installing) -> Prepared | End:
    """The bundle's contents, or why this pod must not have them."""
    try:
        installing.check_names(step.bundle.ranks)
        contents = fetch_contents(store, pod.identity.address, step.bundle, step.blobs)
        judged = judge_contents(pod.cache, installing.check(contents), pod.expected, pod.allowed_bad)
    except StoreError as error:
        return End(Outcome.COLD, unreachable(error).reason, str(error))
    except BadBundle as problem:
        return End(Outcome.COLD, problem.reason, problem.detail)
    except BadRankFile as problem:
        return End(Outcome.COLD, f"bundle-{problem.reason}", problem.detail)
    return judged if isinstance(judged, End) else Prepared(contents, judged)


def _install(step: Place, store: ObjectStore, pod: Pod, tools: Tools, installing: Installing) -> Ending:
    bundle = step.bundle
    ending = Ending(step.outcome, step.reason, step.detail, bundle=bundle)
    if bundle.is_empty:
        return replace(ending, moved_aside=_clear_crashers(installing.local))
    prepared = prepare(step, store, pod, installing)
    if isinstance(prepared, End):
        return _cold(ending, prepared.reason, prepared.detail)
    tools.clock.sleep(0)
    try:
        placed = installing.place(
            prepared.contents, made_at=_timestamp(bundle.provenance.created_at), nonce=tools.nonce()
        )
    except PlaceFailed as failure:
        if failure.reason == "local-newer" and installing.local.is_complete:
            return Ending(Outcome.LOCAL, "complete", failure.detail)
        return _cold(ending, failure.reason, failure.detail)
    return replace(ending, warnings=prepared.warnings, placed=placed, moved_aside=placed.moved_aside)


def _cold(ending: Ending, reason: str, detail: str) -> Ending:
    return replace(ending, outcome=Outcome.COLD, reason=reason, detail=detail)


def _end(end: End, local: LocalSet) -> Ending:
    moved = {} if end.outcome is Outcome.LOCAL else _clear_crashers(local)
    return Ending(end.outcome, end.reason, end.detail, end.tail, moved_aside=moved)


def _clear_crashers(local: LocalSet) -> dict[str, str]:
    """A corrupt file kills the engine at start, bundle or no bundle: out of its way. Others wait for a replacement."""
    moved: dict[str, str] = {}
    for found in local.in_state(FileState.CORRUPT):
        try:
            moved[found.name] = move_aside(local.directory, found.name)
        except OSError:
            continue  # read-only: the engine meets it as it would have without us
    return moved


def _timestamp(created_at: str | None) -> float | None:
    if created_at is None:
        return None
    try:
        moment = datetime.fromisoformat(created_at)
    except ValueError:
        return None
    return moment.timestamp() if moment.tzinfo else None
