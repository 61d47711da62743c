"""`claim.json`: who may tune, and the arithmetic of its lease. No clock, no store.

The lease only saves GPU time. Safety rests on the conditional write of `bundle.json` alone (coordination.py).
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from cache_store.bundle import MAX_DEPTH
from cache_store.dataclass import dataclass
from cache_store.json_checks import MAX_COUNT
from cache_store.json_depth import depth_of
from cache_store.objects import KIB, MIB

CLAIM_SCHEMA: Final = "autotune-cache/claim/v1"
MAX_CLAIM_BYTES = 64 * KIB
# what a bucket may make a pod read: a claim above its own limit is still there, unreadable, and as old as it is
MAX_READ_BYTES = 1 * MIB
MAX_EPOCH = MAX_COUNT
MAX_S = 7 * 86400.0

Short = Annotated[str, StringConstraints(max_length=4096)]


class Claim(BaseModel):
    """The lease as written.

    Every write carries a fresh `nonce` and a larger `counter`: an S3 ETag is the MD5 of the body, and two equal
    bodies would let two writers both win one compare-and-swap (seen on MinIO). `epoch` is the fencing token: it grows
    with every new holder and never starts again. `held_s` is how long the holder has held it, by its own monotonic
    clock, so that a tune that hangs while its heartbeat lives can be taken over.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", populate_by_name=True)

    schema_name: Literal["autotune-cache/claim/v1"] = Field(alias="schema", default=CLAIM_SCHEMA)
    state: Literal["held", "released", "failed", "done"]
    epoch: int = Field(ge=0, le=MAX_EPOCH)
    counter: int = Field(ge=0, le=MAX_COUNT)
    nonce: Short
    holder: Short
    lease_s: float = Field(gt=0, le=86400)
    # bounded: a bucket that others write to must not be able to keep a key from ever being tuned again
    held_s: float = Field(ge=0, le=MAX_S, default=0.0)
    expected_s: float | None = Field(ge=0, le=MAX_S, default=None)
    cooldown_s: float = Field(ge=0, le=MAX_S, default=0.0)
    error: Short | None = None
    tail: tuple[Short, ...] = ()

    def encode(self) -> bytes:
        return self.model_dump_json(by_alias=True, exclude_none=True).encode()


@dataclass(frozen=True)
class UnreadableClaim:
    """A claim.json that is not ours to understand. Treated as held until its age runs out.

    `epoch` is the number that it has, where it has one (`MAX_EPOCH` for all above it): whoever takes it over goes on
    from there.
    """

    detail: str
    epoch: int | None = None


def parse_claim(body: bytes) -> Claim | UnreadableClaim:
    if depth_of(body, MAX_DEPTH) > MAX_DEPTH:
        return UnreadableClaim("nested too deep")
    if len(body) > MAX_CLAIM_BYTES:
        return UnreadableClaim(f"{len(body)} bytes", _epoch_of(body))
    try:
        return Claim.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        return UnreadableClaim(f"{'.'.join(map(str, first['loc']))}: {first['msg']}"[:200], _epoch_of(body))


def _epoch_of(body: bytes) -> int | None:
    try:
        return min(_EpochOnly.model_validate_json(body).epoch, MAX_EPOCH)
    except ValidationError:
        return None


class _EpochOnly(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")
    epoch: int = Field(ge=0)


@dataclass(frozen=True)
class Rules:
    """Durations of the protocol, in seconds (design: lease 60, renewal 20, margin 5, max hold 30 min).

    `start_jitter_s` spreads the first claim of a fleet that starts at once. `poll_s` is how often a waiter that knows
    no expected finish looks. `cooldown_s` is how long a failed tune keeps the fleet from trying again.
    """

    lease_s: float = 60.0
    renew_s: float = 20.0
    margin_s: float = 5.0
    max_hold_s: float = 1800.0
    cooldown_s: float = 600.0
    poll_s: float = 6.5
    start_jitter_s: float = 2.0


@dataclass(frozen=True)
class MayTake:
    """Nobody holds it (any more): write epoch `epoch` over what was seen, unless it `is_exhausted`."""

    epoch: int
    why: str

    @property
    def is_exhausted(self) -> bool:
        """No larger epoch can be written, and a fencing token that began anew would let old parts of tunes in."""
        return self.epoch > MAX_EPOCH


@dataclass(frozen=True)
class MustWait:
    """Somebody is tuning; look again after this many seconds, if nothing is published before."""

    expires_in_s: float
    expected_in_s: float | None


@dataclass(frozen=True)
class CoolingDown:
    """The last tune failed and it is too early to try again."""

    remaining_s: float
    error: str
    tail: tuple[str, ...]


def judge(claim: Claim | UnreadableClaim, age_s: float, rules: Rules) -> MayTake | MustWait | CoolingDown:
    """What a claim that was written `age_s` ago allows.

    `age_s` is the server's Date minus Last-Modified, or, where those are unusable, how long this pod has seen the
    same ETag on its own monotonic clock.
    """
    if isinstance(claim, UnreadableClaim):
        remaining = rules.lease_s + rules.margin_s - age_s
        return (
            MustWait(remaining, None)
            if remaining > 0
            else MayTake((claim.epoch or 0) + 1, f"unreadable claim ({claim.detail}) ran out")
        )
    following = claim.epoch + 1
    if claim.state == "failed":
        remaining = claim.cooldown_s - age_s
        if remaining > 0:
            return CoolingDown(remaining, claim.error or "unknown", claim.tail)
        return MayTake(following, "cool-down over")
    if claim.state in ("released", "done"):
        return MayTake(following, claim.state)
    if claim.held_s + age_s > rules.max_hold_s:
        return MayTake(following, f"held longer than {rules.max_hold_s:g} s")
    remaining = claim.lease_s + rules.margin_s - age_s
    if remaining <= 0:
        return MayTake(following, "lease ran out")
    if claim.expected_s is None:
        return MustWait(remaining, None)
    return MustWait(remaining, max(0.0, claim.expected_s - claim.held_s - age_s))
