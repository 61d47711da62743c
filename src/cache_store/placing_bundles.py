"""Writes parcels into a store: each whole or not at all, and nothing that is published is ever overwritten.

Blobs first, each created once under the digest of its content, then bundle.json in one conditional write over exactly
what was seen. Ctrl-C before that last write leaves blobs that no pod reads and that the next run finds in place.
Whatever is answered but 200 is read back: 412 can be our own success, 409 is not "exists", a timeout is neither.
"""

from __future__ import annotations

from collections.abc import Callable

from cache_store.bundle import MAX_REGISTER_BYTES, Bundle
from cache_store.bundle_json import parse_register
from cache_store.chance import Chance
from cache_store.clock import Clock
from cache_store.dataclass import dataclass
from cache_store.errors import RETRYABLE, ErrorKind, StoreError
from cache_store.objects import Missing, ObjectStore, StoredObject, Written
from cache_store.operation_steps import PUBLISHED, Changed, OperationOutcome, Refused, Unchanged
from cache_store.parcel import Parcel, Write, decide, renewed
from cache_store.renew_blob import renew_blob

WRITE_TRIES = 6
_LOST = Refused("blob-missing", "it is not there")
_PASSING = frozenset({_LOST.reason, *(f"store-{kind.value}" for kind in RETRYABLE)})


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
            problem = self._put_blob(parcel.address.blob_key(digest), content)
            if problem is not None:
                return problem
        if self.recheck is not None and (stale := self.recheck(parcel)) is not None:
            return stale
        return self._put_register(parcel, body, found.etag if found else None, done)

    def _register(self, parcel: Parcel) -> StoredObject | None:
        answer = self.store.get(parcel.address.bundle_key, limit_bytes=MAX_REGISTER_BYTES)
        return None if isinstance(answer, Missing) else answer

    def _mended(self, parcel: Parcel, found: bytes, decision: Unchanged) -> OperationOutcome:
        """What is there already, with the blobs that it names: one that was lost is put back."""
        register = parse_register(found)
        wanted = parcel.blobs.keys() & register.blobs.keys() if isinstance(register, Bundle) else set()
        outcome: OperationOutcome = decision
        for digest in sorted(wanted):
            key, content = parcel.address.blob_key(digest), parcel.blobs[digest]
            problem = self._blob_problem(key, content)
            if problem is _LOST:
                outcome = Changed(PUBLISHED, PUBLISHED, parse_register(found).nonce, None, self.is_dry)
                problem = None if self.is_dry else self._put_blob(key, content)
            if problem is not None:
                return problem
        return outcome

    def _put_blob(self, key: str, content: bytes) -> Refused | None:
        """None when it is there, byte for byte, and young."""
        problem = Refused("store-unavailable", f"{key}: the write was never settled")
        for attempt in range(WRITE_TRIES):
            try:
                if isinstance(self.store.put_if_absent(key, content), Written):
                    return None
            except StoreError as error:
                problem = _refused(error)
                if not error.is_retryable:
                    return problem
            seen = self._blob_problem(key, content) or self._renewal_problem(key, content)
            if seen is None:
                return None
            if seen.reason not in _PASSING:
                return seen
            if seen is not _LOST:
                problem = seen
            self._pause(attempt)
        return problem

    def _blob_problem(self, key: str, content: bytes) -> Refused | None:
        """None where it is there, byte for byte; `_LOST` where it is not there."""
        try:
            found = self.store.get(key, limit_bytes=len(content))
        except StoreError as error:
            if error.kind is ErrorKind.TOO_LARGE:
                return Refused("blob-differs", f"{key} is there, and larger than the content is")
            return _refused(error)
        if isinstance(found, Missing):
            return _LOST
        if found.body != content:
            return Refused("blob-differs", f"{key} is there with a content that is not its digest's")
        return None

    def _renewal_problem(self, key: str, content: bytes) -> Refused | None:
        """None where what is in place is as young as if it had just been made: gc deletes old ones that nothing names."""
        try:
            return None if renew_blob(self.store, key, content) else _LOST
        except StoreError as error:
            return _refused(error)

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

    def _pause(self, attempt: int) -> None:
        self.clock.sleep(self.rng.uniform(0.05, 0.5) * (attempt + 1))


def _nonce_of(body: bytes) -> str | None:
    """Of a body that `decide` has parsed."""
    register = parse_register(body)
    return register.nonce if isinstance(register, Bundle) else None


def _refused(error: StoreError) -> Refused:
    return Refused(f"store-{error.kind.value}", str(error))
