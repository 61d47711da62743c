"""From a bucket to what the fleet page shows: reads registers, claims and records, and puts them into the page's words."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any

from cache_store import __version__
from cache_store.bundle import MAX_REGISTER_BYTES, Bundle
from cache_store.claim import MAX_READ_BYTES, Rules
from cache_store.cli.bundle_rows import state_without_bundle
from cache_store.cli.output import escape, for_people_seconds, shortened
from cache_store.cli.progress import progress
from cache_store.cli.survey import MANY, in_parallel, list_inventory, read_object
from cache_store.cli.views import Reading, claim_view, engine_of, model_of, reading_of, text_of_input
from cache_store.collect_on_store import read_record
from cache_store.dataclass import dataclass, replace
from cache_store.errors import StoreError
from cache_store.fleet_page import MAX_TEXT, UNKNOWN, FleetPage, Starts, Trouble, Workload, counts_of
from cache_store.inventory import Row
from cache_store.objects import Missing, ObjectStore
from cache_store.use_record import FOLDER
from cache_store.uses import Uses

_STANDINGS = {
    "tombstone": "retired",
    "quarantined": "quarantined",
    "claimed-only": "tuning",
    "orphaned": "unreadable",
    "unreadable": "unreadable",
}
# nothing was tuned for FlashInfer before: a date that is older is a clock's mistake, or somebody's joke
_FIRST = datetime(2020, 1, 1, tzinfo=timezone.utc)
# what waits for somebody first
_KINDS = ("stale", "failed", "unreadable", "quarantined")
_FACTS_OF_TUNE = (
    "created_at", "holder", "tuner", "verified", "engine_version", "image", "driver", "program", "restored_by", "restored_at",
    "restored_why",
)  # fmt: skip


@dataclass(frozen=True)
class Looked:
    """What one address adds to the page."""

    workload: Workload
    troubles: tuple[Trouble, ...]
    is_denied: bool


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
        for one in in_parallel(partial(_look, store, now), inventory.rows, at_once=MANY):
            looked.append(one)
            advance()
    workloads = tuple(_named([one.workload for one in looked]))
    page = FleetPage(
        store=_text(store.url),
        written_at=now,
        program=__version__,
        workloads=workloads,
        troubles=tuple(
            sorted((each for one in looked for each in one.troubles), key=lambda one: _KINDS.index(one.kind))
        ),
        starts=_starts(store),
        objects=sum(row.objects for row in inventory.rows),
        size_bytes=sum(row.size_bytes for row in inventory.rows),
        foreign=inventory.foreign.objects,
        counts=counts_of(workloads),
    )
    return Gathered(page, any(one.is_denied for one in looked))


def _named(workloads: list[Workload]) -> Iterator[Workload]:
    """Who has no bundle knows its key and its environment's name: another of the same key tells the model, one of the same
    environment the GPU's own name. Where nobody does, the key stands in for the model.
    """
    models = {_key(one): one.model for one in workloads if one.model}
    gpus = {_environment(one): one.gpu for one in workloads if one.model}
    for one in workloads:
        model = one.model or models.get(_key(one)) or f"key {_key(one)[:12]}"
        yield replace(one, model=model, gpu=gpus.get(_environment(one), one.gpu))


def _key(one: Workload) -> str:
    return one.address.split("/")[2]


def _environment(one: Workload) -> str:
    return one.address.rpartition("/")[2]


def _look(store: ObjectStore, now: datetime, row: Row) -> Looked:
    reading = Reading(state_without_bundle(row))
    if row.bundle is not None:
        answer = read_object(store, row.address.bundle_key, limit_bytes=MAX_REGISTER_BYTES)
        reading = reading_of(row.address, answer, has_claim=row.claim is not None)
    claim: dict[str, Any] | None = None
    if row.claim is not None:
        found = read_object(store, row.address.claim_key, limit_bytes=MAX_READ_BYTES)
        claim = None if isinstance(found, Missing) else claim_view(found, now, Rules())
    troubles = (*_of_register(row, reading), *(() if reading.bundle else _of_claim(row, claim)))
    return Looked(_workload(row, reading, claim, now), troubles, reading.is_denied)


def _workload(row: Row, reading: Reading, claim: dict[str, Any] | None, now: datetime) -> Workload:
    bundle, tombstone = reading.bundle, reading.tombstone
    identity = bundle.identity if bundle else tombstone.identity if tombstone else None
    metadata = identity.metadata if identity else {}
    model = model_of(identity) if identity else None
    entry = row.bundle or row.claim
    note = ""
    if tombstone:
        note = f"{tombstone.reason} (by {tombstone.retired_by})"
    elif reading.problem:
        note = f"{reading.problem}: {reading.detail}"
    elif claim and claim["verdict"] in ("held", "cooling-down"):
        note = f"{claim['why']}: {claim['holder'] or UNKNOWN}"
    written = _moment(bundle.provenance.created_at) if bundle else None
    written = written or (entry.last_modified if entry else None)
    return Workload(
        address=str(row.address),
        state=reading.state,
        standing=bundle.coverage.completeness if bundle else _STANDINGS[reading.state],
        model=_text(model or ""),
        gpu=_text(metadata.get("gpu") or row.address.environment[:-13]),
        flashinfer_version=row.address.flashinfer_version,
        engine=_text(engine_of(bundle)) if bundle else "",
        made_by=_text(bundle.provenance.holder) if bundle else "",
        # a clock that is wrong must not stretch the timeline by centuries
        at=None if written is None else min(written, now + timedelta(days=1)),
        size_bytes=row.size_bytes,
        ranks=len(bundle.ranks) if bundle else 0,
        entries=bundle.coverage.entries if bundle else 0,
        tune_s=bundle.provenance.tune_s if bundle else 0.0,
        note=_text(note),
        facts=tuple(
            (section, _text(name), _text(value)) for section, name, value in _facts(reading, claim) if value
        ),
    )


def _moment(text: str | None) -> datetime | None:
    """When it was tuned, which a copy in another bucket keeps; None where that is not said, or cannot be.

    The first minutes of year 1 east of Greenwich have no UTC: they overflow when they are converted.
    """
    try:
        # Python 3.10 knows no Z
        told = datetime.fromisoformat((text or "").replace("Z", "+00:00"))
        moment = told.astimezone(timezone.utc) if told.tzinfo else None
    except (ValueError, OverflowError):
        return None
    return moment if moment and moment >= _FIRST else None


def _facts(reading: Reading, claim: dict[str, Any] | None) -> Iterator[tuple[str, str, str]]:
    bundle, tombstone = reading.bundle, reading.tombstone
    identity = bundle.identity if bundle else tombstone.identity if tombstone else None
    if identity:
        yield "Key", "key", identity.key
        yield "Key", "of the text", identity.key_text
        for name, value in identity.key_inputs.items():
            yield "Key", name, text_of_input(value)
        for name, told in identity.metadata.items():
            yield "Environment", name, told
        for name, told in identity.extra.items():
            yield "Environment", f"extra: {name}", told
    if bundle:
        yield from _facts_of_bundle(bundle)
    if tombstone:
        yield "Taken out", "why", tombstone.reason
        yield "Taken out", "by", tombstone.retired_by
        yield "Taken out", "at", tombstone.retired_at or ""
        yield "Taken out", "may be tuned again", "yes" if tombstone.may_retune else "no"
        yield "Taken out", "copy", tombstone.retired_copy or ""
    if claim:
        yield (
            "Claim",
            "verdict",
            f"{claim['verdict']}{', stale' if claim['is_stale'] else ''}: {claim['why']}",
        )
        yield "Claim", "holder", claim["holder"] or ""


def _facts_of_bundle(bundle: Bundle) -> Iterator[tuple[str, str, str]]:
    coverage = bundle.coverage
    yield "Coverage", "completeness", coverage.completeness
    for op, count in coverage.ops.items():
        yield "Coverage", op, f"{count} entries"
    for op, shapes in coverage.buckets.items():
        for shape, buckets in shapes.items():
            yield "Coverage", f"{op} {shape}", ", ".join(map(str, buckets))
    for op, why in coverage.excluded.items():
        yield "Coverage", f"left out: {op}", why
    for what, why in coverage.undecided.items():
        yield "Coverage", f"not decided: {what}", why
    for name, digest in sorted(bundle.ranks.items()):
        size = len(bundle.files[digest].encode()) if digest in bundle.files else bundle.blobs[digest]
        yield "Ranks", name, f"{size} bytes, sha256 {digest[:16]}..."
    made = bundle.provenance
    yield "Made", "tuned in", for_people_seconds(made.tune_s)
    for name in _FACTS_OF_TUNE:
        yield "Made", name.replace("_", " "), getattr(made, name) or ""
    yield "Made", "epoch, nonce", f"{bundle.epoch}, {bundle.nonce}"


def _of_register(row: Row, reading: Reading) -> Iterator[Trouble]:
    address = str(row.address)
    if reading.problem:
        yield Trouble("unreadable", address, _text(f"{reading.problem}: {reading.detail}"))
    elif reading.state == "quarantined" and reading.tombstone:
        yield Trouble(
            "quarantined", address, _text(f"{reading.tombstone.reason} (by {reading.tombstone.retired_by})")
        )


def _of_claim(row: Row, claim: dict[str, Any] | None) -> Iterator[Trouble]:
    if claim is None:
        return
    address, holder = str(row.address), claim["holder"] or UNKNOWN
    if claim["is_stale"]:
        since = for_people_seconds(claim["age_s"])
        yield Trouble(
            "stale", address, _text(f"{holder} began to tune, was last heard of {since} ago, and is gone")
        )
    elif claim["state"] == "failed" or claim["problem"]:
        why = claim["error"] or claim["detail"] or claim["why"]
        yield Trouble("failed", address, _text(f"{holder}: {why}"), tuple(map(_text, claim["tail"])))


def _starts(store: ObjectStore) -> Starts:
    """None, where records may not be listed: pods' policy need not allow it."""
    uses = Uses()
    try:
        keys = [entry.key for entry in store.list(FOLDER)]
        for record in in_parallel(partial(read_record, store), keys, at_once=MANY):
            uses.add(record)
    except StoreError:
        return Starts()
    return Starts(
        records=uses.records,
        outcomes=tuple((_text(name), count) for name, count in uses.outcomes.most_common()),
        reasons=tuple((_text(name), count) for name, count in uses.reasons.most_common()),
        saved_s=uses.saved_s,
        tune_s=uses.tune_s,
    )


def _text(value: object) -> str:
    return shortened(escape(value), MAX_TEXT)
