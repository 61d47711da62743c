"""`_groups/<group>/roll.json`: the pods of one replica agree here on one bundle or on none, before any of them installs.

One register, every step one conditional PutObject, so that its history is one line. An *attempt* is one start of the
group: pods put themselves on the roll with what they have staged; each that sees it complete confirms, and the last one
writes the decision in the same step. Without the second word a pod that was killed after its first would be counted,
and its successor would find the others gone (found by the simulator). A decision never changes; a pod that is on no
settled roll (it was restarted) opens the next attempt.

A pod that does not come within the group's patience leaves the others cold; but where the controller replaces pods
alone (StatefulSet, Job), the missing one may run since an earlier attempt: then that attempt's decision binds those who
came, and a pod that was replaced joins what its peers already run. LeaderWorkerSet makes the whole group anew: there a
missing pod is a new one that cannot speak, and will start cold.

Pure: no clock, no store.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from cache_store.dataclass import dataclass
from cache_store.group_place import MAX_PODS, GroupPlace
from cache_store.json_depth import depth_of
from cache_store.objects import KIB

SCHEMA: Final = "autotune-cache/roll/v1"
MAX_ROLL_BYTES = 256 * KIB
KEPT_ATTEMPTS = 6  # a pod that slept through more starts of its group than this joins as a new one
_MAX_DEPTH = 16

Short = Annotated[str, StringConstraints(max_length=512)]
Number = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,4}$")]


class BadRoll(ValueError):  # noqa: N818 -- reads as what it is
    """Bytes that are no roll of this group; the message says why."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", populate_by_name=True)


class Member(_Record):
    """What one pod says in an attempt. `token` names the bundle that it has staged, None where it cannot be warm.

    `confirmed`: it has seen all the others on the roll.
    """

    incarnation: Short
    token: Short | None = None
    problem: Short = ""
    confirmed: bool = False


class Decision(_Record):
    """How an attempt ended. `token` is set for warm.

    `presumed` are ranks that did not come and may run warm since an earlier attempt: beside warm they hold the same
    bundle, beside cold this group is torn, and restarting it is better than to start so.
    """

    verdict: Literal["warm", "cold"]
    token: Short | None = None
    reason: Short = ""
    presumed: tuple[int, ...] = ()


class Settled(_Record):
    """An attempt that is over: rank -> the pod that was on its roll."""

    attempt: int = Field(ge=1)
    decision: Decision
    pods: dict[Number, Short]
    torn: bool = False


class Roll(_Record):
    """The register. `counter` and `nonce` make every body another one: an S3 ETag is the MD5 of the body.

    `torn`: a pod could not do what was decided. The start after it is cold, so that no group is restarted for ever.
    """

    schema_name: Literal["autotune-cache/roll/v1"] = Field(alias="schema", default=SCHEMA)
    group: Short
    address: Short
    size: int = Field(ge=1, le=MAX_PODS)
    attempt: int = Field(ge=1)
    counter: int = Field(ge=0)
    nonce: Short
    members: dict[Number, Member]
    decision: Decision | None = None
    torn: bool = False
    earlier: tuple[Settled, ...] = ()

    def encode(self) -> bytes:
        return self.model_dump_json(by_alias=True, exclude_none=True, indent=1).encode()


@dataclass(frozen=True)
class Offer:
    """What this pod could install: `token` None where it cannot, and `problem` says why."""

    rank: int
    incarnation: str
    token: str | None
    problem: str = ""

    @property
    def member(self) -> Member:
        return Member(incarnation=self.incarnation, token=self.token, problem=self.problem[:500])


@dataclass(frozen=True)
class Follow:
    """It is settled for this pod."""

    decision: Decision


@dataclass(frozen=True)
class Superseded:
    """Another pod has taken this one's rank meanwhile."""

    incarnation: str


@dataclass(frozen=True)
class Put:
    """Write this over what was seen."""

    roll: Roll


@dataclass(frozen=True)
class Await:
    """On the roll; others are not yet. `missing` are their ranks."""

    missing: tuple[int, ...]


def parse_roll(body: bytes, place: GroupPlace) -> Roll:
    """The roll in `body`. Raises `BadRoll` where it is none, or another group's."""
    if len(body) > MAX_ROLL_BYTES:
        raise BadRoll(f"larger than {MAX_ROLL_BYTES} bytes")
    if depth_of(body, _MAX_DEPTH) > _MAX_DEPTH:
        raise BadRoll(f"nested deeper than {_MAX_DEPTH}")
    try:
        roll = Roll.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise BadRoll(f"{'.'.join(map(str, first['loc']))[:80]}: {first['msg']}"[:300]) from None
    if (roll.group, roll.size, roll.address) != (place.name, place.size, str(place.address)):
        raise BadRoll(f"it is the roll of {roll.group[:80]!r}, {roll.size} pods")
    return roll


def next_step(
    seen: Roll | None,
    place: GroupPlace,
    offer: Offer,
    *,
    nonce: str,
    joined: int,
    is_recent: bool,
    is_over: bool,
) -> Follow | Superseded | Put | Await:
    """What this pod does about the roll that it sees.

    `joined` is the attempt that this pod has put itself on in this run, 0 for none. `is_recent`: the roll was written
    within the group's patience. `is_over`: this pod's patience is.
    """
    if seen is None:
        return Put(_judged(_opened(place, offer, 1, (), nonce, 0), place, offer, is_over=is_over))
    found = _settled_for(seen, offer)
    if found is not None:
        return Follow(found)
    if seen.decision is not None:
        if is_recent and str(offer.rank) not in seen.members:
            # they waited for us and went on; they are there still
            return Put(_with(seen, offer, nonce))
        over = Settled(attempt=seen.attempt, decision=seen.decision, pods=_pods(seen), torn=seen.torn)
        earlier = (over, *seen.earlier)[:KEPT_ATTEMPTS]
        opened = _opened(place, offer, seen.attempt + 1, earlier, nonce, seen.counter + 1)
        return Put(_judged(opened, place, offer, is_over=is_over))
    mine = seen.members.get(str(offer.rank))
    if mine is not None and mine.incarnation == offer.incarnation and mine.token == offer.token:
        judged = _judged(seen, place, offer, is_over=is_over)
        if judged is seen:
            return Await(_missing(seen))
        return Put(judged.model_copy(update={"counter": seen.counter + 1, "nonce": nonce}))
    if mine is not None and mine.incarnation != offer.incarnation and joined == seen.attempt:
        return Superseded(mine.incarnation)
    return Put(_judged(_with(seen, offer, nonce), place, offer, is_over=is_over))


def _settled_for(roll: Roll, offer: Offer) -> Decision | None:
    rank = str(offer.rank)
    if roll.decision is not None and _pods(roll).get(rank) == offer.incarnation:
        return roll.decision
    mine = (one.decision for one in roll.earlier if one.pods.get(rank) == offer.incarnation)
    return next(mine, None)


def _opened(
    place: GroupPlace, offer: Offer, attempt: int, earlier: tuple[Settled, ...], nonce: str, counter: int
) -> Roll:
    return Roll(
        group=place.name,
        address=str(place.address),
        size=place.size,
        attempt=attempt,
        counter=counter,
        nonce=nonce,
        members={str(offer.rank): offer.member},
        earlier=earlier,
    )


def _with(roll: Roll, offer: Offer, nonce: str) -> Roll:
    members = dict(roll.members)
    if str(offer.rank) in members and roll.decision is None:
        # whoever had confirmed had seen another pod there
        members = {rank: member.model_copy(update={"confirmed": False}) for rank, member in members.items()}
    members[str(offer.rank)] = offer.member
    return roll.model_copy(update={"members": members, "counter": roll.counter + 1, "nonce": nonce})


def as_torn(roll: Roll, offer: Offer, nonce: str) -> Roll | None:
    """What a pod leaves that could not do what this roll decided; None where it decided nothing warm for that pod."""
    decision = roll.decision
    if (
        roll.torn
        or decision is None
        or decision.verdict != "warm"
        or _settled_for(roll, offer) is not decision
    ):
        return None
    return roll.model_copy(update={"torn": True, "counter": roll.counter + 1, "nonce": nonce})


def _judged(roll: Roll, place: GroupPlace, offer: Offer, *, is_over: bool) -> Roll:
    """With this pod's confirmation and the decision, where it is time for them; else the very same roll."""
    rank = str(offer.rank)
    mine = roll.members[rank]
    if not _missing(roll) and not _why_cold(roll) and not mine.confirmed:
        confirmed = {**roll.members, rank: mine.model_copy(update={"confirmed": True})}
        roll = roll.model_copy(update={"members": confirmed})
    decision = _decision(roll, place, is_over=is_over)
    return roll if decision is None else roll.model_copy(update={"decision": decision})


def _decision(roll: Roll, place: GroupPlace, *, is_over: bool) -> Decision | None:
    missing = _missing(roll)
    running = _run_warm(roll, missing) if place.restarts_alone else ()
    why_cold = _why_cold(roll)
    if missing and not is_over and not (why_cold and not running):
        return None  # whoever may run warm since earlier is given the time to come and say otherwise
    if why_cold:
        return Decision(verdict="cold", reason=why_cold, presumed=running)
    [token] = {member.token for member in roll.members.values()}
    if not missing:
        silent = [rank for rank, member in sorted(roll.members.items(), key=_by_rank) if not member.confirmed]
        if not silent:
            return Decision(verdict="warm", token=token)
        if not is_over:
            return None
        return Decision(verdict="cold", reason=f"pod {', '.join(silent)} came and was not heard of again")
    if running == missing and roll.earlier[0].decision.token == token:
        return Decision(verdict="warm", token=token, presumed=missing)
    names = ", ".join(map(str, missing))
    return Decision(verdict="cold", reason=f"pod {names} did not come in time", presumed=running)


def _why_cold(roll: Roll) -> str:
    """What already speaks against warm, whoever is still to come; "" for nothing."""
    if roll.earlier and roll.earlier[0].torn:
        return "in the start before, a pod could not install what the group had decided"
    for rank, member in sorted(roll.members.items(), key=_by_rank):
        if member.token is None:
            return f"pod {rank}: {member.problem}"[:500]
    tokens = sorted({member.token for member in roll.members.values() if member.token is not None})
    return "the pods found different bundles: " + ", ".join(tokens)[:400] if len(tokens) > 1 else ""


def _run_warm(roll: Roll, missing: tuple[int, ...]) -> tuple[int, ...]:
    """Those of the missing that the last attempt left warm."""
    if not roll.earlier:
        return ()
    before = roll.earlier[0]
    return tuple(rank for rank in missing if _held(before, rank))


def _held(before: Settled, rank: int) -> bool:
    if before.decision.verdict == "warm" and str(rank) in before.pods:
        return True
    return rank in before.decision.presumed


def _missing(roll: Roll) -> tuple[int, ...]:
    return tuple(rank for rank in range(roll.size) if str(rank) not in roll.members)


def _pods(roll: Roll) -> dict[str, str]:
    return {rank: member.incarnation for rank, member in roll.members.items()}


def _by_rank(item: tuple[str, Member]) -> int:
    return int(item[0])
