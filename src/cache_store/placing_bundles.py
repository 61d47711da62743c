"""Writes parcels into a store: each whole or not at all, and nothing that is published is ever overwritten.

Blobs first, each created once under the digest of its content, then bundle.json in one conditional write over exactly
what was seen. Ctrl-C before that last write leaves blobs that no pod reads and that the next run finds in place.
Whatever is answered but 200 is read back: 412 can be our own success, 409 is not "exists", a timeout is neither.
"""

from __future__ import annotations

from collections.abc import Callable, Generator

from cache_store.blobs import NotKept, keep_blob, look_at_blob
from cache_store.blobs_on_store import answer_blob
from cache_store.bundle import MAX_REGISTER_BYTES, Bundle
from cache_store.bundle_json import parse_register
from cache_store.chance import Chance
from cache_store.clock import Clock
from cache_store.dataclass import dataclass
from cache_store.errors import StoreError
from cache_store.identity import Address
from cache_store.lookup import unreachable
from cache_store.objects import Missing, ObjectStore, StoredObject, Written
from cache_store.operation_steps import Changed, OperationOutcome, Refused, Unchanged
from cache_store.parcel import PUBLISHED, Parcel, Write, blobs_of, decide, renewed
from cache_store.steps import Answer, Done, ReadBlob, Wait, WriteBlob

WRITE_TRIES = 6

BlobSteps = Generator[WriteBlob | ReadBlob | Wait, Answer, NotKept | None]


@dataclass(frozen=True)
class Placer:
    """One store, and how bundles are put into it.

    `recheck` is asked right before the write that puts a bundle in service, and may still refuse it.
    """

    store: ObjectStore
    clock: Clock
    rng: Chance
    nonce: Callable[[], str]
    over_retired: bool = False
    is_dry: bool = False
    recheck: Callable[[Parcel], Refused | None] | None = None

    def place(self, parcel: Parcel) -> OperationOutcome:
        """To the outcome. Raises nothing for what the store did; `Cancelled` when told to stop."""
        try:
            found = self._register(parcel)
        except StoreError as error:
            return _refused(error)
        decision = decide(parcel, found.body if found else None, over_retired=self.over_retired)
        if found is not None and isinstance(decision, Unchanged):
            return self._mended(parcel, found.body, decision)
        if not isinstance(decision, Write):
            return decision
        body = parcel.body
        nonce = parcel.bundle.nonce
        if found is not None:
            nonce = self.nonce()
            fresh = renewed(parcel, nonce)
            if isinstance(fresh, Refused):
                return fresh
            body = fresh
        done = Changed(decision.before, PUBLISHED, nonce, None, self.is_dry)
        if self.is_dry:
            return done
        for digest, content in sorted(parcel.blobs.items()):
            problem = self._put_blob(parcel.address, digest, content)
            if problem is not None:
                return Refused(problem.reason, problem.detail)
        if self.recheck is not None and (stale := self.recheck(parcel)) is not None:
            return stale
        return self._put_register(parcel, body, found.etag if found else None, done)

    def _register(self, parcel: Parcel) -> StoredObject | None:
        answer = self.store.get(parcel.address.bundle_key, limit_bytes=MAX_REGISTER_BYTES)
        return None if isinstance(answer, Missing) else answer

    def _mended(self, parcel: Parcel, found: bytes, decision: Unchanged) -> OperationOutcome:
        """What is there already, with the blobs that it names: one that was lost is put back.

        Also where the parcel has the same content inline: digests say what is the same, and not how it is stored.
        """
        register = parse_register(found)
        outcome: OperationOutcome = decision
        for digest in blobs_of(register) if isinstance(register, Bundle) else ():
            content = parcel.content(digest)
            problem = self._drive(parcel.address, look_at_blob(digest, content))
            if problem is not None and problem.reason == "blob-missing":
                outcome = Changed(PUBLISHED, PUBLISHED, register.nonce, None, self.is_dry)
                problem = None if self.is_dry else self._put_blob(parcel.address, digest, content)
            if problem is not None:
                return Refused(problem.reason, problem.detail)
        return outcome

    def _put_blob(self, address: Address, digest: str, content: bytes) -> NotKept | None:
        """None when it is there, byte for byte."""
        return self._drive(address, keep_blob(digest, content, self._wait))

    def _drive(self, address: Address, steps: BlobSteps) -> NotKept | None:
        try:
            step = next(steps)
            while True:
                step = steps.send(self._answer(address, step))
        except StopIteration as end:
            problem: NotKept | None = end.value
            return problem

    def _answer(self, address: Address, step: WriteBlob | ReadBlob | Wait) -> Answer:
        if isinstance(step, Wait):
            self.clock.sleep(step.seconds)
            return Done()
        try:
            return answer_blob(self.store, address, step)
        except StoreError as error:
            return unreachable(error)

    def _put_register(self, parcel: Parcel, body: bytes, base: str | None, done: Changed) -> OperationOutcome:
        key = parcel.address.bundle_key
        problem = Refused("store-unavailable", f"{key}: the write was never settled")
        is_unsettled = False
        for attempt in range(WRITE_TRIES):
            try:
                answer = (
                    self.store.put_if_absent(key, body)
                    if base is None
                    else self.store.put_if_match(key, body, base)
                )
                if isinstance(answer, Written):
                    return done
            except StoreError as error:
                problem = _refused(error)
                is_unsettled = is_unsettled or error.is_retryable
                if not error.is_retryable:
                    break
            try:
                found = self._register(parcel)
            except StoreError as error:
                problem = _refused(error)
                self._pause(attempt)
                continue
            if (found.etag if found else None) != base:
                # a nonce that the archive or the source gave may have been written by another copier
                may_be_ours = is_unsettled or base is not None
                return self._overtaken(parcel, found, done, may_be_ours=may_be_ours)
            self._pause(attempt)
        return Refused(problem.reason, problem.detail, is_unsettled=is_unsettled)

    def _overtaken(
        self, parcel: Parcel, found: StoredObject | None, done: Changed, *, may_be_ours: bool
    ) -> OperationOutcome:
        """Something else than before lies there: our own write whose answer was lost, or somebody's."""
        if found is None:
            return Refused("changed-meanwhile", "somebody deleted what was there; look again")
        decision = decide(parcel, found.body, over_retired=self.over_retired)
        if isinstance(decision, Write):
            return Refused("changed-meanwhile", "somebody wrote there after it was looked at; look again")
        is_done = may_be_ours and not isinstance(decision, Refused) and _nonce_of(found.body) == done.nonce
        return done if is_done else decision

    def _wait(self, attempt: int) -> Wait:
        return Wait(self.rng.uniform(0.05, 0.5) * (attempt + 1))

    def _pause(self, attempt: int) -> None:
        self.clock.sleep(self._wait(attempt).seconds)


def _nonce_of(body: bytes) -> str | None:
    """Of a body that `decide` has parsed."""
    register = parse_register(body)
    return register.nonce if isinstance(register, Bundle) else None


def _refused(error: StoreError) -> Refused:
    return Refused(f"store-{error.kind.value}", str(error))
