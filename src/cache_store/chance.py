"""Randomness for naps between attempts, as a thing that is passed in. Nothing secret rests on it."""

from __future__ import annotations

from cache_store.annotation import TYPE_CHECKING, Protocol
from cache_store.clock import fresh_nonce

if TYPE_CHECKING:
    from random import Random


class Chance(Protocol):
    """What the code wants of chance: `random.Random` is one."""

    def random(self) -> float:
        """At least 0 and below 1."""

    def uniform(self, a: float, b: float) -> float:
        """Between the two."""


class FreshChance:
    """Another series in each process. A hit naps nowhere, so importing `random` (2 ms) waits until somebody does."""

    def __init__(self) -> None:
        self._made: Random | None = None

    def random(self) -> float:
        return self._series().random()

    def uniform(self, a: float, b: float) -> float:
        return self._series().uniform(a, b)

    def _series(self) -> Random:
        if self._made is None:
            import random

            self._made = random.Random(fresh_nonce())  # noqa: S311 -- see above
        return self._made
