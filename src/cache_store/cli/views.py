"""From nouns to the JSON that more than one command prints. Pure. docs/schemas/cache-store-*.schema.json is the contract."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from cache_store.bundle import BadBundle, Bundle, IdentityRecord, Tombstone
from cache_store.bundle_json import parse_register
from cache_store.dataclass import dataclass
from cache_store.errors import ErrorKind
from cache_store.identity import Address
from cache_store.objects import Missing, StoredObject


@dataclass(frozen=True)
class Unread:
    """One object that could not be read, while others can."""

    kind: ErrorKind
    detail: str


ObjectAnswer = StoredObject | Missing | Unread


@dataclass(frozen=True)
class Age:
    """Seconds since an object was written; `clock` says by whose clock: "server", "local", or None for unknown.

    The local clock stands in where an adapter does not hand out the server's Date (obstore): good for reading, and
    never what a lease is judged by in a pod.
    """

    seconds: float | None = None
    clock: str | None = None


def age_of(answer: ObjectAnswer, now: datetime) -> Age:
    if not isinstance(answer, StoredObject):
        return Age()
    if answer.age_s is not None:
        return Age(answer.age_s, "server")
    if answer.last_modified is None:
        return Age()
    return Age(max(0.0, (now - answer.last_modified).total_seconds()), "local")


@dataclass(frozen=True)
class Reading:
    """One register as it was found.

    `state`: published | tombstone | quarantined | claimed-only (no bundle.json, but a claim.json) | orphaned (neither,
    but other objects) | unreadable. `problem` and `detail` say why it is unreadable; `problem` is stable.
    """

    state: str
    register: Bundle | Tombstone | None = None
    problem: str | None = None
    detail: str | None = None

    @property
    def bundle(self) -> Bundle | None:
        return self.register if isinstance(self.register, Bundle) else None

    @property
    def tombstone(self) -> Tombstone | None:
        return self.register if isinstance(self.register, Tombstone) else None

    @property
    def is_denied(self) -> bool:
        return self.problem == f"store-{ErrorKind.DENIED.value}"


def reading_of(address: Address, answer: ObjectAnswer, *, has_claim: bool) -> Reading:
    """What one GET of `bundle.json` means to an operator."""
    if isinstance(answer, Missing):
        return Reading("claimed-only" if has_claim else "orphaned")
    if isinstance(answer, Unread):
        problem = "bundle-too-large" if answer.kind is ErrorKind.TOO_LARGE else f"store-{answer.kind.value}"
        return Reading("unreadable", problem=problem, detail=answer.detail)
    try:
        register = parse_register(answer.body)
    except BadBundle as error:
        return Reading("unreadable", problem=error.reason, detail=error.detail)
    if isinstance(register, Tombstone):
        return Reading("tombstone" if register.may_retune else "quarantined", register)
    if register.identity.stated_address != address:
        return Reading(
            "unreadable", problem="bundle-foreign", detail=f"it describes {register.identity.stated_address}"
        )
    return Reading("published", register)


def address_view(address: Address) -> dict[str, Any]:
    return {
        "address": str(address),
        "flashinfer_version": address.flashinfer_version,
        "arch": address.arch,
        "key": address.key,
        "environment": address.environment,
    }


def text_of_input(value: str | int | bool | None) -> str:
    """One input of a key as an engine's flag would have it; None is "none"."""
    return "none" if value is None else str(value)


def model_of(identity: IdentityRecord) -> str | None:
    """What is served: SGLang's input is called model_path, vLLM's model; FlashInfer's own store knows a workload's hash alone."""
    inputs = identity.key_inputs
    named = inputs.get("model_path") or inputs.get("model")
    if named:
        return str(named)
    workload = inputs.get("workload")
    return f"workload {str(workload)[:12]}" if workload else None


def engine_of(bundle: Bundle) -> str:
    return f"{bundle.identity.engine} {bundle.provenance.engine_version}".strip()
