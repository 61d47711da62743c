"""May this store carry conditional writes for us? Asked before anybody writes: a pod that tunes, an operator."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from cache_store.errors import StoreError
from cache_store.lookup import unreachable
from cache_store.objects import ObjectStore
from cache_store.probe import StoreClass, probe_store
from cache_store.register import Unreachable
from cache_store.steps import Fit, Unfit

_REASONS = {
    StoreClass.IGNORES: "store-ignores-conditions",
    StoreClass.CREATE_ONLY: "store-create-only",
    StoreClass.REJECTS: "store-unsupported",
}


@runtime_checkable
class _SpellsEtags(Protocol):
    """The S3 adapters: Ceph RGW 16 wants If-Match without quotes, which only the probe can tell."""

    etag_form: str


def check_fitness(store: ObjectStore, adapter: object, nonce: str) -> Fit | Unfit | Unreachable:
    """Probe the very prefix through `store`, and tell `adapter`, which it wraps, how ETags are spelled there."""
    if store.url.startswith("file:"):
        # atomic by construction (objects/version_files.py); a probe would only leave its traces
        return Fit()
    if isinstance(adapter, _SpellsEtags):
        adapter.etag_form = "quoted"  # an earlier probe's finding would make this one find the opposite
    try:
        found = probe_store(store, nonce)
    except StoreError as error:
        return unreachable(error)
    if found.store_class is not StoreClass.FULL:
        return Unfit(_REASONS[found.store_class], found.detail)
    if isinstance(adapter, _SpellsEtags):
        adapter.etag_form = found.etag_form
    return Fit()
