"""What a pod does that found nothing: wait for somebody's tune, or tune. A hit never imports this."""

from __future__ import annotations

import functools

from autotune_init.background_tune import BackgroundTune, Recipe, compose_later
from autotune_init.group_tune import Contribution, GroupTune, Share
from autotune_init.installing import Installing
from autotune_init.outcomes import Outcome
from autotune_init.plan import End, Participate, Place
from autotune_init.pod_start import Pod, Tools
from autotune_init.tuners import Tuner, TuneRequest, TuneResult
from cache_store.coordination import GroupRole, Participant
from cache_store.dataclass import replace
from cache_store.objects import ObjectStore
from cache_store.participate import Driver, NoTune
from cache_store.steps import Adopted, Finished, GaveUp, Published, Unpublished
from cache_store.steps import Outcome as ProtocolOutcome


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
        rules=pod.rules(),
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
    provenance = replace(
        pod.provenance,
        created_at=(date or tools.clock.now()).isoformat(),
        created_by_clock="server" if date else "pod",
        holder=pod.holder,
        tuner=tuner.name,
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
