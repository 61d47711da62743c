"""Reads what `collecting` wants to know of an address, and does what it decided. One delete a request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from cache_store.bundle import MAX_REGISTER_BYTES, BadBundle, Bundle, Tombstone
from cache_store.bundle_json import parse_register
from cache_store.chance import Chance
from cache_store.claim import MAX_READ_BYTES, Claim, UnreadableClaim, parse_claim
from cache_store.clock import Clock
from cache_store.collecting import Found, Objects, Verdict, needs_copies
from cache_store.emptying import Answer, Emptier, LookAt, Remove, Step, Swept
from cache_store.errors import ErrorKind, StoreError
from cache_store.identity import BUNDLE_NAME, CLAIM_NAME, Address
from cache_store.layout import PROBES
from cache_store.lookup import unreachable
from cache_store.objects import KIB, Missing, ObjectStore, StoredObject
from cache_store.operate import answer_step
from cache_store.operation_steps import KeepCopy, ReadCopy, ReadRegister
from cache_store.steps import Absent, Done, ReadClaim, Wait, WriteBundle, WriteClaim
from cache_store.use_record import MAX_RECORD_BYTES, BadUseRecord, UseRecord, is_record_key, parse_record


def server_now(store: ObjectStore, nonce: str, local: Callable[[], datetime]) -> datetime:
    """What time it is there: when an object was written that has just been. Raises `StoreError`.

    Ages decide here what is deleted, so the clock of this computer does not.
    """
    key = f"{PROBES}{nonce}-gc"
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
        claim = _read_claim(store, address, tags)
    return Found(register, is_unreadable, claim, _referenced(store, objects, register), tags)


def _read_claim(store: ObjectStore, address: Address, tags: dict[str, str]) -> Claim | UnreadableClaim | None:
    try:
        found = store.get(address.claim_key, limit_bytes=MAX_READ_BYTES)
    except StoreError as error:
        if error.kind is not ErrorKind.TOO_LARGE:
            raise
        return UnreadableClaim(f"more than {MAX_READ_BYTES} bytes")
    if isinstance(found, Missing):
        return None
    tags[CLAIM_NAME] = found.etag
    return parse_claim(found.body)


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


def sweep(
    store: ObjectStore,
    verdict: Verdict,
    *,
    clock: Clock,
    rng: Chance,
    nonce: Callable[[], str],
    delete_once: Callable[[str], None] | None = None,
    on_step: Callable[[Step], None] = lambda _step: None,
) -> Swept:
    """Do what was decided (clean or forget). Raises nothing for the store; `Cancelled`: a claim of gc's then runs out.

    `delete_once` is the store's `delete` without patience: one that is sent again by itself would go unseen.
    """
    delete = delete_once or store.delete
    emptier = Emptier(verdict, rng=rng, nonce=nonce, monotonic=clock.monotonic, now=clock.now)
    emptying = emptier.run()
    try:
        step = next(emptying)
        while True:
            on_step(step)
            step = emptying.send(_answer(store, verdict.address, step, clock, delete))
    except StopIteration as end:
        swept: Swept = end.value
        return swept


def _answer(
    store: ObjectStore, address: Address, step: Step, clock: Clock, delete: Callable[[str], None]
) -> Answer:
    try:
        if isinstance(step, Remove):
            delete(f"{address}/{step.name}")
            return Done()
        if isinstance(step, LookAt):
            key = f"{address}/{step.name}"
            return next((entry for entry in store.list(key) if entry.key == key), Absent())
    except StoreError as error:
        return unreachable(error)
    if isinstance(step, ReadRegister | ReadCopy | KeepCopy | ReadClaim | WriteBundle | WriteClaim | Wait):
        return answer_step(store, address, step, clock)
    raise AssertionError(f"nothing of gc's asks for {type(step).__name__}")


def delete_keys(
    store: ObjectStore, keys: Sequence[str], advance: Callable[[], None] = lambda: None
) -> tuple[int, StoreError | None]:
    """How many went, and what stopped it."""
    for number, key in enumerate(keys):
        try:
            store.delete(key)
        except StoreError as error:
            return number, error
        advance()
    return len(keys), None
