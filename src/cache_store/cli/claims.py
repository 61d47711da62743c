"""`cache-store claims`: who tunes, who failed, and who died while tuning. One LIST and one GET a claim."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import partial
from typing import Any

import click

from cache_store.claim import MAX_READ_BYTES, Rules
from cache_store.cli import output
from cache_store.cli.help_text import ALWAYS, epilog
from cache_store.cli.session import Session, problem_of, store_options
from cache_store.cli.survey import MANY, in_parallel, list_inventory, read_object
from cache_store.cli.views import address_view, claim_view
from cache_store.errors import ErrorKind, StoreError
from cache_store.exit_codes import ExitCode
from cache_store.inventory import Row
from cache_store.objects import Missing, ObjectStore

SCHEMA = "autotune-cache/claims/v1"
CELL_WIDTH = 48
NEEDS_LIST = "claims needs the right to list (s3:ListBucket on the bucket), which pods do not need"

_EXAMPLES = """
claims
claims --json | jq '.claims[] | select(.is_stale)'
"""


@click.command(
    short_help="List who tunes.",
    epilog=epilog(ExitCode.OK, *ALWAYS, examples=_EXAMPLES),
)
@store_options
@click.pass_obj
def claims(session: Session) -> int:
    """List every claim: its state, its holder, how old it is, how long its lease lasts, and why a tune failed.

    Verdicts: held (somebody is tuning), cooling-down (a tune failed; nobody tries again yet), free, unknown (its age
    is). Stale: the holder is gone and left it held; the next pod takes it over, nothing needs to be done. An age that
    begins with ~ is by this computer's clock, where the adapter does not hand out the server's.
    """
    with session.store() as store:
        try:
            inventory = list_inventory(store, "")
        except StoreError as error:
            raise problem_of(error, NEEDS_LIST if error.kind is ErrorKind.DENIED else None) from error
        rows = [row for row in inventory.rows if row.claim is not None]
        found = in_parallel(partial(_read_claim, store, session.clock.now()), rows, at_once=MANY)
        views = [view for view in found if view is not None]
        url = store.url
    if session.is_json:
        output.emit_json({"schema": SCHEMA, "store": url, "claims": views})
    elif not views:
        output.tell(f"no claims in {url}")
    else:
        output.emit_table(
            ["ADDRESS", "STATE", "VERDICT", "HOLDER", "EPOCH", "AGE", "LEASE LEFT", "FINISH IN"],
            map(_cells, views),
        )
        output.emit_lines(line for view in views for line in _failure(view))
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
        **claim_view(answer, now, Rules()),
    }


def _cells(view: dict[str, Any]) -> list[str]:
    verdict = f"{view['verdict']} (stale)" if view["is_stale"] else view["verdict"]
    about = "~" if view["age_clock"] == "local" else ""
    left = view["lease_left_s"] if view["verdict"] == "held" else view["cooldown_left_s"]
    return [
        view["address"],
        view["state"],
        verdict,
        output.shortened(view["holder"] or "", CELL_WIDTH),
        "" if view["epoch"] is None else output.shortened(str(view["epoch"]), CELL_WIDTH),
        about + output.for_people_seconds(view["age_s"]),
        output.for_people_seconds(left),
        output.for_people_seconds(view["finish_in_s"]),
    ]


def _failure(view: dict[str, Any]) -> Iterator[str]:
    text = view["error"] or view["detail"]
    if text is None:
        return
    yield ""
    yield f"{view['address']}: {text}"
    yield from (f"  | {line}" for line in view["tail"])
