"""Reads one bundle with everything that belongs to it, and checks all of it."""

from __future__ import annotations

from cache_store.bundle import MAX_REGISTER_BYTES
from cache_store.errors import ErrorKind, StoreError
from cache_store.identity import Address
from cache_store.objects import Missing, ObjectStore
from cache_store.operation_steps import Refused
from cache_store.parcel import LeftOut, Parcel, blobs_of, open_register, pack_parcel

# what one object's content or rights can cause; with anything else the store itself is in trouble
_ABOUT_ONE_OBJECT = frozenset({ErrorKind.TOO_LARGE, ErrorKind.CORRUPT, ErrorKind.DENIED})


def take_bundle(store: ObjectStore, address: Address) -> Parcel | LeftOut:
    """One GET, and one for each blob. Raises `StoreError` where going on with other bundles is pointless."""
    try:
        answer = store.get(address.bundle_key, limit_bytes=MAX_REGISTER_BYTES)
        if isinstance(answer, Missing):
            return LeftOut(address, "not-found", "there is no bundle")
        bundle = open_register(address, answer.body)
        if isinstance(bundle, LeftOut):
            return bundle
        blobs: dict[str, bytes | None] = {}
        for digest in blobs_of(bundle):
            blob = store.get(address.blob_key(digest), limit_bytes=bundle.blobs[digest])
            blobs[digest] = None if isinstance(blob, Missing) else blob.body
        return pack_parcel(address, bundle, answer.body, blobs)
    except StoreError as error:
        if error.kind not in _ABOUT_ONE_OBJECT:
            raise
        reason = "bundle-too-large" if error.kind is ErrorKind.TOO_LARGE else f"store-{error.kind.value}"
        return LeftOut(address, reason, str(error))


def still_there(store: ObjectStore, parcel: Parcel) -> Refused | None:
    """Whether the source has it yet, byte for byte: somebody may have retired it since it was taken."""
    try:
        answer = store.get(parcel.address.bundle_key, limit_bytes=MAX_REGISTER_BYTES)
    except StoreError as error:
        return Refused(f"store-{error.kind.value}", f"the source: {error}")
    if isinstance(answer, Missing) or answer.body != parcel.body:
        return Refused("source-changed", "the source was changed while it was copied; look again")
    return None
