"""Reads one bundle and everything it names, and says whether it is sound."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cache_store.bundle import MAX_REGISTER_BYTES, Bundle, Tombstone, digest_of
from cache_store.cli.survey import read_object
from cache_store.cli.views import Unread, address_view
from cache_store.dataclass import dataclass, replace
from cache_store.errors import ErrorKind
from cache_store.exit_codes import OF_ERROR, ExitCode
from cache_store.identity import Address
from cache_store.objects import Missing, ObjectStore
from cache_store.verification import Finding, examine_blob, examine_leftovers, examine_register

# what is read without a listing may have any size: four at once
NOT_LISTED_BYTES = MAX_REGISTER_BYTES // 4
UNKNOWN_SCHEMA = "bundle-unknown-schema"


@dataclass(frozen=True)
class Target:
    """A bundle to look at. `stored`: the blobs that a listing shows, None where there was no listing.

    `size_bytes` is how much there is to read, where a listing tells it. `version` tells one bundle.json from the next at the same address, as the listing does; None where it cannot.
    """

    address: Address
    stored: frozenset[str] | None = None
    version: str | None = None
    size_bytes: int = NOT_LISTED_BYTES


@dataclass(frozen=True)
class Verdict:
    """`name`: sound | corrupt | unknown (of a schema that this release does not know, and a newer one may) | unread (the
    store would not hand it out) | missing.

    `digest` is of the bundle.json that was looked at, where something is wrong with it. `is_remembered`: it was found
    sound in an earlier run, and has not been written since.
    """

    address: Address
    name: str
    exit_code: ExitCode
    state: str | None = None
    read_bytes: int = 0
    findings: tuple[Finding, ...] = ()
    digest: str | None = None
    is_remembered: bool = False


def remembered(target: Target) -> Verdict:
    return Verdict(target.address, "sound", ExitCode.OK, is_remembered=True)


def verify_bundle(store: ObjectStore, target: Target) -> Verdict:
    """Every request and every check of one bundle."""
    address = target.address
    answer = read_object(store, address.bundle_key, limit_bytes=MAX_REGISTER_BYTES)
    if isinstance(answer, Missing):
        finding = Finding("bundle-missing", "bundle.json", "there is no such object", is_corrupt=False)
        return Verdict(address, "missing", ExitCode.NOT_FOUND, findings=(finding,))
    if isinstance(answer, Unread):
        return _unread(Verdict(address, "sound", ExitCode.OK), "bundle.json", answer)
    examined = examine_register(address, answer.body)
    verdict = _judged(
        Verdict(address, "sound", ExitCode.OK, _state(examined.register), len(answer.body)), examined.findings
    )
    if isinstance(examined.register, Bundle):
        verdict = _verify_blobs(store, target, examined.register, verdict)
    return replace(verdict, digest=digest_of(answer.body)) if verdict.name == "corrupt" else verdict


def _verify_blobs(store: ObjectStore, target: Target, bundle: Bundle, verdict: Verdict) -> Verdict:
    for digest in sorted(bundle.digests & bundle.blobs.keys()):
        where = f"blobs/{digest}"
        answer = read_object(store, target.address.blob_key(digest), limit_bytes=bundle.blobs[digest])
        if isinstance(answer, Unread):
            verdict = _unread(verdict, where, answer)
            continue
        body = None if isinstance(answer, Missing) else answer.body
        verdict = replace(verdict, read_bytes=verdict.read_bytes + len(body or b""))
        verdict = _judged(verdict, tuple(examine_blob(bundle, digest, body)))
    return _judged(verdict, tuple(examine_leftovers(bundle, target.stored or frozenset())))


def _judged(verdict: Verdict, findings: tuple[Finding, ...]) -> Verdict:
    verdict = replace(verdict, findings=verdict.findings + findings)
    if any(finding.code == UNKNOWN_SCHEMA for finding in findings):
        return replace(verdict, name="unknown", exit_code=ExitCode.CORRUPT)
    if any(finding.is_corrupt for finding in findings):
        return replace(verdict, name="corrupt", exit_code=ExitCode.CORRUPT)
    return verdict


def _unread(verdict: Verdict, where: str, answer: Unread) -> Verdict:
    """Larger than it may be is corrupt; anything else says nothing about the bytes."""
    if answer.kind is ErrorKind.TOO_LARGE:
        code = "bundle-too-large" if where == "bundle.json" else "blob-too-large"
        return _judged(verdict, (Finding(code, where, answer.detail),))
    finding = Finding(f"store-{answer.kind.value}", where, answer.detail, is_corrupt=False)
    verdict = replace(verdict, findings=(*verdict.findings, finding))
    return (
        verdict
        if verdict.name == "corrupt"
        else replace(verdict, name="unread", exit_code=OF_ERROR[answer.kind])
    )


def _state(register: Bundle | Tombstone | None) -> str:
    if isinstance(register, Tombstone):
        return "tombstone" if register.may_retune else "quarantined"
    return "published" if register else "unreadable"


def verdict_view(verdict: Verdict) -> dict[str, Any]:
    return {
        **address_view(verdict.address),
        "verdict": verdict.name,
        "state": verdict.state,
        "read_bytes": verdict.read_bytes,
        "is_remembered": verdict.is_remembered,
        "findings": [
            {"code": one.code, "where": one.where, "detail": one.detail, "is_corrupt": one.is_corrupt}
            for one in verdict.findings
        ],
    }


def verdict_lines(verdict: Verdict) -> Iterator[str]:
    before = "  (before, and not written since)" if verdict.is_remembered else ""
    yield f"{verdict.name:<8} {verdict.address}{before}"
    for one in verdict.findings:
        yield f"    {one.code}: {one.where}: {one.detail}"
