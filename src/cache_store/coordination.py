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

from collections.abc import Callable, Generator, Mapping
from datetime import datetime

from cache_store.blobs import NotKept, keep_blob
from cache_store.chance import Chance
from cache_store.claim import (
    CoolingDown,
    MayTake,
    MustWait,
    Rules,
)
from cache_store.clock import Cancelled
from cache_store.dataclass import dataclass
from cache_store.lease import ClaimUnsettled, Lease
from cache_store.register import Hit, Quarantined, RegisterState, Unreachable, Unusable, Vacant
from cache_store.steps import (
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
    Step,
    StillRunning,
    StopWork,
    Unfit,
    Unpublished,
    Wait,
    Work,
    WriteBundle,
    expect,
    unexpected,
)

PROBE_TRIES = 6  # one probe is nine requests: at a store that loses one in ten, four would all fail too often
START_SKEW = 0.25
POLL_SPREAD = 0.15
EARLY = 0.1  # of what the holder expects
LEADER_LOOK_S = 5.0  # how often a group's pod looks whether its leader has begun
# a claim must stay far below claim.MAX_CLAIM_BYTES, or nobody could read it
TAIL_LINES = 20
TAIL_LINE_LENGTH = 400
PUBLISH_TRIES = 6
Protocol = Generator[Step, Answer, Outcome]


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
        rng: Chance,
        nonce: Callable[[], str],
        monotonic: Callable[[], float],
        now: Callable[[], datetime],
        wait_until: float,
        deadline: float,
        may_tune: bool = True,
        group: GroupRole | None = None,
        expected_s: float | None = None,
    ) -> None:
        self.holder = holder
        self.rules = rules
        self.rng = rng
        self.nonce = nonce
        self.monotonic = monotonic
        self.wait_until = min(wait_until, deadline)
        self.deadline = deadline
        self.may_tune = may_tune
        self.group = group
        self.expected_s = expected_s
        self.lease = Lease(holder=holder, rules=rules, rng=rng, nonce=nonce, monotonic=monotonic, now=now)
        self._has_waited = False
        self._began = monotonic()
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
            # most of the fleet late, a few early: the first has claimed before many others probe the store and claim,
            # too (the feedback timers of reliable multicast: Nonnenmacher and Biersack, 1998)
            yield from self._pause(self.rules.start_jitter_s * self.rng.random() ** START_SKEW)
        is_checked = False
        while True:
            verdict = yield from self._look_at_claim()
            if isinstance(verdict, MayTake) and self._has_waited:
                verdict = yield from self._look_once_more(verdict)
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
                    base = yield from self._base_behind_claim()
                    return (yield from self._hold(base))
                verdict = MustWait(self.rules.poll_s, None)  # then the winner's claim is read
            yield from self._wait_for_bundle(verdict, base)

    def _as_member(
        self, verdict: MayTake | MustWait, group: GroupRole
    ) -> Generator[Step, Answer, MayTake | MustWait]:
        """A member never claims: it joins its group's tune, or waits for its leader to begin one."""
        if isinstance(verdict, MayTake):
            if self.monotonic() >= self._began + group.leader_wait_s:
                raise _Stop(GaveUp("group-leader-absent", "the group's first pod has not begun"))
            return MustWait(LEADER_LOOK_S, None)
        claim = self.lease.seen
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

    def _base_behind_claim(self) -> Generator[Step, Answer, str | None]:
        """The previous holder may have published between our first look and our claim: then nobody needs the claim."""
        try:
            return self._base_of((yield from self._bundle()), is_first=False)
        except (_Stop, Cancelled):
            yield from self.lease.renew(state="released")
            raise

    def _check_store(self) -> Generator[Step, Answer, None]:
        for attempt in range(PROBE_TRIES):
            answer = yield CheckStore()
            if not isinstance(answer, Unreachable) or answer.is_final:
                break
            yield from self._pause(self.rng.uniform(0.05, 0.5) * (attempt + 1))
        if isinstance(answer, Unfit | Unreachable):
            raise _Stop(GaveUp(answer.reason, answer.detail))
        expect(answer, Fit)

    def _look_at_claim(self) -> Generator[Step, Answer, MayTake | MustWait | CoolingDown]:
        try:
            return (yield from self.lease.look())
        except ClaimUnsettled as unsettled:
            if self._has_waited and not unsettled.problem.is_final:
                return MustWait(self.rules.poll_s, None)
            raise _stopped(unsettled) from None

    def _look_once_more(self, verdict: MayTake) -> Generator[Step, Answer, MayTake | MustWait]:
        """The claim is free: because its holder has published? One request instead of a dozen for a claim in vain."""
        state = yield from self._bundle()
        if isinstance(state, Unreachable) and not state.is_final:
            return MustWait(self.rules.poll_s, None)
        self._base_of(state, is_first=False)
        return verdict

    def _wait_for_bundle(self, verdict: MustWait, base: str | None) -> Generator[Step, Answer, None]:
        """Look at the bundle now and then until the claim deserves another look (once per lease).

        Where the holder said how long its tune takes, the bundle is not looked for before that can be over: until then
        one look at the claim per lease tells that the holder lives.
        """
        self._has_waited = True
        now = self.monotonic()
        earliest = now + self._earliest_in_s(verdict)
        # spread, for a fleet that starts at once reads a claim at once
        look_again = now + max(0.5, verdict.expires_in_s) + self.rng.uniform(0, self.rules.margin_s)
        while True:
            now = self.monotonic()
            if now >= self.wait_until:
                raise _Stop(GaveUp("wait-exceeded", "another pod is still tuning"))
            nap_s = self.rules.poll_s * self.rng.uniform(1 - POLL_SPREAD, 1 + POLL_SPREAD)
            if now < earliest:
                nap_s = earliest - now + self.rng.uniform(0, self.rules.poll_s)
            yield Wait(min(nap_s, self.wait_until - now, max(0.1, look_again - now)))
            if look_again <= self.monotonic() < earliest:
                return
            state = yield from self._bundle()
            if isinstance(state, Vacant) and state.base == base and self.monotonic() < look_again:
                continue
            if isinstance(state, Unreachable) and not state.is_final:
                continue  # a waiter outlives a store that is away for a while; wait_until bounds it
            self._base_of(state, is_first=False)
            return

    def _earliest_in_s(self, verdict: MustWait) -> float:
        """Tunes vary, and a claim whose age nobody tells may be a heartbeat older than it looks."""
        claim = self.lease.seen
        if verdict.expected_in_s is None or claim is None or claim.expected_s is None:
            return 0.0
        return verdict.expected_in_s - EARLY * claim.expected_s - self.rules.renew_s

    def _take(self, verdict: MayTake) -> Generator[Step, Answer, bool]:
        try:
            return (yield from self.lease.take(verdict, self.expected_s))
        except ClaimUnsettled as unsettled:
            raise _stopped(unsettled) from None

    # -- holding -----------------------------------------------------------------------------------------------

    def _hold(self, base: str | None) -> Protocol:
        try:
            while True:
                answer = yield Work(self.rules.renew_s, self.lease.epoch)
                if isinstance(answer, StillRunning):
                    yield from self.lease.renew()
                    if self.lease.is_lost:
                        yield from self._adopt_if_there()
                    continue
                if isinstance(answer, Failed):
                    yield from self.lease.renew(
                        state="failed",
                        cooldown_s=self.rules.cooldown_s,
                        error=f"{answer.reason}: {answer.detail}"[:1000],
                        tail=tuple(line[:TAIL_LINE_LENGTH] for line in answer.tail[-TAIL_LINES:]),
                    )
                    return GaveUp(answer.reason, answer.detail, answer.tail)
                outcome = yield from self._publish(expect(answer, Finished), base)
                yield from self.lease.renew(state="done" if isinstance(outcome, Published) else "released")
                return outcome
        except Cancelled:
            # so that a successor need not wait for the lease to run out
            yield from self.lease.renew(state="released")
            raise

    def _adopt_if_there(self) -> Generator[Step, Answer, None]:
        state = yield from self._bundle()
        if isinstance(state, Hit):
            yield StopWork()
            raise _Stop(Adopted(state.bundle, state.etag, waited=True))

    def _publish(self, work: Finished, base: str | None) -> Protocol:
        bundle = work.compose(self.lease.epoch, self.nonce())
        problem = Unreachable("store-unavailable", "the write was never settled", is_final=False)
        lost = yield from self._keep_blobs(work.blobs)
        if lost is not None:
            return Unpublished(bundle, work.blobs, lost.reason, lost.detail)
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

    def _keep_blobs(self, blobs: Mapping[str, bytes]) -> Generator[Step, Answer, NotKept | None]:
        """None when all are there; then, and not before, a bundle may name them."""
        for digest, body in sorted(blobs.items()):
            lost = yield from keep_blob(digest, body, self._before_next_try)
            if lost is not None:
                return lost
        return None

    # -- small steps -------------------------------------------------------------------------------------------

    def _before_next_try(self, attempt: int) -> Wait | None:
        left_s = self.deadline - self.monotonic()
        return Wait(min(self.rng.uniform(0.2, 1.0) * (attempt + 1), left_s)) if left_s > 0 else None

    def _bundle(self) -> Generator[Step, Answer, RegisterState]:
        answer = yield ReadBundle()
        if isinstance(answer, Hit | Vacant | Quarantined | Unusable | Unreachable):
            return answer
        return unexpected(answer)

    def _pause(self, seconds: float) -> Generator[Step, Answer, None]:
        yield Wait(min(seconds, max(0.0, self.deadline - self.monotonic())))


def _stopped(unsettled: ClaimUnsettled) -> _Stop:
    """Before the tune this ends the run."""
    return _Stop(GaveUp(unsettled.problem.reason, unsettled.problem.detail))
