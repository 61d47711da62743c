"""`cache-store gc`: what may go, and with --yes its going. One LIST, and two GETs an address."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import click

from cache_store.cli import output
from cache_store.cli.addressing import parse
from cache_store.cli.durations import duration_s
from cache_store.cli.help_text import ALWAYS, epilog
from cache_store.cli.session import Problem, Session, problem_of, store_options
from cache_store.cli.survey import MANY, in_parallel
from cache_store.cli.views import address_view
from cache_store.collect_on_store import (
    Swept,
    delete_keys,
    read_address,
    read_record,
    server_now,
    sweep,
)
from cache_store.collecting import (
    CollectRules,
    Objects,
    Unused,
    Verdict,
    judge_address,
    judge_folders,
    sort_out,
)
from cache_store.dataclass import dataclass, replace
from cache_store.errors import ErrorKind, StoreError
from cache_store.exit_codes import OF_ERROR, ExitCode
from cache_store.fitness import check_fitness
from cache_store.identity import Address
from cache_store.objects import Entry, ObjectStore
from cache_store.operate import operate
from cache_store.operation_steps import Order, Refused
from cache_store.operations import Operator
from cache_store.register import Unreachable
from cache_store.steps import Unfit
from cache_store.use_record import WARM

SCHEMA = "autotune-cache/gc/v1"
NEEDS_LIST = "gc needs the right to list (s3:ListBucket on the bucket)"

_EXAMPLES = """
gc
gc --older-than 180d --keep 0.7.2/sm90/0123456789abcdef/nvidia-h200-0123456789ab
gc --flashinfer 0.6.18 --flashinfer 0.6.19 --yes
gc --json | jq '.addresses[] | select(.action == "forget") | .address'
"""


@dataclass(frozen=True)
class Beside:
    """The objects beside the addresses that may go, and what came of it."""

    keys: tuple[str, ...]
    freed_bytes: int
    deleted: int = 0
    problem: StoreError | None = None


@click.command(
    short_help="Say what may go; with --yes remove it.",
    epilog=epilog(ExitCode.OK, ExitCode.UNFIT, ExitCode.REFUSED, *ALWAYS, examples=_EXAMPLES),
)
@click.option(
    "--older-than",
    callback=duration_s,
    metavar="AGE",
    help="Retire bundles that were published longer ago, e.g. 180d.",
)
@click.option(
    "--unused-for",
    callback=duration_s,
    metavar="AGE",
    help="Retire bundles that no pod has recorded a use of for as long (needs --report-to-store at the pods).",
)
@click.option(
    "--flashinfer", metavar="VERSION", multiple=True, help="Retire bundles of this version; may be repeated."
)
@click.option("--keep", metavar="ADDRESS", multiple=True, help="Never touch this address; may be repeated.")
@click.option(
    "--retired-for",
    callback=duration_s,
    metavar="AGE",
    default="30d",
    show_default=True,
    help="Forget what was retired longer ago.",
)
@click.option(
    "--copies-for",
    callback=duration_s,
    metavar="AGE",
    default="90d",
    show_default=True,
    help="Delete older copies that no tombstone names.",
)
@click.option(
    "--memos-older-than", callback=duration_s, metavar="AGE", help="Delete resolution memos that are older."
)
@click.option(
    "--groups-older-than",
    callback=duration_s,
    metavar="AGE",
    help="Delete rolls of replica groups; longer than any replica runs.",
)
@click.option(
    "--reports-older-than", callback=duration_s, metavar="AGE", help="Delete pods' reports that are older."
)
@click.option(
    "--even-quarantined", is_flag=True, help="Forget quarantined bundles, too: they may be tuned again."
)
@click.option("--yes", "is_wanted", is_flag=True, help="Do it. Without, gc only says what it would do.")
@store_options
@click.pass_obj
def gc(
    session: Session,
    older_than: float | None,
    unused_for: float | None,
    flashinfer: tuple[str, ...],
    keep: tuple[str, ...],
    retired_for: float,
    copies_for: float,
    memos_older_than: float | None,
    groups_older_than: float | None,
    reports_older_than: float | None,
    *,
    even_quarantined: bool,
    is_wanted: bool,
) -> int:
    """Say what may go, and with --yes remove it, in two phases: bundles are retired, and what is retired long enough is forgotten.

    Published bundles are retired where --older-than, --unused-for and --flashinfer say so (all that are given). Forgotten is
    what was retired --retired-for ago, with nothing touched since; never a quarantine, unless asked for. Parts of tunes
    and contents that nothing names go after 7 days: no pod lives longer. Addresses where somebody tunes are left alone.
    """
    rules = CollectRules(
        older_than_s=older_than,
        flashinfer=frozenset(flashinfer),
        kept=frozenset(map(parse, keep)),
        tombstones_s=retired_for,
        copies_s=copies_for,
        groups_s=groups_older_than,
        memos_s=memos_older_than,
        reports_s=reports_older_than,
        forgets_quarantined=even_quarantined,
    )
    with session.plain_store() as adapter:
        store = session.patient(adapter)
        now = session.clock.now()
        if is_wanted:
            _refuse_unfit(store, adapter, session.nonce())
            now = server_now(store, session.nonce(), session.clock.now)
        try:
            objects, folders, foreign = sort_out(next(in_parallel(lambda one: list(store.list(one)), [""])))
        except StoreError as error:
            raise problem_of(error, NEEDS_LIST if error.kind is ErrorKind.DENIED else None) from error
        if unused_for is not None:
            rules = replace(rules, unused=_unused(store, folders["_reports"], unused_for))
        verdicts = list(in_parallel(lambda one: _judge(store, one, rules, now), objects, at_once=MANY))
        beside = _beside(judge_folders(folders, rules, now))
        swept = [Swept(one) for one in verdicts if one.action != "keep"]
        if is_wanted:
            swept = [_do(session, store, one.verdict) for one in swept]
            deleted, problem = delete_keys(store, beside.keys)
            beside = Beside(beside.keys, beside.freed_bytes, deleted, problem)
        url = store.url
    kept = [one for one in verdicts if one.action == "keep"]
    _tell(session, _document(url, swept, kept, beside, foreign, is_dry=not is_wanted))
    return _exit_code(swept, beside)


def _refuse_unfit(store: ObjectStore, adapter: ObjectStore, nonce: str) -> None:
    fitness = check_fitness(store, adapter, nonce)
    if isinstance(fitness, Unfit):
        raise Problem(fitness.reason, fitness.detail, ExitCode.UNFIT)
    if isinstance(fitness, Unreachable):
        kind = ErrorKind(fitness.reason.removeprefix("store-"))
        raise Problem(fitness.reason, fitness.detail, OF_ERROR[kind])


def _judge(store: ObjectStore, objects: Objects, rules: CollectRules, now: datetime) -> Verdict:
    return judge_address(objects, read_address(store, objects), rules, now)


def _unused(store: ObjectStore, entries: Sequence[Entry], for_s: float) -> Unused:
    """What all records that can be read say."""
    last_used: dict[Address, datetime] = {}
    times = [entry.last_modified for entry in entries if entry.last_modified is not None]
    for entry, record in zip(
        entries, in_parallel(lambda one: read_record(store, one.key), entries, at_once=MANY), strict=True
    ):
        address = record.address if record is not None and record.outcome in WARM else None
        if address is not None and entry.last_modified is not None:
            last_used[address] = max(entry.last_modified, last_used.get(address, entry.last_modified))
    return Unused(for_s, last_used, min(times, default=None))


def _beside(found: Sequence[tuple[str, int]]) -> Beside:
    return Beside(tuple(key for key, _ in found), sum(size for _, size in found))


def _do(session: Session, store: ObjectStore, verdict: Verdict) -> Swept:
    if verdict.action != "retire":
        return sweep(store, verdict)
    operator = Operator(
        verdict.address,
        Order("cache-store gc", verdict.why),
        rng=session.rng,
        nonce=session.nonce,
        now=session.clock.now,
    )
    outcome = operate(store, verdict.address, operator.retire(), session.clock)
    if isinstance(outcome, Refused):
        return Swept(verdict, 0, outcome.reason, outcome.detail)
    return Swept(verdict)


def _document(
    url: str, swept: Sequence[Swept], kept: Sequence[Verdict], beside: Beside, foreign: int, *, is_dry: bool
) -> dict[str, Any]:
    counts = Counter(one.verdict.action for one in swept)
    return {
        "schema": SCHEMA,
        "store": url,
        "is_dry": is_dry,
        "counts": {name: counts[name] for name in ("retire", "clean", "forget")} | {"keep": len(kept)},
        "freed_bytes": sum(one.verdict.freed_bytes for one in swept) + beside.freed_bytes,
        "foreign_objects": foreign,
        "addresses": [
            {
                **address_view(one.verdict.address),
                "action": one.verdict.action,
                "why": one.verdict.why,
                "objects": len(one.verdict.names),
                "freed_bytes": one.verdict.freed_bytes,
                "deleted": one.deleted,
                "problem": one.problem,
                "detail": one.detail or None,
            }
            for one in swept
        ],
        "beside": {
            "objects": len(beside.keys),
            "deleted": beside.deleted,
            "problem": f"store-{beside.problem.kind.value}" if beside.problem else None,
        },
        "left_alone": [{"address": str(one.address), "why": one.why} for one in kept if one.why],
    }


def _tell(session: Session, document: dict[str, Any]) -> None:
    if session.is_json:
        output.emit_json(document)
        return
    output.emit_lines(_lines(document))
    counts = document["counts"]
    output.tell(
        f"{document['store']}: {counts['retire']} to retire, {counts['forget']} to forget, {counts['clean']} to clean, "
        f"{counts['keep']} kept; {output.for_people_bytes(document['freed_bytes'])}"
        + ("; nothing was done, pass --yes" if document["is_dry"] else "")
    )


def _lines(document: dict[str, Any]) -> Iterator[str]:
    would = "would " if document["is_dry"] else ""
    for row in document["addresses"]:
        objects = f", {row['objects']} objects" if row["objects"] else ""
        problem = f"  NOT DONE: {row['problem']}: {row['detail']}" if row["problem"] else ""
        yield f"{would}{row['action']}  {row['address']}  ({row['why']}{objects}){problem}"
    beside = document["beside"]
    if beside["objects"]:
        problem = f"  NOT DONE: {beside['problem']}" if beside["problem"] else ""
        yield f"{would}delete  {beside['objects']} objects beside the bundles{problem}"
    for row in document["left_alone"]:
        yield f"left alone  {row['address']}  ({row['why']})"


def _exit_code(swept: Sequence[Swept], beside: Beside) -> ExitCode:
    problems = {one.problem for one in swept if one.problem}
    if beside.problem is not None:
        problems.add(f"store-{beside.problem.kind.value}")
    kinds = {OF_ERROR[ErrorKind(one.removeprefix("store-"))] for one in problems if one.startswith("store-")}
    for code in (ExitCode.UNAVAILABLE, ExitCode.DENIED):
        if code in kinds:
            return code
    return ExitCode.REFUSED if problems else ExitCode.OK
