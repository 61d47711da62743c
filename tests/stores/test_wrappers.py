"""Retrying, Counting and FaultyStore keep the contract when nothing goes wrong, and do their one thing when it does."""

import random

import pytest

from cache_store.clock import Cancelled, SystemClock
from cache_store.errors import ErrorKind, StoreError
from cache_store.objects import Missing, NotWritten, Written
from cache_store.objects.counting import Counting
from cache_store.objects.memory import MemoryStore
from cache_store.objects.retrying import Backoff, Retrying
from cache_store.testing.clock import ManualClock
from cache_store.testing.contract import ObjectStoreContract, raises
from cache_store.testing.faulty import (
    AppliesLate,
    Delays,
    Fails,
    Fault,
    FaultyStore,
    LosesAnswer,
    Says,
    Truncates,
)


class TestRetrying(ObjectStoreContract):
    @pytest.fixture
    def store(self):
        return Retrying(MemoryStore(SystemClock()), clock=SystemClock(), rng=random.Random(1))


class TestCounting(ObjectStoreContract):
    @pytest.fixture
    def store(self):
        return Counting(MemoryStore(SystemClock()))


class TestFaulty(ObjectStoreContract):
    @pytest.fixture
    def store(self):
        return FaultyStore(MemoryStore(SystemClock()), clock=SystemClock())


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def faulty(clock):
    return FaultyStore(MemoryStore(clock), clock=clock)


def retrying(store, clock, **backoff):
    return Retrying(store, clock=clock, rng=random.Random(1), backoff=Backoff(**backoff))


# -- retrying ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [ErrorKind.UNAVAILABLE, ErrorKind.TIMEOUT])
def test_reads_lists_and_deletes_are_sent_again(faulty, clock, kind):
    faulty.put_if_absent("k", b"x")
    counting = Counting(faulty)
    store = retrying(counting, clock)
    faulty.script(
        Fault("get", Fails(kind), times=3), Fault("list", Fails(kind), times=2), Fault("delete", Fails(kind))
    )
    assert store.get("k", limit_bytes=10).body == b"x"
    assert [entry.key for entry in store.list("")] == ["k"]
    store.delete("k")
    assert counting.counts.requests == {"get": 4, "list": 3, "delete": 2}
    assert len(clock.slept) == 6


@pytest.mark.parametrize("effect", [Fails(), LosesAnswer(), LosesAnswer(ErrorKind.UNAVAILABLE)])
def test_a_conditional_write_is_sent_once_whatever_happens(faulty, clock, effect):
    counting = Counting(faulty)
    store = retrying(counting, clock)
    etag = store.put_if_absent("k", b"x").etag
    faulty.script(Fault("put*", effect, times=2))
    with raises(effect.kind):
        store.put_if_absent("k2", b"x")
    with raises(effect.kind):
        store.put_if_match("k", b"y", etag)
    assert counting.counts.requests == {"put_if_absent": 2, "put_if_match": 1}
    assert clock.slept == []


@pytest.mark.parametrize("kind", sorted(set(ErrorKind) - {ErrorKind.UNAVAILABLE, ErrorKind.TIMEOUT}))
def test_what_an_operator_must_mend_is_not_tried_again(faulty, clock, kind):
    faulty.script(Fault("get", Fails(kind)))
    with raises(kind):
        retrying(faulty, clock).get("k", limit_bytes=10)
    assert clock.slept == []


def test_attempts_are_bounded_and_the_last_error_is_raised(faulty, clock):
    faulty.script(
        Fault("get", Fails(ErrorKind.UNAVAILABLE), times=2), Fault("get", Fails(ErrorKind.TIMEOUT), times=9)
    )
    with raises(ErrorKind.TIMEOUT):
        retrying(faulty, clock, attempts=3).get("k", limit_bytes=10)
    assert len(faulty.used) == 3


def test_the_deadline_is_total_and_counts_slow_answers(faulty, clock):
    store = FaultyStore(faulty, clock=clock, faults=(Fault("get", Delays(4), times=99),))
    faulty.script(Fault("get", Fails(), times=99))
    with raises(ErrorKind.UNAVAILABLE):
        retrying(store, clock, attempts=99, total_s=20).get("k", limit_bytes=10)
    assert clock.monotonic() < 20 + 4
    assert 3 <= len(faulty.used) <= 5


def test_naps_grow_to_a_ceiling_and_differ(faulty, clock):
    faulty.script(Fault("get", Fails(), times=99))
    backoff = Backoff(attempts=10, total_s=1000, first_s=1, longest_s=8)
    with raises(ErrorKind.UNAVAILABLE):
        Retrying(faulty, clock=clock, rng=random.Random(3), backoff=backoff).get("k", limit_bytes=10)
    assert len(clock.slept) == 9
    for nap, ceiling in zip(clock.slept, [1, 2, 4, 8, 8, 8, 8, 8, 8], strict=True):
        assert 0 <= nap <= ceiling
    assert len(set(clock.slept)) == 9


def test_a_stop_ends_the_waiting_at_once(faulty, clock):
    faulty.script(Fault("get", Fails(), times=99))
    clock.stop()
    with pytest.raises(Cancelled):
        retrying(faulty, clock).get("k", limit_bytes=10)
    assert len(faulty.used) == 1


class PagesThatFail(MemoryStore):
    """Breaks each listing after two rows, three times."""

    left = 3

    def list(self, prefix):
        for number, entry in enumerate(super().list(prefix)):
            if number == 2 and self.left:
                self.left -= 1
                raise StoreError(ErrorKind.UNAVAILABLE, "a page was lost")
            yield entry


def test_a_listing_goes_on_where_it_broke(clock):
    store = PagesThatFail(clock)
    for number in range(7):
        store.put_if_absent(f"k{number}", b"")
    found = [entry.key for entry in retrying(store, clock).list("k")]
    assert found == [f"k{number}" for number in range(7)]
    assert store.left == 0


# -- counting ----------------------------------------------------------------------------------------------------------


def test_requests_and_bytes_are_counted_failures_included(faulty):
    store = Counting(faulty)
    etag = store.put_if_absent("k", b"12345").etag
    store.put_if_absent("k", b"123")
    store.put_if_match("k", b"1234567", etag)
    store.get("k", limit_bytes=10)
    store.get("none", limit_bytes=10)
    faulty.script(Fault("get", Fails()))
    with raises(ErrorKind.UNAVAILABLE):
        store.get("k", limit_bytes=10)
    list(store.list(""))
    store.delete("k")
    counts = store.counts
    assert counts.requests == {"put_if_absent": 2, "put_if_match": 1, "get": 3, "list": 1, "delete": 1}
    assert (counts.read_bytes, counts.written_bytes, counts.total_requests) == (7, 15, 8)


# -- faults ------------------------------------------------------------------------------------------------------------


def test_an_error_before_leaves_nothing_and_a_lost_answer_leaves_the_object(faulty):
    faulty.script(Fault("put_if_absent", Fails()), Fault("put_if_absent", LosesAnswer()))
    with raises(ErrorKind.UNAVAILABLE):
        faulty.put_if_absent("k", b"x")
    assert isinstance(faulty.get("k", limit_bytes=10), Missing)
    with raises(ErrorKind.TIMEOUT):
        faulty.put_if_absent("k", b"x")
    assert faulty.get("k", limit_bytes=10).body == b"x"


def test_a_late_write_is_judged_when_it_arrives(faulty, clock):
    faulty.script(
        Fault("put_if_absent", AppliesLate(60), key="late"),
        Fault("put_if_absent", AppliesLate(60), key="too"),
    )
    for key in ("late", "too"):
        with raises(ErrorKind.TIMEOUT):
            faulty.put_if_absent(key, b"slow")
    assert isinstance(faulty.put_if_absent("too", b"quick"), Written)
    clock.sleep(59)
    assert isinstance(faulty.get("late", limit_bytes=10), Missing)
    clock.sleep(2)
    assert faulty.get("late", limit_bytes=10).body == b"slow"
    assert faulty.get("too", limit_bytes=10).body == b"quick"


def test_settling_applies_what_is_late(faulty):
    faulty.script(Fault("put_if_absent", AppliesLate(1e9)))
    with raises(ErrorKind.TIMEOUT):
        faulty.put_if_absent("k", b"x")
    faulty.settle()
    assert faulty.get("k", limit_bytes=10).body == b"x"


def test_statuses_truncation_delay_skip_times_and_patterns(faulty, clock):
    faulty.script(
        Fault("put_if_absent", Says(409), key="a*"),
        Fault("put_if_absent", Says(412, is_applied=True), key="b"),
        Fault("get", Truncates(2), key="b", skip=1),
        Fault("get", Delays(7), key="c"),
    )
    assert faulty.put_if_absent("a/1", b"x") == NotWritten(409)
    assert isinstance(faulty.put_if_absent("a/1", b"x"), Written)
    assert faulty.put_if_absent("b", b"12345") == NotWritten(412)
    assert [faulty.get("b", limit_bytes=10).body for _ in range(3)] == [b"12345", b"12", b"12345"]
    faulty.get("c", limit_bytes=10)
    assert clock.monotonic() == 7
    assert len(faulty.used) == 4


# -- the manual clock --------------------------------------------------------------------------------------------------


def test_sleep_moves_time_and_runs_what_was_planned_in_order(clock):
    seen = []
    clock.after(5, lambda: seen.append(("five", clock.monotonic())))
    clock.after(2, lambda: seen.append(("two", clock.monotonic())))
    clock.after(20, lambda: seen.append(("never", clock.monotonic())))
    before = clock.now()
    clock.sleep(10)
    assert seen == [("two", 2), ("five", 5)]
    assert clock.monotonic() == (clock.now() - before).total_seconds() == 10


def test_a_stop_in_the_middle_of_a_sleep_ends_it_there(clock):
    clock.after(3, clock.stop)
    with pytest.raises(Cancelled):
        clock.sleep(10)
    assert clock.monotonic() == 3
    with pytest.raises(Cancelled):
        clock.sleep(0)
    clock.resume()
    clock.sleep(1)
    assert clock.monotonic() == 4
