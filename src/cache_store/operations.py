"""What operators do to a bundle and to a claim, as part of the protocol: decided here, carried out by the caller.

    published --retire-----> tombstone (may be tuned again) --a pod's publish--> published
    published --quarantine-> tombstone (neither use nor tune)
    tombstone --restore----> published, the same files under a nonce of its own

Nothing is ever deleted: every step is one conditional write over exactly what was seen, so a publisher that slept
through it finds its condition false and discards its result. No two bodies of a register are equal, since each carries
a fresh nonce: an ETag is the MD5 of the body, and a bundle put back byte for byte would satisfy conditions of before.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from datetime import datetime, timedelta
from typing import Any

from cache_store.bundle import BadBundle, Bundle, Tombstone, copy_name, digest_of, is_copy_name
from cache_store.bundle_json import parse_register, revised
from cache_store.chance import Chance
from cache_store.claim import MAX_EPOCH, Claim, UnreadableClaim, parse_claim
from cache_store.dataclass import replace
from cache_store.identity import Address
from cache_store.json_checks import MAX_COUNT
from cache_store.lease import EXHAUSTED
from cache_store.operation_steps import (
    Changed,
    KeepCopy,
    Operation,
    OperationOutcome,
    OperatorAnswer,
    OperatorStep,
    Order,
    ReadCopy,
    ReadRegister,
    Refused,
    Unchanged,
)
from cache_store.parcel import blobs_of
from cache_store.register import Unreachable
from cache_store.steps import Absent, Done, ReadBlob, ReadClaim, Seen, Wait, WriteBundle, WriteClaim
from cache_store.verification import examine_blob

SWAP_TRIES = 6
RETIRED = "retired"
QUARANTINED = "quarantined"
PUBLISHED = "published"
UNREADABLE = "unreadable"


class _Stop(Exception):  # noqa: N818 -- carries an outcome up through nested generators
    def __init__(self, outcome: OperationOutcome) -> None:
        super().__init__(str(outcome))
        self.outcome = outcome


class Operator:
    """One order at one address. Each operation is a generator that asks for steps and returns its outcome."""

    def __init__(
        self,
        address: Address,
        order: Order,
        *,
        rng: Chance,
        nonce: Callable[[], str],
        now: Callable[[], datetime],
    ) -> None:
        self._address = address
        self._order = order
        self._rng = rng
        self._nonce = nonce
        self._now = now

    # -- the operations ------------------------------------------------------------------------------------------

    def retire(self, *, even_quarantined: bool = False) -> Operation:
        """Out of service, and to be tuned again by the next pod that wants it.

        Over a quarantine only with `even_quarantined`: it would end it.
        """
        return self._guarded(self._take_out(may_retune=True, even_quarantined=even_quarantined))

    def quarantine(self) -> Operation:
        """Out of service, and nobody tunes it until it is restored, or retired by name."""
        return self._guarded(self._take_out(may_retune=False, even_quarantined=True))

    def restore(self, *, even_quarantined: bool = False, copy: str | None = None) -> Operation:
        """Put back what a tombstone took out (or another copy that lies there, by its name)."""
        return self._guarded(self._restore(even_quarantined=even_quarantined, copy=copy))

    def unlock(self) -> Operation:
        """End a claim: a holder that lives goes on and is judged by the bundle's register, as if its lease had run out."""
        return self._guarded(self._unlock())

    def _guarded(self, operation: Operation) -> Operation:
        try:
            return (yield from operation)
        except _Stop as stop:
            return stop.outcome

    # -- bundle.json ---------------------------------------------------------------------------------------------

    def _take_out(self, *, may_retune: bool, even_quarantined: bool) -> Operation:
        seen = yield from self._register()
        before, register = _state_of(seen.body)
        after = RETIRED if may_retune else QUARANTINED
        if before == after:
            return Unchanged(before, _told(register))
        if before == QUARANTINED and not even_quarantined:
            raise _Stop(Refused("quarantined", f"to retire it would end its quarantine: {_told(register)}"))
        tombstone = self._tombstone(seen, register, may_retune=may_retune)
        done = Changed(before, after, tombstone.nonce, tombstone.retired_copy, self._order.is_dry)
        try:
            body = tombstone.encode()
        except ValueError as error:  # what UTF-8 cannot hold
            raise _Stop(_unwritable(error)) from None
        if self._order.is_dry:
            return done
        if not isinstance(register, Tombstone) and tombstone.retired_copy is not None:
            yield from self._keep(tombstone.retired_copy, seen.body)
        yield from self._swap(body, seen.etag, tombstone.nonce)
        return done

    def _tombstone(self, seen: Seen, register: Bundle | Tombstone | None, *, may_retune: bool) -> Tombstone:
        if isinstance(register, Tombstone):
            # what was taken out the first time stays named: its copy, its files
            return replace(
                register,
                reason=self._order.reason,
                retired_by=self._order.by,
                retired_at=self._moment(seen),
                may_retune=may_retune,
                nonce=self._nonce(),
            )
        return Tombstone(
            reason=self._order.reason,
            retired_by=self._order.by,
            retired_at=self._moment(seen),
            may_retune=may_retune,
            epoch=register.epoch if register else 0,
            nonce=self._nonce(),
            identity=register.identity if register else None,
            retired_copy=copy_name(register.nonce if register else "", digest_of(seen.body)),
            ranks=register.ranks if register else {},
            expected_tune_s=register.provenance.tune_s if register else None,
        )

    def _restore(self, *, even_quarantined: bool, copy: str | None) -> Operation:
        seen = yield from self._register()
        before, register = _state_of(seen.body)
        if before == PUBLISHED:
            return Unchanged(
                before, "something is published there; retire it first to put another in its place"
            )
        if not isinstance(register, Tombstone):
            raise _Stop(Refused("not-retired", "it was not taken out of service, it cannot be read"))
        if before == QUARANTINED and not even_quarantined:
            raise _Stop(Refused("quarantined", _told(register)))
        name = copy or register.retired_copy
        if name is None or not is_copy_name(name):
            raise _Stop(Refused("no-copy", "its tombstone names no copy that could be put back"))
        kept = yield from self._copy(name)
        restored, nonce = self._restored(kept, name, seen)
        yield from self._check_blobs(restored)
        done = Changed(before, PUBLISHED, nonce, name, self._order.is_dry)
        if not self._order.is_dry:
            yield from self._swap(restored, seen.etag, nonce)
        return done

    def _restored(self, kept: Seen, name: str, seen: Seen) -> tuple[bytes, str]:
        """The copy with a nonce of its own, and nothing else changed: fields of a later release stay in it."""
        nonce = self._nonce()

        def note(document: dict[str, Any]) -> None:
            document["nonce"] = nonce
            document["provenance"] |= {
                "restored_by": self._order.by,
                "restored_at": self._moment(seen),
                "restored_why": self._order.reason,
            }

        try:
            bundle = parse_register(kept.body)
            if isinstance(bundle, Bundle) and bundle.identity.address == self._address:
                return revised(kept.body, note), nonce
        except BadBundle as problem:
            raise _Stop(Refused(problem.reason, f"{name}: {problem.detail}")) from None
        raise _Stop(Refused("bundle-foreign", f"{name} is no bundle of {self._address}"))

    def _check_blobs(self, restored: bytes) -> Generator[OperatorStep, OperatorAnswer, None]:
        """What lies beside the copy may be gone since: a bundle without its contents is worse than none."""
        register = parse_register(restored)
        if not isinstance(register, Bundle):
            return
        for digest in blobs_of(register):
            answer = yield ReadBlob(digest, register.blobs[digest])
            if isinstance(answer, Unreachable) and answer.reason == "store-too-large":
                raise _Stop(Refused("blob-too-large", f"blobs/{digest}: {answer.detail}"))
            body = None if isinstance(answer, Absent) else _seen(answer).body
            for finding in examine_blob(register, digest, body):
                raise _Stop(Refused(finding.code, f"{finding.where}: {finding.detail}"))

    def _register(self) -> Generator[OperatorStep, OperatorAnswer, Seen]:
        answer = yield ReadRegister()
        if isinstance(answer, Absent):
            raise _Stop(Refused("not-found", f"there is no bundle at {self._address}"))
        return _seen(answer)

    def _copy(self, name: str) -> Generator[OperatorStep, OperatorAnswer, Seen]:
        answer = yield ReadCopy(name)
        if isinstance(answer, Absent):
            raise _Stop(Refused("no-copy", f"{name} is not there"))
        return _seen(answer)

    def _keep(self, name: str, body: bytes) -> Generator[OperatorStep, OperatorAnswer, None]:
        """The copy is there when this returns, byte for byte."""
        problem = Unreachable("store-unavailable", "the copy was never settled", is_final=False)
        for attempt in range(SWAP_TRIES):
            answer = yield KeepCopy(name, body)
            if isinstance(answer, Done):
                return
            if isinstance(answer, Unreachable):
                problem = answer
                if answer.is_final:
                    break
            found = yield ReadCopy(name)
            if isinstance(found, Seen):
                if found.body == body:
                    return  # the answer was lost, or somebody has kept it before
                raise _Stop(Refused("copy-differs", f"{name} is there with another content"))
            yield self._pause(attempt)
        raise _Stop(Refused(problem.reason, f"{name}: {problem.detail}"))

    def _swap(self, body: bytes, base: str, nonce: str) -> Generator[OperatorStep, OperatorAnswer, None]:
        try:
            parse_register(body)
        except BadBundle as problem:
            raise _Stop(_unwritable(problem)) from None

        def is_ours(found: bytes) -> bool:
            register = _state_of(found)[1]
            return register is not None and register.nonce == nonce

        yield from self._replace(WriteBundle(body, base), ReadRegister(), is_ours)

    def _replace(
        self,
        write: WriteBundle | WriteClaim,
        read: ReadRegister | ReadClaim,
        is_ours: Callable[[bytes], bool],
    ) -> Generator[OperatorStep, OperatorAnswer, None]:
        """What was seen is replaced when this returns; whatever is answered but 200 is read back."""
        what = "bundle" if isinstance(write, WriteBundle) else "claim"
        problem = Unreachable("store-unavailable", "the write was never settled", is_final=False)
        is_unsettled = False
        for attempt in range(SWAP_TRIES):
            answer = yield write
            if isinstance(answer, Done):
                return
            if isinstance(answer, Unreachable):
                problem = answer
                is_unsettled = is_unsettled or not answer.is_final
                if answer.is_final:
                    break
            found = yield read
            if isinstance(found, Seen) and is_ours(found.body):
                return  # the answer was lost, the write was not
            if isinstance(found, Absent) or (isinstance(found, Seen) and found.etag != write.base):
                detail = f"somebody wrote the {what} after it was looked at; look again"
                raise _Stop(Refused("changed-meanwhile", detail))
            yield self._pause(attempt)
        raise _Stop(Refused(problem.reason, problem.detail, is_unsettled=is_unsettled))

    # -- claim.json ----------------------------------------------------------------------------------------------

    def _unlock(self) -> Operation:
        answer = yield ReadClaim()
        if isinstance(answer, Absent):
            return Unchanged("free", "nobody ever claimed it")
        seen = _seen(answer)
        claim = parse_claim(seen.body)
        before = UNREADABLE if isinstance(claim, UnreadableClaim) else claim.state
        if before in ("released", "done"):
            return Unchanged(before, "nobody holds it")
        if (claim.epoch or 0) >= MAX_EPOCH:
            raise _Stop(Refused("claim-exhausted", EXHAUSTED))
        ended = self._ended(claim)
        done = Changed(before, ended.state, ended.nonce, None, self._order.is_dry)

        def is_ours(found: bytes) -> bool:
            current = parse_claim(found)
            return isinstance(current, Claim) and current.nonce == ended.nonce

        if not self._order.is_dry:
            yield from self._replace(WriteClaim(ended.encode(), seen.etag), ReadClaim(), is_ours)
        return done

    def _ended(self, claim: Claim | UnreadableClaim) -> Claim:
        """Of an unreadable one the epoch is kept where it can be told: a fencing token never starts again."""
        fresh = Claim(
            state="released",
            epoch=(claim.epoch or 0) + 1,
            counter=0,
            nonce=self._nonce(),
            holder=f"unlocked by {self._order.by}"[:1000],
            lease_s=60.0,
            error=self._order.reason[:1000] or None,
        )
        if isinstance(claim, UnreadableClaim):
            return fresh
        return fresh.model_copy(
            update={"counter": min(claim.counter + 1, MAX_COUNT), "lease_s": claim.lease_s}
        )

    # -- small steps ---------------------------------------------------------------------------------------------

    def _pause(self, attempt: int) -> Wait:
        return Wait(self._rng.uniform(0.05, 0.5) * (attempt + 1))

    def _moment(self, seen: Seen) -> str:
        """Now by the server's clock, where it tells it; else by this computer's."""
        if seen.written_at is not None and seen.age_s is not None:
            return (seen.written_at + timedelta(seconds=seen.age_s)).isoformat()
        return self._now().isoformat()


def _state_of(body: bytes) -> tuple[str, Bundle | Tombstone | None]:
    try:
        register = parse_register(body)
    except BadBundle:
        return UNREADABLE, None
    if isinstance(register, Bundle):
        return PUBLISHED, register
    return (RETIRED if register.may_retune else QUARANTINED), register


def _unwritable(problem: ValueError) -> Refused:
    return Refused(
        "unwritable", f"what would be written could not be read again, and is not: {problem}"[:500]
    )


def _told(register: Bundle | Tombstone | None) -> str:
    if not isinstance(register, Tombstone):
        return ""
    return f"{register.reason} (by {register.retired_by}, {register.retired_at or 'at an unknown time'})"


def _seen(answer: OperatorAnswer) -> Seen:
    if isinstance(answer, Unreachable):
        raise _Stop(Refused(answer.reason, answer.detail))
    if not isinstance(answer, Seen):
        raise AssertionError(  # noqa: TRY004 -- a bug of the driver's, as in steps.unexpected
            f"a driver answered {type(answer).__name__} to a read"
        )
    return answer
