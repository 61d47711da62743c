"""`cache-store diff`: what two bundles differ in. One GET each, and one for each content outside of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import click

from cache_store.bundle import MAX_REGISTER_BYTES, BadBundle, Bundle, is_copy_name
from cache_store.bundle_json import parse_register
from cache_store.cli import output
from cache_store.cli.addressing import resolve
from cache_store.cli.help_text import ALWAYS, epilog
from cache_store.cli.session import Problem, Session, said, store_options
from cache_store.comparing import Comparison, Field, compare
from cache_store.exit_codes import ExitCode
from cache_store.identity import Address
from cache_store.lookup import fetch_contents
from cache_store.objects import Missing, ObjectStore
from cache_store.rank_file import BadRankFile

SCHEMA = "autotune-cache/diff/v1"
SHOWN = 20

_EXAMPLES = """
diff 0.7.2/sm90/0123456789abcdef/nvidia-h200-0123456789ab 0.7.2/sm90/fedcba9876543210/nvidia-h200-0123456789ab
diff 0123 fedc --json | jq .verdict
"""


@click.command(
    short_help="Compare two bundles.",
    epilog=epilog(ExitCode.OK, ExitCode.CORRUPT, ExitCode.NOT_FOUND, *ALWAYS, examples=_EXAMPLES),
)
@click.argument("left", metavar="A")
@click.argument("right", metavar="B")
@click.option("--other-store", metavar="URL", help="Where B is, if not in the same store.")
@store_options
@click.pass_obj
def diff(session: Session, left: str, right: str, other_store: str | None) -> int:
    """Compare two bundles: which inputs of their identities differ, and which entries, by op and bucket.

    A and B are full addresses, beginnings of keys, or an address and a copy below it
    (ADDRESS/retired/NONCE.json). Verdicts: equal; tactics (both tuned the same entries and some came out another way, as
    two live tunes of one identity do); coverage (one has entries that the other lacks); ranks (no rank file in common).
    """
    with session.store() as store:
        here = _read(store, left)
        if other_store is None:
            there = _read(store, right)
        else:
            with session.store_at(said("--other-store", other_store)) as other:
                there = _read(other, right)
    try:
        found = compare(here[1], there[1], here[2], there[2])
    except BadRankFile as problem:
        raise Problem(f"rank-file-{problem.reason}", problem.detail, ExitCode.CORRUPT) from None
    if session.is_json:
        output.emit_json(_document(here[0], there[0], found))
    else:
        output.emit_lines(_lines(here[0], there[0], found))
    return ExitCode.OK


def _read(store: ObjectStore, text: str) -> tuple[str, Bundle, dict[str, bytes]]:
    """What it is called, the bundle and its contents. Raises `Problem` and `StoreError`."""
    address, name = _place(store, text)
    key = f"{address}/{name}" if name else address.bundle_key
    seen = store.get(key, limit_bytes=MAX_REGISTER_BYTES)
    if isinstance(seen, Missing):
        raise Problem("not-found", f"there is no {key}", ExitCode.NOT_FOUND)
    try:
        register = parse_register(seen.body)
        if not isinstance(register, Bundle):
            told = f"{address} was taken out of service: its copy is {register.retired_copy}"
            raise Problem("not-found", told, ExitCode.NOT_FOUND)
        if register.identity.stated_address != address:
            told = f"{key}: it describes {register.identity.stated_address}"
            raise Problem("bundle-foreign", told, ExitCode.CORRUPT)
        return (
            f"{address}/{name}" if name else str(address),
            register,
            fetch_contents(store, address, register),
        )
    except BadBundle as problem:
        raise Problem(problem.reason, f"{key}: {problem.detail}", ExitCode.CORRUPT) from None


def _place(store: ObjectStore, text: str) -> tuple[Address, str]:
    address, separator, rest = text.partition("/retired/")
    name = f"retired/{rest}" if separator else ""
    if name and not is_copy_name(name):
        raise Problem("usage", f"{text} names no copy", ExitCode.USAGE)
    return resolve(store, address), name


def _document(left: str, right: str, found: Comparison) -> dict[str, Any]:
    totals = found.totals
    kinds = ("equal", "tactic", "left-only", "right-only")
    return {
        "schema": SCHEMA,
        "left": left,
        "right": right,
        "verdict": found.verdict,
        "sentence": found.sentence,
        "identity": [asdict(one) for one in found.identity],
        "made": [asdict(one) for one in found.made],
        "ranks_left": list(found.ranks_left),
        "ranks_right": list(found.ranks_right),
        "counts": _named({kind: totals[kind] for kind in kinds}),
        "table": [
            {"op": op, "bucket": bucket, **_named({kind: counts[kind] for kind in kinds})}
            for (op, bucket), counts in found.counts.items()
        ],
        "changes": [asdict(one) for one in found.changes],
    }


def _named(counts: dict[str, int]) -> dict[str, int]:
    return {name.replace("-", "_"): count for name, count in counts.items()}


def _lines(left: str, right: str, found: Comparison) -> Iterator[str]:
    yield f"A  {left}"
    yield f"B  {right}"
    yield f"{found.verdict}: {found.sentence}"
    for title, fields in (("identity", found.identity), ("made", found.made)):
        if fields:
            yield ""
            yield title
            yield from map(_field_line, fields)
    for title, ranks in (("in A alone", found.ranks_left), ("in B alone", found.ranks_right)):
        if ranks:
            yield ""
            yield f"rank files {title}: {', '.join(ranks)}"
    rows = [(key, counts) for key, counts in found.counts.items() if counts.keys() - {"equal"}]
    if rows:
        yield ""
        yield f"{'op':<40}  {'bucket':>7}  {'equal':>6}  {'tactic':>6}  {'A only':>6}  {'B only':>6}"
        for (op, bucket), counts in rows:
            yield (
                f"{output.padded(output.escape(output.shortened(op, 40)), 40)}  {bucket:>7}  {counts['equal']:>6}  {counts['tactic']:>6}  "
                f"{counts['left-only']:>6}  {counts['right-only']:>6}"
            )
    for change in found.changes[:SHOWN]:
        yield f"  {change.rank}  {change.op} {change.shape} {change.bucket}: {_told(change.left)} | {_told(change.right)}"
    if len(found.changes) > SHOWN:
        yield f"  and {len(found.changes) - SHOWN} more (--json has up to 10,000)"


def _field_line(field: Field) -> str:
    return f"  {field.part}.{field.name}: {_told(field.left)} | {_told(field.right)}"


def _told(value: str | None) -> str:
    return "-" if value is None else output.shortened(value, 80)
