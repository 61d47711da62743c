"""A clock that stands still until somebody sleeps, so that an hour of protocol takes a millisecond."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from itertools import count

from cache_store.clock import Cancelled

BEGINNING = datetime(2026, 1, 1, tzinfo=timezone.utc)


class ManualClock:
    """`sleep` moves time on and runs what was planned for the way; after `stop` it raises `Cancelled`.

    Thread-safe, but with several sleeping threads time is the sum of their sleeps: one driver at a time makes sense.
    """

    def __init__(self, beginning: datetime = BEGINNING) -> None:
        self._beginning = beginning
        self._elapsed_s = 0.0
        self._is_stopped = False
        self._planned: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._lock = threading.RLock()
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self._elapsed_s

    def now(self) -> datetime:
        return self._beginning + timedelta(seconds=self._elapsed_s)

    def sleep(self, seconds: float) -> None:
        with self._lock:
            if self._is_stopped:
                raise Cancelled
            self.slept.append(seconds)
            self.advance(max(0.0, seconds))
            if self._is_stopped:
                raise Cancelled

    def advance(self, seconds: float) -> None:
        """Let time pass without anybody sleeping. A callback may plan more, stop the clock or advance it further."""
        with self._lock:
            target = self._elapsed_s + seconds
            while self._planned and self._planned[0][0] <= target and not self._is_stopped:
                at, _, callback = heapq.heappop(self._planned)
                self._elapsed_s = max(self._elapsed_s, at)
                callback()
            if not self._is_stopped:
                self._elapsed_s = max(self._elapsed_s, target)

    def after(self, seconds: float, callback: Callable[[], None]) -> None:
        """Run `callback` once time has moved on by `seconds`."""
        with self._lock:
            heapq.heappush(self._planned, (self._elapsed_s + seconds, next(self._order), callback))

    def stop(self) -> None:
        """As SIGTERM does: this and every later sleep ends with `Cancelled`; time stays where it is."""
        with self._lock:
            self._is_stopped = True

    def resume(self) -> None:
        with self._lock:
            self._is_stopped = False
