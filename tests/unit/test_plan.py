"""The decision table, one row a line."""

import dataclasses

import pytest
from tests.bundles import bundle, tombstone

from autotune_init.engines import EngineCache, NotCached, Refusal
from autotune_init.engines.known_bad import ids
from autotune_init.outcomes import REASONS, Outcome, strict_exit_code
from autotune_init.plan import (
    End,
    Participate,
    Place,
    after_lookup,
    judge_key,
    judge_worker,
    overridden,
)
from autotune_init.replica_group import ReplicaGroup
from autotune_init.take_part import after_participation
from cache_store.register import Hit, Quarantined, Unreachable, Unusable, Vacant
from cache_store.steps import Adopted, GaveUp, Published, Unpublished

CACHE = EngineCache(
    engine="sglang",
    engine_version="0.5.23",
    flashinfer_version="0.7.2",
    arch="sm90",
    key="0123456789abcdef",
    key_text="m",
    inputs=(),
    directory="/c/0123456789abcdef",
    rank_files=("rank_tp0_pp0_dp0.json",),
    all_rank_files=("rank_tp0_pp0_dp0.json",),
    resolved={},
    source="recipe",
)
EMPTY = bundle({})
STONE = Vacant("t", None, tombstone(reason="old driver"))


@pytest.mark.parametrize(
    ("state", "takes_part", "expected"),
    [
        pytest.param(Hit(bundle(), "e"), False, Place(bundle(), Outcome.HIT, "found"), id="hit"),
        pytest.param(Hit(EMPTY, "e"), False, Place(EMPTY, Outcome.HIT, "empty"), id="hit on nothing to tune"),
        pytest.param(
            Vacant(None),
            False,
            End(Outcome.COLD, "miss", "nothing was published for this key"),
            id="miss, reads only",
        ),
        pytest.param(
            STONE, False, End(Outcome.COLD, "miss", "retired: old driver"), id="retired, reads only"
        ),
        pytest.param(Vacant(None), True, Participate(Vacant(None)), id="miss, takes part"),
        pytest.param(STONE, True, Participate(STONE), id="retired, takes part"),
        pytest.param(
            Quarantined(tombstone(may_retune=False), "e"),
            True,
            End(Outcome.COLD, "quarantined", "bad tactic (by ops)"),
            id="quarantined",
        ),
        pytest.param(
            Unusable("bundle-corrupt", "x"),
            True,
            End(Outcome.COLD, "bundle-corrupt", "x"),
            id="corrupt: no tune",
        ),
        pytest.param(
            Unreachable("store-denied", "403", is_final=True),
            True,
            End(Outcome.COLD, "store-denied", "403"),
            id="denied: no tune",
        ),
    ],
)
def test_after_lookup(state, takes_part, expected):
    assert after_lookup(state, takes_part=takes_part) == expected


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Adopted(bundle(), "e", waited=True), Place(bundle(), Outcome.WAITED, "found")),
        (Adopted(bundle(), "e", waited=False), Place(bundle(), Outcome.HIT, "found")),
        (Published(bundle(), "e"), Place(bundle(), Outcome.TUNED, "published")),
        (Published(EMPTY, "e"), Place(EMPTY, Outcome.TUNED, "empty")),
        (
            Unpublished(bundle(), {}, "store-timeout", "x"),
            Place(bundle(), Outcome.TUNED, "unpublished", "store-timeout: x"),
        ),
        (GaveUp("wait-exceeded", "x", ("t",)), End(Outcome.COLD, "wait-exceeded", "x", ("t",))),
    ],
    ids=["waited", "adopted", "published", "published empty", "unpublished", "gave up"],
)
def test_after_participation(outcome, expected):
    assert after_participation(outcome) == expected


SINGLE = ReplicaGroup(None, 1, 0, "nothing")
PAIR = ReplicaGroup("lws-0", 2, 1, "LeaderWorkerSet")


def replaced(**changes):
    return dataclasses.replace(CACHE, **changes)


@pytest.mark.parametrize(
    ("answer", "group", "reason"),
    [
        (Refusal("unknown-engine-version", "0.9"), SINGLE, "unknown-engine-version"),
        (Refusal("unknown-engine-version", "0.9"), PAIR, "unknown-engine-version"),
        (NotCached("engine-does-not-tune", "x"), SINGLE, "engine-does-not-tune"),
        (replaced(bound_to_gpu=True), SINGLE, "bound-to-gpu"),
        (CACHE, PAIR, "replica-group"),
        (replaced(nnodes=2), SINGLE, "replica-group"),
        (replaced(nnodes=2), dataclasses.replace(PAIR, name=None), "replica-group"),
        (replaced(nnodes=300), dataclasses.replace(PAIR, size=300), "replica-group"),
        (replaced(nnodes=2, kind="entries"), PAIR, "replica-group"),
    ],
)
def test_a_key_that_is_no_use_ends_the_run_with_a_listed_reason(answer, group, reason):
    end = judge_key(answer, group)

    assert (end.outcome, end.reason) == (Outcome.SKIPPED, reason)
    assert reason in REASONS or any(reason.startswith(known) for known in REASONS if known.endswith("-"))


def test_an_engine_that_does_not_tune_is_not_looked_up():
    assert judge_worker(CACHE) is None
    assert judge_worker(replaced(tunes=True)) is None
    assert judge_worker(replaced(tunes=False, tunes_why="bf16 on sm90")) == End(
        Outcome.SKIPPED, "engine-does-not-tune", "bf16 on sm90"
    )


CLEARED = replaced(engine_version="0.5.20", draft=CACHE)


def test_a_known_hazard_ends_the_run_with_its_source_unless_it_is_allowed_and_then_it_is_told():
    end = judge_key(CLEARED, SINGLE)

    assert (end.outcome, end.reason) == (Outcome.SKIPPED, "known-bad-sglang-draft-clears-target")
    assert "39678" in end.detail
    assert strict_exit_code(end.outcome, end.reason) == 24
    allowed = frozenset({"sglang-draft-clears-target"})
    assert judge_key(CLEARED, SINGLE, allowed=allowed) == CLEARED
    [warning] = overridden(CLEARED, allowed)
    assert warning.startswith("DANGER")
    assert overridden(CACHE, allowed) == overridden(CLEARED, frozenset()) == ()


def test_files_of_one_gpu_are_not_shared_whatever_is_allowed():
    bound = replaced(bound_to_gpu=True)

    assert judge_key(bound, SINGLE, allowed=ids()).reason == "bound-to-gpu"


def test_a_key_of_pods_that_can_find_each_other_is_used():
    assert judge_key(replaced(nnodes=2), PAIR) == replaced(nnodes=2)


def test_a_key_of_a_single_pod_is_used():
    assert judge_key(CACHE, SINGLE) == CACHE
