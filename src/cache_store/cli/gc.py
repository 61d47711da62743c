"""`cache-store gc`: what may go, and with --yes its going. One LIST, and two GETs an address."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import click

from cache_store.cli.addressing import parse
from cache_store.cli.durations import duration_s
from cache_store.cli.gc_answer import Beside, document_of, exit_code, tell
from cache_store.cli.help_text import ALWAYS, epilog
from cache_store.cli.operating import refuse_unfit
from cache_store.cli.progress import progress
from cache_store.cli.session import Session, problem_of, store_options
from cache_store.cli.survey import MANY, in_parallel
from cache_store.collect_on_store import (
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
    needs_copies,
    sort_out,
)
from cache_store.dataclass import replace
from cache_store.emptying import BY, Remove, Step, Swept
from cache_store.errors import ErrorKind, StoreError
from cache_store.exit_codes import ExitCode
from cache_store.identity import BUNDLE_NAME, Address
from cache_store.layout import RECORDS
from cache_store.objects import Entry, ObjectStore
from cache_store.only_over import only_over
from cache_store.operate import operate
from cache_store.operation_steps import Order, Refused
from cache_store.operations import Operator
from cache_store.use_record import WARM

NEEDS_LIST = "gc needs the right to list (s3:ListBucket on the bucket)"

_EXAMPLES = """
gc
gc --older-than 180d --keep 0.7.2/sm90/0123456789abcdef/nvidia-h200-0123456789ab
gc --flashinfer 0.6.18 --flashinfer 0.6.19 --yes
gc --json | jq '.addresses[] | select(.action == "forget") | .address'
"""


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
    what was retired --retired-for ago, with nothing touched since: its copies and contents go, bundle.json and claim.json
    stay. Never a quarantine, unless asked for. Parts of tunes and contents that nothing names go after 7 days: no pod
    lives longer. Addresses where somebody tunes are left alone.
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
            refuse_unfit(store, adapter, session.nonce())
            now = server_now(store, session.nonce(), session.clock.now)
        try:
            objects, folders, foreign = sort_out(next(in_parallel(lambda one: list(store.list(one)), [""])))
        except StoreError as error:
            raise problem_of(error, NEEDS_LIST if error.kind is ErrorKind.DENIED else None) from error
        if unused_for is not None:
            rules = replace(rules, unused=_unused(store, folders[RECORDS], unused_for))
        verdicts = _judge(store, objects, rules, now)
        beside = _beside(judge_folders(folders, rules, now))
        swept = [Swept(one) for one in verdicts if one.action != "keep"]
        if is_wanted:
            swept, beside = _carry_out(session, adapter, [one.verdict for one in swept], beside)
        url = store.url
    kept = [one for one in verdicts if one.action == "keep"]
    tell(session, document_of(url, swept, kept, beside, foreign, is_dry=not is_wanted))
    return exit_code(swept, beside)


def _judge(
    store: ObjectStore, objects: Sequence[Objects], rules: CollectRules, now: datetime
) -> list[Verdict]:
    def judge(one: Objects) -> Verdict:
        return judge_address(one, read_address(store, one), rules, now)

    verdicts = list[Verdict]()
    with progress("judging", len(objects)) as advance:
        for verdict in in_parallel(judge, objects, at_once=MANY, weigh=_read_bytes):
            verdicts.append(verdict)
            advance()
    return verdicts


def _read_bytes(one: Objects) -> int:
    """How much `read_address` holds at once: the register, and one copy after the other."""
    register = one.entries.get(BUNDLE_NAME)
    copies = (one.entries[name].size_bytes for name in needs_copies(one))
    return (register.size_bytes if register else 0) + max(copies, default=0)


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


def _retire(session: Session, store: ObjectStore, verdict: Verdict) -> Swept:
    """Exactly what was judged: a pod may have published since, over what somebody else has retired."""
    operator = Operator(
        verdict.address, Order(BY, verdict.why), rng=session.rng, nonce=session.nonce, now=session.clock.now
    )
    tag = verdict.tags.get(BUNDLE_NAME)
    detail = "somebody wrote bundle.json after it was looked at"
    operation = only_over(operator.retire(), lambda seen: seen.etag == tag, detail)
    outcome = operate(store, verdict.address, operation, session.clock)
    if isinstance(outcome, Refused):
        return Swept(verdict, 0, outcome.reason, outcome.detail)
    return Swept(verdict)


def _carry_out(
    session: Session, adapter: ObjectStore, verdicts: Sequence[Verdict], beside: Beside
) -> tuple[list[Swept], Beside]:
    store = session.patient(adapter)
    swept = list[Swept]()
    total = sum(max(1, len(one.going)) for one in verdicts) + len(beside.keys)
    with progress("removing", total) as advance:

        def on_step(step: Step) -> None:
            if isinstance(step, Remove):
                advance()

        for verdict in verdicts:
            if verdict.action == "retire":
                swept.append(_retire(session, store, verdict))
                advance()
                continue
            swept.append(
                sweep(
                    store,
                    verdict,
                    clock=session.clock,
                    rng=session.rng,
                    nonce=session.nonce,
                    delete_once=adapter.delete,
                    on_step=on_step,
                )
            )
        deleted, problem = delete_keys(store, beside.keys, advance)
    return swept, Beside(beside.keys, beside.freed_bytes, deleted, problem)
