"""One pod's way: the product's own protocol code, driven in virtual time against a bad network."""

from __future__ import annotations

import functools
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from cache_store.bundle import Bundle
from cache_store.clock import Cancelled
from cache_store.coordination import GroupRole
from cache_store.group_place import GroupPlace
from cache_store.group_roll import BadRoll, Offer, as_torn, parse_roll
from cache_store.objects import Missing, StoredObject
from cache_store.register import Hit, Quarantined, Unreachable, Unusable, Vacant, classify
from cache_store.settling import Apart, Bind, ReadRoll, Together, Torn, WriteRoll
from cache_store.steps import (
    Absent,
    Adopted,
    CheckStore,
    Done,
    Fit,
    GaveUp,
    Published,
    ReadBlob,
    ReadBundle,
    ReadClaim,
    Seen,
    StopWork,
    Unfit,
    Unpublished,
    Wait,
    Work,
    WriteBlob,
    WriteBundle,
    WriteClaim,
)
from cache_store.testing.simulation.seats import ADDRESS, IDENTITY, Code, Seat, Setting
from cache_store.testing.simulation.store import REQUEST_TIMEOUT_S, SLOW, Bucket
from cache_store.testing.simulation.tuning import Tuning
from cache_store.testing.simulation.world import World

if TYPE_CHECKING:
    from cache_store.testing.simulation.checks import Checks

Answering = Generator[float, None, Any]


@functools.lru_cache(maxsize=4096)
def _classified(body: bytes, etag: str) -> Any:
    return classify(StoredObject(body, etag), IDENTITY)


class PodRun:
    """One container's run, from its start to its end."""

    def __init__(
        self, world: World, bucket: Bucket, seat: Seat, setting: Setting, code: Code, checks: Checks
    ) -> None:
        self.world = world
        self.bucket = bucket
        self.seat = seat
        self.setting = setting
        self.code = code
        self.checks = checks
        self.who = f"{seat.name}/{seat.disk.incarnation}"
        self.deadline = world.now + setting.deadline_s
        self.tuning = Tuning(world, bucket, seat, setting, checks, who=self.who, deadline=self.deadline)
        self.is_told_to_stop = False
        self.is_bound = False
        self.place = GroupPlace("", f"group-{seat.group}", seat.size, ADDRESS, setting.restarts_alone)

    # -- the flow, as autotune_init has it -----------------------------------------------------------------------

    def life(self) -> Generator[float, None, None]:
        self.checks.run_began(self.who)
        try:
            yield from (self._alone() if self.seat.size == 1 else self._in_group())
        except Cancelled:
            if self.is_told_to_stop:
                self._end("terminated", "SIGTERM")
            else:
                self.run_out()

    def run_out(self) -> None:
        """The deadline came first: whoever is counted on cannot start cold, but for the second time."""
        disk = self.seat.disk
        if not self.is_bound:
            self.seat.is_cut_off = True
            self._end("cold", "deadline")
        elif disk.mark == "torn":
            disk.installed = None
            self._end("split", "deadline")
        else:
            disk.mark, disk.installed = "torn", None
            self._end("torn", "deadline")

    def _alone(self) -> Answering:
        outcome = yield from self._obtain()
        if isinstance(outcome, Bundle):
            self._install(outcome)
            self._end("warm", outcome.nonce)
        else:
            self._end("cold", outcome)

    def _in_group(self) -> Answering:
        disk = self.seat.disk
        if disk.mark == "warm" and disk.installed is not None:
            self._end("warm", disk.installed)
            return
        mark = None if self.code.forgets_that_it_is_bound else disk.mark
        self.is_bound = mark is not None
        outcome = yield from self._obtain()
        problem = "" if isinstance(outcome, Bundle) else outcome
        if isinstance(outcome, Bundle):
            yield 0.05
            if disk.is_full:
                problem = "place-disk-full"
        token = outcome.nonce if isinstance(outcome, Bundle) and not problem else None
        if token and isinstance(outcome, Bundle) and self.code.installs_before_decision:
            self._install(outcome)
        clock = self.world
        settling = self.code.settling(
            self.place,
            Offer(self.seat.rank, disk.incarnation, token, problem),
            patience_s=self.setting.patience_s,
            patience_until=clock.now + self.setting.patience_s,
            deadline=self.deadline - 3.0,
            is_bound=mark is not None,
            rng=clock.rng,
            nonce=clock.nonce,
            monotonic=lambda: clock.now,
            now=lambda: clock.wall(self.seat.skew_s),
        )
        settled = yield from self._drive(settling.run())
        self.world.tell(self.who, f"settled: {settled}")
        if isinstance(settled, Together) and token and isinstance(outcome, Bundle):
            yield 0.02
            self._install(outcome)
            disk.mark = "warm"
            self.is_bound = False
            self._end("warm", token)
        elif isinstance(settled, Torn):
            yield from self._torn(settled, mark)
        elif isinstance(settled, Apart):
            disk.mark, disk.installed = None, None
            self.is_bound = False
            self.seat.is_cut_off = settled.reason.startswith("store-")
            self._end("cold", problem or settled.reason)

    def _torn(self, settled: Torn, mark: str | None) -> Answering:
        disk = self.seat.disk
        disk.installed = None
        if mark == "torn":
            self.is_bound = False
            self._end("split", settled.reason)
            return
        seen = SLOW if self._is_cut() else (yield from self.bucket.get(self.place.key))
        if isinstance(seen, StoredObject):
            try:
                offer = Offer(self.seat.rank, disk.incarnation, None)
                roll = as_torn(parse_roll(seen.body, self.place), offer, self.world.nonce())
            except BadRoll:
                roll = None
            if roll is not None:
                yield from self.bucket.write(self.place.key, roll.encode(), seen.etag, self.who)
        disk.mark, self.is_bound = "torn", False
        self._end("torn", settled.reason)

    def _obtain(self) -> Answering:
        """A bundle to install, or the reason why there is none."""
        state = yield from self._read_bundle()
        if isinstance(state, Hit):
            return state.bundle
        if isinstance(state, Quarantined):
            return "quarantined"
        if isinstance(state, Unusable | Unreachable):
            return state.reason
        setting, seat = self.setting, self.seat
        is_group = seat.size > 1
        participant = self.code.participant(
            holder=f"group-{seat.group}" if is_group else self.who,
            rules=setting.rules,
            rng=self.world.rng,
            nonce=self.world.nonce,
            monotonic=lambda: self.world.now,
            now=lambda: self.world.wall(seat.skew_s),
            wait_until=self.world.now + setting.wait_s,
            deadline=self.deadline,
            group=GroupRole(seat.rank == 0, setting.shares_work, setting.patience_s) if is_group else None,
            expected_s=sum(setting.tune_s) / 2 if setting.says_tune_time else None,
        )
        outcome = yield from self._drive(participant.run(state))
        self.world.tell(self.who, f"outcome: {type(outcome).__name__} {getattr(outcome, 'reason', '')}")
        self.checks.took_part(
            self.who, outcome, tune_goes_on=self.tuning.is_running, has_result=self.tuning.has_result
        )
        if isinstance(outcome, Adopted | Published | Unpublished):
            if isinstance(outcome, Unpublished):
                self.checks.own_result(outcome.bundle)
                if is_group:
                    return "group-unpublished"
            return outcome.bundle
        return outcome.reason if isinstance(outcome, GaveUp) else "odd"

    def _install(self, bundle: Bundle) -> None:
        self.seat.disk.installed = bundle.nonce
        self.world.tell(self.who, f"installs {bundle.nonce}")
        self.checks.installed(self.seat, bundle)

    def _end(self, how: str, why: str) -> None:
        if how == "cold":
            self.seat.disk.installed = None
        self.world.tell(self.who, f"ends {how}: {why}")
        self.seat.ending = (how, why)
        self.seat.ended_at = self.world.now

    # -- driving -------------------------------------------------------------------------------------------------

    def _drive(self, protocol: Generator[Any, Any, Any]) -> Answering:
        """Through all its steps; at the deadline it is told to stop, and may clean up."""
        is_stopped = False
        try:
            step = next(protocol)
            while True:
                if not is_stopped and (self.is_told_to_stop or self.world.now >= self.deadline):
                    is_stopped = True
                    step = protocol.throw(Cancelled())
                    continue
                self.world.tell(self.who, step if not hasattr(step, "body") else type(step).__name__)
                answer = yield from self._answer(step)
                self.world.tell(self.who, f"    -> {type(answer).__name__} {getattr(answer, 'status', '')}")
                step = protocol.send(answer)
        except StopIteration as end:
            return end.value

    def _answer(self, step: Any) -> Answering:
        if not isinstance(step, Wait | Work | StopWork | Bind) and self._is_cut():
            self.world.tell(self.who, "cannot reach the store")
            yield 4 * REQUEST_TIMEOUT_S
            return SLOW
        if isinstance(step, Wait):
            yield max(0.0, min(step.seconds, self.deadline - self.world.now))
            return Done()
        if isinstance(step, Work):
            return (yield from self.tuning.go_on(step))
        if isinstance(step, StopWork | Bind):
            if isinstance(step, Bind):
                self.seat.disk.mark, self.is_bound = "bound", True
                if self.seat.is_cut_when_bound:
                    cut_at = self.world.now + self.world.rng.uniform(0, 2)
                    self.seat.cut = (cut_at, cut_at + self.setting.deadline_s)
            else:
                self.tuning.is_running = False
            return Done()
        if isinstance(step, CheckStore):
            return (yield from self._probe())
        if isinstance(step, ReadBundle):
            return (yield from self._read_bundle())
        if isinstance(step, ReadClaim | ReadRoll):
            return (
                yield from self._read(ADDRESS.claim_key if isinstance(step, ReadClaim) else self.place.key)
            )
        if isinstance(step, WriteBlob | ReadBlob):
            return (yield from self._blob(step))
        if isinstance(step, WriteBundle) and self.code.writes_bundle_plainly:
            yield 0.01
            self.bucket.put_plainly(ADDRESS.bundle_key, step.body, self.who)
            return Done("plain")
        key = {WriteClaim: ADDRESS.claim_key, WriteBundle: ADDRESS.bundle_key, WriteRoll: self.place.key}[
            type(step)
        ]
        if isinstance(step, WriteBundle):
            self.checks.publishes(self.who, step.base)
        return (yield from self.bucket.write(key, step.body, step.base, self.who))

    def _blob(self, step: WriteBlob | ReadBlob) -> Answering:
        key = ADDRESS.blob_key(step.digest)
        if isinstance(step, ReadBlob):
            return (yield from self._read(key))
        return (yield from self.bucket.write(key, step.body, None, self.who))

    def _is_cut(self) -> bool:
        return self.seat.cut[0] <= self.world.now < self.seat.cut[1]

    def _read_bundle(self) -> Answering:
        began = self.world.now
        if self._is_cut():
            yield 4 * REQUEST_TIMEOUT_S
            return SLOW
        seen = yield from self.bucket.get(ADDRESS.bundle_key)
        if isinstance(seen, Unreachable):
            return seen
        if isinstance(seen, Missing):
            return Vacant(None, seen.date)
        state = _classified(seen.body, seen.etag)
        if isinstance(state, Hit):
            self.seat.reads_of_bundle[state.bundle.nonce] = began
        return state

    def _read(self, key: str) -> Answering:
        seen = yield from self.bucket.get(key)
        if isinstance(seen, Unreachable):
            return seen
        if isinstance(seen, Missing):
            return Absent()
        return Seen(seen.body, seen.etag, seen.age_s, seen.last_modified)

    def _probe(self) -> Answering:
        """Nine requests, of which each may be spoiled."""
        for _ in range(3):
            seen = yield from self.bucket.get(".probe")
            if isinstance(seen, Unreachable):
                return seen
        return Fit() if self.setting.keeps_conditions else Unfit("store-create-only", "no compare-and-swap")
