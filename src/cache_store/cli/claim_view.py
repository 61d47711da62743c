"""One claim.json in the JSON that more than one command prints. Pure. Apart, since claims are read with pydantic: 0.15 s."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from cache_store.claim import (
    Claim,
    CoolingDown,
    MustWait,
    Rules,
    UnreadableClaim,
    judge,
    parse_claim,
)
from cache_store.cli.views import Unread, age_of
from cache_store.objects import StoredObject


def claim_view(answer: StoredObject | Unread, now: datetime, rules: Rules) -> dict[str, Any]:
    """One claim.json and what it means (`claim.judge`).

    `verdict`: held | cooling-down | free (nobody holds it, or nobody rightly) | unknown (its age is). `is_stale`: its
    holder is gone and left it held.
    """
    age = age_of(answer, now)
    claim = UnreadableClaim(answer.detail) if isinstance(answer, Unread) else parse_claim(answer.body)
    view: dict[str, Any] = {
        "state": "unreadable",
        "holder": None,
        "epoch": None,
        "counter": None,
        "lease_s": None,
        "held_s": None,
        "error": None,
        "tail": [],
        "problem": None,
        "detail": None,
        "age_s": age.seconds,
        "age_clock": age.clock,
        **_verdict(claim, age.seconds, rules),
    }
    if isinstance(claim, UnreadableClaim):
        problem = f"store-{answer.kind.value}" if isinstance(answer, Unread) else "claim-unreadable"
        view |= {"problem": problem, "detail": claim.detail}
    else:
        told = claim.model_dump(
            include={"state", "holder", "epoch", "counter", "lease_s", "held_s", "error", "tail"}
        )
        view |= {**told, "tail": list(claim.tail)}
    return view


def _verdict(claim: Claim | UnreadableClaim, age_s: float | None, rules: Rules) -> dict[str, Any]:
    view: dict[str, Any] = {
        "verdict": "unknown",
        "why": "its age is unknown",
        "is_stale": False,
        "lease_left_s": None,
        "finish_in_s": None,
        "cooldown_left_s": None,
    }
    if age_s is None:
        return view
    meaning = judge(claim, age_s, rules)
    if isinstance(meaning, MustWait):
        return view | {
            "verdict": "held",
            "why": "somebody is tuning"
            if isinstance(claim, Claim)
            else "unreadable, and not old enough to ignore",
            "lease_left_s": meaning.expires_in_s,
            "finish_in_s": meaning.expected_in_s,
        }
    if isinstance(meaning, CoolingDown):
        return view | {
            "verdict": "cooling-down",
            "why": "the last tune failed",
            "cooldown_left_s": meaning.remaining_s,
        }
    was_left_behind = isinstance(claim, UnreadableClaim) or claim.state == "held"
    return view | {"verdict": "free", "why": meaning.why, "is_stale": was_left_behind}
