"""What to do next, decided without doing anything. Every ending has a name and a reason."""

from __future__ import annotations

from collections.abc import Mapping

from autotune_init.coverage import is_incomplete_for, told
from autotune_init.engines import EngineCache, KeyAnswer
from autotune_init.engines.known_bad import before_lookup as before_lookup_hazard
from autotune_init.engines.known_bad import first_not_allowed, matching
from autotune_init.expected_keys import Expected, missing
from autotune_init.local_files import LocalSet
from autotune_init.outcomes import Outcome
from autotune_init.replica_group import ReplicaGroup
from cache_store.bundle import Bundle, digest_of
from cache_store.dataclass import dataclass, field
from cache_store.group_place import MAX_PODS
from cache_store.rank_file import RankFile
from cache_store.register import Hit, Quarantined, RegisterState, Unreachable, Unusable, Vacant


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


def judge_group(answer: KeyAnswer, group: ReplicaGroup) -> End | None:
    """Whether the pods of a replica can find each other; asked first, since asking an engine takes its time."""
    nodes = answer.nnodes if isinstance(answer, EngineCache) else group.size
    size = max(group.size, nodes)
    if size == 1:
        return None
    why = _why_apart(answer, group, nodes)
    if why is None:
        return None
    detail = (
        f"this replica has {size} pods; {why}; one warm and one cold pod can hang an engine, so it stays cold"
    )
    return End(Outcome.SKIPPED, "replica-group", detail)


def _why_apart(answer: KeyAnswer, group: ReplicaGroup, nodes: int) -> str | None:
    if group.size != nodes:
        return f"its controller says {group.size} ({group.source}), its engine {nodes}"
    if group.name is None:
        return "nothing names it (--group-name)"
    if group.size > MAX_PODS:
        return f"{MAX_PODS} can settle together"
    if isinstance(answer, EngineCache) and answer.kind == "entries":
        return "FlashInfer's own store is nothing that pods install together"
    return None


def judge_key(
    answer: KeyAnswer, group: ReplicaGroup, *, allowed: frozenset[str] = frozenset()
) -> End | EngineCache:
    """Whether there is one place to look, and whether the pod's engine may use shared files at all.

    `allowed` are the known hazards that the operator takes.
    """
    end = judge_group(answer, group)
    if end is not None:
        return end
    if not isinstance(answer, EngineCache):
        return End(Outcome.SKIPPED, answer.reason, answer.detail)
    return judge_hazards(answer, allowed) or answer


def judge_hazards(cache: EngineCache, allowed: frozenset[str]) -> End | None:
    if cache.bound_to_gpu:
        return End(
            Outcome.SKIPPED,
            "bound-to-gpu",
            "the file names carry this GPU's UUID; nobody else could use them",
        )
    hazard = before_lookup_hazard(cache, allowed)
    return End(Outcome.SKIPPED, hazard.reason, hazard.detail) if hazard is not None else None


def judge_worker(cache: EngineCache, allowed: frozenset[str] = frozenset()) -> End | None:
    """Why nothing is looked up for this worker, target or draft; None where its cache is to be warmed."""
    if cache.tunes is False:
        return End(Outcome.SKIPPED, "engine-does-not-tune", cache.tunes_why)
    return judge_hazards(cache, allowed)


def overridden(cache: EngineCache, allowed: frozenset[str]) -> tuple[str, ...]:
    """A warning for each known hazard that applies and is taken."""
    return tuple(
        f"DANGER, --allow-known-bad {row.id}: {row.detail}"
        for row in matching(cache, None)
        if row.id in allowed
    )


def judge_contents(
    cache: EngineCache, parsed: Mapping[str, RankFile], expected: Expected, allowed: frozenset[str]
) -> End | tuple[str, ...]:
    """What the contents of a bundle speak against; else what a person should be warned of. `parsed` is empty for entries."""
    if not parsed:
        return ()
    met = matching(cache, parsed)
    hazard = first_not_allowed(met, allowed)
    if hazard is not None:
        return End(Outcome.COLD, hazard.reason, hazard.detail)
    gaps = missing(expected, parsed)
    if is_incomplete_for(cache, gaps):
        return End(Outcome.COLD, "bundle-incomplete", told(gaps))
    before = {row.id for row in matching(cache, None)}
    warnings = [f"allowed although known bad: {row.detail}" for row in met if row.id not in before]
    return (*warnings, *([f"the bundle is incomplete: {told(gaps)}"] if gaps else []))


def before_lookup(local: LocalSet, *, has_store: bool, rechecks: bool) -> End | LookUp:
    """A complete valid local set costs no request, unless it is to be rechecked."""
    if local.is_complete and not (rechecks and has_store):
        return End(Outcome.LOCAL, "complete", "every rank file is there and is this pod's")
    if not has_store:
        return End(Outcome.COLD, "no-store", "no --store was given")
    return LookUp()


def after_recheck(state: Hit | Vacant | Unusable | Unreachable, local: LocalSet) -> End | Place:
    """A complete valid local set, and what the store says of this identity now.

    Only a bundle that is another one and newer (`place.decide`) takes its place; a store that is away or a bundle that
    was merely retired is no reason to start cold.
    """
    if isinstance(state, Unusable | Unreachable):
        return End(Outcome.LOCAL, "unchecked", f"{state.reason}: {state.detail}")
    if isinstance(state, Vacant) or state.bundle.is_empty or _is_installed(state.bundle, local):
        return End(
            Outcome.LOCAL, "complete", "every rank file is there, is this pod's and is not quarantined"
        )
    return Place(state.bundle, Outcome.HIT, "found")


def _is_installed(bundle: Bundle, local: LocalSet) -> bool:
    return all(bundle.ranks.get(name) == digest_of(found.body) for name, found in local.files.items())


def after_quarantine(quarantined: Quarantined, local: LocalSet, *, moved: bool) -> End:
    """`moved`: files of the bundle that ops took out lay here."""
    told = f"{quarantined.tombstone.reason} (by {quarantined.tombstone.retired_by})"
    if local.is_complete and not moved:
        return End(
            Outcome.LOCAL, "complete", f"the fleet's bundle is quarantined; these files are not its: {told}"
        )
    return End(Outcome.COLD, "quarantined", told)


def after_lookup(state: RegisterState, *, takes_part: bool) -> End | Participate | Place:
    if isinstance(state, Hit):
        return Place(state.bundle, Outcome.HIT, "empty" if state.bundle.is_empty else "found")
    if isinstance(state, Quarantined):
        detail = f"{state.tombstone.reason} (by {state.tombstone.retired_by})"
        return End(Outcome.COLD, "quarantined", detail)
    if isinstance(state, Unusable | Unreachable):
        return End(Outcome.COLD, state.reason, state.detail)
    if not takes_part:
        why = (
            f"retired: {state.tombstone.reason}" if state.tombstone else "nothing was published for this key"
        )
        return End(Outcome.COLD, "miss", why)
    return Participate(state)
