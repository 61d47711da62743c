"""The protocol, wrong on purpose in one place each: what a simulator is worth is how many of these it catches."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from cache_store import claim, lease
from cache_store.blobs import NotKept
from cache_store.claim import Claim, MayTake, MustWait
from cache_store.coordination import Participant
from cache_store.dataclass import replace
from cache_store.lease import Lease
from cache_store.register import Hit, Quarantined, RegisterState, Unreachable, Vacant
from cache_store.steps import (
    Adopted,
    Done,
    GaveUp,
    Published,
    ReadClaim,
    Seen,
    StopWork,
    Undone,
    WriteBlob,
    WriteBundle,
    WriteClaim,
)
from cache_store.testing.simulation.draws import Draws
from cache_store.testing.simulation.fleet import Run
from cache_store.testing.simulation.mutant import Mutant
from cache_store.testing.simulation.mutants_of_groups import GROUP_MUTANTS
from cache_store.testing.simulation.mutants_of_operators import OPERATOR_MUTANTS
from cache_store.testing.simulation.seats import ADDRESS, Code

Steps = Generator[Any, Any, Any]


# -- the bundle's register -----------------------------------------------------------------------------------------


class NoReadBack(Participant):
    def _publish(self, work: Any, base: str | None) -> Steps:
        bundle = work.compose(self.lease.epoch, self.nonce())
        answer = yield WriteBundle(bundle.encode(), base)
        if isinstance(answer, Done):
            return Published(bundle, answer.etag, work.blobs)
        return GaveUp("lost", "the store said so")


class BelievesThatABlobIsThere(Participant):
    """Takes every answer to the write of a blob for "it is there already"."""

    def _keep_blobs(self, blobs: Any) -> Steps:
        for digest, body in sorted(blobs.items()):
            answer = yield WriteBlob(digest, body)
            if isinstance(answer, Unreachable):
                return NotKept(answer.reason, answer.detail)
        return None


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


class Believes(Participant):
    """Takes the status of a refused publish for an answer, and does not read back."""

    status = 412

    def _publish(self, work: Any, base: str | None) -> Steps:
        publishing = super()._publish(work, base)
        step = next(publishing)
        try:
            while True:
                answer = yield step
                if (
                    isinstance(step, WriteBundle)
                    and isinstance(answer, Undone)
                    and answer.status == self.status
                ):
                    return GaveUp("lost", f"the store said {self.status}")
                step = publishing.send(answer)
        except StopIteration as end:
            return end.value


class Believes409(Believes):
    status = 409


class TunesOnBesideAdopted(Participant):
    """Does not end its own tune when it adopts another's result."""

    def _adopt_if_there(self) -> Steps:
        adopting = super()._adopt_if_there()
        step = next(adopting)
        try:
            while True:
                step = adopting.send(Done() if isinstance(step, StopWork) else (yield step))
        except StopIteration as end:
            return end.value


class IgnoresQuarantine(Participant):
    """Sees every tombstone as one that may be tuned over."""

    def run(self, first: RegisterState) -> Steps:
        return (yield from super().run(_as_vacant(first)))

    def _bundle(self) -> Steps:
        return _as_vacant((yield from super()._bundle()))


def _as_vacant(state: RegisterState) -> RegisterState:
    return Vacant(state.etag, None, state.tombstone) if isinstance(state, Quarantined) else state


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


def _with_operators(draws: Draws) -> Draws:
    return replace(draws, troubles=replace(draws.troubles, operators=3))


def _with_deleting_operators(draws: Draws) -> Draws:
    return replace(draws, troubles=replace(draws.troubles, operators=3, deletes="bundle"))


def _with_operators_who_unlock_by_delete(draws: Draws) -> Draws:
    return replace(draws, troubles=replace(draws.troubles, operators=3, deletes="claim"))


POD_MUTANTS = (
    Mutant("bundle by a plain PUT", "breaks", Code(writes_bundle_plainly=True)),
    Mutant("no read-back of a publish", "breaks", Code(participant=NoReadBack)),
    Mutant("no read-back of a blob", "breaks", Code(participant=BelievesThatABlobIsThere)),
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
    Mutant("412 is believed", "breaks", Code(participant=Believes)),
    Mutant("adopts while its own tune goes on", "breaks", Code(participant=TunesOnBesideAdopted)),
    Mutant(
        "tunes over a quarantine",
        "breaks",
        Code(participant=IgnoresQuarantine),
        redraw=_with_operators,
    ),
    Mutant("unlock by delete", "breaks", redraw=_with_operators_who_unlock_by_delete),
    Mutant("409 is taken for a loss", "breaks", Code(participant=Believes409)),
    Mutant("no second look after the claim", "costs", Code(participant=NoSecondLook)),
    Mutant("lease by the local clock", "costs", patches=((Lease, "look", _by_local_clock),)),
    Mutant("a claim's write error is a loss", "costs", patches=((Lease, "_write", _write_error_is_a_loss),)),
    Mutant("no cool-down", "costs", patches=((lease, "judge", _no_cooldown),)),
    Mutant("no respect for a live lease", "costs", patches=((lease, "judge", _no_wait_for_the_living),)),
)
MUTANTS = (*POD_MUTANTS, *GROUP_MUTANTS, *OPERATOR_MUTANTS)
