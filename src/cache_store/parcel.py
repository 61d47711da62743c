"""One bundle with all that belongs to it, as it is carried from one store to another. Pure.

A parcel is sound: its bytes passed what `verification` asks, at the address that they are for. What may be done with it
where something lies already is decided here, and carried out in `placing_bundles`.
"""

from __future__ import annotations

from collections.abc import Mapping

from cache_store.bundle import BadBundle, Bundle, Tombstone
from cache_store.bundle_json import parse_register, revised
from cache_store.dataclass import dataclass
from cache_store.identity import Address
from cache_store.operation_steps import Refused, Unchanged
from cache_store.store_entries import path_in_store
from cache_store.verification import STORE_KEY_TEXT, Finding, examine_blob, examine_register

ABSENT = "absent"
PUBLISHED = "published"
RETIRED = "retired"
QUARANTINED = "quarantined"


@dataclass(frozen=True)
class Parcel:
    """`body` is bundle.json as it was stored, byte for byte. `blobs`: digest -> content."""

    address: Address
    bundle: Bundle
    body: bytes
    blobs: Mapping[str, bytes]

    @property
    def contents(self) -> dict[str, bytes]:
        """Rank file -> content."""
        return {name: self.content(digest) for name, digest in self.bundle.ranks.items()}

    @property
    def placed(self) -> dict[str, bytes]:
        """Path below the engine's directory -> content, as the init container lays them out."""
        if not self.bundle.identity.key_text.startswith(STORE_KEY_TEXT):
            return self.contents
        return {path_in_store(name): content for name, content in self.contents.items()}

    def content(self, digest: str) -> bytes:
        """Of a digest that some rank has."""
        return self.blobs[digest] if digest in self.blobs else self.bundle.files[digest].encode()


@dataclass(frozen=True)
class LeftOut:
    """A bundle that is not carried. `reason`: retired | quarantined | not-found | store-<kind> | a finding of `verify`."""

    address: Address
    reason: str
    detail: str

    @property
    def is_out_of_service(self) -> bool:
        """Ops took it out: nothing is wrong with it, or with the store."""
        return self.reason in (RETIRED, QUARANTINED)


def blobs_of(bundle: Bundle) -> tuple[str, ...]:
    """The contents that lie beside bundle.json and that some rank uses."""
    return tuple(sorted(bundle.digests & bundle.blobs.keys()))


def open_register(address: Address, body: bytes) -> Bundle | LeftOut:
    """The published bundle that `body` is, as far as its own bytes show."""
    examined = examine_register(address, body)
    register = examined.register
    if problem := _first_corrupt(examined.findings):
        return LeftOut(address, problem.code, f"{problem.where}: {problem.detail}")
    if isinstance(register, Tombstone):
        return LeftOut(address, RETIRED if register.may_retune else QUARANTINED, register.reason)
    if register is None:
        raise AssertionError("bytes that are no register have a finding that says so")
    return register


def pack_parcel(
    address: Address, bundle: Bundle, body: bytes, blobs: Mapping[str, bytes | None]
) -> Parcel | LeftOut:
    """`bundle` with its blobs, if those are sound, too; None for one that is not there."""
    carried: dict[str, bytes] = {}
    for digest in blobs_of(bundle):
        content = blobs.get(digest)
        if problem := _first_corrupt(tuple(examine_blob(bundle, digest, content))):
            return LeftOut(address, problem.code, f"{problem.where}: {problem.detail}")
        if content is not None:
            carried[digest] = content
    return Parcel(address, bundle, body, carried)


def _first_corrupt(findings: tuple[Finding, ...]) -> Finding | None:
    return next((one for one in findings if one.is_corrupt), None)


@dataclass(frozen=True)
class Write:
    """It may be written: over nothing, or (`before` retired) over the tombstone that was seen."""

    before: str


def decide(parcel: Parcel, found: bytes | None, *, over_retired: bool) -> Write | Unchanged | Refused:
    """What may be done where `found` lies. A published bundle and a quarantine are never overwritten."""
    if found is None:
        return Write(ABSENT)
    try:
        register = parse_register(found)
    except BadBundle as problem:
        return Refused(problem.reason, f"what lies there cannot be read, and stays: {problem.detail}")
    if isinstance(register, Bundle):
        return _beside(parcel, register)
    if not register.may_retune:
        return Refused(QUARANTINED, f"it is quarantined there: {register.reason}")
    if not over_retired:
        return Refused(
            RETIRED, f"it was retired there ({register.reason}); --over-retired puts it in service"
        )
    return Write(RETIRED)


def _beside(parcel: Parcel, register: Bundle) -> Unchanged | Refused:
    if register.identity.address != parcel.address:
        return Refused("bundle-foreign", f"what lies there describes {register.identity.address}")
    if register.ranks == parcel.bundle.ranks:
        is_same = register.nonce == parcel.bundle.nonce
        return Unchanged(PUBLISHED, "the same bundle" if is_same else "the same files, published separately")
    return Refused(
        "occupied",
        f"another bundle is published there (epoch {register.epoch}, by {register.provenance.holder})",
    )


def renewed(parcel: Parcel, nonce: str) -> bytes | Refused:
    """`bundle.json` under a nonce of its own, and nothing else changed.

    For a place where it may have been before: an ETag is the MD5 of the body, and a bundle put back byte for byte would
    satisfy conditions that somebody holds from then.
    """
    try:
        return revised(parcel.body, lambda document: document.update(nonce=nonce))
    except BadBundle as problem:
        return Refused(problem.reason, problem.detail)
