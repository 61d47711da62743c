"""How one pod of a replica group gets the group's decision, without I/O: it yields what it wants and is sent answers.

    stage the files -> [mark: bound] -> read the roll -> put oneself on it | complete it | await the others -> follow

From the moment when a pod may be on the roll, the others may decide "warm" and count on it. It can then neither start
cold nor give up by itself: without the decision it is `Torn`, and its exit restarts the group. That is the price of
every commit in two phases; the window is the time from the pod's own write to the decision of the slowest member.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from datetime import datetime
from typing import NoReturn

from cache_store.chance import Chance
from cache_store.dataclass import dataclass
from cache_store.group_place import GroupPlace
from cache_store.group_roll import (
    Await,
    BadRoll,
    Decision,
    Follow,
    Offer,
    Put,
    Roll,
    Superseded,
    next_step,
    parse_roll,
)
from cache_store.register import Unreachable
from cache_store.steps import Absent, CheckStore, Done, Fit, Seen, Undone, Unfit, Wait

FIRST_NAP_S = 0.4
LONGEST_NAP_S = 10.0
STAGGER_S = 0.06  # pods of one group start together: one after the other, their writes seldom meet


@dataclass(frozen=True)
class ReadRoll:
    """Answer: Seen | Absent | Unreachable."""


@dataclass(frozen=True)
class WriteRoll:
    """Conditional: over nothing (`base` None) or over the version `base`. Answer: Done | Undone | Unreachable."""

    body: bytes
    base: str | None


@dataclass(frozen=True)
class Bind:
    """From now on others may count on this pod; it must remember that beyond its own end. Answer: Done | Unreachable."""


SettleStep = ReadRoll | WriteRoll | Bind | Wait | CheckStore
SettleAnswer = Seen | Absent | Unreachable | Done | Undone | Fit | Unfit


@dataclass(frozen=True)
class Together:
    """The group starts warm with what this pod has staged: install it."""

    token: str


@dataclass(frozen=True)
class Apart:
    """Start cold: so does the group, or this pod never was on its roll."""

    reason: str
    detail: str


@dataclass(frozen=True)
class Torn:
    """Others may be warm, and this pod cannot be, or cannot know: the one case where a restarted group is better."""

    reason: str
    detail: str


SettleOutcome = Together | Apart | Torn
Protocol = Generator[SettleStep, SettleAnswer, SettleOutcome]


class Settling:
    """One pod, with what it could install.

    `patience_until` and `deadline` are points on `monotonic`: how long the others are awaited, and when all must be
    over. `is_bound`: an earlier run of this very pod was on the roll already. `patience_s` says how long ago a
    decision may be for those who made it to be there still.
    """

    def __init__(
        self,
        place: GroupPlace,
        offer: Offer,
        *,
        patience_s: float,
        patience_until: float,
        deadline: float,
        is_bound: bool,
        rng: Chance,
        nonce: Callable[[], str],
        monotonic: Callable[[], float],
        now: Callable[[], datetime],
    ) -> None:
        self.place = place
        self.offer = offer
        self.patience_s = patience_s
        self.deadline = deadline
        self.patience_until = min(patience_until, deadline)
        self.rng = rng
        self.nonce = nonce
        self.monotonic = monotonic
        self.now = now
        self.is_bound = is_bound
        self._joined = 0
        self._newest = 0
        self._refused: str | None = None  # the version over which a conditional write did not happen
        self._is_checked = False
        self._nap_s = FIRST_NAP_S

    def run(self) -> Protocol:
        """`Cancelled` may be thrown in at any step; it is raised again."""
        yield Wait(STAGGER_S * min(self.offer.rank, 16))
        while True:
            seen = yield ReadRoll()
            if isinstance(seen, Unreachable):
                is_on_it = self.is_bound or self._joined > 0
                if seen.is_final or not is_on_it or self.monotonic() >= self.deadline:
                    return self._without_decision(seen.reason, seen.detail)
                yield from self._nap()
                continue
            if isinstance(seen, Seen) and seen.etag == self._refused and not self._is_checked:
                # nobody wrote, and yet the condition is said not to hold: does this store keep conditions at all?
                end = yield from self._check_store()
                if end is not None:
                    return end
            try:
                roll, base, is_recent = self._read(seen)
            except BadRoll as problem:
                return self._without_decision("group-roll-corrupt", str(problem))
            if roll is not None and roll.counter < self._newest and self.monotonic() < self.deadline:
                yield from self._nap()  # a read that is older than one before it
                continue
            self._newest = max(self._newest, roll.counter if roll is not None else 0)
            step = self._decide(roll, is_recent=is_recent)
            if isinstance(step, Follow):
                return self._follow(step.decision)
            if isinstance(step, Superseded):
                return Apart("group-superseded", "another pod has this pod's rank now")
            if self.monotonic() >= self.deadline and isinstance(step, Await):
                return self._without_decision(
                    "group-unsettled", "the deadline passed before the group had settled"
                )
            if isinstance(step, Put):
                end = yield from self._put(step.roll, base)
                if end is not None:
                    return end
            yield from self._nap()

    def _put(self, roll: Roll, base: str | None) -> Generator[SettleStep, SettleAnswer, SettleOutcome | None]:
        """An outcome where this write settled it."""
        was_bound = self.is_bound
        if not was_bound and self.offer.token is not None:
            bound = yield Bind()
            if isinstance(bound, Unreachable):
                return Apart(bound.reason, bound.detail)
            self.is_bound = True
        answer = yield WriteRoll(roll.encode(), base)
        if isinstance(answer, Done):
            self._joined, self._newest = roll.attempt, roll.counter
            return self._follow(roll.decision) if roll.decision is not None else None
        if isinstance(answer, Unreachable) and answer.is_final:
            self.is_bound = was_bound  # refused, so it was not applied
            return self._without_decision(answer.reason, answer.detail)
        self._refused = base if isinstance(answer, Undone) else None
        self._nap_s = FIRST_NAP_S / 4  # read it back soon: somebody else wrote, or our own answer was lost
        return None

    def _check_store(self) -> Generator[SettleStep, SettleAnswer, SettleOutcome | None]:
        self._is_checked = True
        answer = yield CheckStore()
        if isinstance(answer, Unfit | Unreachable):
            return self._without_decision(answer.reason, answer.detail)
        return None

    def _read(self, seen: SettleAnswer) -> tuple[Roll | None, str | None, bool]:
        if isinstance(seen, Absent):
            return None, None, False
        if not isinstance(seen, Seen):
            _unexpected(seen)
        age_s = seen.age_s
        if age_s is None and seen.written_at is not None:
            # this pod's wall clock may say it here: joining an older start than it seems costs time, or a cold start
            age_s = (self.now() - seen.written_at).total_seconds()
        is_recent = age_s is not None and age_s < self.patience_s
        return parse_roll(seen.body, self.place), seen.etag, is_recent

    def _decide(self, roll: Roll | None, *, is_recent: bool) -> Follow | Superseded | Put | Await:
        return next_step(
            roll,
            self.place,
            self.offer,
            nonce=self.nonce(),
            joined=self._joined,
            is_recent=is_recent,
            is_over=self.monotonic() >= self.patience_until,
        )

    def _follow(self, decision: Decision) -> SettleOutcome:
        if decision.verdict == "cold":
            if decision.presumed:
                names = ", ".join(map(str, decision.presumed))
                return Torn(
                    "group-torn", f"{decision.reason}; pod {names} may run warm since an earlier start"
                )
            return Apart("group-cold", decision.reason)
        if decision.token == self.offer.token and decision.token is not None:
            return Together(decision.token)
        mine = self.offer.token or self.offer.problem
        return Torn("group-torn", f"the group is warm with {decision.token}; here: {mine}")

    def _without_decision(self, reason: str, detail: str) -> Apart | Torn:
        if self.is_bound:
            return Torn("group-unsettled", f"{reason}: {detail}; the others may have settled on warm")
        return Apart(reason, detail)

    def _nap(self) -> Generator[SettleStep, SettleAnswer, None]:
        left = (
            self.patience_until if self.monotonic() < self.patience_until else self.deadline
        ) - self.monotonic()
        yield Wait(max(0.02, min(self._nap_s * self.rng.uniform(0.75, 1.25), left)))
        self._nap_s = min(LONGEST_NAP_S, max(FIRST_NAP_S, self._nap_s * 1.7))


def _unexpected(answer: SettleAnswer) -> NoReturn:
    raise AssertionError(f"the driver answered {answer!r} to a step that it does not fit")
