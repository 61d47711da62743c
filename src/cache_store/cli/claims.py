"""`cache-store claims`: who tunes, who failed, and who died while tuning. One LIST and one GET a claim."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import partial
from typing import Any

import click

from cache_store.bundle import MAX_REGISTER_BYTES
from cache_store.claim import MAX_READ_BYTES, Rules
from cache_store.cli import output
from cache_store.cli.bundle_rows import model_of_register
from cache_store.cli.claim_view import claim_view
from cache_store.cli.clocks import tell_clock, verdict_text
from cache_store.cli.help_text import ALWAYS, epilog
from cache_store.cli.progress import progress
from cache_store.cli.session import Session, problem_of, store_options
from cache_store.cli.survey import MANY, in_parallel, list_inventory, read_object
from cache_store.cli.views import address_view, reading_of
from cache_store.errors import ErrorKind, StoreError
from cache_store.exit_codes import ExitCode
from cache_store.identity import Address
from cache_store.inventory import Inventory, Row
from cache_store.objects import Missing, ObjectStore

SCHEMA = "autotune-cache/claims/v1"
CELL_WIDTH = 48
MOST_OF_A_REASON = 500
NEEDS_LIST = "claims needs the right to list (s3:ListBucket on the bucket), which pods do not need"

STATES = ("held", "released", "failed", "done", "unreadable")
VERDICTS = ("held", "cooling-down", "free", "unknown", "stale")
# nobody needs to do or know anything about these
_OVER = frozenset({"released", "done"})

_EXAMPLES = """
claims
claims --verdict held --verdict stale
claims --json | jq '.claims[] | select(.is_stale)'
"""


@click.command(
    short_help="List who tunes.",
    epilog=epilog(ExitCode.OK, *ALWAYS, examples=_EXAMPLES),
)
@click.option(
    "--state", "states", type=click.Choice(STATES), multiple=True, help="Only this; may be repeated."
)
@click.option(
    "--verdict", "verdicts", type=click.Choice(VERDICTS), multiple=True, help="Only this; may be repeated."
)
@click.option("--all", "is_all", is_flag=True, help="In text also what is done or released.")
@store_options
@click.pass_obj
def claims(session: Session, states: tuple[str, ...], verdicts: tuple[str, ...], *, is_all: bool) -> int:
    """List claims: who holds it and for how long, for which model, how long its lease lasts, and why a tune failed.

    Verdicts: held (somebody is tuning), cooling-down (a tune failed; nobody tries again yet), free, unknown (its age
    is). Stale: the holder is gone and left it held; the next pod takes it over, nothing needs to be done. An age that
    begins with ~ is by this computer's clock, where the adapter does not hand out the server's. Text leaves out what is
    done or released, unless it is asked for.
    """
    now = session.clock.now()
    with session.store() as store:
        try:
            inventory = list_inventory(store, "")
        except StoreError as error:
            raise problem_of(error, NEEDS_LIST if error.kind is ErrorKind.DENIED else None) from error
        rows = [row for row in inventory.rows if row.claim is not None]
        views = []
        with progress("claims", len(rows)) as advance:
            for view in in_parallel(partial(_read_claim, store, now), rows, at_once=MANY):
                advance()
                if view is not None and _is_wanted(view, states, verdicts):
                    views.append(view)
        _name_models(store, inventory, views)
        url = store.url
    if session.is_json:
        output.emit_json({"schema": SCHEMA, "store": url, "claims": views})
    else:
        _print(url, views, is_all=is_all or bool(states or verdicts))
        tell_clock(inventory.newest, now, views)
    is_denied = any(view["problem"] == f"store-{ErrorKind.DENIED.value}" for view in views)
    return ExitCode.DENIED if is_denied else ExitCode.OK


def _read_claim(store: ObjectStore, now: datetime, row: Row) -> dict[str, Any] | None:
    """None for a claim that is gone since it was listed."""
    answer = read_object(store, row.address.claim_key, limit_bytes=MAX_READ_BYTES)
    if isinstance(answer, Missing):
        return None
    return {
        **address_view(row.address),
        "has_bundle": row.bundle is not None,
        "model": None,
        **claim_view(answer, now, Rules()),
    }


def _is_wanted(view: dict[str, Any], states: tuple[str, ...], verdicts: tuple[str, ...]) -> bool:
    told = {view["verdict"], "stale"} if view["is_stale"] else {view["verdict"]}
    return (not states or view["state"] in states) and (not verdicts or not told.isdisjoint(verdicts))


def _name_models(store: ObjectStore, inventory: Inventory, views: list[dict[str, Any]]) -> None:
    """A claim does not say what is tuned; any bundle of the same key does, on whatever GPU. One GET a key that matters."""
    wanted = {view["key"] for view in views if view["state"] not in _OVER}
    known = {row.address.key: row.address for row in inventory.rows if row.bundle is not None}
    places = [known[key] for key in sorted(wanted & known.keys())]

    def model_at(address: Address) -> tuple[str, str | None]:
        answer = read_object(store, address.bundle_key, limit_bytes=MAX_REGISTER_BYTES)
        return address.key, model_of_register(reading_of(address, answer, has_claim=True).register)

    models = dict(in_parallel(model_at, places))
    for view in views:
        view["model"] = models.get(view["key"])


def _print(url: str, views: list[dict[str, Any]], *, is_all: bool) -> None:
    shown = [view for view in views if is_all or view["state"] not in _OVER]
    if shown:
        output.emit_table(list(_cells(shown[0])), (list(_cells(view).values()) for view in shown))
        output.emit_lines(line for view in shown for line in _story(view))
    elif not views:
        output.tell(f"no claims in {url}")
    if left := len(views) - len(shown):
        output.tell(f"{left} more {'is' if left == 1 else 'are'} done or released: --all shows them")


def _cells(view: dict[str, Any]) -> dict[str, str]:
    about = "~" if view["age_clock"] == "local" else ""
    return {
        "ADDRESS": view["address"],
        "MODEL": output.shortened(view["model"] or "", CELL_WIDTH),
        "STATE": view["state"],
        "VERDICT": verdict_text(view),
        "HOLDER": output.shortened(view["holder"] or "", CELL_WIDTH),
        "HELD FOR": _held(view, about),
        "AGE": about + output.for_people_seconds(view["age_s"]),
        "EPOCH": "" if view["epoch"] is None else output.shortened(str(view["epoch"]), CELL_WIDTH),
        "LEASE LEFT": output.for_people_seconds(view["lease_left_s"]),
        "FINISH IN": output.for_people_seconds(view["finish_in_s"]),
        "COOLDOWN": output.for_people_seconds(view["cooldown_left_s"]),
    }


def _held(view: dict[str, Any], about: str) -> str:
    """What the holder wrote at its last heartbeat, and since then; of what is over, how long it had been held."""
    if view["held_s"] is None:
        return ""
    if view["state"] != "held" or view["is_stale"]:
        return output.for_people_seconds(view["held_s"])
    return about + output.for_people_seconds(view["held_s"] + (view["age_s"] or 0.0))


def _story(view: dict[str, Any]) -> Iterator[str]:
    """Why a tune failed, or why somebody ended the claim."""
    text = view["error"] or view["detail"]
    if text is None:
        return
    what = {"failed": "failed", "unreadable": "unreadable"}.get(view["state"], "why")
    yield ""
    yield view["address"]
    yield f"  {what}: {output.shortened(text, MOST_OF_A_REASON)}"
    yield from (f"  | {line}" for line in view["tail"])
