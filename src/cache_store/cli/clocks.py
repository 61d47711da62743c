"""What this computer's clock has to do with an answer, and what a person is told of it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from cache_store.cli import output

CLOCKS_DIFFER_S = 60.0


def verdict_text(claim: dict[str, Any]) -> str:
    """The verdict of a `claim_view`. A dead holder is a fact by the server's clock alone: ours may be a day ahead."""
    if not claim["is_stale"]:
        return str(claim["verdict"])
    return (
        "stale, by this computer's clock" if claim["age_clock"] == "local" else f"{claim['verdict']} (stale)"
    )


def is_judged_by_ours(claim: dict[str, Any]) -> bool:
    """Whether the verdict of a `claim_view` hangs on this computer's clock: what is done or released is free at any age."""
    return claim["age_clock"] == "local" and claim["state"] in ("held", "failed")


def clock_behind_s(newest: datetime | None, now: datetime) -> float | None:
    """How far this computer's clock is behind the store's, at the least: an object is from the future. None: not noticed."""
    behind_s = (newest - now).total_seconds() if newest is not None else 0.0
    return behind_s if behind_s > CLOCKS_DIFFER_S else None


def clock_text(behind_s: float) -> str:
    behind = output.for_people_seconds(behind_s)
    return f"this computer's clock is at least {behind} behind the store's: ages are too small by that"


def tell_clock(newest: datetime | None, now: datetime, claims: Iterable[dict[str, Any]]) -> None:
    """One line of the story, where ages may be wrong."""
    behind_s = clock_behind_s(newest, now)
    if behind_s is not None:
        output.tell(f"{clock_text(behind_s)}, and a claim may be held by nobody")
    elif any(map(is_judged_by_ours, claims)):
        output.tell("ages are by this computer's clock, which `cache-store doctor` compares with the store's")
