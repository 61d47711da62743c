"""`cache-store ls`: one row a bundle. One LIST, and one GET a bundle unless the names are enough."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any

import click

from cache_store.bundle import MAX_REGISTER_BYTES
from cache_store.cli import output
from cache_store.cli.help_text import ALWAYS, epilog
from cache_store.cli.session import Session, problem_of, store_options
from cache_store.cli.survey import in_parallel, list_inventory, read_object
from cache_store.cli.views import ObjectAnswer, Reading, address_view, age_of, engine_of, model_of, reading_of
from cache_store.errors import ErrorKind, StoreError
from cache_store.exit_codes import ExitCode
from cache_store.inventory import Inventory, Row, Selection
from cache_store.objects import Missing, ObjectStore

SCHEMA = "autotune-cache/ls/v1"
NEEDS_LIST = (
    "ls needs the right to list (s3:ListBucket on the bucket), which pods do not need; "
    "`cache-store show` with a full address does without"
)
CELL_WIDTH = 48

_EXAMPLES = """
ls --store s3://models/autotune
ls --flashinfer 0.7.2 --arch sm90 --gpu h200
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
@click.option("--long", "is_long", is_flag=True, help="More columns, nothing shortened (text only).")
@click.option(
    "--names-only", is_flag=True, help="Read no bundle: one LIST is all; state and contents stay unknown."
)
@store_options
@click.pass_obj
def ls(
    session: Session,
    flashinfer: str | None,
    arch: str | None,
    key: str | None,
    gpu: str | None,
    is_long: bool,
    names_only: bool,
) -> int:
    """List the bundles: address, state, model, engine, ranks, entries, size, age, who tuned and how long it took.

    States: published, tombstone (out of service, may be tuned again), quarantined (may not), claimed-only (somebody is
    tuning or failed), orphaned (objects without bundle and claim), unreadable.
    """
    selection = Selection(flashinfer, arch, key, gpu)
    with session.store() as store:
        try:
            inventory = list_inventory(store, selection.prefix)
        except StoreError as error:
            raise problem_of(error, NEEDS_LIST if error.kind is ErrorKind.DENIED else None) from error
        rows = [row for row in inventory.rows if selection.takes(row.address)]
        now = session.clock.now()
        views = [_view(row, now) for row in rows] if names_only else _read(store, rows, now)
        url = store.url
    if session.is_json:
        output.emit_json(_document(url, views, inventory))
    else:
        _print(url, views, is_long=is_long)
        _tell_foreign(inventory)
    is_denied = any(view["problem"] == f"store-{ErrorKind.DENIED.value}" for view in views)
    return ExitCode.DENIED if is_denied else ExitCode.OK


def _read(store: ObjectStore, rows: Sequence[Row], now: datetime) -> list[dict[str, Any]]:
    return list(in_parallel(partial(_read_row, store, now), rows))


def _read_row(store: ObjectStore, now: datetime, row: Row) -> dict[str, Any]:
    answer: ObjectAnswer = Missing()
    if row.bundle is not None:
        answer = read_object(store, row.address.bundle_key, limit_bytes=MAX_REGISTER_BYTES)
    view = _view(row, now, reading_of(row.address, answer, has_claim=row.claim is not None))
    if (age := age_of(answer, now)).seconds is not None:
        view["age_s"] = age.seconds
    return view


def _view(row: Row, now: datetime, reading: Reading | None = None) -> dict[str, Any]:
    bundle = reading.bundle if reading else None
    tombstone = reading.tombstone if reading else None
    made = bundle.provenance if bundle else None
    return {
        **address_view(row.address),
        "state": reading.state if reading else None,
        "problem": reading.problem if reading else None,
        "detail": reading.detail if reading else None,
        "has_bundle": row.bundle is not None,
        "has_claim": row.claim is not None,
        "objects": row.objects,
        "size_bytes": row.size_bytes,
        "age_s": _listed_age_s(row, now),
        "model": model_of(bundle) if bundle else None,
        "engine": engine_of(bundle) if bundle else None,
        "ranks": len(bundle.ranks) if bundle else None,
        "entries": bundle.coverage.entries if bundle else None,
        "epoch": bundle.epoch if bundle else tombstone.epoch if tombstone else None,
        "created_at": made.created_at if made else None,
        "tuned_by": made.holder if made else None,
        "tuner": made.tuner if made else None,
        "tune_s": made.tune_s if made else None,
        "verified": made.verified if made else None,
        "driver": made.driver if made else None,
        "image": made.image if made else None,
        "retired_by": tombstone.retired_by if tombstone else None,
        "reason": tombstone.reason if tombstone else None,
    }


def _listed_age_s(row: Row, now: datetime) -> float | None:
    """Of bundle.json, else of claim.json, by our own clock: a listing tells when, and not what time it is there."""
    entry = row.bundle or row.claim
    if entry is None or entry.last_modified is None:
        return None
    return max(0.0, (now - entry.last_modified).total_seconds())


def _document(url: str, views: list[dict[str, Any]], inventory: Inventory) -> dict[str, Any]:
    foreign = inventory.foreign
    return {
        "schema": SCHEMA,
        "store": url,
        "bundles": views,
        "foreign": {
            "objects": foreign.objects,
            "size_bytes": foreign.size_bytes,
            "examples": list(foreign.examples),
        },
    }


def _print(url: str, views: list[dict[str, Any]], *, is_long: bool) -> None:
    if not views:
        output.tell(f"no bundles in {url}")
    elif output.is_terminal():
        output.emit_tree(url, _branches(views, is_long=is_long))
    else:
        columns = _columns(is_long=is_long)
        output.emit_table(
            ["ADDRESS", *columns],
            ([view["address"], *_cells(view, is_long=is_long).values()] for view in views),
        )


def _branches(views: list[dict[str, Any]], *, is_long: bool) -> dict[str, Any]:
    """FlashInfer version and arch -> key and model -> environment -> the rest in one line."""
    tree: dict[str, Any] = {}
    for view in views:
        cells = _cells(view, is_long=is_long)
        model = cells.pop("MODEL")
        releases = tree.setdefault(f"{view['flashinfer_version']}/{view['arch']}", {})
        models = releases.setdefault(f"{view['key']}  {model}".rstrip(" -"), {})
        told = "  ".join(f"{name.lower()} {cell}" for name, cell in cells.items() if cell not in {"", "-"})
        models[view["environment"]] = told
    return tree


def _columns(*, is_long: bool) -> list[str]:
    columns = ["STATE", "MODEL", "ENGINE", "RANKS", "ENTRIES", "SIZE", "AGE", "TUNED BY", "TOOK"]
    return (
        [*columns, "TUNER", "VERIFIED", "EPOCH", "OBJECTS", "CREATED", "DRIVER", "IMAGE", "NOTE"]
        if is_long
        else columns
    )


def _cells(view: dict[str, Any], *, is_long: bool) -> dict[str, str]:
    def text(name: str) -> str:
        value = "" if view[name] is None else str(view[name])
        return value if is_long else output.shortened(value, CELL_WIDTH)

    values = [
        f"{text('state')} ({view['problem']})" if view["problem"] else text("state"),
        text("model"),
        text("engine"),
        text("ranks"),
        text("entries"),
        output.for_people_bytes(view["size_bytes"]),
        output.for_people_seconds(view["age_s"]),
        text("tuned_by"),
        output.for_people_seconds(view["tune_s"]),
    ]
    if is_long:
        more = ("tuner", "verified", "epoch", "objects", "created_at", "driver", "image")
        values += [*map(text, more), view["reason"] or view["detail"] or ""]
    return dict(zip(_columns(is_long=is_long), values, strict=True))


def _tell_foreign(inventory: Inventory) -> None:
    foreign = inventory.foreign
    if foreign.objects:
        size = output.for_people_bytes(foreign.size_bytes)
        first = foreign.examples[0]
        output.tell(f"{foreign.objects} foreign objects ({size}) were left alone, the first: {first}")
