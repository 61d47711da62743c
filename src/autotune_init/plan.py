"""What to do next, decided without doing anything. Every ending has a name and a reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from autotune_init.engines import EngineCache, KeyAnswer, NotCached, Refusal
from autotune_init.local_files import LocalSet
from autotune_init.outcomes import Outcome
from cache_store.bundle import Bundle
from cache_store.register import Hit, Quarantined, RegisterState, Unreachable, Unusable, Vacant
from cache_store.steps import Adopted, GaveUp, Published, Unpublished
from cache_store.steps import Outcome as ProtocolOutcome


@dataclass(frozen=True)
class End:
    """Nothing will be placed."""

    outcome: Outcome
    reason: str
    detail: str = ""
    tail: tuple[str, ...] = ()


@dataclass(frozen=True)
class LookUp:
    """Ask the store."""


@dataclass(frozen=True)
class Participate:
    """Take part in getting it tuned, beginning from what the lookup saw."""

    first: Vacant


@dataclass(frozen=True)
class Place:
    """Put this bundle into the cache dir, and call the run `outcome`."""

    bundle: Bundle
    outcome: Outcome
    reason: str
    detail: str = ""
    blobs: Mapping[str, bytes] = field(default_factory=dict)


def judge_key(answer: KeyAnswer, *, group_size: int) -> End | EngineCache:
    """Whether there is one place to look, and whether this pod may deal with it alone."""
    size = max(group_size, answer.nnodes if isinstance(answer, EngineCache) else 1)
    if size > 1:
        detail = f"this replica has {size} pods; one warm and one cold pod can hang an engine, so this pod stays cold"
        return End(Outcome.SKIPPED, "replica-group", detail)
    if isinstance(answer, Refusal):
        return End(Outcome.SKIPPED, answer.reason, answer.detail)
    if isinstance(answer, NotCached):
        return End(Outcome.SKIPPED, answer.reason, answer.detail)
    if answer.bound_to_gpu:
        return End(
            Outcome.SKIPPED,
            "bound-to-gpu",
            "the file names carry this GPU's UUID; nobody else could use them",
        )
    return answer


def before_lookup(local: LocalSet, *, has_store: bool) -> End | LookUp:
    """A complete valid local set costs no request."""
    if local.is_complete:
        return End(Outcome.LOCAL, "complete", "every rank file is there and is this pod's")
    if not has_store:
        return End(Outcome.COLD, "no-store", "no --store was given")
    return LookUp()


def after_lookup(state: RegisterState, *, tuner: str) -> End | Participate | Place:
    if isinstance(state, Hit):
        return Place(state.bundle, Outcome.HIT, "empty" if state.bundle.is_empty else "found")
    if isinstance(state, Quarantined):
        detail = f"{state.tombstone.reason} (by {state.tombstone.retired_by})"
        return End(Outcome.COLD, "quarantined", detail)
    if isinstance(state, Unusable | Unreachable):
        return End(Outcome.COLD, state.reason, state.detail)
    if tuner == "none":
        why = (
            f"retired: {state.tombstone.reason}" if state.tombstone else "nothing was published for this key"
        )
        return End(Outcome.COLD, "miss", why)
    return Participate(state)


def after_participation(outcome: ProtocolOutcome) -> End | Place:
    if isinstance(outcome, Adopted):
        empty = outcome.bundle.is_empty
        return Place(
            outcome.bundle, Outcome.WAITED if outcome.waited else Outcome.HIT, "empty" if empty else "found"
        )
    if isinstance(outcome, Published):
        empty = outcome.bundle.is_empty
        return Place(outcome.bundle, Outcome.TUNED, "empty" if empty else "published", blobs=outcome.blobs)
    if isinstance(outcome, Unpublished):
        return Place(
            outcome.bundle, Outcome.TUNED, "unpublished", f"{outcome.reason}: {outcome.detail}", outcome.blobs
        )
    return _gave_up(outcome)


def _gave_up(outcome: GaveUp) -> End:
    return End(Outcome.COLD, outcome.reason, outcome.detail, outcome.tail)
