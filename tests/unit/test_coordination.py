"""The protocol, step by step: what one participant asks, and what it makes of each answer. No store, no time."""

import itertools
import json
import random
from datetime import datetime, timedelta, timezone

import pytest
from tests.bundles import bundle, tombstone

from cache_store.claim import Claim, Rules
from cache_store.clock import Cancelled
from cache_store.coordination import Participant
from cache_store.register import Hit, Quarantined, Unreachable, Unusable, Vacant
from cache_store.steps import (
    Absent,
    Adopted,
    CheckStore,
    Done,
    Failed,
    Finished,
    Fit,
    GaveUp,
    Published,
    ReadBundle,
    ReadClaim,
    Seen,
    StillRunning,
    StopWork,
    Undone,
    Unfit,
    Unpublished,
    Wait,
    Work,
    WriteBundle,
    WriteClaim,
)

WALL = datetime(2026, 11, 22, 12, tzinfo=timezone.utc)
AWAY = Unreachable("store-unavailable", "503", is_final=False)
DENIED = Unreachable("store-denied", "403", is_final=True)


def finished():
    return Finished(lambda epoch, nonce: bundle(epoch=epoch, nonce=nonce))


class Play:
    """Runs a participant against a script of (expected step type, answer or function of the step)."""

    def __init__(self, first=None, *, wait_s=900.0, deadline_s=1800.0, may_tune=True):
        self.now = 1000.0
        counter = itertools.count()
        self.participant = Participant(
            holder="pod-me",
            rules=Rules(),
            rng=random.Random(1),
            nonce=lambda: f"nonce-{next(counter)}",
            monotonic=lambda: self.now,
            now=lambda: WALL,
            wait_until=self.now + wait_s,
            deadline=self.now + deadline_s,
            may_tune=may_tune,
        )
        self.protocol = self.participant.run(first or Vacant(None))
        self.step = next(self.protocol)
        self.outcome = None
        self.waits = []

    def _skip_waits(self):
        while isinstance(self.step, Wait):
            self.waits.append(self.step.seconds)
            self.now += self.step.seconds
            self._send(Done())

    def _send(self, answer):
        try:
            self.step = (
                self.protocol.throw(answer) if isinstance(answer, Cancelled) else self.protocol.send(answer)
            )
        except StopIteration as end:
            self.step, self.outcome = None, end.value

    def on(self, kind, answer, then_s=0.0):
        self._skip_waits()
        assert isinstance(self.step, kind), f"expected {kind.__name__}, the participant asks {self.step}"
        asked = self.step
        self.now += then_s
        self._send(answer(asked) if callable(answer) and not isinstance(answer, type) else answer)
        self._skip_waits()
        return asked

    def win_claim(self, seen=None):
        self.on(ReadClaim, seen or Absent())
        self.on(CheckStore, Fit())
        return self.on(WriteClaim, Done("claim-1"))


def held(nonce="other", age_s=1.0, etag="c-9", **changes):
    claim = Claim(
        **{
            "state": "held",
            "epoch": 7,
            "counter": 0,
            "nonce": nonce,
            "holder": "pod-x",
            "lease_s": 60.0,
            **changes,
        }
    )
    return Seen(claim.encode(), etag, age_s)


def test_given_nothing_when_alone_then_claims_tunes_publishes_and_marks_done():
    play = Play()

    claim = play.win_claim()
    play.on(ReadBundle, Vacant(None))
    play.on(Work, finished())
    write = play.on(WriteBundle, Done("b-1"))
    last = play.on(WriteClaim, Done("claim-2"))

    assert claim.base is None
    assert write.base is None
    assert json.loads(last.body)["state"] == "done"
    assert last.base == "claim-1"
    assert isinstance(play.outcome, Published)
    assert play.outcome.bundle.epoch == 1


def test_the_bundle_is_read_again_after_the_claim_is_won_and_adopted_if_it_is_there():
    play = Play()

    play.win_claim(held(state="released"))
    play.on(ReadBundle, Hit(bundle(nonce="theirs"), "b-1"))
    last = play.on(WriteClaim, Done("claim-2"))

    assert play.outcome == Adopted(bundle(nonce="theirs"), "b-1", waited=True)
    assert json.loads(last.body)["state"] == "released", "nobody tunes, and nobody need wait for this lease"


def test_given_sigterm_between_claim_and_tune_then_the_claim_is_released_for_a_successor():
    play = Play()
    play.win_claim()

    play.on(ReadBundle, Cancelled())
    with pytest.raises(Cancelled):
        play.on(WriteClaim, Done("claim-2"))


def test_given_a_live_lease_when_the_bundle_appears_then_it_is_adopted_without_writing():
    play = Play()

    play.on(ReadClaim, held())
    play.on(ReadBundle, Vacant(None))
    play.on(ReadBundle, Hit(bundle(), "b-1"))

    assert isinstance(play.outcome, Adopted)
    assert play.outcome.waited


def test_given_an_onlooker_when_nobody_tunes_then_it_gives_up_after_one_look_and_writes_nothing():
    play = Play(may_tune=False)

    play.on(ReadClaim, Absent())

    assert play.outcome == GaveUp("miss", "nothing was published for this key, and nobody is tuning it")
    assert play.waits == []


def test_given_an_onlooker_when_another_tunes_then_it_waits_for_the_bundle():
    play = Play(may_tune=False)

    play.on(ReadClaim, held())
    play.on(ReadBundle, Vacant(None))
    play.on(ReadBundle, Hit(bundle(), "b-1"))

    assert play.outcome == Adopted(bundle(), "b-1", waited=True)


def test_given_an_onlooker_when_the_holder_dies_then_it_gives_up_after_one_lease_and_never_claims():
    play = Play(may_tune=False)

    while play.outcome is None:
        play.on(type(play.step), held(age_s=None) if isinstance(play.step, ReadClaim) else Vacant(None))

    assert play.outcome.reason == "miss"
    assert Rules().lease_s <= sum(play.waits) <= 3 * Rules().lease_s


def test_given_a_dead_holder_when_the_lease_ran_out_then_the_epoch_grows_and_the_write_is_conditional():
    play = Play()

    claim = play.win_claim(held(age_s=66.0))

    assert claim.base == "c-9"
    assert json.loads(claim.body)["epoch"] == 8


def test_given_no_server_clock_when_the_etag_stays_the_same_for_a_lease_then_it_may_be_taken():
    play = Play()

    for _ in range(200):
        if isinstance(play.step, CheckStore):
            break
        play._skip_waits()
        play._send(held(age_s=None) if isinstance(play.step, ReadClaim) else Vacant(None))

    assert isinstance(play.step, CheckStore)
    assert 65.0 <= play.now - 1000.0 <= 80.0


def test_given_no_server_clock_when_the_holder_renews_then_it_is_never_taken():
    play = Play(wait_s=300.0)
    for counter in itertools.count():
        play._skip_waits()
        if play.step is None:
            break
        fresh = held(age_s=None, etag=f"c-{int(play.now // 20)}", counter=counter)
        play._send(fresh if isinstance(play.step, ReadClaim) else Vacant(None))

    assert play.outcome == GaveUp("wait-exceeded", "another pod is still tuning")


@pytest.mark.parametrize("answer", [Undone(412), Undone(409), AWAY])
def test_given_a_write_whose_answer_was_lost_when_read_back_shows_our_nonce_then_it_is_ours(answer):
    play = Play()
    play.on(ReadClaim, Absent())
    play.on(CheckStore, Fit())
    written = play.on(WriteClaim, answer)
    play.on(ReadClaim, Seen(written.body, "claim-lost-answer", 0.0))

    play.on(ReadBundle, Vacant(None))
    play.on(Work, StillRunning())
    renewal = play.on(WriteClaim, Done("claim-2"))

    assert renewal.base == "claim-lost-answer"


def test_given_a_claim_race_when_another_nonce_is_there_then_this_pod_waits():
    play = Play()
    play.on(ReadClaim, Absent())
    play.on(CheckStore, Fit())
    play.on(WriteClaim, Undone(412))
    play.on(ReadClaim, held())

    assert isinstance(play.step, ReadBundle)


def test_given_409_when_nothing_landed_then_the_same_write_is_tried_again():
    play = Play()
    play.on(ReadClaim, Absent())
    play.on(CheckStore, Fit())
    first = play.on(WriteClaim, Undone(409))
    play.on(ReadClaim, Absent())
    second = play.on(WriteClaim, Done("claim-1"))

    assert first == second


def test_every_write_of_the_claim_differs_from_every_other():
    play = Play()
    bodies = [play.win_claim().body]
    play.on(ReadBundle, Vacant(None))
    for n in range(5):
        play.on(Work, StillRunning(), then_s=20.0)
        bodies.append(play.on(WriteClaim, Done(f"claim-{n + 2}")).body)

    assert len(set(bodies)) == len(bodies)
    assert [json.loads(body)["counter"] for body in bodies] == list(range(6))
    assert json.loads(bodies[-1])["held_s"] == pytest.approx(100.0, abs=5)


def test_given_a_lost_lease_when_another_publishes_then_the_tune_is_stopped_and_theirs_adopted():
    play = Play()
    play.win_claim()
    play.on(ReadBundle, Vacant(None))
    play.on(Work, StillRunning())
    play.on(WriteClaim, Undone(412))
    play.on(ReadClaim, held(nonce="thief"))
    play.on(ReadBundle, Hit(bundle(nonce="theirs"), "b-2"))
    play.on(StopWork, Done())

    assert play.outcome == Adopted(bundle(nonce="theirs"), "b-2", waited=True)


def test_given_a_lost_lease_when_nobody_published_then_the_tune_goes_on_and_publishes_create_only():
    play = Play()
    play.win_claim()
    play.on(ReadBundle, Vacant(None))
    play.on(Work, StillRunning())
    play.on(WriteClaim, Undone(412))
    play.on(ReadClaim, held(nonce="thief"))
    play.on(ReadBundle, Vacant(None))
    play.on(Work, finished())
    write = play.on(WriteBundle, Done("b-1"))

    assert write.base is None
    assert isinstance(play.outcome, Published), "and the thief's claim is left alone"


def test_given_a_sleeper_when_somebody_published_meanwhile_then_it_adopts_and_overwrites_nothing():
    play = Play()
    play.win_claim()
    play.on(ReadBundle, Vacant(None))
    play.on(Work, finished(), then_s=1700.0)
    play.on(WriteBundle, Undone(412))
    play.on(ReadBundle, Hit(bundle(nonce="theirs"), "b-2"))
    play.on(WriteClaim, Done("c"))

    assert play.outcome == Adopted(bundle(nonce="theirs"), "b-2", waited=True)


def test_given_our_publish_landed_when_the_answer_is_412_then_it_counts_as_published():
    play = Play()
    play.win_claim()
    play.on(ReadBundle, Vacant(None))
    play.on(Work, finished())
    written = play.on(WriteBundle, Undone(412))
    nonce = json.loads(written.body)["nonce"]
    play.on(ReadBundle, Hit(bundle(nonce=nonce), "b-1"))
    play.on(WriteClaim, Done("c"))

    assert isinstance(play.outcome, Published)


def test_given_a_tombstone_when_tuned_then_the_publish_replaces_exactly_that_tombstone():
    stone = Vacant("t-1", None, tombstone())
    play = Play(stone)
    play.win_claim()
    play.on(ReadBundle, stone)
    play.on(Work, finished())

    assert play.on(WriteBundle, Done("b-1")).base == "t-1"


@pytest.mark.parametrize(
    "meanwhile",
    [
        Vacant("t-2", None, tombstone(nonce="t2")),
        Vacant(None),
        Quarantined(tombstone(may_retune=False), "t-3"),
    ],
    ids=["another tombstone", "the object was deleted", "a quarantine"],
)
def test_given_ops_changed_the_register_when_a_sleeper_publishes_then_its_result_is_discarded(meanwhile):
    stone = Vacant("t-1", None, tombstone())
    play = Play(stone)
    play.win_claim()
    play.on(ReadBundle, stone)
    play.on(Work, finished())
    play.on(WriteBundle, Undone(412))
    play.on(ReadBundle, meanwhile)
    play.on(WriteClaim, Done("c"))

    assert isinstance(play.outcome, GaveUp)
    assert play.outcome.reason == "fenced"


def test_given_the_store_goes_away_when_publishing_then_the_pod_keeps_its_own_result():
    play = Play()
    play.win_claim()
    play.on(ReadBundle, Vacant(None))
    play.on(Work, finished())
    for _ in range(6):
        play.on(WriteBundle, AWAY)
        play.on(ReadBundle, AWAY)
    for _ in range(4):
        play.on(WriteClaim, AWAY)
        play.on(ReadClaim, AWAY)

    assert isinstance(play.outcome, Unpublished)
    assert play.outcome.reason == "store-unavailable"


def test_given_no_right_to_write_when_claiming_then_it_gives_up_at_once():
    play = Play()
    play.on(ReadClaim, Absent())
    play.on(CheckStore, Fit())
    play.on(WriteClaim, DENIED)
    while play.outcome is None:
        play.on(ReadClaim, Absent())

    assert play.outcome == GaveUp("store-denied", "403")


def test_given_a_store_that_ignores_conditions_then_nothing_is_claimed():
    play = Play()
    play.on(ReadClaim, Absent())
    play.on(CheckStore, Unfit("store-ignores-conditions", "ignores"))

    assert play.outcome == GaveUp("store-ignores-conditions", "ignores")


def test_given_a_failed_tune_then_the_claim_says_so_with_a_cool_down():
    play = Play()
    play.win_claim()
    play.on(ReadBundle, Vacant(None))
    play.on(Work, Failed("tuner-crashed", "exit 139", ("line",)))
    written = json.loads(play.on(WriteClaim, Done("c")).body)

    assert (written["state"], written["cooldown_s"], written["tail"]) == ("failed", 600.0, ["line"])
    assert play.outcome == GaveUp("tuner-crashed", "exit 139", ("line",))


def test_given_a_recent_failure_then_nobody_tries_again_and_nobody_waits():
    play = Play()
    play.on(ReadClaim, held(state="failed", cooldown_s=600.0, error="exit 139"))

    assert isinstance(play.outcome, GaveUp)
    assert play.outcome.reason == "tune-failed-recently"


def test_given_sigterm_while_tuning_then_the_claim_is_released_for_a_successor():
    play = Play()
    play.win_claim()
    play.on(ReadBundle, Vacant(None))
    play._send(Cancelled())

    written = json.loads(play.step.body)
    assert written["state"] == "released"
    with pytest.raises(Cancelled):
        play.protocol.send(Done("c"))


def test_given_sigterm_while_waiting_then_nothing_is_written():
    play = Play()
    play.on(ReadClaim, held())
    with pytest.raises(Cancelled):
        play.protocol.throw(Cancelled())


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (Quarantined(tombstone(may_retune=False), "t"), "quarantined"),
        (Unusable("bundle-corrupt", "x"), "bundle-corrupt"),
        (DENIED, "store-denied"),
    ],
)
def test_a_register_that_settles_it_ends_the_wait(first, reason):
    play = Play()
    play.on(ReadClaim, held())
    play.on(ReadBundle, first)

    assert play.outcome.reason == reason


def test_waiters_that_know_the_expected_finish_ask_seldom():
    known, unknown = Play(), Play()
    counts = {}
    for name, play, expected in (("known", known, 180.0), ("unknown", unknown, None)):
        requests = 0
        while play.now < 1000.0 + 180.0:
            play._skip_waits()
            requests += 1
            age = play.now - 1000.0
            claim = held(age_s=age % 20, held_s=age - age % 20, etag=f"c-{age // 20}", expected_s=expected)
            play._send(claim if isinstance(play.step, ReadClaim) else Vacant(None))
        counts[name] = requests

    assert counts["known"] <= 14
    assert counts["known"] < counts["unknown"]


def test_given_an_old_failure_and_no_server_clock_then_a_pod_that_arrives_may_try_again():
    failed = held(state="failed", cooldown_s=600.0, error="exit 139", age_s=None)
    old, fresh = Play(), Play()
    old.on(ReadClaim, Seen(failed.body, "c", None, WALL - timedelta(hours=2)))
    fresh.on(ReadClaim, Seen(failed.body, "c", None, WALL - timedelta(seconds=30)))

    assert isinstance(old.step, CheckStore)
    assert fresh.outcome.reason == "tune-failed-recently"
