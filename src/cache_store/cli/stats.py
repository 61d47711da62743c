"""`cache-store stats`: how much is there, of what, what it took to tune, and about what it costs to keep."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import datetime
from functools import partial
from typing import Any

import click

from cache_store.cli import output
from cache_store.cli.bundle_rows import STATES, model_of_register
from cache_store.cli.clocks import is_judged_by_ours, tell_clock
from cache_store.cli.help_text import ALWAYS, epilog
from cache_store.cli.progress import progress
from cache_store.cli.row_answers import RowAnswers, ask_row
from cache_store.cli.session import Session, problem_of, store_options
from cache_store.cli.survey import MANY, in_parallel, list_inventory
from cache_store.cli.views import Reading
from cache_store.collect_on_store import read_record
from cache_store.dataclass import dataclass
from cache_store.errors import ErrorKind, StoreError
from cache_store.exit_codes import ExitCode
from cache_store.inventory import Inventory, Row, Selection
from cache_store.layout import RECORDS
from cache_store.objects import ObjectStore
from cache_store.tally import MAX_GROUPS, Cost, Counted, Prices, Tally, estimate
from cache_store.uses import Uses

SCHEMA = "autotune-cache/stats/v1"
NEEDS_LIST = "stats needs the right to list (s3:ListBucket on the bucket), which pods do not need"
GROUPS = ("flashinfer", "arch", "gpu", "model")
CLAIMS = ("held", "cooling-down", "free", "unknown")
SHOWN = 10
_HASH = re.compile(r"-[0-9a-f]{12}\Z")

_EXAMPLES = """
stats
stats --flashinfer 0.7.2 --json | jq .tune_s
stats --usd-per-gib-month 0.026 --usd-per-1000-get 0.0005
"""


def _finite(context: click.Context, parameter: click.Parameter, value: float) -> float:
    if not math.isfinite(value):
        raise click.BadParameter("it must be finite", context, parameter)
    return value


@dataclass(frozen=True)
class Seen:
    """What one address adds. `claim` is its claim's view, `problem` why its bundle could not be read.

    `gpu`: what its environment calls the GPU, and the GPU's own name, where the bundle says it.
    """

    counted: Counted
    gpu: tuple[str, str] | None
    claim: dict[str, Any] | None
    problem: str | None
    is_denied: bool
    reads: int


@click.command(
    short_help="Count what is there, and what it took.",
    epilog=epilog(ExitCode.OK, *ALWAYS, examples=_EXAMPLES),
)
@click.option("--flashinfer", metavar="V", help="Only this FlashInfer version.")
@click.option("--arch", metavar="A", help="Only this architecture, e.g. sm90.")
@click.option("--gpu", metavar="TEXT", help="Only environments whose GPU's name has this in it.")
@click.option(
    "--usd-per-gib-month",
    type=click.FloatRange(min=0, max=1e6),
    callback=_finite,
    default=Prices.per_gib_month,
    show_default=True,
    help="What a GiB costs in a month, for the estimate.",
)
@click.option(
    "--usd-per-1000-get",
    type=click.FloatRange(min=0, max=1e6),
    callback=_finite,
    default=Prices.per_1000_get,
    show_default=True,
    help="What 1,000 GETs cost, for the estimate.",
)
@store_options
@click.pass_obj
def stats(
    session: Session,
    flashinfer: str | None,
    arch: str | None,
    gpu: str | None,
    usd_per_gib_month: float,
    usd_per_1000_get: float,
) -> int:
    """Count bundles and bytes by FlashInfer version, architecture, GPU and model; tune time; claims; about what it costs.

    And, where pods leave records of their starts (--report-to-store), how these ended and what they were spared. Two LISTs,
    and one GET for each bundle, each claim and each record.
    """
    selection = Selection(flashinfer, arch, None, gpu)
    now = session.clock.now()
    tally, claims, problems = Tally(), Counter[str](), Counter[str]()
    reads, is_denied = 0, False
    local: list[dict[str, Any]] = []
    gpus: dict[str, str] = {}
    with session.store() as store:
        try:
            inventory = list_inventory(store, selection.prefix)
        except StoreError as error:
            raise problem_of(error, NEEDS_LIST if error.kind is ErrorKind.DENIED else None) from error
        rows = [row for row in inventory.rows if selection.takes(row.address)]
        with progress("stats", len(rows)) as advance:
            for answers in in_parallel(partial(ask_row, store), rows, at_once=MANY):
                seen = _look(answers, now)
                tally.add(seen.counted)
                if seen.gpu and len(gpus) < MAX_GROUPS:
                    gpus.update([seen.gpu])
                reads += seen.reads
                is_denied |= seen.is_denied
                if seen.claim is not None:
                    claims.update([seen.claim["verdict"]] + ["stale"] * seen.claim["is_stale"])
                    if is_judged_by_ours(seen.claim) and not local:
                        local.append(seen.claim)
                if seen.problem is not None:
                    problems[seen.problem] += 1
                advance()
        tally.merge("gpu", gpus)
        uses = _uses(store, selection)
        url = store.url
    cost = estimate(Prices(usd_per_gib_month, usd_per_1000_get), tally.size_bytes, reads)
    document = {
        "schema": SCHEMA,
        "store": url,
        **_counts(rows, tally, claims, problems),
        **_around(inventory, rows, now),
        "uses": _uses_view(uses),
        "cost": {
            "usd_per_gib_month": usd_per_gib_month,
            "usd_per_thousand_get": usd_per_1000_get,
            **asdict(cost),
        },
    }
    if session.is_json:
        output.emit_json(document)
    else:
        output.emit_lines(_lines(document, tally, cost, is_local=bool(local)))
        tell_clock(inventory.newest, now, local)
    return ExitCode.DENIED if is_denied else ExitCode.OK


def _uses(store: ObjectStore, selection: Selection) -> Uses:
    """Raises `StoreError`."""
    uses = Uses()
    keys = [entry.key for entry in store.list(RECORDS)]
    for record in in_parallel(partial(read_record, store), keys, at_once=MANY):
        address = record.address if record is not None else None
        if selection == Selection() or (address is not None and selection.takes(address)):
            uses.add(record)
    return uses


def _uses_view(uses: Uses) -> dict[str, Any]:
    def named(counts: Counter[str]) -> list[dict[str, Any]]:
        return [{"name": name, "count": count} for name, count in counts.most_common()]

    return {
        "records": uses.records,
        "unread": uses.unread,
        "saved_s": uses.saved_s,
        "tune_s": uses.tune_s,
        "outcomes": named(uses.outcomes),
        "reasons": named(uses.reasons),
    }


def _look(answers: RowAnswers, now: datetime) -> Seen:
    row, reading, claim = answers.row, answers.reading(), answers.claim_view(now)
    is_claim_denied = claim is not None and claim["problem"] == f"store-{ErrorKind.DENIED.value}"
    counted, slug = _counted(row, reading), _slug(row)
    gpu = counted.groups["gpu"]
    return Seen(
        counted,
        (slug, gpu) if gpu and gpu != slug else None,
        claim,
        reading.problem,
        reading.is_denied or is_claim_denied,
        answers.requests,
    )


def _slug(row: Row) -> str:
    return _HASH.sub("", row.address.environment)


def _counted(row: Row, reading: Reading) -> Counted:
    bundle = reading.bundle
    identity = reading.register.identity if reading.register else None
    gpu = identity.metadata.get("gpu") if identity else None
    groups = {
        "flashinfer": row.address.flashinfer_version,
        "arch": row.address.arch,
        # where the bundle does not tell, its environment's name does, in lower case and with dashes
        "gpu": gpu or _slug(row),
        "model": model_of_register(reading.register),
    }
    tune_s = bundle.provenance.tune_s if bundle else 0.0
    return Counted(reading.state, groups, row.size_bytes, tune_s)


def _counts(
    rows: Iterable[Row], tally: Tally, claims: Counter[str], problems: Counter[str]
) -> dict[str, Any]:
    return {
        "bundles": sum(row.bundle is not None for row in rows),
        "objects": sum(row.objects for row in rows),
        "size_bytes": tally.size_bytes,
        "tune_s": tally.tune_s,
        "states": [{"name": name, "count": tally.states[name]} for name in STATES],
        "problems": [{"name": name, "count": count} for name, count in sorted(problems.items())],
        "claims": [{"name": name, "count": claims[name]} for name in (*CLAIMS, "stale")],
        **{
            f"by_{by}": [{"name": name, **asdict(group)} for name, group in tally.largest(by)]
            for by in GROUPS
        },
    }


def _around(inventory: Inventory, rows: Iterable[Row], now: datetime) -> dict[str, Any]:
    written = [
        row.bundle.last_modified
        for row in rows
        if row.bundle is not None and row.bundle.last_modified is not None
    ]
    return {
        "oldest_age_s": max(0.0, (now - min(written)).total_seconds()) if written else None,
        "newest_age_s": max(0.0, (now - max(written)).total_seconds()) if written else None,
        "own": {"objects": inventory.own, "size_bytes": inventory.own_size_bytes},
        "foreign": {"objects": inventory.foreign.objects, "size_bytes": inventory.foreign.size_bytes},
    }


def _lines(document: dict[str, Any], tally: Tally, cost: Cost, *, is_local: bool) -> Iterator[str]:
    def counted(field: str) -> str:
        return ", ".join(f"{one['count']} {one['name']}" for one in document[field] if one["count"]) or "none"

    ages = [output.for_people_seconds(document[f"{which}_age_s"]) for which in ("oldest", "newest")]
    size = output.for_people_bytes(document["size_bytes"])
    yield f"bundles    {document['bundles']} in {document['objects']} objects, {size}"
    yield f"states     {counted('states')}"
    if document["problems"]:
        yield f"unreadable {counted('problems')}"
    yield f"written    oldest {ages[0]} ago, newest {ages[1]} ago"
    yield f"tuned      {output.for_people_seconds(document['tune_s'])} for what is published"
    yield f"claims     {counted('claims')}" + (", by this computer's clock" if is_local else "")
    uses = document["uses"]
    if uses["records"]:
        outcomes = ", ".join(f"{one['count']} {one['name']}" for one in uses["outcomes"])
        yield f"starts     {outcomes}; spared {output.for_people_seconds(uses['saved_s'])} of tuning"
    if uses["reasons"]:
        yield "not warm   " + ", ".join(f"{one['count']} {one['name']}" for one in uses["reasons"][:SHOWN])
    for name in ("own", "foreign"):
        told = document[name]
        yield f"{name:<10} {told['objects']} other objects, {output.for_people_bytes(told['size_bytes'])}"
    yield (
        f"cost       estimate, at ${document['cost']['usd_per_gib_month']:g} per GiB and month and "
        f"${document['cost']['usd_per_thousand_get']:g} per 1,000 GETs: ${cost.storage_usd_per_month:.4f} a month to keep, "
        f"${cost.thousand_hits_usd:.4f} for 1,000 pods that find theirs, ${cost.this_answer_usd:.4f} for this answer"
    )
    for by in GROUPS:
        largest = tally.largest(by)
        if largest:
            yield ""
            yield f"{by:<48}  ADDRESSES       SIZE      TUNED"
        for name, group in largest[:SHOWN]:
            took = output.for_people_seconds(group.tune_s)
            told_size = output.for_people_bytes(group.size_bytes)
            yield f"{output.padded(output.escape(output.shortened(name, 48)), 48)}  {group.bundles:>9}  {told_size:>9}  {took:>9}"
        if len(largest) > SHOWN:
            yield f"and {len(largest) - SHOWN} more"
