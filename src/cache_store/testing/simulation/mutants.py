"""The protocol, wrong on purpose in one place each: what a simulator is worth is how many of these it catches.

A mutant breaks an invariant (`breaks`), or it is only a cost and shows as more tunes than the protocol needs in the
same seeds (`costs`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from unittest import mock

from cache_store import claim, group_roll, lease, settling
from cache_store.claim import Claim, MayTake, MustWait
from cache_store.coordination import Participant
from cache_store.group_roll import Follow, Put, Roll
from cache_store.lease import Lease
from cache_store.register import Hit, Vacant
from cache_store.settling import Settling, Together
from cache_store.steps import Adopted, Done, GaveUp, Published, ReadClaim, Seen, WriteBundle, WriteClaim
from cache_store.testing.simulation.fleet import Draws, Run
from cache_store.testing.simulation.pods import ADDRESS, Code

Steps = Generator[Any, Any, Any]


@dataclass(frozen=True)
class Mutant:
    """`patches`: (object, attribute, what it becomes). `prepare` changes a run before it begins, `redraw` its draws."""

    name: str
    shows: Literal["breaks", "costs"]
    code: Code = field(default_factory=Code)
    patches: tuple[tuple[Any, str, Any], ...] = ()
    prepare: Callable[[Run], None] = lambda _run: None
    redraw: Callable[[Draws], Draws] = lambda draws: draws

    def run(self, seed: int) -> Run:
        """The run of one seed; `to_the_end` is the caller's, inside of `applied`."""
        run = Run(seed, code=self.code, is_told=False, redraw=self.redraw)
        self.prepare(run)
        return run

    def applied(self) -> ExitStack:
        stack = ExitStack()
        for where, name, what in self.patches:
            stack.enter_context(mock.patch.object(where, name, what))
        return stack


# -- the bundle's register -----------------------------------------------------------------------------------------


class NoReadBack(Participant):
    def _publish(self, work: Any, base: str | None) -> Steps:
        bundle = work.compose(self.lease.epoch, self.nonce())
        answer = yield WriteBundle(bundle.encode(), base)
        if isinstance(answer, Done):
            return Published(bundle, answer.etag, work.blobs)
        return GaveUp("lost", "the store said so")


class OverWhateverIsThere(Participant):
    """After a refused write it takes what it reads as the new base: over a tombstone that it had never seen."""

    def _publish(self, work: Any, base: str | None) -> Steps:
        bundle = work.compose(self.lease.epoch, self.nonce())
        for _ in range(3):
            answer = yield WriteBundle(bundle.encode(), base)
            if isinstance(answer, Done):
                return Published(bundle, answer.etag, work.blobs)
            state = yield from self._bundle()
            if isinstance(state, Vacant):
                base = state.base
            elif isinstance(state, Hit):
                mine = state.bundle.nonce == bundle.nonce
                return (
                    Published(bundle, state.etag) if mine else Adopted(state.bundle, state.etag, waited=True)
                )
        return GaveUp("lost", "three times")


class NoSecondLook(Participant):
    """Tunes at once when the claim is won, although its last holder may have published."""

    _first_base: str | None = None
    _has_won = False

    def _base_of(self, state: Any, *, is_first: bool) -> str | None:
        base = super()._base_of(state, is_first=is_first)
        self._first_base = base if is_first else self._first_base
        return base

    def _take(self, verdict: MayTake) -> Steps:
        self._has_won = yield from super()._take(verdict)
        return self._has_won

    def _bundle(self) -> Steps:
        if self._has_won:
            self._has_won = False
            return Vacant(self._first_base)
        return (yield from super()._bundle())


# -- the claim -----------------------------------------------------------------------------------------------------


def _by_local_clock(self: Lease) -> Steps:
    verdict = yield from _LOOK(self)
    if self.seen is not None and self.seen.state == "held" and isinstance(verdict, MustWait):
        skewed = (self.now() - self._written_at).total_seconds() if self._written_at else 0.0  # type: ignore[attr-defined] # set by _remembering
        if skewed > self.rules.lease_s + self.rules.margin_s:
            return MayTake(self.seen.epoch + 1, "old by my clock")
    return verdict


def _remembering(self: Lease) -> Steps:
    """`look`, with the time of the last write kept."""
    looking = _REAL_LOOK(self)
    step = next(looking)
    try:
        while True:
            answer = yield step
            if isinstance(answer, Seen):
                self._written_at = answer.written_at  # type: ignore[attr-defined] # read by _by_local_clock
            step = looking.send(answer)
    except StopIteration as end:
        return end.value


_REAL_LOOK = Lease.look
_LOOK = _remembering


def _equal_bodies(self: Lease, **changes: object) -> Claim:
    return _REAL_RENEWED(self, **changes).model_copy(update={"counter": 0, "nonce": "always", "held_s": 0.0})


def _plain_renewal(self: Lease, **changes: object) -> Steps:
    """Heartbeats without If-Match: whoever has lost the lease takes it back."""
    claim = self._renewed(**changes)
    found = yield ReadClaim()
    answer = yield WriteClaim(claim.encode(), found.etag if isinstance(found, Seen) else None)
    if isinstance(answer, Done):
        self._won(claim, answer.etag)


def _epoch_from_memory(self: Lease, verdict: MayTake, expected_s: float | None) -> Steps:
    return (yield from _REAL_TAKE(self, replace(verdict, epoch=1), expected_s))


def _write_error_is_a_loss(self: Lease, claim: Claim) -> Steps:
    answer = yield WriteClaim(claim.encode(), self._etag)
    return self._won(claim, answer.etag) if isinstance(answer, Done) else False


_REAL_TAKE = Lease.take
_REAL_RENEWED = Lease._renewed  # noqa: SLF001 -- a mutant is the class's own code with one thing wrong
_REAL_JUDGE = claim.judge


def _no_cooldown(seen: Any, age_s: float, rules: Any) -> Any:
    verdict = _REAL_JUDGE(seen, age_s, rules)
    return MayTake(seen.epoch + 1, "again") if type(verdict).__name__ == "CoolingDown" else verdict


def _no_wait_for_the_living(seen: Any, age_s: float, rules: Any) -> Any:
    verdict = _REAL_JUDGE(seen, age_s, rules)
    return (
        MayTake(seen.epoch + 1, "mine")
        if isinstance(verdict, MustWait) and isinstance(seen, Claim)
        else verdict
    )


def _deletes_claims(run: Run) -> None:
    before = run.bucket.on_change

    def changed(key: str, was: bytes | None, now: bytes | None, by: str) -> None:
        before(key, was, now, by)
        if key == ADDRESS.claim_key and now is not None and b'"state":"held"' not in now:
            run.world.at(0, lambda: run.bucket.delete(key, by))

    run.bucket.on_change = changed


def _ignores_conditions_on_rolls(run: Run) -> None:
    run.bucket.ignores_conditions = lambda key: key.endswith("/roll.json")


def _with_operators(draws: Draws) -> Draws:
    return replace(draws, troubles=replace(draws.troubles, operators=3))


def _with_deleting_operators(draws: Draws) -> Draws:
    return replace(draws, troubles=replace(draws.troubles, operators=3, deletes=True))


# -- the roll ------------------------------------------------------------------------------------------------------


class DecidesAlone(Settling):
    """Cold when its own patience is over, without telling the others."""

    def run(self) -> Steps:
        settling_ = super().run()
        step = next(settling_)
        try:
            while True:
                if self.monotonic() >= self.patience_until:
                    return settling.Apart("group-cold", "by myself")
                step = settling_.send((yield step))
        except StopIteration as end:
            return end.value


class ColdWhenUndecided(Settling):
    """Starts cold where it cannot learn the decision, although the others may count on it."""

    def _without_decision(self, reason: str, detail: str) -> settling.Apart:
        return settling.Apart(reason, detail)


class WarmWhenReady(Settling):
    """Believes its own word: warm as soon as it is on the roll."""

    def _put(self, roll: Roll, base: str | None) -> Steps:
        end = yield from super()._put(roll, base)
        return Together(self.offer.token) if end is None and self._joined and self.offer.token else end


class TrustsEveryRead(Settling):
    """Takes a stale read for news."""

    def _read(self, seen: Any) -> Any:
        self._newest = 0
        return super()._read(seen)


_REAL_DECISION = group_roll._decision  # noqa: SLF001 -- as above
_REAL_NEXT = group_roll.next_step


def _first_word_counts(roll: Roll, place: Any, *, is_over: bool) -> Any:
    members = {rank: one.model_copy(update={"confirmed": True}) for rank, one in roll.members.items()}
    return _REAL_DECISION(roll.model_copy(update={"members": members}), place, is_over=is_over)


def _majority(roll: Roll, place: Any, *, is_over: bool) -> Any:
    decision = _REAL_DECISION(roll, place, is_over=is_over)
    tokens = {one.token for one in roll.members.values() if one.token}
    if is_over and decision is not None and decision.verdict == "cold" and len(tokens) == 1:
        return decision.model_copy(update={"verdict": "warm", "token": tokens.pop()})
    return decision


def _any_incarnation(seen: Any, place: Any, offer: Any, **more: Any) -> Any:
    if seen is not None and seen.decision is not None and seen.decision.verdict == "warm":
        return Follow(seen.decision)
    return _REAL_NEXT(seen, place, offer, **more)


def _reopens(seen: Any, place: Any, offer: Any, **more: Any) -> Any:
    step = _REAL_NEXT(seen, place, offer, **more)
    if (
        isinstance(step, Follow)
        and offer.token
        and step.decision.verdict == "cold"
        and seen.decision == step.decision
    ):
        again = {"decision": None, "counter": seen.counter + 1, "nonce": more["nonce"]}
        return Put(seen.model_copy(update=again))
    return step


MUTANTS = (
    Mutant("bundle by a plain PUT", "breaks", Code(writes_bundle_plainly=True)),
    Mutant("no read-back of a publish", "breaks", Code(participant=NoReadBack)),
    Mutant(
        "publish over a tombstone never seen",
        "breaks",
        Code(participant=OverWhateverIsThere),
        redraw=_with_operators,
    ),
    Mutant("tombstone by delete", "breaks", redraw=_with_deleting_operators),
    Mutant("claim deleted when released", "breaks", prepare=_deletes_claims),
    Mutant("claims with equal bodies", "breaks", patches=((Lease, "_renewed", _equal_bodies),)),
    Mutant("heartbeat without If-Match", "breaks", patches=((Lease, "renew", _plain_renewal),)),
    Mutant("epoch from memory", "breaks", patches=((Lease, "take", _epoch_from_memory),)),
    Mutant("install before the decision", "breaks", Code(installs_before_decision=True)),
    Mutant("warm when ready", "breaks", Code(settling=WarmWhenReady)),
    Mutant("cold by its own patience", "breaks", Code(settling=DecidesAlone)),
    Mutant("cold when the decision is unknown", "breaks", Code(settling=ColdWhenUndecided)),
    Mutant("a stale roll is believed", "breaks", Code(settling=TrustsEveryRead)),
    Mutant("the mark is forgotten by a restart", "breaks", Code(forgets_that_it_is_bound=True)),
    Mutant("the first word counts", "breaks", patches=((group_roll, "_decision", _first_word_counts),)),
    Mutant("warm without those who are missing", "breaks", patches=((group_roll, "_decision", _majority),)),
    Mutant("a decision binds whoever comes", "breaks", patches=((settling, "next_step", _any_incarnation),)),
    Mutant("a decision is taken back", "breaks", patches=((settling, "next_step", _reopens),)),
    Mutant("rolls without conditions", "breaks", prepare=_ignores_conditions_on_rolls),
    Mutant("no second look after the claim", "costs", Code(participant=NoSecondLook)),
    Mutant("lease by the local clock", "costs", patches=((Lease, "look", _by_local_clock),)),
    Mutant("a claim's write error is a loss", "costs", patches=((Lease, "_write", _write_error_is_a_loss),)),
    Mutant("no cool-down", "costs", patches=((lease, "judge", _no_cooldown),)),
    Mutant("no respect for a live lease", "costs", patches=((lease, "judge", _no_wait_for_the_living),)),
)
