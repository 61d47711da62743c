"""The whole protocol of one participant, without I/O: it yields what it wants to know and is sent the answer.

    miss -> read claim -> take it | wait
    take -> [probe the store] -> write claim -> read bundle AGAIN -> tune with heartbeats -> publish -> done

Safety rests on one thing: `bundle.json` is written only over what was seen after the claim was won (nothing, or one
tombstone), by one conditional PUT. So: at least one tune, at most one publish per tombstone, losers adopt the
winner's bytes. The lease, the clocks and the epoch save GPU time and decide nothing else.

Any answer to a write but success is read back and compared by nonce: a 412 can be our own success that a client
library sent twice, and a 409 is not "exists". Idea and simulator: SlateDB's put-id, Hudi RFC-91, slatedb RFC-0001.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator
from dataclasses import dataclass
from datetime import datetime
from typing import NoReturn, TypeVar

from cache_store.claim import (
    Claim,
    CoolingDown,
    MayTake,
    MustWait,
    Rules,
    judge,
    parse_claim,
)
from cache_store.clock import Cancelled
from cache_store.register import Hit, Quarantined, RegisterState, Unreachable, Unusable, Vacant
from cache_store.steps import (
    Absent,
    Adopted,
    Answer,
    CheckStore,
    Done,
    Failed,
    Finished,
    Fit,
    GaveUp,
    Outcome,
    Published,
    ReadBundle,
    ReadClaim,
    Seen,
    Step,
    StillRunning,
    StopWork,
    Unfit,
    Unpublished,
    Wait,
    Work,
    WriteBlob,
    WriteBundle,
    WriteClaim,
)

CLAIM_TRIES = 4
LEADER_LOOK_S = 5.0  # how often a group's pod looks whether its leader has begun
# a claim must stay far below claim.MAX_CLAIM_BYTES, or nobody could read it
TAIL_LINES = 20
TAIL_LINE_LENGTH = 400
PUBLISH_TRIES = 6
Protocol = Generator[Step, Answer, Outcome]
T = TypeVar("T")


@dataclass(frozen=True)
class GroupRole:
    """A pod of a replica group, whose `holder` is the whole group.

    Only the leader claims and commits. With `shares_work` every pod tunes its own ranks, as soon as it sees the
    group's claim; else the leader tunes for all. `leader_wait_s`: how long nobody may have begun before the pod gives
    up.
    """

    leads: bool
    shares_work: bool
    leader_wait_s: float


class _Stop(Exception):  # noqa: N818 -- carries an outcome up through nested generators
    def __init__(self, outcome: Outcome) -> None:
        super().__init__(str(outcome))
        self.outcome = outcome


class Participant:
    """One pod that missed and would like a bundle.

    `now` is this pod's wall clock, `monotonic` its other one, `wait_until` and `deadline` are points on it: how long to wait for somebody
    else's tune, and when everything must be over. `holder` names this pod to people. With `may_tune` false it only
    waits for one who tunes now: it never claims or writes, and gives up ("miss") where nobody does.
    """

    def __init__(
        self,
        *,
        holder: str,
        rules: Rules,
        rng: random.Random,
        nonce: Callable[[], str],
        monotonic: Callable[[], float],
        now: Callable[[], datetime],
        wait_until: float,
        deadline: float,
        may_tune: bool = True,
        group: GroupRole | None = None,
    ) -> None:
        self.holder = holder
        self.rules = rules
        self.rng = rng
        self.nonce = nonce
        self.monotonic = monotonic
        self.now = now
        self.wait_until = min(wait_until, deadline)
        self.deadline = deadline
        self.may_tune = may_tune
        self.group = group
        self._etag_seen: tuple[str, float] | None = None
        self._claim_etag: str | None = None
        self._claim: Claim | None = None
        self._held_since = 0.0
        self._is_lost = False
        self._began = monotonic()
        self._seen_claim: Claim | None = None
        self._joined_epoch = -1

    def run(self, first: RegisterState) -> Protocol:
        """From what the lookup saw to an outcome. `Cancelled` may be thrown in at any step; it is raised again."""
        try:
            return (yield from self._run(first))
        except _Stop as stop:
            return stop.outcome

    # -- before we hold anything -------------------------------------------------------------------------------

    def _run(self, first: RegisterState) -> Protocol:
        base = self._base_of(first, is_first=True)
        if self.may_tune:
            yield from self._pause(self.rng.uniform(0, self.rules.start_jitter_s))
        is_checked = False
        while True:
            verdict = yield from self._look_at_claim()
            if isinstance(verdict, CoolingDown):
                detail = f"the last tune failed ({verdict.error}); again in {verdict.remaining_s:.0f} s"
                return GaveUp("tune-failed-recently", detail, verdict.tail)
            if self.group is not None and not self.group.leads:
                verdict = yield from self._as_member(verdict, self.group)
            if isinstance(verdict, MayTake):
                if not self.may_tune:
                    return GaveUp("miss", "nothing was published for this key, and nobody is tuning it")
                if not is_checked:
                    yield from self._check_store()
                    is_checked = True
                if (yield from self._take(verdict)):
                    # the previous holder may have published between our first look and our claim
                    base = self._base_of((yield from self._bundle()), is_first=False)
                    return (yield from self._hold(base))
                verdict = MustWait(self.rules.lease_s, None)
            yield from self._wait_for_bundle(verdict, base)

    def _as_member(
        self, verdict: MayTake | MustWait, group: GroupRole
    ) -> Generator[Step, Answer, MayTake | MustWait]:
        """A member never claims: it joins its group's tune, or waits for its leader to begin one."""
        if isinstance(verdict, MayTake):
            if self.monotonic() >= self._began + group.leader_wait_s:
                raise _Stop(GaveUp("group-leader-absent", "the group's first pod has not begun"))
            return MustWait(LEADER_LOOK_S, None)
        claim = self._seen_claim
        if claim is None or claim.holder != self.holder or claim.epoch == self._joined_epoch:
            return verdict
        self._began = self.monotonic()  # the leader is there: should it go, another is given its time
        if group.shares_work:
            self._joined_epoch = claim.epoch
            yield from self._join(claim.epoch)
        return MustWait(LEADER_LOOK_S, None)

    def _join(self, epoch: int) -> Generator[Step, Answer, None]:
        """Tune this pod's own ranks; the tune leaves its part, or its failure, where the leader looks."""
        while True:
            answer = yield Work(self.rules.renew_s, epoch)
            if isinstance(answer, Failed):
                raise _Stop(GaveUp(answer.reason, answer.detail, answer.tail))
            if not isinstance(answer, StillRunning):
                return
            yield from self._adopt_if_there()

    def _base_of(self, state: RegisterState, *, is_first: bool) -> str | None:
        """The tag that a publish must still find (None: nothing). Stops the run where the register settles it."""
        if isinstance(state, Hit):
            raise _Stop(Adopted(state.bundle, state.etag, waited=not is_first))
        if isinstance(state, Quarantined):
            raise _Stop(GaveUp("quarantined", f"{state.tombstone.reason} (by {state.tombstone.retired_by})"))
        if isinstance(state, Unusable):
            raise _Stop(GaveUp(state.reason, state.detail))
        if isinstance(state, Unreachable):
            raise _Stop(GaveUp(state.reason, state.detail))
        return state.base

    def _check_store(self) -> Generator[Step, Answer, None]:
        for attempt in range(CLAIM_TRIES):
            answer = yield CheckStore()
            if not isinstance(answer, Unreachable) or answer.is_final:
                break
            yield from self._pause(self.rng.uniform(0.05, 0.5) * (attempt + 1))
        if isinstance(answer, Unfit | Unreachable):
            raise _Stop(GaveUp(answer.reason, answer.detail))
        _expect(answer, Fit)

    def _look_at_claim(self) -> Generator[Step, Answer, MayTake | MustWait | CoolingDown]:
        answer = yield ReadClaim()
        if isinstance(answer, Unreachable):
            raise _Stop(GaveUp(answer.reason, answer.detail))
        if isinstance(answer, Absent):
            self._claim_etag = self._seen_claim = None
            return MayTake(1, "nobody ever claimed it")
        seen = _expect(answer, Seen)
        now = self.monotonic()
        if self._etag_seen is None or self._etag_seen[0] != seen.etag:
            self._etag_seen = (seen.etag, now)
        unchanged_s = now - self._etag_seen[1]
        self._claim_etag = seen.etag
        age_s = unchanged_s if seen.age_s is None else max(seen.age_s, unchanged_s)
        claim = parse_claim(seen.body)
        self._seen_claim = claim if isinstance(claim, Claim) else None
        if seen.age_s is None and seen.written_at and isinstance(claim, Claim) and claim.state == "failed":
            # a cool-down, unlike a lease, may trust this pod's wall clock: if it is wrong, one tune more or less is
            # run. Without it a pod that has just arrived would find every failure, however old, to be fresh
            age_s = max(age_s, (self.now() - seen.written_at).total_seconds())
        return judge(claim, age_s, self.rules)

    def _wait_for_bundle(self, verdict: MustWait, base: str | None) -> Generator[Step, Answer, None]:
        """Look at the bundle now and then until the claim deserves another look (once per lease)."""
        look_again = self.monotonic() + max(0.5, verdict.expires_in_s)
        expected = None if verdict.expected_in_s is None else self.monotonic() + verdict.expected_in_s
        while True:
            now = self.monotonic()
            if now >= self.wait_until:
                raise _Stop(GaveUp("wait-exceeded", "another pod is still tuning"))
            nap_s = self.rules.poll_s * self.rng.uniform(0.5, 1.5)
            if expected is not None and expected > now:
                # half of what is left: a dead holder is still noticed within one lease
                nap_s = min(self.rules.lease_s, max(2.0, (expected - now) / 2)) * self.rng.uniform(0.5, 1.5)
            yield Wait(min(nap_s, self.wait_until - now, max(0.1, look_again - now)))
            state = yield from self._bundle()
            if isinstance(state, Vacant) and state.base == base and self.monotonic() < look_again:
                continue
            if isinstance(state, Unreachable) and not state.is_final:
                continue  # a waiter outlives a store that is away for a while; wait_until bounds it
            self._base_of(state, is_first=False)
            return

    # -- the claim ---------------------------------------------------------------------------------------------

    def _take(self, verdict: MayTake) -> Generator[Step, Answer, bool]:
        self._held_since = self.monotonic()
        claim = Claim(
            state="held",
            epoch=verdict.epoch,
            counter=0,
            nonce=self.nonce(),
            holder=self.holder,
            lease_s=self.rules.lease_s,
        )
        return (yield from self._write_claim(claim))

    def _renewed(self, **changes: object) -> Claim:
        if self._claim is None:
            raise AssertionError("renewing a claim that was never won")
        held_s = round(self.monotonic() - self._held_since, 1)
        always = {"counter": self._claim.counter + 1, "nonce": self.nonce(), "held_s": held_s}
        return self._claim.model_copy(update=always | changes)

    def _write_claim(self, claim: Claim) -> Generator[Step, Answer, bool]:
        """True: our write is the current claim. False: somebody else's is. Stops the run where writing is refused."""
        base, body = self._claim_etag, claim.encode()
        problem: Unreachable | None = None
        for attempt in range(CLAIM_TRIES):
            answer = yield WriteClaim(body, base)
            if isinstance(answer, Done):
                return self._won(claim, answer.etag)
            if isinstance(answer, Unreachable):
                problem = answer
                if answer.is_final:
                    break
            seen = yield ReadClaim()
            if isinstance(seen, Seen):
                current = parse_claim(seen.body)
                if isinstance(current, Claim) and current.nonce == claim.nonce:
                    return self._won(claim, seen.etag)  # the answer was lost, the write was not
                if base is None or seen.etag != base:
                    return False
            elif isinstance(seen, Absent) and base is not None:
                return False
            yield from self._pause(self.rng.uniform(0.05, 0.5) * (attempt + 1))
        if problem is not None:
            raise _ClaimUnsettled(problem)
        return False

    def _won(self, claim: Claim, etag: str) -> bool:
        self._claim, self._claim_etag = claim, etag
        return True

    def _renew(self, **changes: object) -> Generator[Step, Answer, None]:
        """Heartbeat. Losing the lease does not stop a tune; an unreachable store does not either."""
        if self._is_lost:
            return
        try:
            self._is_lost = not (yield from self._write_claim(self._renewed(**changes)))
        except _ClaimUnsettled:
            pass  # not known: keep on; the publish is what counts

    # -- holding -----------------------------------------------------------------------------------------------

    def _hold(self, base: str | None) -> Protocol:
        try:
            while True:
                answer = yield Work(self.rules.renew_s, self._epoch)
                if isinstance(answer, StillRunning):
                    yield from self._renew()
                    if self._is_lost:
                        yield from self._adopt_if_there()
                    continue
                if isinstance(answer, Failed):
                    yield from self._renew(
                        state="failed",
                        cooldown_s=self.rules.cooldown_s,
                        error=f"{answer.reason}: {answer.detail}"[:1000],
                        tail=tuple(line[:TAIL_LINE_LENGTH] for line in answer.tail[-TAIL_LINES:]),
                    )
                    return GaveUp(answer.reason, answer.detail, answer.tail)
                outcome = yield from self._publish(_expect(answer, Finished), base)
                yield from self._renew(state="done" if isinstance(outcome, Published) else "released")
                return outcome
        except Cancelled:
            # so that a successor need not wait for the lease to run out
            yield from self._renew(state="released")
            raise

    def _adopt_if_there(self) -> Generator[Step, Answer, None]:
        state = yield from self._bundle()
        if isinstance(state, Hit):
            yield StopWork()
            raise _Stop(Adopted(state.bundle, state.etag, waited=True))

    @property
    def _epoch(self) -> int:
        if self._claim is None:
            raise AssertionError("tuning without ever having claimed")
        return self._claim.epoch

    def _publish(self, work: Finished, base: str | None) -> Protocol:
        bundle = work.compose(self._epoch, self.nonce())
        problem = Unreachable("store-unavailable", "the write was never settled", is_final=False)
        for digest, body in sorted(work.blobs.items()):
            answer = yield WriteBlob(digest, body)
            if isinstance(answer, Unreachable):
                return Unpublished(bundle, work.blobs, answer.reason, answer.detail)
        for attempt in range(PUBLISH_TRIES):
            answer = yield WriteBundle(bundle.encode(), base)
            if isinstance(answer, Done):
                return Published(bundle, answer.etag, work.blobs)
            if isinstance(answer, Unreachable):
                problem = answer
                if answer.is_final:
                    break
            state = yield from self._bundle()
            if isinstance(state, Hit):
                if state.bundle.nonce == bundle.nonce:
                    return Published(bundle, state.etag, work.blobs)
                return Adopted(state.bundle, state.etag, waited=True)
            if isinstance(state, Quarantined) or (isinstance(state, Vacant) and state.base != base):
                # ops took a bundle out of service meanwhile: what we tuned belongs to the time before
                return GaveUp(
                    "fenced", "the bundle's register changed while this pod tuned; its result is discarded"
                )
            if isinstance(state, Unusable):
                return Unpublished(bundle, work.blobs, state.reason, state.detail)
            if self.monotonic() >= self.deadline:
                break
            yield from self._pause(self.rng.uniform(0.2, 1.0) * (attempt + 1))
        return Unpublished(bundle, work.blobs, problem.reason, problem.detail)

    # -- small steps -------------------------------------------------------------------------------------------

    def _bundle(self) -> Generator[Step, Answer, RegisterState]:
        answer = yield ReadBundle()
        if isinstance(answer, Hit | Vacant | Quarantined | Unusable | Unreachable):
            return answer
        return _unexpected(answer)

    def _pause(self, seconds: float) -> Generator[Step, Answer, None]:
        yield Wait(min(seconds, max(0.0, self.deadline - self.monotonic())))


class _ClaimUnsettled(_Stop):
    """Nobody can say whose claim it is. Before the tune this ends the run; during it, it is ignored."""

    def __init__(self, problem: Unreachable) -> None:
        super().__init__(GaveUp(problem.reason, problem.detail))


def _expect(answer: Answer, kind: type[T]) -> T:
    return answer if isinstance(answer, kind) else _unexpected(answer)


def _unexpected(answer: Answer) -> NoReturn:
    raise AssertionError(f"the driver answered {answer!r} to a step that it does not fit")
