"""What `gc` tells: one document, the same for a person and for a program, and the exit status."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from cache_store.cli import output
from cache_store.cli.session import Session
from cache_store.cli.views import address_view
from cache_store.collecting import Verdict
from cache_store.dataclass import dataclass
from cache_store.emptying import Swept
from cache_store.errors import ErrorKind, StoreError
from cache_store.exit_codes import OF_ERROR, ExitCode

SCHEMA = "autotune-cache/gc/v1"


@dataclass(frozen=True)
class Beside:
    """The objects beside the addresses that may go, and what came of it."""

    keys: tuple[str, ...]
    freed_bytes: int
    deleted: int = 0
    problem: StoreError | None = None


def document_of(
    url: str, swept: Sequence[Swept], kept: Sequence[Verdict], beside: Beside, foreign: int, *, is_dry: bool
) -> dict[str, Any]:
    counts = Counter(one.verdict.action for one in swept)
    return {
        "schema": SCHEMA,
        "store": url,
        "is_dry": is_dry,
        "counts": {name: counts[name] for name in ("retire", "clean", "forget")} | {"keep": len(kept)},
        "freed_bytes": sum(one.verdict.freed_bytes for one in swept) + beside.freed_bytes,
        "foreign_objects": foreign,
        "addresses": [
            {
                **address_view(one.verdict.address),
                "action": one.verdict.action,
                "why": one.verdict.why,
                "objects": len(one.verdict.going),
                "freed_bytes": one.verdict.freed_bytes,
                "deleted": one.deleted,
                "problem": one.problem,
                "detail": one.detail or None,
            }
            for one in swept
        ],
        "beside": {
            "objects": len(beside.keys),
            "deleted": beside.deleted,
            "problem": f"store-{beside.problem.kind.value}" if beside.problem else None,
        },
        "left_alone": [{"address": str(one.address), "why": one.why} for one in kept if one.why],
    }


def tell(session: Session, document: dict[str, Any]) -> None:
    if session.is_json:
        output.emit_json(document)
        return
    output.emit_lines(_lines(document))
    counts = document["counts"]
    output.tell(
        f"{document['store']}: {counts['retire']} to retire, {counts['forget']} to forget, {counts['clean']} to clean, "
        f"{counts['keep']} kept; {output.for_people_bytes(document['freed_bytes'])}"
        + ("; nothing was done, pass --yes" if document["is_dry"] else "")
    )


def _lines(document: dict[str, Any]) -> Iterator[str]:
    would = "would " if document["is_dry"] else ""
    for row in document["addresses"]:
        objects = f", {row['objects']} objects" if row["objects"] else ""
        problem = f"  NOT DONE: {row['problem']}: {row['detail']}" if row["problem"] else ""
        yield f"{would}{row['action']}  {row['address']}  ({row['why']}{objects}){problem}"
    beside = document["beside"]
    if beside["objects"]:
        problem = f"  NOT DONE: {beside['problem']}" if beside["problem"] else ""
        yield f"{would}delete  {beside['objects']} objects beside the bundles{problem}"
    for row in document["left_alone"]:
        yield f"left alone  {row['address']}  ({row['why']})"


def exit_code(swept: Sequence[Swept], beside: Beside) -> ExitCode:
    problems = {one.problem for one in swept if one.problem}
    if beside.problem is not None:
        problems.add(f"store-{beside.problem.kind.value}")
    kinds = {OF_ERROR[ErrorKind(one.removeprefix("store-"))] for one in problems if one.startswith("store-")}
    for code in (ExitCode.UNAVAILABLE, ExitCode.DENIED):
        if code in kinds:
            return code
    return ExitCode.REFUSED if problems else ExitCode.OK
