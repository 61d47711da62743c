"""The rows for a terminal. Whatever comes from a cluster or a bucket is escaped: names may be hostile. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from autotune_init.fleet_identity import Wanted
from autotune_init.fleet_rows import Row
from cache_store.cli.output import escape, for_people_seconds, shortened

_HEADER = ("WORKLOAD", "KIND", "REPLICAS", "ENGINE", "KEY", "STATE", "REASON", "SAVED")
_CELL = 60
_DETAIL = 300


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Lines: a heading and a table for each GPU, then the details, then a sum."""
    ordered = sorted(rows, key=lambda row: row.gpu)
    for gpu, group in groupby(ordered, key=lambda row: row.gpu):
        yield escape(gpu)
        yield from _aligned([_HEADER, *map(_cells, group)])
        yield ""
    details = dict.fromkeys(f"{row.workload.path}: {row.reason}: {row.detail}" for row in rows if row.detail)
    yield from (escape(shortened(line, _DETAIL)) for line in details)
    if details:
        yield ""
    count = {state: sum(row.state == state for row in rows) for state in ("hit", "miss", "refused")}
    to_tune = len({str(row.wants) for row in rows if row.is_to_tune})
    saved = for_people_seconds(sum(row.saved_s for row in rows))
    yield (
        f"{len(rows)} rows: {count['hit']} hit, {count['miss']} miss ({to_tune} to tune), "
        f"{count['refused']} refused; saved {saved} of tuning"
    )


def _cells(row: Row) -> tuple[str, ...]:
    reason = row.reason
    found = row.found
    if found is not None and found.reason == "claimed":
        reason = f"claimed by {found.holder or '?'} since {for_people_seconds(found.since_s)}"
    return (
        row.workload.path,
        row.workload.kind,
        str(row.replicas),
        row.wants.engine,
        row.wants.address.key if isinstance(row.wants, Wanted) else "",
        row.state,
        reason,
        for_people_seconds(row.saved_s) if row.saved_s else "",
    )


def _aligned(table: Iterable[Sequence[str]]) -> Iterator[str]:
    cells = [[escape(shortened(cell, _CELL)) or "-" for cell in row] for row in table]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        yield ("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
