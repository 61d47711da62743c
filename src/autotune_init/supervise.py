"""Runs the flow in a thread and keeps the two promises that the flow cannot keep alone: the deadline and SIGTERM.

A call into a client library or a dead mount may never come back. The flow is therefore asked to stop a little before
the deadline, and abandoned at the deadline.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from cache_store.annotation import Generic, TypeVar
from cache_store.clock import Cancelled, SystemClock
from cache_store.dataclass import dataclass

T = TypeVar("T")


@dataclass(frozen=True)
class Completed(Generic[T]):
    """The flow came to its own end."""

    value: T


@dataclass(frozen=True)
class Crashed:
    """The flow raised something that nobody foresaw."""

    error: BaseException


@dataclass(frozen=True)
class Stopped:
    """The flow was told to stop. `why`: "deadline" or "terminated". `is_stuck`: it did not even react."""

    why: str
    is_stuck: bool


def grace_of(deadline_s: float) -> float:
    """Seconds before the deadline at which the flow is asked to stop: to kill a tuner and release a claim."""
    return min(10.0, deadline_s * 0.1)


class Supervisor:
    """One flow, one deadline. `terminate` is what a SIGTERM handler calls."""

    def __init__(self, clock: SystemClock, deadline_s: float) -> None:
        self._clock = clock
        self._hard = clock.monotonic() + deadline_s
        self.soft = self._hard - grace_of(deadline_s)
        self._grace_s = grace_of(deadline_s)
        self._is_terminated = False
        self._wake = threading.Event()

    def terminate(self) -> None:
        """From a signal handler: sets flags only."""
        self._is_terminated = True
        self._clock.stop.set()
        self._wake.set()

    def run(self, flow: Callable[[], T]) -> Completed[T] | Crashed | Stopped:
        ended: list[Completed[T] | Crashed | Stopped] = []

        def body() -> None:
            try:
                ended.append(Completed(flow()))
            except Cancelled:
                ended.append(Stopped(self._why(), is_stuck=False))
            except BaseException as error:  # noqa: BLE001 -- reported by the one place that maps errors to exit codes
                ended.append(Crashed(error))
            finally:
                self._wake.set()

        thread = threading.Thread(target=body, name="flow", daemon=True)
        thread.start()
        self._wait(self.soft)
        if thread.is_alive():
            self._clock.stop.set()
            limit = (
                min(self._hard, self._clock.monotonic() + self._grace_s)
                if self._is_terminated
                else self._hard
            )
            thread.join(max(0.0, limit - self._clock.monotonic()))
        return ended[0] if ended else Stopped(self._why(), is_stuck=True)

    def _wait(self, until: float) -> None:
        # short slices: a signal handler runs in this thread only when a wait returns
        while not self._wake.is_set() and self._clock.monotonic() < until:
            self._wake.wait(min(0.5, max(0.0, until - self._clock.monotonic())))

    def _why(self) -> str:
        return "terminated" if self._is_terminated else "deadline"
