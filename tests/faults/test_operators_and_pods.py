"""An operator who acts while a pod tunes, at every step of the pod; and a pod that runs between an operator's steps.

On a store in memory, in a directory, and on a real S3 server.
"""

import random
from dataclasses import dataclass, field

import pytest
from tests.bundles import bundle, identity

from cache_store.bundle import Bundle, Tombstone
from cache_store.bundle_json import parse_register
from cache_store.claim import MAX_CLAIM_BYTES, MAX_READ_BYTES, Claim, Rules, parse_claim
from cache_store.clock import fresh_nonce
from cache_store.coordination import Participant
from cache_store.lookup import look_up
from cache_store.objects import Missing, Written
from cache_store.objects.memory import MemoryStore
from cache_store.objects.open_url import open_store
from cache_store.operate import operate
from cache_store.operation_steps import Changed, Order
from cache_store.operations import Operator
from cache_store.participate import Driver
from cache_store.steps import (
    Adopted,
    Finished,
    Fit,
    GaveUp,
    Published,
    StillRunning,
    WriteBundle,
    WriteClaim,
)
from cache_store.testing.clock import ManualClock

WHO = identity()
PLACE = WHO.address
RULES = Rules(start_jitter_s=0.0)
MOST_STEPS = 14


@pytest.fixture(params=["memory", "directory", "s3"])
def store(request, tmp_path):
    if request.param == "memory":
        yield MemoryStore(ManualClock())
        return
    url, environ = tmp_path.as_uri(), {}
    if request.param == "s3":
        s3 = request.getfixturevalue("s3")
        url, environ = s3.url, s3.environ
    opened = open_store(url, environ=environ, adapter="auto", request_timeout_s=10.0)
    yield opened
    opened.close()


class Tune:
    """Over at the second look, so that there is a heartbeat in between."""

    looks = 0

    def run_for(self, max_s, epoch):
        self.looks += 1
        return StillRunning() if self.looks == 1 else Finished(lambda epoch, nonce: sleeper_s(epoch, nonce))

    def cancel(self):
        pass


def sleeper_s(epoch, nonce):
    return bundle(epoch=epoch, nonce=nonce, holder="sleeper")


@dataclass
class Pod:
    """One that misses, tunes and publishes; `hook` is called before its step number `at`."""

    store: object
    at: int = -1
    hook: object = None
    steps: list = field(default_factory=list)

    def run(self):
        clock = ManualClock()
        participant = Participant(
            holder="sleeper",
            rules=RULES,
            rng=random.Random(1),
            nonce=fresh_nonce,
            monotonic=clock.monotonic,
            now=clock.now,
            wait_until=clock.monotonic() + 900,
            deadline=clock.monotonic() + 1800,
        )
        driver = Driver(self.store, WHO, tune=Tune(), check_store=Fit, clock=clock, on_step=self._before)
        return driver.drive(participant, look_up(self.store, WHO))

    def _before(self, step):
        if len(self.steps) == self.at:
            self.hook()
        self.steps.append(step)

    @property
    def bases(self):
        return [step.base for step in self.steps if isinstance(step, WriteBundle)]


def operator_does(store, name, on_step=None, **options):
    clock = ManualClock()
    operator = Operator(PLACE, Order("ann", "bad"), rng=random.Random(2), nonce=fresh_nonce, now=clock.now)
    return operate(store, PLACE, getattr(operator, name)(**options), clock, on_step)


def register_of(store):
    found = store.get(PLACE.bundle_key, limit_bytes=10**7)
    return None if isinstance(found, Missing) else parse_register(found.body)


def tag_of(store):
    return store.get(PLACE.bundle_key, limit_bytes=10**7).etag


def another_publishes(store):
    """As a pod that has begun from the same state would."""
    made = bundle(nonce=fresh_nonce(), holder="another").encode()
    found = register_of(store)
    if found is None:
        store.put_if_absent(PLACE.bundle_key, made)
    elif isinstance(found, Tombstone):
        assert isinstance(store.put_if_match(PLACE.bundle_key, made, tag_of(store)), Written)


ACTS = {
    "retire": ["retire"],
    "quarantine": ["quarantine"],
    "retire, then quarantine": ["retire", "quarantine"],
    "retire, then restore": ["retire", "restore"],
    "unlock": ["unlock"],
    "unlock, then retire": ["unlock", "retire"],
}


@pytest.mark.parametrize("begins_over", ["nothing", "a tombstone"])
@pytest.mark.parametrize("acts", ACTS)
def test_given_an_operator_who_acts_at_any_step_of_a_pod_then_the_pods_old_result_never_comes_back(
    store, acts, begins_over
):
    """given another's bundle that was published while the pod tuned, and an operator who takes it out"""
    for at in range(MOST_STEPS):
        clear(store)
        if begins_over == "a tombstone":
            another_publishes(store)
            operator_does(store, "retire")
        tags = []

        def act(tags=tags):
            if acts.startswith("unlock") and isinstance(
                store.get(PLACE.claim_key, limit_bytes=10**6), Missing
            ):
                store.put_if_absent(
                    PLACE.claim_key,
                    Claim(state="held", epoch=1, counter=0, nonce="x", holder="y", lease_s=60).encode(),
                )
            another_publishes(store)
            for name in ACTS[acts]:
                operator_does(store, name)
            tags.append(tag_of(store))

        pod = Pod(store, at, act)
        outcome = pod.run()
        if not tags:
            assert at > 5, "the pod has hardly begun"
            break

        after = register_of(store)
        came_after = (
            isinstance(after, Bundle) and after.provenance.holder == "sleeper" and tag_of(store) != tags[0]
        )
        if came_after:
            # it had seen what the operator left before it began to tune: then, and only then, may it publish
            assert tags[0] in pod.bases
            assert isinstance(outcome, Published)
        if "quarantine" in acts:
            assert isinstance(after, Tombstone)
            assert not after.may_retune
        if isinstance(outcome, Adopted):
            assert outcome.bundle.provenance.holder in {"another", "sleeper"}
        if isinstance(outcome, GaveUp):
            assert outcome.reason in {"fenced", "quarantined"}, outcome
    else:
        pytest.fail("the pod has more steps than this test tries")


@pytest.mark.parametrize("name", ["retire", "quarantine", "restore", "unlock"])
def test_given_a_pod_that_runs_between_an_operators_steps_then_one_of_them_wins_and_knows_it(store, name):
    for at in range(6):
        clear(store)
        another_publishes(store)
        if name != "retire":
            operator_does(store, "retire")
        store.put_if_absent(
            PLACE.claim_key,
            Claim(state="released", epoch=3, counter=0, nonce="x", holder="y", lease_s=60).encode()
            if name != "unlock"
            else Claim(state="held", epoch=3, counter=0, nonce="x", holder="y", lease_s=0.001).encode(),
        )
        seen, outcomes = [], []

        def pod_runs(step, seen=seen, outcomes=outcomes, at=at):
            if len(seen) == at:
                outcomes.append(Pod(store).run())
            seen.append(step)

        done = operator_does(store, name, pod_runs)

        if not outcomes:
            assert at > 1
            break
        after = register_of(store)
        if name == "unlock":
            claim = parse_claim(store.get(PLACE.claim_key, limit_bytes=10**6).body)
            assert claim.epoch >= 4
        elif isinstance(done, Changed):
            assert after.nonce == done.nonce
        else:
            assert isinstance(after, Bundle)
    else:
        pytest.fail("the operation has more steps than this test tries")


@pytest.mark.parametrize("size", [MAX_CLAIM_BYTES + 1, MAX_READ_BYTES])
def test_given_a_claim_that_is_too_large_then_it_is_held_until_it_is_old_and_then_taken_over(store, size):
    body = b'{"epoch": 7, "junk": "' + b"x" * (size - 25) + b'"}'
    store.put_if_absent(PLACE.claim_key, body)

    pod = Pod(store)
    outcome = pod.run()

    first = next(step for step in pod.steps if isinstance(step, WriteClaim))
    assert isinstance(outcome, Published)
    assert parse_claim(first.body).epoch == 8
    assert first.base is not None


def clear(store):
    for entry in list(store.list("")):
        store.delete(entry.key)
