"""The loop: look at the disk, ask the store, take part in a tune, place. Ask plan.py, do the step, say how it ended."""

from __future__ import annotations

import functools
import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from autotune_init.background_tune import BackgroundTune, Recipe, compose_later
from autotune_init.engines import EngineCache
from autotune_init.expected_keys import Expected
from autotune_init.group_tune import Contribution, GroupTune, Share
from autotune_init.installing import Installing, installing_of
from autotune_init.local_files import FileState, LocalSet
from autotune_init.outcomes import Outcome
from autotune_init.place import Ownership, Placed, PlaceFailed, move_aside
from autotune_init.plan import (
    End,
    Participate,
    Place,
    after_lookup,
    after_participation,
    after_quarantine,
    after_recheck,
    before_lookup,
    judge_contents,
)
from autotune_init.taken_out import are_of_bundle
from autotune_init.tuners import Tuner, TuneRequest, TuneResult
from cache_store.bundle import BadBundle, Bundle, Provenance
from cache_store.claim import Rules
from cache_store.clock import Clock
from cache_store.coordination import GroupRole, Participant
from cache_store.errors import StoreError
from cache_store.group_roll import GroupPlace
from cache_store.identity import Identity
from cache_store.lookup import copy_of, fetch_contents, look_up, unreachable
from cache_store.objects import ObjectStore
from cache_store.participate import Driver, NoTune
from cache_store.rank_file import BadRankFile
from cache_store.register import Quarantined, Unreachable
from cache_store.steps import Finished, Fit, Step, Unfit


@dataclass(frozen=True)
class Membership:
    """A pod's place in a replica of several: whose roll it is on, and how long it waits for the others there.

    `incarnation` is this very pod's, also when its containers run again. `bind` and `release` tell whoever ends the
    run that the others may count on this pod, and that they no longer do.
    """

    place: GroupPlace
    rank: int
    incarnation: str
    patience_s: float
    bind: Callable[[], None] = lambda: None
    release: Callable[[], None] = lambda: None

    @property
    def holder(self) -> str:
        """The whole group's name in a claim; no two groups of a bucket share it."""
        return self.place.key.split("/")[1]


@dataclass(frozen=True)
class Pod:
    """What is known of this pod once its key and environment are."""

    cache: EngineCache
    identity: Identity
    holder: str
    ownership: Ownership
    provenance: Provenance
    rules: Rules
    wait_until: float
    deadline: float
    tune_time_s: float | None = None
    expected: Expected = field(default_factory=Expected)
    allowed_bad: frozenset[str] = frozenset()
    group: Membership | None = None
    rechecks_local: bool = False


@dataclass(frozen=True)
class Tools:
    """What the flow acts with. Everything that touches the world comes in here."""

    open_store: Callable[[], ObjectStore] | None
    check_store: Callable[[ObjectStore], Fit | Unfit | Unreachable]
    tuner: Tuner | None  # None: --tuner none, or with `waits` --tuner wait
    waits: bool
    tune_request: Callable[[], TuneRequest]
    clock: Clock
    stop: threading.Event
    rng: random.Random
    nonce: Callable[[], str]
    on_step: Callable[[Step], None] | None = None


@dataclass(frozen=True)
class Ending:
    """How it ended, with what a report needs."""

    outcome: Outcome
    reason: str
    detail: str = ""
    tail: tuple[str, ...] = ()
    bundle: Bundle | None = None
    placed: Placed | None = None
    moved_aside: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


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


def participate(
    step: Participate, store: ObjectStore, pod: Pod, tools: Tools, installing: Installing
) -> End | Place:
    """Wait for somebody's tune, or tune."""
    driver = Driver(
        store,
        pod.identity,
        tune=_tune(tools.tuner, step, store, pod, tools, installing) if tools.tuner else NoTune(),
        check_store=lambda: tools.check_store(store),
        clock=tools.clock,
        on_step=tools.on_step,
    )
    group = pod.group
    participant = Participant(
        holder=group.holder if group else pod.holder,
        rules=pod.rules,
        rng=tools.rng,
        nonce=tools.nonce,
        monotonic=tools.clock.monotonic,
        now=tools.clock.now,
        wait_until=pod.wait_until,
        deadline=pod.deadline,
        may_tune=tools.tuner is not None,
        expected_s=pod.tune_time_s,
        group=GroupRole(group.rank == 0, _shares_work(pod, tools), group.patience_s)
        if group is not None and tools.tuner is not None
        else None,
    )
    return after_participation(driver.drive(participant, step.first))


def _shares_work(pod: Pod, tools: Tools) -> bool:
    """Whether every pod of a group tunes its own ranks.

    An engine tunes on all of its nodes at once. Otherwise one pod may tune for all, and must where the ranks' files
    have to be equal: two tunes never are.
    """
    return tools.tuner is not None and (tools.tuner.name == "engine" or not pod.cache.ranks_must_agree)


def _tune(
    tuner: Tuner, step: Participate, store: ObjectStore, pod: Pod, tools: Tools, installing: Installing
) -> BackgroundTune[Finished] | GroupTune:
    date = step.first.date
    provenance = pod.provenance.model_copy(
        update={
            "created_at": (date or tools.clock.now()).isoformat(),
            "created_by_clock": "server" if date else "pod",
            "holder": pod.holder,
            "tuner": tuner.name,
        }
    )
    recipe = Recipe(pod.identity, provenance, installing.check, pod.expected)
    compose = functools.partial(compose_later, recipe=recipe)
    if pod.group is None or not _shares_work(pod, tools):
        return BackgroundTune(tuner, tools.tune_request, compose, clock=tools.clock, stop=tools.stop)

    def contribute(result: TuneResult, tune_s: float) -> Contribution:
        installing.check_mine(result.files)
        return Contribution(result, tune_s)

    def request() -> TuneRequest:
        return replace(tools.tune_request(), rank_files=pod.cache.rank_files)

    own = BackgroundTune(tuner, request, contribute, clock=tools.clock, stop=tools.stop)
    group = pod.group
    share = Share(store, pod.identity.address, group.holder, group.rank, group.place.size)
    return GroupTune(own, share, compose, clock=tools.clock, gather_until=pod.wait_until)


def prepare(step: Place, store: ObjectStore, pod: Pod, installing: Installing) -> Prepared | End:
    """The bundle's contents, or why this pod must not have them."""
    try:
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
