"""Drives an operator's step against a store."""

from __future__ import annotations

from collections.abc import Callable

from cache_store.blobs_on_store import answer_blob
from cache_store.bundle import MAX_REGISTER_BYTES
from cache_store.claim import MAX_READ_BYTES
from cache_store.clock import Clock
from cache_store.errors import StoreError
from cache_store.identity import Address
from cache_store.lookup import unreachable
from cache_store.objects import Missing, ObjectStore, Written
from cache_store.operation_steps import (
    KeepCopy,
    Operation,
    OperationOutcome,
    OperatorAnswer,
    OperatorStep,
    ReadCopy,
    ReadRegister,
)
from cache_store.steps import Absent, Done, ReadBlob, ReadClaim, Seen, Undone, Wait, WriteBundle, WriteClaim


def operate(
    store: ObjectStore,
    address: Address,
    operation: Operation,
    clock: Clock,
    on_step: Callable[[OperatorStep], None] | None = None,
) -> OperationOutcome:
    """To the outcome. Ctrl-C between two requests leaves what was there: all that precedes the one swap is a copy."""
    try:
        step = next(operation)
        while True:
            if on_step is not None:
                on_step(step)
            step = operation.send(_answer(store, address, step, clock))
    except StopIteration as end:
        outcome: OperationOutcome = end.value
        return outcome


def _answer(store: ObjectStore, address: Address, step: OperatorStep, clock: Clock) -> OperatorAnswer:
    if isinstance(step, Wait):
        clock.sleep(step.seconds)
        return Done()
    try:
        if isinstance(step, ReadRegister):
            return _read(store, address.bundle_key, MAX_REGISTER_BYTES)
        if isinstance(step, ReadCopy):
            return _read(store, f"{address}/{step.name}", MAX_REGISTER_BYTES)
        if isinstance(step, ReadBlob):
            return answer_blob(store, address, step)
        if isinstance(step, ReadClaim):
            return _read(store, address.claim_key, MAX_READ_BYTES)
        return _write(store, address, step)
    except StoreError as error:
        return unreachable(error)


def _read(store: ObjectStore, key: str, limit_bytes: int) -> Seen | Absent:
    seen = store.get(key, limit_bytes=limit_bytes)
    if isinstance(seen, Missing):
        return Absent()
    return Seen(seen.body, seen.etag, seen.age_s, seen.last_modified)


def _write(store: ObjectStore, address: Address, step: KeepCopy | WriteBundle | WriteClaim) -> Done | Undone:
    if isinstance(step, KeepCopy):
        answer = store.put_if_absent(f"{address}/{step.name}", step.body)
    else:
        key = address.bundle_key if isinstance(step, WriteBundle) else address.claim_key
        if step.base is None:
            raise AssertionError("an operator changes what is there, and creates nothing")
        answer = store.put_if_match(key, step.body, step.base)
    return Done(answer.etag) if isinstance(answer, Written) else Undone(answer.status)
