"""One seed's run: groups of pods, the controllers that restart them, operators that interfere, and what came of it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cache_store.bundle import Bundle, Tombstone, parse_register
from cache_store.claim import Claim, Rules, parse_claim
from cache_store.testing.simulation.checks import Checks, Violation
from cache_store.testing.simulation.pods import ADDRESS, Code, Disk, PodRun, Seat, Setting
from cache_store.testing.simulation.store import Bucket, Network
from cache_store.testing.simulation.world import Life, Process, World

MOST_RESTARTS = 4
GRACE_S = 10.0


@dataclass(frozen=True)
class Troubles:
    """Chances per step of a pod, and whether operators are at work. `crashes_in_place`: of crashes, else a new pod."""

    crash: float = 0.0
    pause: float = 0.0
    crashes_in_place: float = 0.5
    replaced_when_done: float = 0.0
    full_disks: float = 0.0
    operators: int = 0
    deletes: bool = False
    cuts: float = 0.0


@dataclass(frozen=True)
class Result:
    """What a seed came to. `violation` is "" where everything held."""

    seed: int
    violation: str
    tunes: int
    steps: int
    counts: dict[str, int]
    history: list[str]


class Group:
    """The pods of one replica under a controller: which of them run, and what happens when one dies."""

    def __init__(self, run: Run, number: int, size: int) -> None:
        rng = run.world.rng
        self.run = run
        self.seats = [
            Seat(number, rank, size, rng.choice([0.0, rng.uniform(-7200, 7200)]), run.disk())
            for rank in range(size)
        ]
        self.processes: dict[int, Process] = {}
        self.restarts = 0
        self.was_replaced_alone = False

    def start(self, seat: Seat, delay_s: float) -> None:
        run = self.run

        def life() -> Life:
            seat.ending, seat.ended_at, seat.is_cut_off = None, None, False
            seat.began_at, seat.paused_s = run.world.now, 0.0
            pod = PodRun(run.world, run.bucket, seat, run.setting, run.code, run.checks)
            run.world.at(run.setting.deadline_s + GRACE_S, lambda: self.abandon(seat, process, pod))
            yield from pod.life()
            self.after(seat)

        process = run.world.spawn(life(), delay_s=delay_s)
        process.before_step = lambda: self.trouble(seat, process)
        self.processes[seat.rank] = process

    def abandon(self, seat: Seat, process: Process, pod: PodRun) -> None:
        """As `autotune_init.supervise`: a run that does not end when it is told to is left behind."""
        if not process.is_alive:
            return
        if self.run.world.now < seat.began_at + self.run.setting.deadline_s + GRACE_S + seat.paused_s:
            self.run.world.at(seat.paused_s, lambda: self.abandon(seat, process, pod))
            return
        process.kill()
        pod.run_out()
        self.after(seat)

    def trouble(self, seat: Seat, process: Process) -> float | None:
        """What befalls a pod before its next step: nothing (0), a pause, or its end (None)."""
        rng, troubles = self.run.world.rng, self.run.troubles
        if troubles.crash and self.restarts < MOST_RESTARTS and rng.random() < troubles.crash:
            process.kill()
            self.run.world.tell(seat.name, "is killed")
            self.die(seat, in_place=rng.random() < troubles.crashes_in_place)
            return None
        if troubles.pause and rng.random() < troubles.pause:
            pause_s = rng.choice([5.0, 70.0, 400.0, 1800.0]) * rng.random()
            seat.paused_s += pause_s
            return pause_s
        return 0.0

    def after(self, seat: Seat) -> None:
        """A run came to its own end."""
        rng = self.run.world.rng
        if seat.ending is not None and seat.ending[0] == "torn":
            self.run.world.at(0, lambda: self.die(seat, in_place=True))
        elif self.restarts < MOST_RESTARTS and rng.random() < self.run.troubles.replaced_when_done:
            self.run.world.at(rng.uniform(0, 200), lambda: self.die(seat, in_place=False))

    def die(self, seat: Seat, *, in_place: bool) -> None:
        self.restarts += 1
        rng = self.run.world.rng
        if len(self.seats) > 1 and not self.run.setting.restarts_alone:
            # LeaderWorkerSet: one container that restarted, and the whole group is made anew
            for each in self.seats:
                self.processes[each.rank].kill()
                self.renew(each)
                self.start(each, rng.uniform(1, 40))
            return
        self.processes[seat.rank].kill()
        if not in_place:
            self.renew(seat)
            self.was_replaced_alone = True
        self.start(seat, rng.uniform(1, 40))

    def renew(self, seat: Seat) -> None:
        seat.disk = self.run.disk()
        seat.is_cut_off = False
        seat.reads_of_bundle.clear()


class Run:
    """Everything of one seed. `redraw` may change what the seed has drawn, for a special case."""

    def __init__(
        self,
        seed: int,
        *,
        code: Code,
        is_told: bool = False,
        redraw: Callable[[Draws], Draws] = lambda draws: draws,
    ) -> None:
        self.world = World(seed, is_told=is_told)
        drawn = redraw(Draws.of(self.world.rng))
        self.seed, self.code, self.troubles, self.setting = seed, code, drawn.troubles, drawn.setting
        self.bucket = Bucket(self.world, drawn.network)
        self.checks = Checks(
            lambda: self.world.now,
            has_operators=drawn.troubles.operators > 0,
            network_is_stale=drawn.network.stale > 0,
        )
        self.bucket.on_change = self.checks.changed
        self.groups = [Group(self, number, size) for number, size in enumerate(drawn.sizes)]
        for group in self.groups:
            began = self.world.rng.uniform(0, drawn.spread_s)
            for seat in group.seats:
                group.start(seat, began + self.world.rng.uniform(0, 20))
        for _ in range(drawn.troubles.operators):
            self.world.spawn(self.operator(), delay_s=self.world.rng.uniform(0, 900))

    def disk(self) -> Disk:
        rng = self.world.rng
        return Disk(self.world.nonce()[:8], is_full=rng.random() < self.troubles.full_disks)

    def operator(self) -> Life:
        """Somebody who looks, waits, and swaps what was seen: retire, quarantine, restore, unlock."""
        world, rng, bucket = self.world, self.world.rng, self.bucket
        seen = bucket.peek(ADDRESS.bundle_key)
        claim = bucket.peek(ADDRESS.claim_key)
        yield rng.uniform(0, 30)
        if claim is not None and rng.random() < 0.3:
            held = parse_claim(claim.body)
            if isinstance(held, Claim):
                ended = held.model_copy(
                    update={
                        "state": "released",
                        "epoch": held.epoch + 1,
                        "counter": 0,
                        "nonce": world.nonce(),
                    }
                )
                yield from bucket.write(ADDRESS.claim_key, ended.encode(), claim.etag, "ops")
        if seen is None:
            return
        register = parse_register(seen.body)
        if isinstance(register, Bundle):
            if self.troubles.deletes:
                bucket.delete(ADDRESS.bundle_key, "ops")
                return
            tombstone = Tombstone(
                reason="bad tactic",
                retired_by="ops",
                may_retune=rng.random() < 0.6,
                epoch=register.epoch,
                nonce=world.nonce(),
            )
            answer = yield from bucket.write(ADDRESS.bundle_key, tombstone.encode(), seen.etag, "ops")
            world.tell(
                "ops", f"{'retires' if tombstone.may_retune else 'quarantines'}: {type(answer).__name__}"
            )
            found = bucket.peek(ADDRESS.bundle_key)
            if found is not None and found.body == tombstone.encode() and not tombstone.may_retune:
                self.checks.quarantined[register.nonce] = world.now
            # most of them think again, and put it back under a nonce of its own
            if rng.random() < 0.3:
                yield rng.uniform(1, 300)
                now = bucket.peek(ADDRESS.bundle_key)
                if now is not None and now.body == tombstone.encode():
                    restored = register.model_copy(update={"nonce": world.nonce()})
                    yield from bucket.write(ADDRESS.bundle_key, restored.encode(), now.etag, "ops")

    def to_the_end(self) -> None:
        self.world.run()
        for group in self.groups:
            for seat in group.seats:
                self.checks.ended(seat, self.setting.deadline_s)
            if len(group.seats) > 1:
                self.checks.group_is_one(group.seats, was_replaced_alone=group.was_replaced_alone)


@dataclass(frozen=True)
class Draws:
    """What a seed decides before anything happens."""

    network: Network
    troubles: Troubles
    setting: Setting
    sizes: tuple[int, ...]
    spread_s: float

    @classmethod
    def of(cls, rng: random.Random) -> Draws:
        network = Network.of(rng)
        kind = rng.random()
        sizes = (
            tuple(1 for _ in range(rng.randint(1, 10)))
            if kind < 0.4
            else tuple(rng.choice([1, 2, 2, 2, 3, 4, 8]) for _ in range(rng.randint(1, 3)))
        )
        quiet = rng.random() < 0.2
        troubles = Troubles() if quiet else Troubles(
            crash=rng.choice([0.0, 0.003, 0.02]),
            pause=rng.choice([0.0, 0.002, 0.01]),
            crashes_in_place=rng.choice([0.0, 0.5, 1.0]),
            replaced_when_done=rng.choice([0.0, 0.0, 0.3]),
            full_disks=rng.choice([0.0, 0.0, 0.1]),
            operators=rng.choice([0, 0, 0, 1, 3]),
            cuts=rng.choice([0.0, 0.0, 0.2]),
        )  # fmt: skip
        tune_s = rng.choice([(2.0, 5.0), (60.0, 200.0), (170.0, 190.0), (1500.0, 2400.0)])
        setting = Setting(
            rules=Rules(),
            wait_s=rng.choice([120.0, 900.0]),
            deadline_s=rng.choice([300.0, 1800.0]),
            patience_s=rng.choice([60.0, 300.0]),
            tune_s=tune_s,
            failing_tunes=rng.choice([0.0, 0.0, 0.0, 0.3, 1.0]),
            shares_work=rng.random() < 0.5,
            restarts_alone=rng.random() < 0.5,
            says_tune_time=rng.random() < 0.5,
            keeps_conditions=not network.is_create_only,
        )
        return cls(network, troubles, setting, sizes, rng.choice([0.5, 10.0, 300.0]))


def run_seed(seed: int, *, is_told: bool = False) -> Result:
    """One history. Raises nothing for a broken invariant: the result says it."""
    return finish(Run(seed, code=Code(), is_told=is_told))


def finish(run: Run) -> Result:
    """Lets it run, and says what came of it."""
    violation = ""
    try:
        run.to_the_end()
    except Violation as broken:
        violation = str(broken)
        run.world.tell("VIOLATION", broken)
    except AssertionError as fault:  # of the product's own code, or a run without an end
        violation = f"{type(fault).__name__}: {fault}"
    counts: dict[str, Any] = dict(run.checks.counts)
    return Result(run.seed, violation, run.checks.tunes, run.world.steps, counts, run.world.history or [])
