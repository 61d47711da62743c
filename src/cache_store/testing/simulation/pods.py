"""One pod's way: the product's own protocol code, driven in virtual time against a bad network."""

from __future__ import annotations

import functools
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cache_store.bundle import Bundle, CoverageRecord, IdentityRecord, Provenance, pack
from cache_store.claim import Rules
from cache_store.clock import Cancelled
from cache_store.coordination import GroupRole, Participant
from cache_store.group_roll import GroupPlace, Offer
from cache_store.identity import Environment, Identity
from cache_store.objects import Missing, StoredObject
from cache_store.register import Hit, Quarantined, Unreachable, Unusable, Vacant, classify
from cache_store.settling import Apart, Bind, ReadRoll, Settling, Together, Torn, WriteRoll
from cache_store.steps import (
    Absent,
    Adopted,
    CheckStore,
    Done,
    Failed,
    Finished,
    Fit,
    GaveUp,
    Published,
    ReadBundle,
    ReadClaim,
    Seen,
    StillRunning,
    StopWork,
    Undone,
    Unfit,
    Unpublished,
    Wait,
    Work,
    WriteBlob,
    WriteBundle,
    WriteClaim,
)
from cache_store.testing.simulation.store import REQUEST_TIMEOUT_S, SLOW, Bucket
from cache_store.testing.simulation.world import World

if TYPE_CHECKING:
    from cache_store.testing.simulation.checks import Checks

Answering = Generator[float, None, Any]

IDENTITY = Identity(
    engine="sglang",
    flashinfer_version="0.7.2",
    arch="sm90",
    key="0123456789abcdef",
    key_text="m",
    key_inputs={"model_path": "m"},
    environment=Environment({"gpu": "NVIDIA H100 80GB HBM3", "flashinfer_version": "0.7.2"}),
)
ADDRESS = IDENTITY.address
WHO = IdentityRecord.of(IDENTITY)


@dataclass(frozen=True)
class Code:
    """The protocol under test. A mutant has another one of these."""

    participant: type[Participant] = Participant
    settling: type[Settling] = Settling
    writes_bundle_plainly: bool = False
    installs_before_decision: bool = False
    forgets_that_it_is_bound: bool = False


@dataclass(frozen=True)
class Setting:
    """What all pods of a run have in common. Seconds."""

    rules: Rules
    wait_s: float
    deadline_s: float
    patience_s: float
    tune_s: tuple[float, float]
    failing_tunes: float
    shares_work: bool
    restarts_alone: bool
    says_tune_time: bool
    keeps_conditions: bool = True


@dataclass
class Disk:
    """What outlives a container: whose it is, what the group's mark says, what is installed."""

    incarnation: str
    mark: str | None = None
    installed: str | None = None
    is_full: bool = False


@dataclass
class Seat:
    """A pod's place in the fleet: who sits there may change. `cut`: from when to when it cannot reach the store."""

    group: int
    rank: int
    size: int
    skew_s: float
    disk: Disk
    ending: tuple[str, str] | None = None
    began_at: float = 0.0
    ended_at: float | None = None
    paused_s: float = 0.0
    is_cut_off: bool = False
    cut: tuple[float, float] = (0.0, 0.0)
    reads_of_bundle: dict[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"g{self.group}p{self.rank}"


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
        self.left_s: float | None = None
        self.is_bound = False
        self.place = GroupPlace("", f"group-{seat.group}", seat.size, ADDRESS, setting.restarts_alone)

    # -- the flow, as autotune_init has it -----------------------------------------------------------------------

    def life(self) -> Generator[float, None, None]:
        try:
            yield from (self._alone() if self.seat.size == 1 else self._in_group())
        except Cancelled:
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
            self._install(outcome.nonce)
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
        if token and self.code.installs_before_decision:
            self._install(token)
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
        if isinstance(settled, Together) and token:
            yield 0.02
            self._install(token)
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
        self.is_bound = False
        disk.installed = None
        if mark == "torn":
            self._end("split", settled.reason)
            return
        disk.mark = "torn"
        from cache_store.group_roll import BadRoll, as_torn, parse_roll

        seen = SLOW if self._is_cut() else (yield from self.bucket.get(self.place.key))
        if isinstance(seen, StoredObject):
            try:
                offer = Offer(self.seat.rank, disk.incarnation, None)
                roll = as_torn(parse_roll(seen.body, self.place), offer, self.world.nonce())
            except BadRoll:
                roll = None
            if roll is not None:
                yield from self.bucket.write(self.place.key, roll.encode(), seen.etag, self.who)
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
        self.checks.took_part(self.who, outcome)
        if isinstance(outcome, Adopted | Published | Unpublished):
            if isinstance(outcome, Unpublished):
                self.checks.own_result(outcome.bundle.nonce)
                if is_group:
                    return "group-unpublished"
            return outcome.bundle
        return outcome.reason if isinstance(outcome, GaveUp) else "odd"

    def _install(self, nonce: str) -> None:
        self.seat.disk.installed = nonce
        self.world.tell(self.who, f"installs {nonce}")
        self.checks.installed(self.seat, nonce)

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
                if not is_stopped and self.world.now >= self.deadline:
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
            yield 4 * REQUEST_TIMEOUT_S
            return SLOW
        if isinstance(step, Wait):
            yield max(0.0, min(step.seconds, self.deadline - self.world.now))
            return Done()
        if isinstance(step, Work):
            return (yield from self._work(step))
        if isinstance(step, StopWork | Bind):
            if isinstance(step, Bind):
                self.seat.disk.mark, self.is_bound = "bound", True
            return Done()
        if isinstance(step, CheckStore):
            return (yield from self._probe())
        if isinstance(step, ReadBundle):
            return (yield from self._read_bundle())
        if isinstance(step, ReadClaim | ReadRoll):
            return (
                yield from self._read(ADDRESS.claim_key if isinstance(step, ReadClaim) else self.place.key)
            )
        if isinstance(step, WriteBlob):
            return Done()
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

    # -- tuning --------------------------------------------------------------------------------------------------

    def _work(self, step: Work) -> Answering:
        rng = self.world.rng
        if self.left_s is None:
            self.left_s = rng.uniform(*self.setting.tune_s)
            self.checks.tune_began(self.seat)
        spent = min(step.max_s, self.left_s, max(0.0, self.deadline - self.world.now))
        yield spent
        self.left_s -= spent
        if self.left_s > 0:
            return StillRunning()
        if rng.random() < self.setting.failing_tunes:
            self.left_s = None
            return Failed("tuner-crashed", "exit 3")
        if self.seat.size > 1 and self.setting.shares_work:
            return (yield from self._share(step))
        return Finished(self._compose)

    def _share(self, step: Work) -> Answering:
        """As `autotune_init.group_tune`: members leave a part, the leader waits for all of them."""
        keys = [f"{ADDRESS}/parts/{step.epoch}/{self.seat.group}-{rank}" for rank in range(self.seat.size)]
        if self.seat.rank > 0:
            body = f"{self.who} {step.epoch}".encode()
            answer = yield from self.bucket.write(keys[self.seat.rank], body, None, self.who)
            return Finished(self._compose) if isinstance(answer, Done | Undone) else StillRunning()
        for key in keys[1:]:
            seen = yield from self.bucket.get(key)
            if not isinstance(seen, StoredObject):
                yield 5.0
                self.left_s = 0.0
                return StillRunning()
        return Finished(self._compose)

    def _compose(self, epoch: int, nonce: str) -> Bundle:
        ranks, files, _ = pack({"rank_tp0_pp0_dp0.json": f'{{"tune": "{self.who} {nonce}"}}'.encode()})
        return Bundle(
            identity=WHO,
            ranks=ranks,
            files=files,
            epoch=epoch,
            nonce=nonce,
            provenance=Provenance(holder=self.who),
            coverage=CoverageRecord(),
        )
