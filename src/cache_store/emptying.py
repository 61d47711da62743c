"""Empties an address of what nothing names, while no pod can tune there. Decided here, carried out by the caller.

    claim.json   as judged -> held by gc -> released                no pod claims meanwhile, and who had claimed is seen
    bundle.json  as judged -> a tombstone that names no copy        (forget only) who has read the old one is fenced
    the others   looked at -> deleted, one by one

A DELETE carries no condition, so it must be of a name that nobody can want when it arrives, however late that is. The
two registers are wanted for ever, and stay. Copies and parts have names that are never used again (a nonce, an epoch).
A blob's name is its content's: the same tune gives it again. Whoever finds one in place writes it anew before it
publishes (`blobs.keep_blob`), a pod only under the claim that gc holds; right before each DELETE the registers and the blob
must be as judged. What is left is one DELETE on its way: an importer that writes a blob anew and publishes it meanwhile
loses it, which `cache-store verify` shows and the same import mends.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from datetime import datetime

from cache_store import steps
from cache_store.bundle_json import parse_register
from cache_store.chance import Chance
from cache_store.claim import MayTake, Rules
from cache_store.collecting import Verdict
from cache_store.dataclass import dataclass
from cache_store.identity import BUNDLE_NAME, CLAIM_NAME
from cache_store.layout import kind_of
from cache_store.lease import ClaimUnsettled, Lease
from cache_store.objects import Entry
from cache_store.only_over import only_over
from cache_store.operation_steps import Changed, OperatorAnswer, OperatorStep, Order, ReadRegister, Refused
from cache_store.operations import Operator
from cache_store.register import Unreachable
from cache_store.steps import Absent, Done, ReadClaim, Seen, Wait

BY = "cache-store gc"
# longer than a DELETE is waited for, and short: a pod that comes meanwhile waits for as long where gc is killed
LEASE = Rules(lease_s=30.0, renew_s=5.0)
DELETE_TRIES = 4


@dataclass(frozen=True)
class LookAt:
    """An object's row in the listing. Answer: Entry | Absent | Unreachable."""

    name: str


@dataclass(frozen=True)
class Remove:
    """One DELETE, sent once. Answer: Done | Unreachable."""

    name: str


@dataclass(frozen=True)
class Swept:
    """What came of one verdict. `problem`: why it was not done, or not to the end; stable, then a detail."""

    verdict: Verdict
    deleted: int = 0
    problem: str | None = None
    detail: str = ""


Step = OperatorStep | steps.Step | LookAt | Remove
Answer = OperatorAnswer | steps.Answer | Entry
Emptying = Generator[Step, Answer, Swept]


class _Stop(Exception):  # noqa: N818 -- carries a refusal up through nested generators
    def __init__(self, problem: str, detail: str) -> None:
        super().__init__(detail)
        self.problem = problem
        self.detail = detail


def _changed(what: str) -> _Stop:
    return _Stop("changed-meanwhile", f"somebody wrote {what} after it was looked at")


class Emptier:
    """One verdict (clean or forget) at one address."""

    def __init__(
        self,
        verdict: Verdict,
        *,
        rng: Chance,
        nonce: Callable[[], str],
        monotonic: Callable[[], float],
        now: Callable[[], datetime],
    ) -> None:
        self._verdict = verdict
        self._rng = rng
        self._now = now
        self._monotonic = monotonic
        self._nonce = nonce
        self._lease = Lease(holder=BY, rules=LEASE, rng=rng, nonce=nonce, monotonic=monotonic, now=now)
        self._tags: dict[str, str | None] = {
            name: verdict.tags.get(name) for name in (BUNDLE_NAME, CLAIM_NAME)
        }
        self._is_held = False
        self._is_unsettled = False  # a DELETE may be on its way still: the claim is left to run out
        self._looked_at = self._renewed_at = 0.0
        self._deleted = 0

    def run(self) -> Emptying:
        """To the end, or to what somebody else has written meanwhile."""
        problem, detail = None, ""
        try:
            if self._verdict.action == "forget" or any(
                kind_of(name) == "blob" for name in self._verdict.going
            ):
                yield from self._take_claim()
            if self._verdict.action == "forget":
                yield from self._close_register()
            for number, (name, entry) in enumerate(self._verdict.going.items()):
                yield from self._remove(name, entry, is_first=number == 0)
        except _Stop as stop:
            problem, detail = stop.problem, stop.detail
        if self._is_held and not self._is_unsettled:
            yield from self._lease.renew(state="released")
        return Swept(self._verdict, self._deleted, problem, detail)

    def _take_claim(self) -> Generator[Step, Answer, None]:
        """Before the register is touched: a pod reads it anew behind its own claim, and so tunes over what gc leaves."""
        try:
            yield from self._lease.look()
            if self._lease.etag != self._tags[CLAIM_NAME]:
                raise _changed(CLAIM_NAME)
            # judged by the listing's ages; here a store may tell none
            self._is_held = yield from self._lease.take(MayTake(self._verdict.epoch, "gc"), 0.0)
        except ClaimUnsettled as unsettled:
            raise _Stop(unsettled.problem.reason, unsettled.problem.detail) from None
        if not self._is_held:
            raise _changed(CLAIM_NAME)
        self._renewed_at = self._monotonic()

    def _close_register(self) -> Generator[Step, Answer, None]:
        tag = self._tags[BUNDLE_NAME]
        if tag is None:
            return  # nothing was ever published, and there is no copy that could be
        order = Order(BY, f"gc: forgotten; it was {self._verdict.why}")
        operator = Operator(self._verdict.address, order, rng=self._rng, nonce=self._nonce, now=self._now)
        outcome = yield from only_over(
            operator.forget(),
            lambda seen: seen.etag == tag,
            "somebody wrote bundle.json after it was looked at",
        )
        if isinstance(outcome, Refused):
            raise _Stop(outcome.reason, outcome.detail)
        left = yield ReadRegister()
        if not isinstance(left, Seen):
            raise _unreachable(left)
        if not isinstance(outcome, Changed) or parse_register(left.body).nonce != outcome.nonce:
            raise _changed(BUNDLE_NAME)
        self._tags[BUNDLE_NAME] = left.etag

    def _remove(self, name: str, entry: Entry, *, is_first: bool) -> Generator[Step, Answer, None]:
        answer: Answer = Done()
        for attempt in range(DELETE_TRIES):
            # a blob's DELETE is not sent again unseen; names of the other kinds are never used again
            if is_first or kind_of(name) == "blob" or self._is_due():
                yield from self._check(name, entry)
            answer = yield Remove(name)
            self._is_unsettled = isinstance(answer, Unreachable) and not answer.is_final
            if isinstance(answer, Done):
                self._deleted += 1
                return
            if isinstance(answer, Unreachable) and answer.is_final:
                break
            yield Wait(self._rng.uniform(0.05, 0.5) * (attempt + 1))
        raise _unreachable(answer)

    def _is_due(self) -> bool:
        return self._monotonic() - self._looked_at > LEASE.renew_s

    def _check(self, name: str, entry: Entry) -> Generator[Step, Answer, None]:
        """Everything is as judged, or as gc has left it."""
        if self._is_held and self._monotonic() - self._renewed_at > LEASE.renew_s:
            yield from self._lease.renew()
            self._renewed_at = self._monotonic()
        claim = self._lease.etag if self._is_held else self._tags[CLAIM_NAME]
        if (yield from self._tag(ReadClaim())) != claim:
            raise _changed(CLAIM_NAME)
        if (yield from self._tag(ReadRegister())) != self._tags[BUNDLE_NAME]:
            raise _changed(BUNDLE_NAME)
        # the object last: who publishes a blob that was in place has written it anew before
        found = yield LookAt(name)
        if isinstance(found, Unreachable):
            raise _unreachable(found)
        if isinstance(found, Entry) and found != entry:
            raise _changed(name)
        self._looked_at = self._monotonic()

    def _tag(self, read: ReadRegister | ReadClaim) -> Generator[Step, Answer, str | None]:
        answer = yield read
        if isinstance(answer, Absent):
            return None
        if not isinstance(answer, Seen):
            raise _unreachable(answer)
        return answer.etag


def _unreachable(answer: Answer) -> _Stop:
    if isinstance(answer, Absent):
        return _changed(BUNDLE_NAME)
    if not isinstance(answer, Unreachable):
        raise AssertionError(f"a driver answered {type(answer).__name__}")  # noqa: TRY004 -- a bug of the driver's
    return _Stop(answer.reason, answer.detail)
