"""The states of one bundle register, as a reader sees them."""

from __future__ import annotations

from datetime import datetime

from cache_store.bundle import BadBundle, Bundle, Tombstone, check_identity
from cache_store.bundle_json import parse_register
from cache_store.dataclass import dataclass
from cache_store.identity import Identity
from cache_store.objects import Missing, StoredObject


@dataclass(frozen=True)
class Hit:
    """A bundle of exactly this identity."""

    bundle: Bundle
    etag: str


@dataclass(frozen=True)
class Vacant:
    """Nothing to use: nothing there (`base` None), or a tombstone that may be tuned over (`base` its tag)."""

    base: str | None
    date: datetime | None = None
    tombstone: Tombstone | None = None


@dataclass(frozen=True)
class Quarantined:
    """Ops said: neither use nor tune."""

    tombstone: Tombstone
    etag: str


@dataclass(frozen=True)
class Unusable:
    """There is something, and it must not be used. Pods never overwrite it: an operator looks first."""

    reason: str
    detail: str


@dataclass(frozen=True)
class Unreachable:
    """The store did not answer the question. `is_final`: asking again is pointless (denied, wrong bucket, ...)."""

    reason: str
    detail: str
    is_final: bool


RegisterState = Hit | Vacant | Quarantined | Unusable | Unreachable


def classify(answer: StoredObject | Missing, identity: Identity) -> Hit | Vacant | Quarantined | Unusable:
    """What one GET of `bundle.json` means for a pod of this identity."""
    if isinstance(answer, Missing):
        return Vacant(None, answer.date)
    try:
        register = parse_register(answer.body)
        if isinstance(register, Bundle):
            check_identity(register, identity)
            return Hit(register, answer.etag)
    except BadBundle as problem:
        return Unusable(problem.reason, problem.detail)
    if register.may_retune:
        return Vacant(answer.etag, answer.date, register)
    return Quarantined(register, answer.etag)
