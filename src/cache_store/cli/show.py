"""`cache-store show`: one bundle in clear. With a full address it needs no LIST: one GET of the bundle, one of the claim."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import click

from cache_store.bundle import MAX_REGISTER_BYTES, BadBundle, Bundle, CoverageRecord
from cache_store.claim import MAX_READ_BYTES, Rules
from cache_store.cli import output
from cache_store.cli.addressing import resolve
from cache_store.cli.claim_view import claim_view
from cache_store.cli.clocks import tell_clock, verdict_text
from cache_store.cli.help_text import ALWAYS, epilog
from cache_store.cli.session import Problem, Session, store_options
from cache_store.cli.survey import in_parallel, read_object
from cache_store.cli.views import (
    ObjectAnswer,
    Reading,
    address_view,
    age_of,
    reading_of,
    text_of_input,
)
from cache_store.exit_codes import ExitCode
from cache_store.identity import Address
from cache_store.lookup import MissingBlob, fetch_content
from cache_store.objects import Missing, ObjectStore, StoredObject

SCHEMA = "autotune-cache/show/v1"
MOST_OF_A_REASON = 500
_OF_TOMBSTONE = ("reason", "retired_by", "retired_at", "may_retune", "retired_copy")

_EXAMPLES = """
show 0.7.2/sm90/0123456789abcdef/nvidia-h200-0123456789ab
show 0123 --json | jq .identity
show 0123 --file rank_tp0_pp0_dp0.json > rank_tp0_pp0_dp0.json
"""


@click.command(
    short_help="Show one bundle.",
    epilog=epilog(ExitCode.OK, ExitCode.CORRUPT, ExitCode.NOT_FOUND, *ALWAYS, examples=_EXAMPLES),
)
@click.argument("address")
@click.option(
    "--file",
    "rank",
    metavar="RANK",
    help="Print the bytes of this rank file instead, checked against its digest.",
)
@store_options
@click.pass_obj
def show(session: Session, address: str, rank: str | None) -> int:
    """Show one bundle: every input of its key and environment, its rank files, what it covers, who made it, its claim.

    ADDRESS is a full address as `ls` prints it, or the beginning of a key that fits one bundle only (this needs the
    right to list).
    """
    if rank is not None and session.is_json:
        raise Problem("usage", "--file prints the file's bytes: leave out --json", ExitCode.USAGE)
    with session.store() as store:
        place = resolve(store, address)
        keys = ((place.bundle_key, MAX_REGISTER_BYTES), (place.claim_key, MAX_READ_BYTES))
        register, claim = in_parallel(lambda one: read_object(store, one[0], limit_bytes=one[1]), keys)
        reading = reading_of(place, register, has_claim=not isinstance(claim, Missing))
        if reading.state == "orphaned":
            raise Problem("not-found", f"there is no bundle and no claim at {place}", ExitCode.NOT_FOUND)
        if rank is not None:
            output.emit_bytes(_content(store, place, reading, rank))
            return ExitCode.OK
        url = store.url
    view = _view(session, url, place, register, reading)
    view["claim"] = None if isinstance(claim, Missing) else claim_view(claim, session.clock.now(), Rules())
    if session.is_json:
        output.emit_json(view)
    else:
        output.emit_lines(_lines(view))
        written = [one.last_modified for one in (register, claim) if isinstance(one, StoredObject)]
        newest = max((one for one in written if one is not None), default=None)
        tell_clock(newest, session.clock.now(), [view["claim"]] if view["claim"] else [])
    if reading.state != "unreadable":
        return ExitCode.OK
    return ExitCode.DENIED if reading.is_denied else ExitCode.CORRUPT


def _content(store: ObjectStore, place: Address, reading: Reading, rank: str) -> bytes:
    """The bytes of one rank file. Raises `Problem` (not found, corrupt) and `StoreError`."""
    bundle = reading.bundle
    if reading.state == "unreadable":
        code = ExitCode.DENIED if reading.is_denied else ExitCode.CORRUPT
        raise Problem(reading.problem or "unreadable", reading.detail or "", code)
    if bundle is None:
        raise Problem("not-found", f"{place} is {reading.state}: it has no files", ExitCode.NOT_FOUND)
    if rank not in bundle.ranks:
        known = ", ".join(sorted(bundle.ranks)) or "none: there was nothing to tune"
        raise Problem("not-found", f"no rank file {rank}; there are: {known}", ExitCode.NOT_FOUND)
    try:
        return fetch_content(store, place, bundle, bundle.ranks[rank])
    except BadBundle as problem:
        kind = "blob-missing" if isinstance(problem, MissingBlob) else problem.reason
        raise Problem(kind, problem.detail, ExitCode.CORRUPT) from None


def _view(
    session: Session, url: str, place: Address, answer: ObjectAnswer, reading: Reading
) -> dict[str, Any]:
    age = age_of(answer, session.clock.now())
    bundle, tombstone = reading.bundle, reading.tombstone
    register = reading.register
    identity = register.identity if register else None
    return {
        "schema": SCHEMA,
        "store": url,
        **address_view(place),
        "state": reading.state,
        "problem": reading.problem,
        "detail": reading.detail,
        "age_s": age.seconds,
        "age_clock": age.clock,
        "size_bytes": len(answer.body) if isinstance(answer, StoredObject) else None,
        "epoch": register.epoch if register else None,
        "nonce": register.nonce if register else None,
        "identity": vars(identity) if identity else None,
        "ranks": _ranks(bundle) if bundle else [],
        "coverage": _coverage(bundle.coverage) if bundle else None,
        "provenance": vars(bundle.provenance) if bundle else None,
        "is_signed": bundle.signature is not None if bundle else None,
        "tombstone": {name: getattr(tombstone, name) for name in _OF_TOMBSTONE} if tombstone else None,
    }


def _coverage(coverage: CoverageRecord) -> dict[str, Any]:
    return {**asdict(coverage), "completeness": coverage.completeness}


def _ranks(bundle: Bundle) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "digest": digest,
            "size_bytes": len(bundle.files[digest].encode())
            if digest in bundle.files
            else bundle.blobs[digest],
            "is_inline": digest in bundle.files,
        }
        for name, digest in sorted(bundle.ranks.items())
    ]


def _lines(view: dict[str, Any]) -> Iterator[str]:
    age = output.for_people_seconds(view["age_s"])
    yield f"address      {view['address']}"
    yield f"state        {view['state']}" + (
        f" ({view['problem']}: {view['detail']})" if view["problem"] else ""
    )
    if view["epoch"] is not None:
        yield f"written      {age} ago, epoch {view['epoch']}, nonce {view['nonce']}"
    if view["tombstone"]:
        gone = view["tombstone"]
        done, at = "retired" if gone["may_retune"] else "quarantined", gone["retired_at"]
        told = f"by {gone['retired_by']} at {output.for_people_time(at) if at else 'an unknown time'}"
        yield f"{done:<12} {told}: {output.shortened(gone['reason'], MOST_OF_A_REASON)}"
        yield f"copy         {gone['retired_copy'] or 'none'}"
    if view["identity"]:
        yield from _identity_lines(view["identity"])
    if view["provenance"]:
        yield from _restored_line(view["provenance"])
        yield from _ranks_lines(view["ranks"])
        yield from _coverage_lines(view["coverage"])
        yield "provenance"
        yield from _pairs(_made(view["provenance"]))
    yield from _claim_lines(view["claim"])


def _identity_lines(identity: dict[str, Any]) -> Iterator[str]:
    yield f"engine       {identity['engine']}"
    yield f"key text     {identity['key_text']}"
    yield "key inputs"
    yield from _pairs(identity["key_inputs"])
    yield "environment"
    yield from _pairs(identity["metadata"])
    if identity["extra"]:
        yield "identity extra"
        yield from _pairs(identity["extra"])


def _made(provenance: dict[str, Any]) -> dict[str, Any]:
    """What is known of the tune; a restore has its own line."""
    told = {
        name: one
        for name, one in provenance.items()
        if one not in (None, "") and not name.startswith("restored_")
    }
    told["tune_s"] = output.for_people_seconds(provenance["tune_s"])
    if "created_at" in told:
        told["created_at"] = output.for_people_time(told["created_at"])
    return {{"tune_s": "tuned in"}.get(name, name): one for name, one in told.items()}


def _restored_line(provenance: dict[str, Any]) -> Iterator[str]:
    if provenance["restored_by"]:
        at = provenance["restored_at"]
        told = f"by {provenance['restored_by']} at {output.for_people_time(at) if at else 'an unknown time'}"
        yield f"restored     {told}: {output.shortened(provenance['restored_why'] or '-', MOST_OF_A_REASON)}"


def _ranks_lines(ranks: list[dict[str, Any]]) -> Iterator[str]:
    yield f"rank files   {len(ranks) or 'none: there was nothing to tune'}"
    for rank in ranks:
        where = "inline" if rank["is_inline"] else "blob"
        yield f"  {rank['name']}  sha256:{rank['digest']}  {output.for_people_bytes(rank['size_bytes'])}  {where}"


def _coverage_lines(coverage: dict[str, Any]) -> Iterator[str]:
    yield f"coverage     {coverage['entries']} entries, buckets up to {coverage['max_bucket']} tokens"
    yield from _pairs(coverage["ops"])
    yield from _bucket_lines(coverage["buckets"], coverage["rows_left_out"])
    for name, why in coverage["excluded"].items():
        yield f"  without {name}: {why}"
    yield f"completeness {_completeness(coverage)}"
    yield from (f"  missing {gap}" for gap in coverage["first_missing"])
    for name, why in coverage["undecided"].items():
        yield f"  undecided {name}: {why}"


def _bucket_lines(table: dict[str, dict[str, list[int]]], left_out: int) -> Iterator[str]:
    rows = [(op, shape, buckets) for op, shapes in table.items() for shape, buckets in shapes.items()]
    if not rows:
        return
    op_title, shape_title = "op", "shape (M: tokens)"
    ops = max(len(op_title), *(len(output.shortened(op, 60)) for op, _, _ in rows))
    shapes = max(len(shape_title), *(len(output.shortened(shape, 60)) for _, shape, _ in rows))
    yield f"  {op_title:<{ops}}  {shape_title:<{shapes}}  buckets"
    for op, shape, buckets in rows:
        told = " ".join(map(str, buckets)) or "none that every rank has"
        yield f"  {output.shortened(op, 60):<{ops}}  {output.shortened(shape, 60):<{shapes}}  {told}"
    if left_out:
        yield f"  and {left_out} more shapes"


def _completeness(coverage: dict[str, Any]) -> str:
    """Never more than is known: a bundle whose keys could not be derived is "unknown", whatever it holds."""
    state, expected, missing = (coverage[name] for name in ("completeness", "expected", "missing"))
    if state == "complete":
        return f"complete: all {expected} entries that the model asks for"
    if state == "incomplete":
        of = f" of {expected}" if expected is not None else ""
        return f"incomplete: {missing}{of} entries are missing"
    return "unknown: what the model asks for was not derived, or not all of it"


def _claim_lines(claim: dict[str, Any] | None) -> Iterator[str]:
    if claim is None:
        yield "claim        none"
        return
    yield f"claim        {claim['state']}: {verdict_text(claim)} ({claim['why']})"
    told = {name: claim[name] for name in ("holder", "epoch", "error", "detail") if claim[name]}
    times = {"held for": "held_s", "lease left": "lease_left_s", "cooldown left": "cooldown_left_s"}
    told |= {title: output.for_people_seconds(claim[name]) for title, name in times.items() if claim[name]}
    yield from _pairs({name: output.shortened(str(one), MOST_OF_A_REASON) for name, one in told.items()})
    yield from (f"  | {line}" for line in claim["tail"])


def _pairs(pairs: dict[str, Any]) -> Iterator[str]:
    names = {name: output.escape(output.shortened(name, 60)) for name in pairs}
    width = max(map(output.cell_width, names.values()), default=0)
    for name, value in pairs.items():
        yield f"  {output.padded(names[name], width)}  {text_of_input(value)}"
