"""`cache-store verify`: is every bundle what it says it is? One GET a bundle and one for each content outside of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import click

from cache_store.cli import output
from cache_store.cli.addressing import choose, parse
from cache_store.cli.help_text import ALWAYS, epilog
from cache_store.cli.operating import outcome_line, outcome_view, refuse_unfit
from cache_store.cli.progress import progress
from cache_store.cli.repair import Repair, retire_corrupt
from cache_store.cli.session import Problem, Session, problem_of, store_options
from cache_store.cli.survey import MANY, in_parallel, list_inventory
from cache_store.cli.verdicts import Target, Verdict, remembered, verdict_lines, verdict_view, verify_bundle
from cache_store.cli.verify_state import Memory, memory_at
from cache_store.cli.views import address_view
from cache_store.dataclass import dataclass, field
from cache_store.errors import ErrorKind, StoreError
from cache_store.exit_codes import ExitCode
from cache_store.identity import Address
from cache_store.inventory import is_key_prefix
from cache_store.objects import ObjectStore
from cache_store.operation_steps import Changed, OperationOutcome

SCHEMA = "autotune-cache/verify/v1"
NEEDS_LIST = (
    "verifying a whole bucket, or by a part of a key, needs the right to list (s3:ListBucket on the bucket); "
    "full addresses do without"
)
SHOWN_AGAIN = 20
_NAMES = ("sound", "corrupt", "unknown", "unread", "missing")
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
verify --repair --dry-run
verify --json | jq -r '.bundles[] | select(.verdict != "sound") | .address'
"""


@click.command(
    short_help="Check bundles.",
    epilog=epilog(
        ExitCode.OK, ExitCode.CORRUPT, ExitCode.UNFIT, ExitCode.NOT_FOUND, *ALWAYS, examples=_EXAMPLES
    ),
)
@click.argument("addresses", metavar="[ADDRESS]...", nargs=-1)
@click.option(
    "--state",
    "state_file",
    metavar="FILE",
    help="Remember there what was sound, and do not read it again until it is written again. Whole buckets only.",
)
@click.option("--all", "is_all", is_flag=True, help="In text also what is sound.")
@click.option("--repair", "is_repair", is_flag=True, help="Retire what is corrupt; pods tune it again.")
@click.option("--reason", metavar="TEXT", help="With --repair: why. Default: what was found.")
@click.option("--by", metavar="NAME", help="With --repair: who. Default: $USER.")
@click.option("--yes", "is_confirmed", is_flag=True, help="With --repair: do not ask.")
@click.option(
    "--dry-run", "is_dry", is_flag=True, help="With --repair: say what would be done, and write nothing."
)
@store_options
@click.pass_obj
def verify(
    session: Session,
    addresses: tuple[str, ...],
    state_file: str | None,
    reason: str | None,
    by: str | None,
    *,
    is_all: bool,
    is_repair: bool,
    is_confirmed: bool,
    is_dry: bool,
) -> int:
    """Check bundles, all of them or those at ADDRESS (a full address, or the beginning of a key that fits one only).

    Size, nesting and schema of bundle.json; that its identity is its address; every digest; that every rank file is
    JSON whose _metadata is the bundle's environment. Not checked: whether a tactic is any good. Nothing is changed,
    unless with --repair: that retires each corrupt bundle as `retire` does, if it still is what was looked at. What has a
    schema that this release does not know is reported, and left alone: a newer one may have written it. Text leaves out
    what is sound and has no finding.
    """
    if not is_repair and (reason is not None or by is not None or is_confirmed or is_dry):
        raise Problem("usage", "--reason, --by, --yes and --dry-run belong to --repair", ExitCode.USAGE)
    if state_file is not None and addresses:
        raise Problem("usage", "--state is for a whole bucket, without ADDRESS", ExitCode.USAGE)
    repair = Repair(reason, by, is_confirmed, is_dry) if is_repair else None
    if repair:
        repair.check(session)
    with session.plain_store() as adapter:
        store = session.patient(adapter)
        if repair and not repair.is_dry:
            refuse_unfit(store, adapter, session.nonce())
        with memory_at(state_file, store.url) as memory:
            # once 13 is certain, what follows changes nothing but what is told
            may_stop = repair is None and state_file is None
            targets = _targets(store, addresses)
            found = _verify_all(session, store, targets, memory, is_all=is_all, may_stop=may_stop)
        repairs = retire_corrupt(session, store, repair, found.corrupt) if repair else []
        url = store.url
    if session.is_json:
        output.emit_json(_document(url, found, repair, repairs))
    else:
        if repair:
            output.emit_lines(outcome_line(repair.request(), *one) for one in repairs)
            if found.counts["unknown"]:
                output.tell(
                    f"{found.counts['unknown']} were left alone: a newer release may have written them; update this one"
                )
        if is_all:  # among thousands of lines they were overlooked
            for one in found.corrupt[:SHOWN_AGAIN]:
                output.tell(f"corrupt  {one.address}")
        output.tell(f"{url}: " + ", ".join(f"{found.counts[name]} {name}" for name in _NAMES))
    return _exit_code(found, repairs)


@dataclass
class Found:
    """What came out so far. `views` only for JSON, so that text needs no more memory for a larger bucket."""

    counts: Counter[str] = field(default_factory=Counter)
    exit_codes: set[ExitCode] = field(default_factory=set)
    corrupt: list[Verdict] = field(default_factory=list)
    views: list[dict[str, Any]] = field(default_factory=list)


def _verify_all(
    session: Session,
    store: ObjectStore,
    targets: Sequence[Target],
    memory: Memory,
    *,
    is_all: bool,
    may_stop: bool,
) -> Found:
    """Each verdict is told, and a sound one kept, as soon as it is there."""
    found = Found()

    def judge(target: Target) -> tuple[Target, Verdict]:
        return target, remembered(target) if memory.knows(target) else verify_bundle(store, target)

    with progress("verify", len(targets)) as advance:
        for target, verdict in in_parallel(
            judge, targets, at_once=MANY, weigh=lambda target: target.size_bytes
        ):
            found.counts[verdict.name] += 1
            found.exit_codes.add(verdict.exit_code)
            if verdict.name == "corrupt":
                found.corrupt.append(verdict)
            elif verdict.name == "sound" and not verdict.is_remembered:
                memory.keep(target)
            if session.is_json:
                found.views.append(verdict_view(verdict))
            elif is_all or verdict.name != "sound" or verdict.findings:
                output.emit_lines(verdict_lines(verdict))
            advance()
            if may_stop and found.corrupt and not output.is_read():
                break
    return found


def _exit_code(found: Found, repairs: Sequence[tuple[Address, OperationOutcome]]) -> ExitCode:
    """What is corrupt and could be retired is corrupt no more; what nobody here can read was not retired."""
    codes = set(found.exit_codes)
    if (
        repairs
        and not found.counts["unknown"]
        and all(isinstance(outcome, Changed) and not outcome.is_dry for _, outcome in repairs)
    ):
        codes.discard(ExitCode.CORRUPT)
    return next((code for code in _GRAVEST_FIRST if code in codes), ExitCode.OK)


def _document(
    url: str, found: Found, repair: Repair | None, repairs: Sequence[tuple[Address, OperationOutcome]]
) -> dict[str, Any]:
    told = [{**address_view(address), **outcome_view(outcome)} for address, outcome in repairs]
    return {
        "schema": SCHEMA,
        "store": url,
        "counts": {name: found.counts[name] for name in _NAMES},
        "bundles": found.views,
        "repairs": {"is_dry": repair.is_dry, "results": told} if repair else None,
    }


def _targets(store: ObjectStore, addresses: Sequence[str]) -> list[Target]:
    if addresses and not any(map(is_key_prefix, addresses)):
        return [Target(parse(text)) for text in addresses]
    try:
        inventory = list_inventory(store, "")
    except StoreError as error:
        raise problem_of(error, NEEDS_LIST if error.kind is ErrorKind.DENIED else None) from error
    stored = {row.address: row.blobs for row in inventory.rows}
    if not addresses:
        return [
            # contents outside of bundle.json may change without it: such a bundle is read again each time
            Target(
                row.address,
                row.blobs,
                None if row.blobs else row.bundle.version,
                # which objects the blobs are, a row does not say: all of them together is more than is read at once
                row.size_bytes if row.blobs else row.bundle.size_bytes,
            )
            for row in inventory.rows
            if row.bundle is not None
        ]
    wanted = [choose(inventory, text) if is_key_prefix(text) else parse(text) for text in addresses]
    return [Target(address, stored.get(address, frozenset())) for address in wanted]
