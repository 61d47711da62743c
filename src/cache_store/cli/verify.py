"""`cache-store verify`: is every bundle what it says it is? One GET a bundle and one for each content outside of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import click

from cache_store.bundle import MAX_REGISTER_BYTES, Bundle, Tombstone
from cache_store.cli import output
from cache_store.cli.addressing import choose, parse
from cache_store.cli.help_text import ALWAYS, epilog
from cache_store.cli.session import Session, problem_of, store_options
from cache_store.cli.survey import in_parallel, list_inventory, read_object
from cache_store.cli.views import Unread, address_view
from cache_store.errors import ErrorKind, StoreError
from cache_store.exit_codes import OF_ERROR, ExitCode
from cache_store.identity import Address
from cache_store.inventory import is_key_prefix
from cache_store.objects import Missing, ObjectStore
from cache_store.verification import Finding, examine_blob, examine_leftovers, examine_register

SCHEMA = "autotune-cache/verify/v1"
NEEDS_LIST = (
    "verifying a whole bucket, or by a part of a key, needs the right to list (s3:ListBucket on the bucket); "
    "full addresses do without"
)
# what decides the exit status when several things are wrong
_GRAVEST_FIRST = (
    ExitCode.CORRUPT,
    ExitCode.DENIED,
    ExitCode.USAGE,
    ExitCode.NOT_FOUND,
)

_EXAMPLES = """
verify
verify 0.7.2/sm90/0123456789abcdef/nvidia-h200-0123456789ab
verify --json | jq -r '.bundles[] | select(.verdict != "sound") | .address'
"""


@dataclass(frozen=True)
class Target:
    """A bundle to look at. `stored`: the blobs that a listing shows, None where there was no listing."""

    address: Address
    stored: frozenset[str] | None = None


@dataclass(frozen=True)
class Verdict:
    """`name`: sound | corrupt | unread (the store would not hand it out) | missing."""

    address: Address
    name: str
    exit_code: ExitCode
    state: str | None = None
    read_bytes: int = 0
    findings: tuple[Finding, ...] = ()


@click.command(
    short_help="Check bundles.",
    epilog=epilog(ExitCode.OK, ExitCode.CORRUPT, ExitCode.NOT_FOUND, *ALWAYS, examples=_EXAMPLES),
)
@click.argument("addresses", metavar="[ADDRESS]...", nargs=-1)
@store_options
@click.pass_obj
def verify(session: Session, addresses: tuple[str, ...]) -> int:
    """Check bundles, all of them or those at ADDRESS (a full address, or the beginning of a key that fits one only).

    Size, nesting and schema of bundle.json; that its identity is its address; every digest; that every rank file is
    JSON whose _metadata is the bundle's environment. Nothing is changed. Not checked: whether a tactic is any good.
    """
    with session.store() as store:
        targets = _targets(store, addresses)
        verdicts = list(in_parallel(partial(_verify, store), targets))
        url = store.url
    counts = {
        name: sum(one.name == name for one in verdicts) for name in ("sound", "corrupt", "unread", "missing")
    }
    if session.is_json:
        output.emit_json(
            {"schema": SCHEMA, "store": url, "counts": counts, "bundles": [_view(one) for one in verdicts]}
        )
    else:
        output.emit_lines(line for one in verdicts for line in _lines(one))
        output.tell(f"{url}: " + ", ".join(f"{count} {name}" for name, count in counts.items()))
    found = {one.exit_code for one in verdicts}
    return next((code for code in _GRAVEST_FIRST if code in found), ExitCode.OK)


def _targets(store: ObjectStore, addresses: Sequence[str]) -> list[Target]:
    if addresses and not any(map(is_key_prefix, addresses)):
        return [Target(parse(text)) for text in addresses]
    try:
        inventory = list_inventory(store, "")
    except StoreError as error:
        raise problem_of(error, NEEDS_LIST if error.kind is ErrorKind.DENIED else None) from error
    stored = {row.address: row.blobs for row in inventory.rows}
    if not addresses:
        return [Target(row.address, row.blobs) for row in inventory.rows if row.bundle is not None]
    wanted = [choose(inventory, text) if is_key_prefix(text) else parse(text) for text in addresses]
    return [Target(address, stored.get(address, frozenset())) for address in wanted]


def _verify(store: ObjectStore, target: Target) -> Verdict:
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
        return _verify_blobs(store, target, examined.register, verdict)
    return verdict


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


def _view(verdict: Verdict) -> dict[str, Any]:
    return {
        **address_view(verdict.address),
        "verdict": verdict.name,
        "state": verdict.state,
        "read_bytes": verdict.read_bytes,
        "findings": [
            {"code": one.code, "where": one.where, "detail": one.detail, "is_corrupt": one.is_corrupt}
            for one in verdict.findings
        ],
    }


def _lines(verdict: Verdict) -> Iterator[str]:
    yield f"{verdict.name:<8} {verdict.address}"
    for one in verdict.findings:
        yield f"    {one.code}: {one.where}: {one.detail}"
