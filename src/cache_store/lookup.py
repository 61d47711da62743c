"""One request: is there a bundle for this identity? And, where contents did not fit inline, their fetch."""

from __future__ import annotations

from collections.abc import Mapping

from cache_store.bundle import (
    MAX_REGISTER_BYTES,
    BadBundle,
    Bundle,
    Tombstone,
    check_content,
    is_copy_name,
)
from cache_store.errors import ErrorKind, StoreError
from cache_store.identity import Address, Identity
from cache_store.objects import Missing, ObjectStore
from cache_store.register import Hit, RegisterState, Unreachable, Unusable, classify


class MissingBlob(BadBundle):
    """A content that the bundle names and that is not beside it."""


def look_up(store: ObjectStore, identity: Identity) -> RegisterState:
    """The state of the register, in one request. Raises nothing for what the store did."""
    try:
        return classify(store.get(identity.address.bundle_key, limit_bytes=MAX_REGISTER_BYTES), identity)
    except StoreError as error:
        if error.kind is ErrorKind.TOO_LARGE:
            return Unusable("bundle-too-large", str(error))
        return unreachable(error)


def unreachable(error: StoreError) -> Unreachable:
    return Unreachable(f"store-{error.kind.value}", str(error), is_final=not error.is_retryable)


def copy_of(store: ObjectStore, identity: Identity, tombstone: Tombstone) -> dict[str, bytes]:
    """The contents of the bundle that `tombstone` took out; none where they cannot be had. Raises nothing."""
    name, address = tombstone.retired_copy, identity.address
    if name is None or not is_copy_name(name):
        return {}
    try:
        found = classify(store.get(f"{address}/{name}", limit_bytes=MAX_REGISTER_BYTES), identity)
        return fetch_contents(store, address, found.bundle) if isinstance(found, Hit) else {}
    except (StoreError, BadBundle):
        return {}


def fetch_contents(
    store: ObjectStore, address: Address, bundle: Bundle, known: Mapping[str, bytes] | None = None
) -> dict[str, bytes]:
    """Rank file -> bytes, every digest checked. Contents that are inline or `known` by digest cost no request.

    Raises as `fetch_content`.
    """
    contents = dict(known or {})
    for digest in sorted(bundle.digests - contents.keys()):
        contents[digest] = fetch_content(store, address, bundle, digest)
    return {name: contents[digest] for name, digest in bundle.ranks.items()}


def fetch_content(store: ObjectStore, address: Address, bundle: Bundle, digest: str) -> bytes:
    """One content that some rank has. One that is inline costs no request, and `parse_register` has checked it.

    Raises `BadBundle` (bundle-digest-mismatch; bundle-corrupt: a `MissingBlob`) and `StoreError`.
    """
    if digest in bundle.files:
        return bundle.files[digest].encode()
    answer = store.get(address.blob_key(digest), limit_bytes=bundle.blobs[digest])
    if isinstance(answer, Missing):
        raise MissingBlob("bundle-corrupt", f"blob {digest} is not there")
    check_content(answer.body, digest)
    return answer.body
