"""`cache-store ls`: one row a bundle. One LIST, and one GET a bundle unless the names are enough."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial

import click

from cache_store.bundle import MAX_REGISTER_BYTES
from cache_store.cli import output
from cache_store.cli.bundle_rows import (
    ORDERS,
    STATES,
    Order,
    View,
    Wanted,
    by_numbers,
    contents_view,
    in_order,
    listed_view,
    parse_orders,
    state_without_bundle,
)
from cache_store.cli.clocks import clock_behind_s, clock_text
from cache_store.cli.durations import duration_s
from cache_store.cli.help_text import ALWAYS, epilog
from cache_store.cli.ls_text import branches, cells, columns
from cache_store.cli.progress import progress
from cache_store.cli.row_memory import RowMemory, memory_of
from cache_store.cli.session import Problem, Session, problem_of, store_options
from cache_store.cli.survey import MANY, in_parallel, listed, read_object
from cache_store.cli.views import ObjectAnswer, age_of, reading_of
from cache_store.errors import ErrorKind, StoreError
from cache_store.exit_codes import ExitCode
from cache_store.identity import Address
from cache_store.inventory import Inventory, Row, Selection, Sorting
from cache_store.objects import Entry, Missing, ObjectStore

SCHEMA = "autotune-cache/ls/v1"
NEEDS_LIST = (
    "ls needs the right to list (s3:ListBucket on the bucket), which pods do not need; "
    "`cache-store show` with a full address does without"
)

_EXAMPLES = """
ls --store s3://models/autotune
ls --flashinfer 0.7.2 --arch sm90 --gpu h200 --model qwen3
ls --state quarantined --state tombstone --older-than 30d --sort -age,model
ls --names-only --json | jq -r .bundles[].address
"""


@click.command(
    short_help="List the bundles.",
    epilog=epilog(ExitCode.OK, *ALWAYS, examples=_EXAMPLES),
)
@click.option("--flashinfer", metavar="V", help="Only this FlashInfer version.")
@click.option("--arch", metavar="A", help="Only this architecture, e.g. sm90.")
@click.option("--key", metavar="K", help="Only keys that begin so.")
@click.option("--gpu", metavar="TEXT", help="Only environments whose GPU's name has this in it.")
@click.option(
    "--model",
    metavar="TEXT",
    help="Only bundles whose model's path has this in it, also those taken out of service.",
)
@click.option(
    "--state", "states", type=click.Choice(STATES), multiple=True, help="Only this state; may be repeated."
)
@click.option("--older-than", "older_than_s", callback=duration_s, metavar="30d", help="Written longer ago.")
@click.option("--younger-than", "younger_than_s", callback=duration_s, metavar="12h", help="Written since.")
@click.option(
    "--sort", metavar="NAME[,-NAME]", help=f"Order of the rows, - for downwards: {', '.join(ORDERS)}."
)
@click.option("--long", "is_long", is_flag=True, help="More columns, nothing shortened (text only).")
@click.option(
    "--names-only", is_flag=True, help="Read no bundle: one LIST is all; state and contents stay unknown."
)
@click.option("--no-cache", is_flag=True, help="Read every bundle, also what an earlier ls has read.")
@store_options
@click.pass_obj
def ls(
    session: Session,
    flashinfer: str | None,
    arch: str | None,
    key: str | None,
    gpu: str | None,
    model: str | None,
    states: tuple[str, ...],
    older_than_s: float | None,
    younger_than_s: float | None,
    sort: str | None,
    *,
    is_long: bool,
    names_only: bool,
    no_cache: bool,
) -> int:
    """List the bundles: address, state, model, engine, ranks, coverage, size, age, who tuned and how long it took.

    States: published, tombstone (out of service, may be tuned again), quarantined (may not), claimed-only (somebody is
    tuning or failed), orphaned (objects without bundle and claim), unreadable.

    The listing alone tells address, size, age and whether there is a claim; everything else takes one GET a bundle.
    Version, arch, key, GPU and age are looked at before anything is read. What was read is remembered in
    $XDG_CACHE_HOME/autotune-cache (else ~/.cache/autotune-cache), and read again when the listing shows another ETag.
    """
    selection = Selection(flashinfer, arch, key, gpu)
    wanted = Wanted(model, states, older_than_s, younger_than_s)
    orders = _orders(sort)
    if names_only and (wanted.needs_contents or any(order.needs_contents for order in orders)):
        raise Problem(
            "usage",
            "--names-only reads no bundle, and --model, --state and this order need it",
            ExitCode.USAGE,
        )
    with session.store() as store:
        now = session.clock.now()
        url = store.url
        memory = memory_of(url, {} if no_cache else session.environ)
        with progress("ls", None) as advance:
            inventory, told = _survey(
                store, selection, wanted, memory, now, names_only=names_only, advance=advance
            )
    memory.save(selection.prefix, session.nonce())
    rows = [row for row in inventory.rows if selection.takes(row.address)]
    rows.sort(key=lambda row: by_numbers(str(row.address)))
    views = _wanted_views(rows, told, wanted, now, names_only=names_only)
    if orders:
        views = in_order(views, orders)
    if session.is_json:
        output.emit_json(_document(url, views, inventory, now))
    else:
        _print(url, views, len(inventory.rows), is_long=is_long, is_sorted=bool(orders))
        _tell_foreign(inventory)
        _tell_clock(inventory, now)
    is_denied = any(view["problem"] == f"store-{ErrorKind.DENIED.value}" for view in views)
    return ExitCode.DENIED if is_denied else ExitCode.OK


def _orders(text: str | None) -> tuple[Order, ...]:
    """Raises `Problem`."""
    try:
        return parse_orders(text) if text is not None else ()
    except ValueError as error:
        raise Problem("usage", str(error), ExitCode.USAGE) from None


def _survey(
    store: ObjectStore,
    selection: Selection,
    wanted: Wanted,
    memory: RowMemory,
    now: datetime,
    *,
    names_only: bool,
    advance: Callable[[], None],
) -> tuple[Inventory, dict[Address, View | None]]:
    """The listing, and what reading told (None: gone since it was listed). Reads go on while the listing comes in."""
    sorting = Sorting()
    told: dict[Address, View | None] = {}

    def to_read() -> Iterator[tuple[Address, Entry]]:
        for entry in listed(store, selection.prefix):
            address = sorting.take(entry)
            if address is None:
                continue
            advance()
            known = memory.recall(entry)
            if names_only or not selection.takes(address) or not wanted.may_read(entry, now):
                continue
            if known is not None:
                told[address] = known
            else:
                yield address, entry

    try:
        for address, entry, answer in in_parallel(
            partial(_read, store), to_read(), at_once=MANY, weigh=lambda one: one[1].size_bytes
        ):
            told[address] = view = _view(address, answer, now)
            if view is not None:
                memory.learn(entry, view)
    except StoreError as error:
        raise problem_of(error, NEEDS_LIST if error.kind is ErrorKind.DENIED else None) from error
    return sorting.inventory(), told


def _read(store: ObjectStore, listed_as: tuple[Address, Entry]) -> tuple[Address, Entry, ObjectAnswer]:
    address, entry = listed_as
    return address, entry, read_object(store, entry.key, limit_bytes=MAX_REGISTER_BYTES)


def _view(address: Address, answer: ObjectAnswer, now: datetime) -> View | None:
    if isinstance(answer, Missing):
        return None
    view = contents_view(reading_of(address, answer, has_claim=False))
    if (age := age_of(answer, now)).seconds is not None:
        view["age_s"] = age.seconds
    return view


def _wanted_views(
    rows: Sequence[Row],
    told: Mapping[Address, View | None],
    wanted: Wanted,
    now: datetime,
    *,
    names_only: bool,
) -> list[View]:
    views = []
    for row in rows:
        view = listed_view(row, now)
        if not wanted.takes_age(view["age_s"]):
            continue
        if not names_only:
            if row.bundle is not None and row.address not in told:
                continue  # its state is none of the wanted ones, whatever it is
            view |= told.get(row.address) or {"state": state_without_bundle(row)}
        if wanted.takes_contents(view):
            views.append(view)
    return views


def _document(url: str, views: list[View], inventory: Inventory, now: datetime) -> View:
    foreign, behind_s = inventory.foreign, clock_behind_s(inventory.newest, now)
    return {
        "schema": SCHEMA,
        "store": url,
        "bundles": views,
        "foreign": {
            "objects": foreign.objects,
            "size_bytes": foreign.size_bytes,
            "examples": list(foreign.examples),
        },
        **({"clock_behind_s": behind_s} if behind_s is not None else {}),
    }


def _print(url: str, views: list[View], total: int, *, is_long: bool, is_sorted: bool) -> None:
    if not views:
        output.tell(
            f"no bundle fits; there are {total} addresses in {url}" if total else f"no bundles in {url}"
        )
    elif output.is_terminal() and not is_sorted:  # a tree has an order of its own
        output.emit_tree(url, branches(views, width=None if is_long else output.terminal_width()))
    else:
        output.emit_table(
            ["ADDRESS", *columns(is_long=is_long)],
            ([view["address"], *cells(view, is_long=is_long).values()] for view in views),
        )


def _tell_foreign(inventory: Inventory) -> None:
    foreign = inventory.foreign
    if foreign.objects:
        size = output.for_people_bytes(foreign.size_bytes)
        first = foreign.examples[0]
        output.tell(f"{foreign.objects} foreign objects ({size}) were left alone, the first: {first}")


def _tell_clock(inventory: Inventory, now: datetime) -> None:
    behind_s = clock_behind_s(inventory.newest, now)
    if behind_s is not None:
        output.tell(clock_text(behind_s))
