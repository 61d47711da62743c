"""What must hold: after every write that the store applied, at every step of a pod, and at the end of a run."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from cache_store.bundle import Bundle, digest_of
from cache_store.claim import Claim, parse_claim
from cache_store.steps import Adopted, GaveUp, Outcome, Published, Unpublished
from cache_store.testing.simulation.seats import ADDRESS, Seat

OPERATOR = "ops"
SLACK_S = 15.0  # the grace in which a run that was told to stop may end by itself


class Violation(AssertionError):  # noqa: N818 -- reads as what it is
    """An invariant is broken; the message says which and by whom."""


class Checks:
    """Told of everything; raises at the first thing that must not be."""

    def __init__(self, now: Any, *, network_is_stale: bool) -> None:
        self._now = now
        self._network_is_stale = network_is_stale
        self.published: dict[str, bytes] = {}
        self.own: dict[str, bytes] = {}
        self.taken_out: dict[str, float] = {}
        self._has_tombstones = False
        self.tunes = 0
        self.counts: Counter[str] = Counter()
        self._applied_by: dict[str, str] = {}
        self._epoch = 0
        self._claim_bodies: set[bytes] = set()
        self._bases: dict[str, str | None] = {}
        self._warm: set[tuple[str, str]] = set()
        self._applied_for_ops: set[str] = set()
        self._copies: dict[str, bytes] = {}
        self._blobs: dict[str, bytes] = {}

    # -- the bucket ----------------------------------------------------------------------------------------------

    def changed(self, key: str, before: bytes | None, after: bytes | None, by: str) -> None:
        if "/retired/" in key:
            self._copy_changed(key, before, after)
        elif by == OPERATOR and after is not None:
            self._applied_for_ops.add(json.loads(after)["nonce"])
        if "/blobs/" in key and after is not None:
            self._blobs[key.rpartition("/")[2]] = after
        if key == ADDRESS.bundle_key:
            self._register_changed(before, after, by)
        elif key == ADDRESS.claim_key:
            self._claim_changed(after, by)
        elif key.endswith("/roll.json"):
            self._roll_changed(before, after, by)

    def _register_changed(self, before: bytes | None, after: bytes | None, by: str) -> None:
        if after is None:
            raise Violation(f"bundle.json was deleted by {by}: a publisher that sleeps would be let back in")
        was, now = _kind(before), _kind(after)
        if now == "bundle":
            if was == "bundle":
                raise Violation(f"{by} published over a published bundle")
            if was == "tombstone" and by != OPERATOR and not json.loads(before or b"{}")["may_retune"]:
                raise Violation(f"{by} published over a quarantine")
            nonce = json.loads(after)["nonce"]
            if nonce in self.published:
                raise Violation(f"{by} published the nonce {nonce} a second time")
            self.published[nonce] = after
            self._check_blobs(after, by)
            self._applied_by[by] = nonce
        if now == "tombstone":
            self._has_tombstones = True
        if now == "tombstone" and was == "nothing":
            raise Violation(f"{by} wrote a tombstone over nothing")
        if now == "tombstone" and was == "bundle":
            self.taken_out[json.loads(before or b"{}")["nonce"]] = self._now()
            self._check_copy(before or b"{}")

    def _check_blobs(self, after: bytes, by: str) -> None:
        for digest in json.loads(after)["blobs"]:
            if digest_of(self._blobs.get(digest, b"")) != digest:
                raise Violation(f"{by} published a bundle and its blob {digest[:8]} is not there")

    def _copy_changed(self, key: str, before: bytes | None, after: bytes | None) -> None:
        if before is not None or after is None:
            raise Violation(f"the copy {key} was replaced")
        self._copies[key.rpartition("/")[2]] = after

    def _check_copy(self, before: bytes) -> None:
        nonce = json.loads(before)["nonce"]
        if self._copies.get(f"{nonce}.json") != before:
            raise Violation(f"the bundle {nonce} was taken out and no copy is kept")

    def _claim_changed(self, after: bytes | None, by: str) -> None:
        if after is None:
            raise Violation(f"claim.json was deleted by {by}: its epoch would begin anew")
        if after in self._claim_bodies:
            raise Violation(f"{by} wrote a claim that was there before: its ETag is that of the old one")
        self._claim_bodies.add(after)
        claim = parse_claim(after)
        if not isinstance(claim, Claim):
            raise Violation(f"{by} wrote an unreadable claim")
        if claim.epoch < self._epoch:
            raise Violation(f"{by} wrote epoch {claim.epoch} after {self._epoch}")
        self._epoch = claim.epoch

    def _roll_changed(self, before: bytes | None, after: bytes | None, by: str) -> None:
        if before is None or after is None:
            return
        was, now = json.loads(before), json.loads(after)
        decision = now.get("decision") or {}
        if decision.get("verdict") == "warm":
            self._warm.update((one["incarnation"], decision["token"]) for one in now["members"].values())
        if now["attempt"] < was["attempt"]:
            raise Violation(f"{by} went back from attempt {was['attempt']} to {now['attempt']}")
        if now["attempt"] == was["attempt"] and was.get("decision") not in (None, now.get("decision")):
            raise Violation(f"{by} changed the decision of attempt {now['attempt']}")

    # -- the operators -------------------------------------------------------------------------------------------

    def operation_is_done(self, name: str, nonce: str) -> None:
        if nonce not in self._applied_for_ops:
            raise Violation(f"an operator is told that {name} is done, and it is not")

    def operation_is_not_done(self, name: str, reason: str, written: set[str]) -> None:
        """Where somebody else has written since, whether it was done for a moment matters no more."""
        if written & self._applied_for_ops and reason != "changed-meanwhile":
            raise Violation(f"an operator is told that {name} is refused ({reason}), and it is done")

    # -- the pods ------------------------------------------------------------------------------------------------

    def tune_began(self, seat: Seat) -> None:
        if seat.size == 1 or seat.rank == 0:
            self.tunes += 1
        self.counts["tuning pods"] += 1

    def run_began(self, who: str) -> None:
        """The same pod again: what its earlier run had begun with binds it no more."""
        self._bases.pop(who, None)

    def publishes(self, who: str, base: str | None) -> None:
        """A publish is bound to what the pod saw when it began, whatever it has seen since."""
        if self._bases.setdefault(who, base) != base:
            raise Violation(f"{who} publishes over {base}, but began with {self._bases[who]}")

    def own_result(self, bundle: Bundle) -> None:
        self.own[bundle.nonce] = bundle.encode()

    def took_part(
        self, who: str, outcome: Outcome, *, tune_goes_on: bool = False, has_result: bool = False
    ) -> None:
        self.counts[type(outcome).__name__] += 1
        self._bases.pop(who, None)
        applied = self._applied_by.pop(who, None)
        if tune_goes_on and isinstance(outcome, Adopted):
            raise Violation(
                f"{who} adopted {outcome.bundle.nonce}, and its own tune goes on beside the engine"
            )
        if isinstance(outcome, GaveUp) and not outcome.reason:
            raise Violation(f"{who} gave up and does not say why")
        if (
            has_result
            and isinstance(outcome, GaveUp)
            and not (outcome.reason == "fenced" and self._has_tombstones)
        ):
            raise Violation(f"{who} throws a good result away: {outcome.reason}, {outcome.detail}")
        if applied is None or applied in self.taken_out:
            return
        mine = outcome.bundle.nonce if isinstance(outcome, Adopted | Published | Unpublished) else None
        if mine != applied:
            raise Violation(
                f"{who} published {applied} and denies it: {outcome if isinstance(outcome, GaveUp) else mine}"
            )

    def installed(self, seat: Seat, bundle: Bundle) -> None:
        nonce = bundle.nonce
        if bundle.encode() not in (self.published.get(nonce), self.own.get(nonce)):
            raise Violation(f"{seat.name} installed {nonce}, which was never published with these bytes")
        if seat.size > 1 and (seat.disk.incarnation, nonce) not in self._warm:
            raise Violation(f"{seat.name} installed {nonce} before its group had decided so")
        since = self.taken_out.get(nonce)
        read = seat.reads_of_bundle.get(nonce)
        if since is not None and read is not None and read > since and not self._network_is_stale:
            raise Violation(
                f"{seat.name} installed {nonce}, which was taken out of service before it was read"
            )

    def ended(self, seat: Seat, deadline_s: float) -> None:
        if seat.ended_at is None:
            raise Violation(f"{seat.name} never ended")
        took = seat.ended_at - seat.began_at - seat.paused_s
        if took > deadline_s + SLACK_S:
            raise Violation(f"{seat.name} ended after {took:.0f} s, its deadline was {deadline_s:.0f} s")

    def group_is_one(self, seats: list[Seat], *, was_replaced_alone: bool) -> None:
        """Warm together with one bundle, or cold together."""
        if any(seat.ending is not None and seat.ending[0] == "split" for seat in seats):
            self.counts["split"] += 1
            return  # said so, after a restart that did not help
        if was_replaced_alone and any(seat.is_cut_off for seat in seats):
            self.counts["cut off"] += 1
            return  # who cannot reach the store at all cannot learn what its peers run
        found = {seat.disk.installed for seat in seats}
        if len(found) > 1:
            told = ", ".join(f"{seat.name} {seat.ending} has {seat.disk.installed}" for seat in seats)
            raise Violation(f"a group is half warm: {told}")
        self.counts["cold group" if found == {None} else "warm group"] += 1


def _kind(body: bytes | None) -> str:
    if body is None:
        return "nothing"
    return "tombstone" if b"autotune-cache/tombstone/" in body[:200] else "bundle"
