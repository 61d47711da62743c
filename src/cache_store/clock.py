"""Time, waiting and fresh names, as things that are passed in.

The only caller of `time.*`, and the only source of nonces, in both packages (held by ruff TID251).
"""

from __future__ import annotations

import os
import threading
import time
from datetime import datetime, timezone

from cache_store.annotation import Protocol


class Cancelled(Exception):  # noqa: N818 -- it is an order, not an error
    """The pod was told to stop (SIGTERM, or its deadline passed) while somebody waited."""


class Clock(Protocol):
    """What the code may know of time."""

    def monotonic(self) -> float:
        """Seconds that never run backwards; only differences mean something."""

    def now(self) -> datetime:
        """Wall clock, UTC, for provenance and file ages. No decision about a lease may rest on it."""

    def sleep(self, seconds: float) -> None:
        """Wait. Raises `Cancelled` as soon as the pod is told to stop."""


class SystemClock:
    """The machine's clock. `stop` ends every sleep at once."""

    def __init__(self, stop: threading.Event | None = None) -> None:
        self.stop = stop or threading.Event()

    def monotonic(self) -> float:
        return time.monotonic()  # noqa: TID251 -- the one caller

    def now(self) -> datetime:
        return datetime.now(tz=timezone.utc)  # noqa: TID251 -- the one caller

    def sleep(self, seconds: float) -> None:
        if self.stop.wait(max(0.0, seconds)):
            raise Cancelled


def fresh_nonce() -> str:
    """32 hex characters that no other write anywhere carries."""
    return os.urandom(
        16
    ).hex()  # uuid would import platform and subprocess (6 ms, Python 3.10) for the same bits
