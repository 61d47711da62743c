"""One address as the page has it: its row, and what about it needs attention. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from cache_store.cli.fleet_facts import facts_of
from cache_store.cli.output import for_people_seconds
from cache_store.cli.page_text import moment_of, page_text
from cache_store.cli.views import Reading, engine_of, model_of
from cache_store.dataclass import dataclass
from cache_store.errors import ErrorKind
from cache_store.fleet_page import UNKNOWN, Trouble, Workload
from cache_store.inventory import Row

# what waits for somebody first
KINDS = ("stale", "failed", "unreadable", "quarantined")
MAX_TAIL, MAX_LINE = 20, 500
_STATES = {
    "published": "published",
    "tombstone": "retired",
    "quarantined": "quarantined",
    "orphaned": "left behind",
    "unreadable": "unreadable",
}

ClaimView = Mapping[str, Any]


@dataclass(frozen=True)
class Looked:
    """What one address adds to the page. `state` is that of `ls`."""

    workload: Workload
    troubles: tuple[Trouble, ...]
    state: str
    is_denied: bool


def look_at(row: Row, reading: Reading, claim: ClaimView | None, now: datetime) -> Looked:
    """`claim`: as `claim_view` has it; None: there is none."""
    # beside a bundle a claim has nothing left to say: whoever holds it adopts what is published
    claimed = "" if claim is None or reading.bundle else state_of_claim(claim)
    workload = _workload(row, reading, claim, claimed, now)
    troubles = (*_of_register(row, reading), *(_of_claim(row, claim, claimed) if claim else ()))
    is_denied = reading.is_denied or bool(claim and claim["problem"] == f"store-{ErrorKind.DENIED.value}")
    return Looked(workload, troubles, reading.state, is_denied)


def state_of_claim(claim: ClaimView) -> str:
    """Being tuned only while the lease holds: a claim outlives its holder, a failed tune and a done one."""
    if claim["is_stale"]:
        return "stale"
    if claim["state"] == "failed":
        return "failed"
    if claim["problem"]:
        return "unreadable"
    return "being tuned" if claim["verdict"] == "held" else "claimed"


def _workload(row: Row, reading: Reading, claim: ClaimView | None, claimed: str, now: datetime) -> Workload:
    bundle, tombstone = reading.bundle, reading.tombstone
    identity = bundle.identity if bundle else tombstone.identity if tombstone else None
    metadata = identity.metadata if identity else {}
    made = bundle.provenance if bundle else None
    entry = row.bundle or row.claim
    at = moment_of(made.created_at if made else tombstone.retired_at if tombstone else None)
    at = at or (entry.last_modified if entry else None) or max(_moments(row), default=None)
    # a clock that is wrong must not stretch the timeline by centuries
    latest = now + timedelta(days=1)
    holder = claim["holder"] if claim and not bundle else None
    coverage = bundle.coverage if bundle else None
    return Workload(
        address=str(row.address),
        state=_STATES.get(reading.state) or claimed or "claimed",
        model=page_text((model_of(identity) if identity else None) or ""),
        gpu=page_text(metadata.get("gpu") or row.address.environment[:-13]),
        flashinfer_version=row.address.flashinfer_version,
        # done and released say nothing beside a tombstone
        claim=claimed if row.bundle and claimed != "claimed" else "",
        coverage=coverage.completeness if coverage else "",
        engine=page_text(engine_of(bundle) if bundle else ""),
        made_by=page_text(made.holder if made else holder or ""),
        at=None if at is None else min(at, latest),
        taken_out=tuple(min(one, latest) for one in _taken_out(row, reading)),
        size_bytes=row.size_bytes,
        entries=coverage.entries if coverage else 0,
        expected=coverage.expected if coverage else None,
        missing=coverage.missing if coverage else None,
        tune_s=made.tune_s if made else 0.0,
        note=page_text(_note(reading, claim, claimed)),
        facts=facts_of(reading, claim),
    )


def _moments(row: Row) -> list[datetime]:
    return [copy.last_modified for copy in row.retired if copy.last_modified]


def _taken_out(row: Row, reading: Reading) -> list[datetime]:
    """Once for each retired copy, by when it was written; of the tombstone that stands there now the workload itself tells."""
    now_out = reading.tombstone.retired_copy if reading.tombstone else None
    name = f"{row.address}/{now_out}"
    return [copy.last_modified for copy in row.retired if copy.last_modified and copy.key != name]


def _note(reading: Reading, claim: ClaimView | None, claimed: str) -> str:
    told = []
    if reading.tombstone:
        told.append(f"{reading.tombstone.reason} (by {reading.tombstone.retired_by})")
    if reading.problem:
        told.append(f"{reading.problem}: {reading.detail}")
    if claim and claimed:
        told.append(claim_in_words(claim, claimed))
    return "; ".join(told)


def claim_in_words(claim: ClaimView, claimed: str) -> str:
    """What a person should know of a claim that no bundle stands beside."""
    holder = claim["holder"] or UNKNOWN
    age = for_people_seconds(claim["age_s"])
    if claimed == "stale":
        return f"{holder} began to tune, was last heard of {age} before this was read, and is gone"
    if claimed == "failed":
        return f"{holder}: {claim['error'] or claim['why']}"
    if claimed == "unreadable":
        return f"its claim cannot be read: {claim['detail'] or claim['problem']}"
    if claimed == "being tuned":
        return f"{holder} is tuning"
    return f"{holder} has ended its claim, and nothing is published"


def _of_register(row: Row, reading: Reading) -> Iterator[Trouble]:
    since = row.bundle.last_modified if row.bundle else None
    if reading.problem:
        yield Trouble(
            "unreadable", str(row.address), page_text(f"{reading.problem}: {reading.detail}"), since=since
        )
    elif reading.state == "quarantined" and reading.tombstone:
        yield Trouble("quarantined", str(row.address), page_text(_note(reading, None, "")), since=since)


def _of_claim(row: Row, claim: ClaimView, claimed: str) -> Iterator[Trouble]:
    if claimed not in KINDS:
        return
    tail = tuple(page_text(line, MAX_LINE) for line in claim["tail"][-MAX_TAIL:])
    since = row.claim.last_modified if row.claim else None
    yield Trouble(claimed, str(row.address), page_text(claim_in_words(claim, claimed)), tail, since)
