"""gc empties an address, and before each of its steps somebody else does all that he has to do.

A pod that tunes, an importer, an operator, a second gc; what is published at the end has all its contents, both registers
are there, and the epoch has not begun anew. On a store in memory, in a directory, and on a real S3 server.
"""

import random
from dataclasses import replace
from datetime import timedelta

import pytest
from tests.bundles import bundle, identity, rank_file

from cache_store.bundle import Bundle, Tombstone, digest_of
from cache_store.bundle_json import parse_register
from cache_store.claim import Claim, Rules, parse_claim
from cache_store.clock import fresh_nonce
from cache_store.collect_on_store import read_address, sweep
from cache_store.collecting import CollectRules, judge_address, sort_out
from cache_store.coordination import Participant
from cache_store.emptying import Remove
from cache_store.errors import ErrorKind
from cache_store.layout import kind_of
from cache_store.lookup import look_up
from cache_store.objects import Missing, Written
from cache_store.objects.memory import MemoryStore
from cache_store.objects.open_url import open_store
from cache_store.operate import operate
from cache_store.operation_steps import Changed, Order
from cache_store.operations import Operator
from cache_store.parcel import Parcel
from cache_store.participate import Driver
from cache_store.placing_bundles import Placer
from cache_store.steps import Adopted, Finished, Fit, GaveUp, Published
from cache_store.testing.clock import ManualClock
from cache_store.testing.faulty import Fails, Fault, FaultyStore

WHO = identity()
PLACE = WHO.address
BODY = rank_file(dict(WHO.environment.metadata))
DIGEST = digest_of(BODY)
MOST_STEPS = 60
EPOCH = 3


class Aged:
    """A store whose listing says 60 days ago of all that was not written since `begin`."""

    def __init__(self, store):
        self._store = store
        self.written = set()

    def __getattr__(self, name):
        return getattr(self._store, name)

    def put_if_absent(self, key, body):
        return self._noted(key, self._store.put_if_absent(key, body))

    def put_if_match(self, key, body, etag):
        return self._noted(key, self._store.put_if_match(key, body, etag))

    def _noted(self, key, answer):
        if isinstance(answer, Written):
            self.written.add(key)
        return answer

    def list(self, prefix):
        for entry in self._store.list(prefix):
            old = entry.last_modified - timedelta(days=60)
            yield entry if entry.key in self.written else replace(entry, last_modified=old)


@pytest.fixture(params=["memory", "directory", "s3"])
def store(request, tmp_path):
    if request.param == "memory":
        yield Aged(MemoryStore(ManualClock()))
        return
    url, environ = tmp_path.as_uri(), {}
    if request.param == "s3":
        s3 = request.getfixturevalue("s3")
        url, environ = s3.url, s3.environ
    opened = open_store(url, environ=environ, adapter="auto", request_timeout_s=10.0)
    yield Aged(opened)
    opened.close()


def beside(**changes):
    """A bundle whose one content is a blob."""
    made = bundle({"rank_tp0_pp0_dp0.json": BODY}, who=WHO, **({"nonce": fresh_nonce()} | changes))
    return replace(made, files={}, blobs={DIGEST: len(BODY)})


class Tune:
    """Gives what the old bundle had: its content lies in place."""

    def run_for(self, max_s, epoch):
        return Finished(lambda epoch, nonce: beside(epoch=epoch, nonce=nonce, holder="pod"), {DIGEST: BODY})

    def cancel(self):
        pass


def a_pod(store):
    clock = ManualClock()
    participant = Participant(
        holder="pod",
        rules=Rules(start_jitter_s=0.0),
        rng=random.Random(1),
        nonce=fresh_nonce,
        monotonic=clock.monotonic,
        now=clock.now,
        wait_until=clock.monotonic() + 20,  # gc, which stands still while we act, is not taken for dead
        deadline=clock.monotonic() + 1800,
    )
    driver = Driver(store, WHO, tune=Tune(), check_store=Fit, clock=clock)
    return driver.drive(participant, look_up(store, WHO))


def an_importer(store):
    made = beside(nonce="archived", holder="archive")
    parcel = Parcel(PLACE, made, made.encode(), {DIGEST: BODY})
    placer = Placer(store, ManualClock(), random.Random(3), fresh_nonce, over_retired=True)
    return placer.place(parcel)


def an_operator(*names):
    def acts(store):
        clock = ManualClock()
        for name in names:
            operator = Operator(
                PLACE, Order("ann", "x"), rng=random.Random(2), nonce=fresh_nonce, now=clock.now
            )
            operate(store, PLACE, getattr(operator, name)(), clock)

    return acts


ACTS = {
    "a pod tunes": a_pod,
    "an importer puts it over": an_importer,
    "ops restore it": an_operator("restore"),
    "ops restore and retire it": an_operator("restore", "retire"),
    "ops quarantine it": an_operator("quarantine"),
}


def clear(store):
    for entry in list(store.list("")):
        store.delete(entry.key)


def begin(store, situation):
    """What gc finds: long ago retired; or published, with a content that nothing names; or never published."""
    clear(store)
    store.put_if_absent(
        PLACE.claim_key,
        Claim(state="done", epoch=EPOCH, counter=9, nonce="c", holder="y", lease_s=60.0).encode(),
    )
    store.put_if_absent(PLACE.blob_key(DIGEST), BODY)
    store.put_if_absent(f"{PLACE}/parts/2/pod-0.json", b"{}")
    if situation == "retired":
        store.put_if_absent(PLACE.bundle_key, beside(nonce="old").encode())
        an_operator("retire")(store)
    elif situation == "published":
        store.put_if_absent(PLACE.bundle_key, bundle(who=WHO, nonce="inline").encode())
    store.written.clear()


SITUATIONS = {"retired": "forget", "published": "clean", "never published": "forget"}


def judged(store):
    entries = list(store.list(""))
    now = max(entry.last_modified for entry in entries) + timedelta(days=60)
    [objects] = sort_out(entries)[0]
    return judge_address(objects, read_address(store, objects), CollectRules(), now)


def collect(store, verdict, hook=lambda _step: None):
    return sweep(store, verdict, clock=ManualClock(), rng=random.Random(4), nonce=fresh_nonce, on_step=hook)


def register_of(store):
    found = store.get(PLACE.bundle_key, limit_bytes=10**7)
    return None if isinstance(found, Missing) else parse_register(found.body)


def claim_of(store):
    return parse_claim(store.get(PLACE.claim_key, limit_bytes=10**6).body)


def is_whole(store):
    register = register_of(store)
    return not isinstance(register, Bundle) or not any(
        isinstance(store.get(PLACE.blob_key(digest), limit_bytes=10**7), Missing) for digest in register.blobs
    )


@pytest.mark.parametrize("situation", SITUATIONS)
def test_given_nobody_else_when_gc_empties_an_address_then_its_registers_are_what_stays(store, situation):
    begin(store, situation)
    verdict = judged(store)

    swept = collect(store, verdict)

    assert (verdict.action, swept.problem, swept.deleted) == (SITUATIONS[situation], None, len(verdict.going))
    registers = [PLACE.claim_key] if situation == "never published" else [PLACE.bundle_key, PLACE.claim_key]
    assert [entry.key for entry in store.list("")] == registers
    assert (claim_of(store).state, claim_of(store).epoch) == ("released", EPOCH + 1)
    assert isinstance(a_pod(store), Adopted if situation == "published" else Published)
    assert is_whole(store)


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("act", ACTS)
def test_given_somebody_who_acts_at_any_step_of_gc_then_what_he_published_is_whole(store, act, situation):
    for at in range(MOST_STEPS):
        begin(store, situation)
        verdict = judged(store)
        steps, outcomes, published = [], [], []

        def hook(step, at=at, steps=steps, outcomes=outcomes, published=published):
            if len(steps) == at:
                outcomes.append(ACTS[act](store))
                published.append(register_of(store))
            steps.append(step)

        collect(store, verdict, hook)

        if not published:
            assert at > 6, "gc has hardly begun"
            break
        assert claim_of(store).epoch > EPOCH or act != "a pod tunes"
        if isinstance(published[0], Bundle):
            assert register_of(store) == published[0], "what was published is what is there"
        if isinstance(published[0], Tombstone) and not published[0].may_retune:
            assert not register_of(store).may_retune, "a quarantine is not ended"
        if act == "a pod tunes":
            assert not isinstance(outcomes[0], GaveUp) or outcomes[0].reason == "wait-exceeded", outcomes
        if is_on_its_way(steps, at) and act == "an importer puts it over":
            # the one window that is left, told in docs/cli-cache-store.md: verify shows it, the same import mends it
            assert isinstance(an_importer(store), Changed) or is_whole(store)
        assert is_whole(store)
    else:
        pytest.fail("gc has more steps than this test tries")


def is_on_its_way(steps, at):
    """Whether the blob had been looked at, and its DELETE was all that was left to do."""
    return at < len(steps) and isinstance(steps[at], Remove) and kind_of(steps[at].name) == "blob"


@pytest.mark.parametrize("situation", SITUATIONS)
def test_given_a_pod_that_has_looked_when_gc_comes_between_then_it_publishes_and_is_not_fenced(
    store, situation
):
    """the whole of gc before each step of the pod: its tune is never in vain"""
    for at in range(MOST_STEPS):
        begin(store, situation)
        verdict = judged(store)
        steps, swept = [], []

        def hook(step, at=at, steps=steps, swept=swept, verdict=verdict):
            if len(steps) == at:
                swept.append(collect(store, verdict))
            steps.append(step)

        clock = ManualClock()
        participant = Participant(
            holder="pod", rules=Rules(start_jitter_s=0.0), rng=random.Random(1), nonce=fresh_nonce,
            monotonic=clock.monotonic, now=clock.now, wait_until=clock.monotonic() + 900,
            deadline=clock.monotonic() + 1800,
        )  # fmt: skip
        driver = Driver(store, WHO, tune=Tune(), check_store=Fit, clock=clock, on_step=hook)

        outcome = driver.drive(participant, look_up(store, WHO))

        assert isinstance(outcome, Adopted if situation == "published" else Published), outcome
        assert is_whole(store)
        if not swept:
            break
    else:
        pytest.fail("the pod has more steps than this test tries")


@pytest.mark.parametrize("situation", SITUATIONS)
def test_given_two_gcs_when_one_runs_between_any_two_steps_of_the_other_then_nothing_else_is_lost(
    store, situation
):
    for at in range(MOST_STEPS):
        begin(store, situation)
        verdict = judged(store)
        steps, other = [], []

        def hook(step, at=at, steps=steps, other=other, verdict=verdict):
            if len(steps) == at:
                other.append(collect(store, verdict))
            steps.append(step)

        swept = collect(store, verdict, hook)
        assert {swept.problem, *(one.problem for one in other)} <= {None, "changed-meanwhile"}
        assert claim_of(store).state == "released"
        assert isinstance(a_pod(store), Adopted if situation == "published" else Published)
        assert is_whole(store)
        if not other:
            break


@pytest.mark.parametrize("at", range(30))
def test_given_a_gc_that_is_killed_at_any_step_then_a_pod_tunes_when_its_lease_is_over(at):
    clock = ManualClock()
    store = Aged(MemoryStore(clock))
    begin(store, "retired")
    verdict = judged(store)
    steps = []

    class Killed(BaseException):
        pass

    def hook(step):
        if len(steps) == at:
            raise Killed
        steps.append(step)

    try:
        collect(store, verdict, hook)
    except Killed:
        clock.advance(36)

    outcome = a_pod(store)

    assert isinstance(outcome, Published)
    assert is_whole(store)


@pytest.mark.parametrize("publish", [a_pod, an_importer], ids=["a pod", "an importer"])
def test_given_an_old_content_in_place_when_it_is_published_again_then_it_is_young(store, publish):
    begin(store, "retired")

    publish(store)

    assert isinstance(register_of(store), Bundle)
    assert PLACE.blob_key(DIGEST) in store.written


@pytest.mark.parametrize("what", ["claim", "register"])
def test_given_a_register_that_was_written_after_the_judgement_when_parts_go_then_none_does(what):
    store = Aged(MemoryStore(ManualClock()))
    begin(store, "published")
    store.delete(PLACE.blob_key(DIGEST))
    verdict = judged(store)
    key = PLACE.claim_key if what == "claim" else PLACE.bundle_key
    tag = store.get(key, limit_bytes=10**7).etag
    body = (
        Claim(state="held", epoch=EPOCH + 1, counter=0, nonce="x", holder="pod", lease_s=60.0).encode()
        if what == "claim"
        else beside().encode()
    )
    store.put_if_match(key, body, tag)

    swept = collect(store, verdict)

    assert tuple(verdict.going) == ("parts/2/pod-0.json",)
    assert (swept.problem, swept.deleted) == ("changed-meanwhile", 0)


@pytest.mark.parametrize("key", [PLACE.claim_key, PLACE.bundle_key])
def test_given_a_register_that_is_written_between_two_deletes_then_no_other_content_goes(key):
    """a claim that was taken over while gc slept, a bundle that was published although gc holds the claim"""
    store = Aged(MemoryStore(ManualClock()))
    begin(store, "retired")
    verdict = judged(store)
    removed = []

    def hook(step):
        if isinstance(step, Remove):
            removed.append(step.name)
        elif len(removed) == 2 and "x" not in removed:
            removed.append("x")
            body = beside().encode() if key == PLACE.bundle_key else claim_of(store).model_copy(
                update={"nonce": "taken over"}
            ).encode()  # fmt: skip
            assert isinstance(store.put_if_match(key, body, store.get(key, limit_bytes=10**7).etag), Written)

    swept = collect(store, verdict, hook)

    assert [kind_of(name) for name in verdict.going] == ["copy", "part", "blob"]
    assert (swept.problem, swept.deleted) == ("changed-meanwhile", 2)


def test_given_deletes_that_are_never_answered_then_the_claim_is_left_to_run_out():
    memory = Aged(MemoryStore(ManualClock()))
    begin(memory, "retired")
    store = FaultyStore(memory, clock=ManualClock())
    store.script(Fault("delete", Fails(ErrorKind.TIMEOUT), key="*/blobs/*", times=100))

    swept = collect(store, judged(memory))

    assert swept.problem == "store-timeout"
    assert claim_of(memory).state == "held"


def test_given_a_delete_whose_answer_is_lost_when_it_is_sent_again_then_only_over_what_was_judged():
    memory = Aged(MemoryStore(ManualClock()))
    begin(memory, "retired")
    verdict = judged(memory)
    store = FaultyStore(memory, clock=ManualClock())
    store.script(Fault("delete", Fails(ErrorKind.TIMEOUT), key="*/blobs/*", times=1))
    removes = []

    def hook(step):
        # an importer finds the blob in place before the second DELETE
        if isinstance(step, Remove) and kind_of(step.name) == "blob":
            removes.append(step)
        elif removes and len(removes) == 1:
            removes.append(an_importer(memory))

    swept = collect(store, verdict, hook)

    assert swept.problem == "changed-meanwhile"
    assert register_of(memory).provenance.holder == "archive"
    assert is_whole(memory)
