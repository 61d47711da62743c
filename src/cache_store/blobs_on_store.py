"""Asks a store about one content beside bundle.json."""

from __future__ import annotations

from cache_store.identity import Address
from cache_store.objects import Missing, ObjectStore, Written
from cache_store.steps import Absent, Done, ReadBlob, Seen, Undone, WriteBlob


def answer_blob(
    store: ObjectStore, address: Address, step: WriteBlob | ReadBlob
) -> Seen | Absent | Done | Undone:
    """Raises `StoreError`."""
    key = address.blob_key(step.digest)
    if isinstance(step, ReadBlob):
        found = store.get(key, limit_bytes=step.limit_bytes)
        if isinstance(found, Missing):
            return Absent()
        return Seen(found.body, found.etag, found.age_s, found.last_modified)
    answer = store.put_if_absent(key, step.body)
    return Done(answer.etag) if isinstance(answer, Written) else Undone(answer.status)
