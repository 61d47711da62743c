"""A thousand waiters in virtual time: how often they ask, and how late they find out. `make bench-fleet` measures it."""

import heapq
import itertools
import random

import pytest
from tests.bundles import bundle

from cache_store.claim import Claim, Rules, parse_claim
from cache_store.coordination import Participant
from cache_store.register import Hit, Vacant
from cache_store.steps import (
    Absent,
    Adopted,
    CheckStore,
    Done,
    Finished,
    Fit,
    ReadBundle,
    ReadClaim,
    Seen,
    StillRunning,
    Undone,
    Wait,
    Work,
    WriteBundle,
    WriteClaim,
)
from cache_store.testing.clock import BEGINNING

PODS = 1000
PROBE_REQUESTS = 9


class Fleet:
    """Pods that start within 2 s, and a store that answers after 20 to 40 ms and tells no age, as through obstore."""

    def __init__(self, *, tune_s, expected_s=None, claim=None, seed=0):
        self.rng = random.Random(seed)
        self.now, self.tune_s = 0.0, tune_s
        self.claim, self.version = claim, 1 if claim else 0
        self.bundle = None
        self.published_at, self.tunes, self.ends_at = 0.0, {}, {}
        self.requests = [1] * PODS  # the lookup
        self.events, order = [], itertools.count()
        self.plan = lambda at, pod, act, value: heapq.heappush(
            self.events, (at, next(order), pod, act, value)
        )
        self.protocols = [self.protocol(pod, expected_s) for pod in range(PODS)]
        for pod in range(PODS):
            self.plan(self.rng.uniform(0, 2), pod, "send", None)
        while self.events:
            self.now, _, pod, act, value = heapq.heappop(self.events)
            self.send(pod, value) if act == "send" else self.plan(
                self.now + 0.01, pod, "send", self.answer(value)
            )

    def protocol(self, pod, expected_s):
        names = (f"{pod}-{number}" for number in itertools.count())
        return Participant(
            holder=f"pod-{pod}",
            rules=Rules(),
            rng=random.Random(f"{pod}"),
            nonce=lambda: next(names),
            monotonic=lambda: self.now,
            now=lambda: BEGINNING,
            wait_until=900,
            deadline=1800,
            expected_s=expected_s,
        ).run(Vacant(None))

    def send(self, pod, answer):
        try:
            step = self.protocols[pod].send(answer)
        except StopIteration as end:
            self.ends_at[pod] = (end.value, self.now)
            return
        if isinstance(step, Wait):
            self.plan(self.now + step.seconds, pod, "send", Done())
        elif isinstance(step, Work):
            left_s = self.tunes.setdefault(pod, self.now + self.tune_s) - self.now
            finished = Finished(lambda epoch, nonce: bundle(epoch=epoch, nonce=nonce))
            over = left_s <= step.max_s
            self.plan(self.now + min(left_s, step.max_s), pod, "send", finished if over else StillRunning())
        else:
            requests = PROBE_REQUESTS if isinstance(step, CheckStore) else 1
            self.requests[pod] += requests
            self.plan(self.now + requests * self.rng.uniform(0.01, 0.03), pod, "answer", step)

    def answer(self, step):
        if isinstance(step, CheckStore):
            return Fit()
        if isinstance(step, ReadBundle):
            return Hit(self.bundle, '"b"') if self.bundle else Vacant(None)
        if isinstance(step, ReadClaim):
            return Seen(self.claim, self.tag, None) if self.claim else Absent()
        if isinstance(step, WriteBundle):
            self.bundle, self.published_at = bundle(nonce="the-one"), self.now
            return Done('"b"')
        assert isinstance(step, WriteClaim)
        if step.base != (self.tag if self.claim else None):
            return Undone(412)
        self.claim, self.version = step.body, self.version + 1
        return Done(self.tag)

    @property
    def tag(self):
        return f'"{self.version}"'

    def waiters(self):
        """(sorted requests, sorted extra waits in seconds)."""
        found = [pod for pod, (outcome, _) in self.ends_at.items() if isinstance(outcome, Adopted)]
        assert len(found) == PODS - 1
        assert len(self.tunes) == 1
        extra = [self.ends_at[pod][1] - self.published_at for pod in found]
        return sorted(self.requests[pod] for pod in found), sorted(extra)


@pytest.mark.parametrize("tune_s", [45.0, 180.0])
def test_given_a_holder_that_says_how_long_then_12_requests_and_8_seconds(tune_s):
    requests, extra = Fleet(tune_s=tune_s, expected_s=tune_s).waiters()

    assert requests[int(0.98 * PODS)] <= 12  # the rest raced for the claim and probed the store
    assert requests[-1] <= 12 + PROBE_REQUESTS + 6
    assert extra[-1] <= 8


@pytest.mark.parametrize("expected_s", [None, 90.0, 160.0, 200.0])
def test_given_a_holder_that_is_wrong_or_says_nothing_then_it_costs_requests_and_no_time(expected_s):
    requests, extra = Fleet(tune_s=180.0, expected_s=expected_s).waiters()

    assert extra[-1] <= 8
    assert requests[PODS // 2] <= 40


def test_given_a_claim_of_an_earlier_tune_then_the_next_is_expected_to_last_as_long():
    before = Claim(
        state="done", epoch=3, counter=9, nonce="n", holder="last-week", lease_s=60.0, held_s=181.0
    )
    fleet = Fleet(tune_s=180.0, claim=before.encode())
    requests, extra = fleet.waiters()

    assert parse_claim(fleet.claim).expected_s == 181.0
    assert requests[PODS // 2] <= 12
    assert extra[-1] <= 8
