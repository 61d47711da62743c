"""What the bucket holds for the addresses of a fleet: one GET each, and a second one for the claim of a missing one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import partial
from typing import Any

from cache_store.bundle import MAX_REGISTER_BYTES
from cache_store.claim import MAX_READ_BYTES, Rules
from cache_store.cli.claim_view import claim_view
from cache_store.cli.survey import in_parallel, read_object
from cache_store.cli.views import Reading, reading_of
from cache_store.dataclass import dataclass
from cache_store.identity import Address
from cache_store.objects import Missing, ObjectStore


@dataclass(frozen=True)
class Found:
    """`state` is hit or miss; what a miss means for a prewarm is its `reason`:

    miss, retired (may be tuned again), claimed (somebody tunes; `holder`, `since_s`), cooling-down, quarantined, or
    that of an object which must be looked at first (bundle-corrupt, store-denied, ...).
    """

    state: str
    reason: str
    detail: str = ""
    tune_s: float | None = None
    holder: str | None = None
    since_s: float | None = None


def look_up_all(store: ObjectStore, addresses: Iterable[Address], now: datetime) -> dict[Address, Found]:
    """Raises `StoreError` where the store itself is in trouble."""
    wanted = sorted(set(addresses))
    return dict(zip(wanted, in_parallel(partial(_look_up, store, now), wanted), strict=True))


def _look_up(store: ObjectStore, now: datetime, address: Address) -> Found:
    answer = read_object(store, address.bundle_key, limit_bytes=MAX_REGISTER_BYTES)
    reading = reading_of(address, answer, has_claim=False)
    settled = of_register(reading)
    if settled is not None:
        return settled
    claim = read_object(store, address.claim_key, limit_bytes=MAX_READ_BYTES)
    view = None if isinstance(claim, Missing) else claim_view(claim, now, Rules())
    return of_claim(reading, view)


def of_register(reading: Reading) -> Found | None:
    """None where somebody may be tuning it. Pure."""
    if reading.bundle is not None:
        reason = "empty" if reading.bundle.is_empty else "found"
        return Found("hit", reason, tune_s=reading.bundle.provenance.tune_s)
    if reading.state == "quarantined" and reading.tombstone is not None:
        stone = reading.tombstone
        return Found("miss", "quarantined", f"{stone.reason} (by {stone.retired_by})")
    if reading.state == "unreadable":
        return Found("miss", reading.problem or "bundle-corrupt", reading.detail or "")
    return None


def of_claim(reading: Reading, view: Mapping[str, Any] | None) -> Found:
    """What a register without a bundle means beside this claim. Pure."""
    stone = reading.tombstone
    if view is not None and view["verdict"] == "held":
        age_s, held_s = view["age_s"], view["held_s"]
        return Found(
            "miss",
            "claimed",
            "somebody is tuning it",
            holder=view["holder"],
            # the age is the last renewal's; held_s is how long it had been held by then
            since_s=None if age_s is None else age_s + (held_s or 0.0),
        )
    if view is not None and view["verdict"] == "cooling-down":
        return Found("miss", "cooling-down", f"the last tune failed: {view['error'] or 'unknown'}")
    if stone is not None:
        return Found("miss", "retired", f"{stone.reason} (by {stone.retired_by})")
    return Found("miss", "miss")
