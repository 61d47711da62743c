"""A bundle that is imported while a pod tunes, at every step of the pod: exactly one is published, and both know it."""

import random

import pytest
from tests.bundles import bundle, rank_file
from tests.faults.test_operators_and_pods import (
    MOST_STEPS,
    PLACE,
    Pod,
    another_publishes,
    operator_does,
    register_of,
)

from cache_store.bundle import Bundle
from cache_store.clock import fresh_nonce
from cache_store.objects.memory import MemoryStore
from cache_store.objects.open_url import open_store
from cache_store.operation_steps import Changed, Refused, Unchanged
from cache_store.parcel import Parcel
from cache_store.placing_bundles import Placer
from cache_store.steps import Adopted, GaveUp, Published
from cache_store.testing.clock import ManualClock

CARRIED = bundle({"rank_tp0_pp0_dp0.json": rank_file(tactic=9)}, nonce="carried", holder="carried")
PARCEL = Parcel(PLACE, CARRIED, CARRIED.encode(), {})


@pytest.fixture(params=["memory", "s3"])
def fresh(request):
    """Makes empty stores."""
    if request.param == "memory":
        return lambda number: MemoryStore(ManualClock())
    s3 = request.getfixturevalue("s3")
    return lambda number: open_store(f"{s3.url}/{number}", environ=s3.environ)


def import_into(store):
    return Placer(store, ManualClock(), random.Random(3), fresh_nonce, over_retired=True).place(PARCEL)


@pytest.mark.parametrize("begins_over", ["nothing", "a tombstone"])
def test_given_an_import_at_any_step_of_a_pod_then_one_is_published_and_the_other_knows(fresh, begins_over):
    placed = []
    for at in range(MOST_STEPS):
        store = fresh(at)
        if begins_over == "a tombstone":
            another_publishes(store)
            operator_does(store, "retire")
        done = []
        outcome = Pod(store, at, lambda store=store, done=done: done.append(import_into(store))).run()
        after = register_of(store)
        if not done:
            assert at > 5, "the pod has hardly begun"
            break
        assert isinstance(after, Bundle)
        if isinstance(done[0], Changed):
            assert after.nonce == done[0].nonce
            assert isinstance(outcome, Adopted), outcome
            assert outcome.bundle.nonce == after.nonce
        else:
            assert (type(done[0]), done[0].reason) == (Refused, "occupied")
            assert isinstance(outcome, Published), outcome
            assert after.provenance.holder == "sleeper"
        placed.append(type(done[0]))
        store.close()
    else:
        pytest.fail("the pod has more steps than this test tries")
    assert placed[0] is Changed


def test_given_an_import_that_is_retired_while_a_pod_tunes_then_the_pods_old_result_never_comes_back():
    for at in range(MOST_STEPS):
        store = MemoryStore(ManualClock())
        acted = []

        def act(store=store, acted=acted):
            acted.append(import_into(store))
            operator_does(store, "quarantine")

        outcome = Pod(store, at, act).run()
        if not acted:
            break
        after = register_of(store)
        assert not isinstance(after, Bundle)
        assert not after.may_retune
        assert isinstance(outcome, (GaveUp, Published)), outcome


def test_given_what_was_imported_and_retired_when_imported_again_then_a_pod_adopts_it():
    store = MemoryStore(ManualClock())
    assert isinstance(import_into(store), Changed)
    assert isinstance(import_into(store), Unchanged)
    operator_does(store, "retire")
    again = import_into(store)

    assert isinstance(again, Changed)
    assert register_of(store).nonce == again.nonce != "carried"
    assert register_of(store).ranks == CARRIED.ranks
