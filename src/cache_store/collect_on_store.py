"""Reads what `collecting` wants to know of an address, and does what it decided. One delete a request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from cache_store.bundle import MAX_REGISTER_BYTES, BadBundle, Bundle, Tombstone
from cache_store.bundle_json import parse_register
from cache_store.claim import MAX_READ_BYTES, parse_claim
from cache_store.collecting import Found, Objects, Verdict, needs_copies
from cache_store.dataclass import dataclass
from cache_store.errors import ErrorKind, StoreError
from cache_store.identity import BUNDLE_NAME, CLAIM_NAME
from cache_store.objects import KIB, Missing, ObjectStore, StoredObject
from cache_store.probe import FOLDER
from cache_store.use_record import MAX_RECORD_BYTES, BadUseRecord, UseRecord, is_record_key, parse_record


@dataclass(frozen=True)
class Swept:
    """What came of one verdict. `problem`: why it was not done, or not to the end; stable, then a detail."""

    verdict: Verdict
    deleted: int = 0
    problem: str | None = None
    detail: str = ""


def server_now(store: ObjectStore, nonce: str, local: Callable[[], datetime]) -> datetime:
    """What time it is there: when an object was written that has just been. Raises `StoreError`.

    Ages decide here what is deleted, so the clock of this computer does not.
    """
    key = f"{FOLDER}{nonce}-gc"
    store.put_if_absent(key, nonce.encode())
    try:
        seen = store.get(key, limit_bytes=KIB)
    finally:
        store.delete(key)
    if isinstance(seen, Missing):
        return local()
    return seen.last_modified or seen.date or local()


def read_address(store: ObjectStore, objects: Objects) -> Found:
    """Two GETs at most, and one for each retired copy where there are blobs. Raises `StoreError`."""
    address, tags = objects.address, dict[str, str]()
    register: Bundle | Tombstone | None = None
    is_unreadable = False
    if BUNDLE_NAME in objects.entries:
        try:
            seen = store.get(address.bundle_key, limit_bytes=MAX_REGISTER_BYTES)
            if isinstance(seen, StoredObject):
                tags[BUNDLE_NAME] = seen.etag
                register = parse_register(seen.body)
        except BadBundle:
            is_unreadable = True
        except StoreError as error:
            if error.kind is not ErrorKind.TOO_LARGE:
                raise
            is_unreadable = True
    claim = None
    if CLAIM_NAME in objects.entries:
        found = store.get(address.claim_key, limit_bytes=MAX_READ_BYTES)
        if isinstance(found, StoredObject):
            tags[CLAIM_NAME] = found.etag
            claim = parse_claim(found.body)
    return Found(register, is_unreadable, claim, _referenced(store, objects, register), tags)


def _referenced(
    store: ObjectStore, objects: Objects, register: Bundle | Tombstone | None
) -> frozenset[str] | None:
    named = set(register.blobs) if isinstance(register, Bundle) else set[str]()
    for name in needs_copies(objects):
        try:
            seen = store.get(f"{objects.address}/{name}", limit_bytes=MAX_REGISTER_BYTES)
            kept = parse_register(seen.body) if isinstance(seen, StoredObject) else None
        except (BadBundle, StoreError):
            return None
        if isinstance(kept, Bundle):
            named.update(kept.blobs)
    return frozenset(named)


def read_record(store: ObjectStore, key: str) -> UseRecord | None:
    """One pod's record; None for what is none, or is gone. Raises `StoreError` where the store is in trouble."""
    if not is_record_key(key):
        return None
    try:
        seen = store.get(key, limit_bytes=MAX_RECORD_BYTES)
        return parse_record(seen.body) if isinstance(seen, StoredObject) else None
    except BadUseRecord:
        return None
    except StoreError as error:
        if error.kind is ErrorKind.TOO_LARGE:
            return None
        raise


def sweep(store: ObjectStore, verdict: Verdict) -> Swept:
    """Delete what may go. Before an address is forgotten it is looked at once more. Raises nothing for the store."""
    deleted = 0
    try:
        if verdict.action == "forget" and not _is_untouched(store, verdict):
            return Swept(verdict, 0, "changed-meanwhile", "somebody wrote there after it was looked at")
        for name in verdict.names:
            store.delete(f"{verdict.address}/{name}")
            deleted += 1
    except StoreError as error:
        return Swept(verdict, deleted, f"store-{error.kind.value}", str(error))
    return Swept(verdict, deleted)


def _is_untouched(store: ObjectStore, verdict: Verdict) -> bool:
    limits = {BUNDLE_NAME: MAX_REGISTER_BYTES, CLAIM_NAME: MAX_READ_BYTES}
    for name, limit_bytes in limits.items():
        seen = store.get(f"{verdict.address}/{name}", limit_bytes=limit_bytes)
        if (seen.etag if isinstance(seen, StoredObject) else None) != verdict.tags.get(name):
            return False
    return True


def delete_keys(store: ObjectStore, keys: Sequence[str]) -> tuple[int, StoreError | None]:
    """How many went, and what stopped it."""
    for number, key in enumerate(keys):
        try:
            store.delete(key)
        except StoreError as error:
            return number, error
    return len(keys), None
