"""Virtual time: an event queue, and processes that yield how long they wait."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Generator
from datetime import datetime, timedelta, timezone

BEGINNING = datetime(2026, 1, 1, tzinfo=timezone.utc)
Life = Generator[float, None, None]


class Endless(AssertionError):  # noqa: N818 -- reads as what it is
    """A run that does not come to its end; the message names what goes on."""


class World:
    """Everything that happens has a time and a turn; equal seeds give equal histories."""

    def __init__(self, seed: int, *, is_told: bool = False) -> None:
        self.rng = random.Random(seed)  # noqa: S311 -- to be repeated is what it is for
        self.now = 0.0
        self.history: list[str] | None = [] if is_told else None
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._turn = itertools.count()
        self.steps = 0

    def at(self, delay_s: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (self.now + max(0.0, delay_s), next(self._turn), action))

    def spawn(self, life: Life, *, delay_s: float = 0.0) -> Process:
        process = Process(self, life)
        self.at(delay_s, process.step)
        return process

    def run(self, *, most_events: int = 100_000) -> None:
        """Until nothing is left to happen."""
        for _ in range(most_events):
            if not self._queue:
                return
            self.now, _, action = heapq.heappop(self._queue)
            action()
        raise Endless(f"{most_events} events, and it goes on at {self.now:.1f} s")

    def tell(self, who: str, what: object) -> None:
        if self.history is not None:
            self.history.append(f"{self.now:10.3f} {who:14} {what}")

    def wall(self, skew_s: float = 0.0) -> datetime:
        return BEGINNING + timedelta(seconds=self.now + skew_s)

    def nonce(self) -> str:
        return f"{self.rng.getrandbits(64):016x}"


class Process:
    """One generator on its way. `before_step` may say that it crashes now, or how long it pauses."""

    def __init__(self, world: World, life: Life) -> None:
        self._world = world
        self._life = life
        self.is_alive = True
        self.before_step: Callable[[], float | None] = lambda: 0.0

    def step(self) -> None:
        if not self.is_alive:
            return
        pause_s = self.before_step()
        if pause_s is None or not self.is_alive:
            return
        if pause_s > 0:
            self._world.at(pause_s, self._go)
            return
        self._go()

    def _go(self) -> None:
        if not self.is_alive:
            return
        self._world.steps += 1
        try:
            delay_s = next(self._life)
        except StopIteration:
            self.is_alive = False
            return
        self._world.at(delay_s, self.step)

    def kill(self) -> None:
        """At once, as by SIGKILL: what it had asked for may still happen."""
        self.is_alive = False
        self._life.close()
