"""One seed's run: groups of pods, the controllers that restart them, operators that interfere, and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cache_store.dataclass import dataclass
from cache_store.testing.simulation.checks import Checks, Violation
from cache_store.testing.simulation.collectors import collector_of
from cache_store.testing.simulation.draws import Draws
from cache_store.testing.simulation.operators import operator_of
from cache_store.testing.simulation.pods import PodRun
from cache_store.testing.simulation.seats import Code, Disk, Seat
from cache_store.testing.simulation.store import Bucket
from cache_store.testing.simulation.world import Life, Process, World

MOST_RESTARTS = 4
GRACE_S = 10.0
TERMINATION_GRACE_S = 30.0


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
        run, rng = self.run, self.run.world.rng
        pod: PodRun | None = None

        def life() -> Life:
            nonlocal pod
            seat.ending, seat.ended_at, seat.is_cut_off = None, None, False
            seat.began_at, seat.paused_s = run.world.now, 0.0
            seat.cut, seat.is_cut_when_bound = (0.0, 0.0), False
            if run.troubles.cuts and rng.random() < run.troubles.cuts:
                cut_at = run.world.now + rng.uniform(0, 200)
                seat.cut = (cut_at, cut_at + rng.choice([15.0, 120.0, 2000.0]))
                seat.is_cut_when_bound = rng.random() < 0.5
            pod = PodRun(run.world, run.bucket, seat, run.setting, run.code, run.checks)
            begun = pod
            run.world.at(run.setting.deadline_s + GRACE_S, lambda: self.abandon(seat, process, begun))
            yield from begun.life()
            self.after(seat)

        process = run.world.spawn(life(), delay_s=delay_s)
        process.before_step = lambda: self.trouble(seat, process, pod)
        self.processes[seat.rank] = process

    def abandon(self, seat: Seat, process: Process, pod: PodRun) -> None:
        """As `autotune_init.supervise`: a run that does not end when it is told to is left behind."""
        if not process.is_alive:
            return
        due = seat.began_at + self.run.setting.deadline_s + GRACE_S + seat.paused_s
        if self.run.world.now < due - 1e-6:
            self.run.world.at(due - self.run.world.now, lambda: self.abandon(seat, process, pod))
            return
        process.kill()
        pod.run_out()
        self.after(seat)

    def trouble(self, seat: Seat, process: Process, pod: PodRun | None) -> float | None:
        """What befalls a pod before its next step: nothing (0), a pause, or its end (None)."""
        rng, troubles = self.run.world.rng, self.run.troubles
        if troubles.crash and self.restarts < MOST_RESTARTS and rng.random() < troubles.crash:
            process.kill()
            self.run.world.tell(seat.name, "is killed")
            self.die(seat, in_place=rng.random() < troubles.crashes_in_place)
            return None
        if troubles.sigterm and self.restarts < MOST_RESTARTS and rng.random() < troubles.sigterm:
            self.stop(seat, process, pod)
        if troubles.pause and rng.random() < troubles.pause:
            pause_s = rng.choice([5.0, 70.0, 400.0, 1800.0]) * rng.random()
            seat.paused_s += pause_s
            return pause_s
        return 0.0

    def stop(self, seat: Seat, process: Process, pod: PodRun | None) -> None:
        """As a drained node does it: SIGTERM, SIGKILL after the grace, and a new pod elsewhere."""
        if pod is None or pod.is_told_to_stop:
            return
        pod.is_told_to_stop = True
        self.run.world.tell(seat.name, "is told to stop")

        def at_last() -> None:
            if process.is_alive and self.processes[seat.rank] is process:
                process.kill()
                self.die(seat, in_place=False)

        self.run.world.at(TERMINATION_GRACE_S, at_last)

    def after(self, seat: Seat) -> None:
        """A run came to its own end."""
        rng = self.run.world.rng
        if seat.ending is not None and seat.ending[0] == "terminated":
            self.run.world.at(0, lambda: self.die(seat, in_place=False))
            return
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
            network_is_stale=drawn.network.stale > 0,
        )
        self.bucket.on_change = self.checks.changed
        self.groups = [Group(self, number, size) for number, size in enumerate(drawn.sizes)]
        for group in self.groups:
            began = self.world.rng.uniform(0, drawn.spread_s)
            for seat in group.seats:
                group.start(seat, began + self.world.rng.uniform(0, 20))
        for _ in range(drawn.troubles.operators):
            self.world.spawn(operator_of(self), delay_s=self.world.rng.uniform(0, 900))
        if drawn.troubles.operators and not drawn.troubles.deletes:
            self.world.spawn(collector_of(self), delay_s=self.world.rng.uniform(0, 900))

    def disk(self) -> Disk:
        rng = self.world.rng
        return Disk(self.world.nonce()[:8], is_full=rng.random() < self.troubles.full_disks)

    def to_the_end(self) -> None:
        self.world.run()
        for group in self.groups:
            for seat in group.seats:
                self.checks.ended(seat, self.setting.deadline_s)
            if len(group.seats) > 1:
                self.checks.group_is_one(group.seats, was_replaced_alone=group.was_replaced_alone)


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
