"""From a bucket to what the fleet page shows: reads registers, claims and records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import date, datetime
from functools import partial

from cache_store import __version__
from cache_store.cli.fleet_workload import KINDS, Looked, look_at
from cache_store.cli.page_text import moment_of, page_text
from cache_store.cli.progress import progress
from cache_store.cli.row_answers import ask_row
from cache_store.cli.survey import MANY, in_parallel, list_inventory
from cache_store.cli.views import Unread
from cache_store.collect_on_store import read_record
from cache_store.dataclass import dataclass, field, replace
from cache_store.errors import ErrorKind, StoreError
from cache_store.fleet_page import FleetPage, Met, Starts, Workload, counts_of
from cache_store.known_bad_words import PREFIX
from cache_store.layout import RECORDS
from cache_store.objects import ObjectStore
from cache_store.use_record import WARM, UseRecord
from cache_store.uses import Uses

MAX_MET = 5


@dataclass(frozen=True)
class Gathered:
    """The page, and whether some objects could not be read for want of a right."""

    page: FleetPage
    is_denied: bool


def gather(store: ObjectStore, now: datetime) -> Gathered:
    """Two LISTs, and one GET for each register, each claim and each record. Raises `StoreError`."""
    inventory = list_inventory(store, "")
    looked: list[Looked] = []
    with progress("report", len(inventory.rows)) as advance:
        for answers in in_parallel(partial(ask_row, store), inventory.rows, at_once=MANY):
            looked.append(look_at(answers.row, answers.reading(), answers.claim_view(now), now))
            advance()
    troubles = (each for one in looked for each in one.troubles)
    starts, is_denied = _starts(store)
    page = FleetPage(
        store=page_text(store.url),
        written_at=now,
        program=__version__,
        workloads=tuple(_named([one.workload for one in looked])),
        troubles=tuple(sorted(troubles, key=lambda one: KINDS.index(one.kind))),
        starts=starts,
        objects=sum(row.objects for row in inventory.rows),
        size_bytes=sum(row.size_bytes for row in inventory.rows),
        foreign=inventory.foreign.objects,
        counts=counts_of(one.state for one in looked),
    )
    return Gathered(page, is_denied or any(one.is_denied for one in looked))


def _named(workloads: list[Workload]) -> Iterator[Workload]:
    """Who has no bundle knows its key and its environment's name: another of the same key tells the model, one of the same
    environment the GPU's own name. Where nobody does, the key stands in for the model.
    """
    models = {_key(one): one.model for one in workloads if one.model}
    gpus = {_environment(one): one.gpu for one in workloads if one.model}
    for one in workloads:
        model = one.model or models.get(_key(one), "")
        gpu = gpus.get(_environment(one), one.gpu)
        yield replace(one, model=model or f"key {_key(one)[:12]}", gpu=gpu, is_named=bool(model))


def _key(one: Workload) -> str:
    return one.address.split("/")[2]


def _environment(one: Workload) -> str:
    return one.address.rpartition("/")[2]


@dataclass
class _Records:
    """Sums so far. `refused`: could not be read, while others can."""

    uses: Uses = field(default_factory=Uses)
    refused: int = 0
    is_denied: bool = False
    first: datetime | None = None
    last: datetime | None = None
    days: Counter[tuple[date, str]] = field(default_factory=Counter)
    met: dict[str, list[str]] = field(default_factory=dict)

    def add(self, record: UseRecord | Unread | None) -> None:
        if isinstance(record, Unread):
            self.refused += 1
            self.is_denied = self.is_denied or record.kind is ErrorKind.DENIED
            return
        self.uses.add(record)
        if record is None:
            return
        at = moment_of(record.at)
        if at is not None:
            self.first = min(at, self.first or at)
            self.last = max(at, self.last or at)
            self.days[at.date(), "warm" if record.outcome in WARM else "cold"] += 1
        if record.reason.startswith(PREFIX) and record.address and record.reason in self.uses.reasons:
            addresses = self.met.setdefault(record.reason, [])
            if len(addresses) < MAX_MET and str(record.address) not in addresses:
                addresses.append(str(record.address))


def _starts(store: ObjectStore) -> tuple[Starts, bool]:
    """Sums, and whether a right was missing. Records may be refused where bundles are not: pods' policy need not allow it."""
    records, problem = _Records(), ""
    try:
        keys = [entry.key for entry in store.list(RECORDS)]
        for record in in_parallel(partial(_record, store), keys, at_once=MANY):
            records.add(record)
    except StoreError as error:
        problem = page_text(f"records could not all be read: {error.kind.value}", 200)
        records.is_denied = records.is_denied or error.kind is ErrorKind.DENIED
    uses = records.uses
    starts = Starts(
        records=uses.records,
        unread=uses.unread + records.refused,
        problem=problem,
        outcomes=tuple((page_text(name), count) for name, count in uses.outcomes.most_common()),
        reasons=tuple((page_text(name), count) for name, count in uses.reasons.most_common()),
        warm=sum(count for name, count in uses.outcomes.items() if name in WARM),
        saved_s=uses.saved_s,
        first=records.first,
        last=records.last,
        days=dict(records.days),
        known_bad=tuple(
            Met(page_text(name), count, tuple(records.met.get(name, ())))
            for name, count in uses.reasons.most_common()
            if name.startswith(PREFIX)
        ),
    )
    return starts, records.is_denied


def _record(store: ObjectStore, key: str) -> UseRecord | Unread | None:
    """As `read_record`. Raises `StoreError` where going on with other records is pointless."""
    try:
        return read_record(store, key)
    except StoreError as error:
        if error.kind in (ErrorKind.DENIED, ErrorKind.INVALID, ErrorKind.CORRUPT):
            return Unread(error.kind, str(error))
        raise
