"""Holding `claim.json`, without I/O: looking at it, taking it, keeping it. Part of the protocol in coordination.py.

The lease saves GPU time and decides nothing: whoever loses it goes on and is judged by the bundle's own register.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from datetime import datetime

from cache_store.chance import Chance
from cache_store.claim import Claim, CoolingDown, MayTake, MustWait, Rules, judge, parse_claim
from cache_store.register import Unreachable
from cache_store.steps import Absent, Answer, Done, ReadClaim, Seen, Step, Wait, WriteClaim, expect

CLAIM_TRIES = 4
EXHAUSTED = (
    "its epoch can grow no further, which no pod wrote; while nobody tunes there, delete claim.json by hand"
)


class ClaimUnsettled(Exception):  # noqa: N818 -- reads as what it is
    """Nobody can say whose claim it is: the store did not answer the question."""

    def __init__(self, problem: Unreachable) -> None:
        super().__init__(problem.detail)
        self.problem = problem


class Lease:
    """One pod's view of one claim. `seen` is what it read last, None where that was no claim of ours to understand."""

    def __init__(
        self,
        *,
        holder: str,
        rules: Rules,
        rng: Chance,
        nonce: Callable[[], str],
        monotonic: Callable[[], float],
        now: Callable[[], datetime],
    ) -> None:
        self.holder = holder
        self.rules = rules
        self.rng = rng
        self.nonce = nonce
        self.monotonic = monotonic
        self.now = now
        self.seen: Claim | None = None
        self.is_lost = False
        self._etag_seen: tuple[str, float] | None = None
        self._etag: str | None = None
        self._held: Claim | None = None
        self._held_since = 0.0

    @property
    def epoch(self) -> int:
        """The fencing token. Raises where nothing was ever won."""
        if self._held is None:
            raise AssertionError("tuning without ever having claimed")
        return self._held.epoch

    def look(self) -> Generator[Step, Answer, MayTake | MustWait | CoolingDown]:
        """Raises `ClaimUnsettled`."""
        answer = yield ReadClaim()
        if isinstance(answer, Unreachable):
            raise ClaimUnsettled(answer)
        if isinstance(answer, Absent):
            self._etag = self.seen = None
            return MayTake(1, "nobody ever claimed it")
        found = expect(answer, Seen)
        now = self.monotonic()
        if self._etag_seen is None or self._etag_seen[0] != found.etag:
            self._etag_seen = (found.etag, now)
        unchanged_s = now - self._etag_seen[1]
        self._etag = found.etag
        age_s = unchanged_s if found.age_s is None else max(found.age_s, unchanged_s)
        claim = parse_claim(found.body)
        self.seen = claim if isinstance(claim, Claim) else None
        if found.age_s is None and found.written_at and isinstance(claim, Claim) and claim.state == "failed":
            # a cool-down, unlike a lease, may trust this pod's wall clock: if it is wrong, one tune more or less is
            # run. Without it a pod that has just arrived would find every failure, however old, to be fresh
            age_s = max(age_s, (self.now() - found.written_at).total_seconds())
        return judge(claim, age_s, self.rules)

    def take(self, verdict: MayTake, expected_s: float | None) -> Generator[Step, Answer, bool]:
        """Whether it is ours now. Raises `ClaimUnsettled`, also where nobody can have it any more."""
        if verdict.is_exhausted:
            raise ClaimUnsettled(Unreachable("claim-exhausted", EXHAUSTED, is_final=True))
        self._held_since = self.monotonic()
        before = self.seen
        # the last tune of this very key is the best guess there is
        lasted_s = before.held_s if before is not None and before.state == "done" else None
        claim = Claim(
            state="held",
            epoch=verdict.epoch,
            counter=0,
            nonce=self.nonce(),
            holder=self.holder,
            lease_s=self.rules.lease_s,
            expected_s=expected_s if expected_s is not None else lasted_s,
        )
        return (yield from self._write(claim))

    def renew(self, **changes: object) -> Generator[Step, Answer, None]:
        """Heartbeat. Losing the lease does not stop a tune; an unreachable store does not either."""
        if self.is_lost:
            return
        try:
            self.is_lost = not (yield from self._write(self._renewed(**changes)))
        except ClaimUnsettled:
            pass  # not known: keep on; the publish is what counts

    def _renewed(self, **changes: object) -> Claim:
        if self._held is None:
            raise AssertionError("renewing a claim that was never won")
        held_s = round(self.monotonic() - self._held_since, 1)
        always = {"counter": self._held.counter + 1, "nonce": self.nonce(), "held_s": held_s}
        return self._held.model_copy(update=always | changes)

    def _write(self, claim: Claim) -> Generator[Step, Answer, bool]:
        """True: our write is the current claim. False: somebody else's is. Raises `ClaimUnsettled`."""
        base, body = self._etag, claim.encode()
        problem: Unreachable | None = None
        for attempt in range(CLAIM_TRIES):
            answer = yield WriteClaim(body, base)
            if isinstance(answer, Done):
                return self._won(claim, answer.etag)
            if isinstance(answer, Unreachable):
                problem = answer
                if answer.is_final:
                    break
            found = yield ReadClaim()
            if isinstance(found, Seen):
                current = parse_claim(found.body)
                if isinstance(current, Claim) and current.nonce == claim.nonce:
                    return self._won(claim, found.etag)  # the answer was lost, the write was not
                if base is None or found.etag != base:
                    return False
            elif isinstance(found, Absent) and base is not None:
                return False
            yield Wait(self.rng.uniform(0.05, 0.5) * (attempt + 1))
        if problem is not None:
            raise ClaimUnsettled(problem)
        return False

    def _won(self, claim: Claim, etag: str) -> bool:
        self._held, self._etag = claim, etag
        return True
