"""Many participants on one store: exactly one tune, everybody ends with the same bytes."""

import json
import random
import threading

import pytest
from tests.bundles import bundle, identity

from cache_store.bundle_json import parse_register
from cache_store.claim import MAX_EPOCH, Claim, Rules, parse_claim
from cache_store.clock import Cancelled, SystemClock, fresh_nonce
from cache_store.coordination import Participant
from cache_store.lookup import look_up
from cache_store.objects.memory import MemoryStore
from cache_store.participate import Driver
from cache_store.register import Hit
from cache_store.steps import (
    Adopted,
    Failed,
    Finished,
    Fit,
    GaveUp,
    Published,
    StillRunning,
    Unpublished,
    WriteBundle,
)
from cache_store.testing.clock import ManualClock

FAST = Rules(
    lease_s=2.0, renew_s=0.3, margin_s=0.5, max_hold_s=30.0, poll_s=0.1, start_jitter_s=0.05, cooldown_s=5.0
)


class FakeTune:
    """Takes `seconds`; counts itself."""

    def __init__(self, counter, seconds=0.5, failure=None):
        self.counter, self.seconds, self.failure = counter, seconds, failure
        self.left = None
        self.is_cancelled = False

    def run_for(self, max_s, epoch):
        if self.left is None:
            self.counter.append(self)
            self.left = self.seconds
        threading.Event().wait(min(max_s, self.left))
        self.left -= max_s
        if self.left > 0:
            return StillRunning()
        if self.failure:
            return Failed("tuner-crashed", self.failure)
        return Finished(lambda epoch, nonce: bundle(epoch=epoch, nonce=nonce))

    def cancel(self):
        self.is_cancelled = True


def join_in(
    store,
    tunes,
    *,
    seed,
    name="pod",
    clock=None,
    tune_s=0.5,
    failure=None,
    rules=FAST,
    wait_s=20.0,
    on_step=None,
):
    clock = clock or SystemClock()
    who = identity()
    participant = Participant(
        holder=name,
        rules=rules,
        rng=random.Random(seed),
        nonce=fresh_nonce,
        monotonic=clock.monotonic,
        now=clock.now,
        wait_until=clock.monotonic() + wait_s,
        deadline=clock.monotonic() + 2 * wait_s,
    )
    driver = Driver(
        store, who, tune=FakeTune(tunes, tune_s, failure), check_store=Fit, clock=clock, on_step=on_step
    )
    return driver.drive(participant, look_up(store, who))


def fleet(store, count, **options):
    tunes, outcomes = [], []

    def one(number):
        outcomes.append(join_in(store, tunes, seed=number, name=f"pod-{number}", **options))

    threads = [threading.Thread(target=one, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(outcomes) == count
    return tunes, outcomes


def test_given_an_empty_store_when_20_start_at_once_then_one_tunes_and_all_get_its_bytes():
    store = MemoryStore(SystemClock())

    tunes, outcomes = fleet(store, 20)

    assert len(tunes) == 1
    assert sum(isinstance(outcome, Published) for outcome in outcomes) == 1
    assert {outcome.bundle.encode() for outcome in outcomes} == {
        store.get(identity().address.bundle_key, limit_bytes=10**6).body
    }


def test_given_a_failed_tune_when_the_fleet_is_there_then_nobody_repeats_it():
    store = MemoryStore(SystemClock())

    tunes, outcomes = fleet(store, 8, failure="exit 139")

    assert len(tunes) == 1
    assert {outcome.reason for outcome in outcomes} == {"tuner-crashed", "tune-failed-recently"}


def test_given_a_holder_that_vanishes_when_its_lease_runs_out_then_another_tunes():
    store, tunes = MemoryStore(SystemClock()), []

    class Vanished(Exception):
        pass

    def vanish(step):
        if isinstance(step, WriteBundle):
            raise Vanished

    with pytest.raises(Vanished):
        join_in(store, tunes, seed=1, name="dead", on_step=vanish)
    outcome = join_in(store, tunes, seed=2, name="next")

    assert len(tunes) == 2
    assert isinstance(outcome, Published)
    assert outcome.bundle.epoch == 2


def test_given_a_sleeper_when_it_wakes_after_a_takeover_then_it_adopts_the_published_bytes():
    store, tunes, slept = MemoryStore(SystemClock()), [], []

    def sleep_before_publishing(step):
        if isinstance(step, WriteBundle) and not slept:
            slept.append(join_in(store, tunes, seed=2, name="next"))

    outcome = join_in(store, tunes, seed=1, name="sleeper", on_step=sleep_before_publishing)

    assert isinstance(slept[0], Published)
    assert isinstance(outcome, Adopted)
    assert outcome.bundle == slept[0].bundle


def test_given_sigterm_while_tuning_then_the_tune_is_cancelled_and_the_claim_released():
    store, tunes, clock = MemoryStore(SystemClock()), [], SystemClock()
    threading.Timer(0.5, clock.stop.set).start()

    with pytest.raises(Cancelled):
        join_in(store, tunes, seed=1, clock=clock, tune_s=30.0)

    assert tunes[0].is_cancelled
    assert b'"released"' in store.get(identity().address.claim_key, limit_bytes=10**6).body
    assert isinstance(join_in(store, tunes, seed=2, name="next"), Published)


def test_given_a_slow_tune_when_the_wait_is_over_then_the_waiter_goes_cold_and_the_holder_publishes():
    store, tunes = MemoryStore(SystemClock()), []
    holder = []
    thread = threading.Thread(target=lambda: holder.append(join_in(store, tunes, seed=1, tune_s=4.0)))
    thread.start()
    while not tunes:
        threading.Event().wait(0.01)

    waiter = join_in(store, tunes, seed=2, wait_s=1.0)
    thread.join(30)

    assert waiter == GaveUp("wait-exceeded", "another pod is still tuning")
    assert isinstance(holder[0], Published)
    assert len(tunes) == 1


class LossyStore:
    """Loses answers: the write happens, the caller hears of a timeout. One in `rate` requests, by seed."""

    def __init__(self, inner, seed, rate=3):
        self.inner, self.rng, self.rate = inner, random.Random(seed), rate

    def __getattr__(self, name):
        from cache_store.errors import ErrorKind, StoreError

        method = getattr(self.inner, name)

        def call(*args, **kwargs):
            before = self.rng.randrange(self.rate) == 0
            if before and self.rng.random() < 0.5:
                raise StoreError(ErrorKind.UNAVAILABLE, "lost before")
            answer = method(*args, **kwargs)
            if before:
                raise StoreError(ErrorKind.TIMEOUT, "answer lost")
            return answer

        return call


@pytest.mark.parametrize("seed", range(6))
def test_given_lost_answers_when_a_fleet_tunes_then_one_bundle_is_ever_written(seed):
    inner = MemoryStore(SystemClock())
    written = []
    original = inner.put_if_absent

    def watched(key, body):
        answer = original(key, body)
        if key.endswith("bundle.json") and type(answer).__name__ == "Written":
            written.append(body)
        return answer

    inner.put_if_absent = watched
    _, outcomes = fleet(LossyStore(inner, seed), 6, tune_s=0.2, wait_s=15.0)

    assert len(written) <= 1
    for outcome in outcomes:
        if isinstance(outcome, Adopted | Published):
            assert outcome.bundle == parse_register(written[0])
        elif isinstance(outcome, Unpublished):
            assert outcome.reason.startswith("store-")
        else:
            assert outcome.reason.startswith("store-"), outcome
    assert isinstance(look_up(inner, identity()), Hit) == bool(written)


@pytest.mark.parametrize("epoch", [MAX_EPOCH, MAX_EPOCH + 1, int("9" * 4299)])
def test_given_an_epoch_that_can_grow_no_further_when_joined_then_nobody_tunes_and_it_stays(epoch):
    """Under an epoch that began anew a group would find parts of an old tune."""
    clock = ManualClock()
    store = MemoryStore(clock)
    body = json.dumps({
        "schema": "autotune-cache/claim/v1", "state": "released", "epoch": epoch, "counter": 1,
        "nonce": "n", "holder": "h", "lease_s": 60.0,
    }).encode()  # fmt: skip
    store.put_if_absent(identity().address.claim_key, body)
    tunes = []

    outcome = join_in(store, tunes, seed=1, clock=clock, rules=Rules(), wait_s=600.0)

    assert (type(outcome), outcome.reason) == (GaveUp, "claim-exhausted")
    assert tunes == []
    assert store.get(identity().address.claim_key, limit_bytes=10**6).body == body


def test_given_the_last_epoch_but_one_when_joined_then_everybody_can_read_what_is_written():
    clock = ManualClock()
    store = MemoryStore(clock)
    before = Claim(state="released", epoch=MAX_EPOCH - 1, counter=1, nonce="n", holder="h", lease_s=60.0)
    store.put_if_absent(identity().address.claim_key, before.encode())

    assert isinstance(join_in(store, [], seed=1, clock=clock, rules=Rules(), tune_s=0.0), Published)
    assert parse_claim(store.get(identity().address.claim_key, limit_bytes=10**6).body).epoch == MAX_EPOCH
    assert isinstance(look_up(store, identity()), Hit)
