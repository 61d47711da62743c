"""One bucket behind a bad network. The ETag is the MD5 of the body, as S3's is."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Generator
from datetime import datetime, timedelta

from cache_store.dataclass import dataclass
from cache_store.objects import Entry, Missing, StoredObject
from cache_store.register import Unreachable
from cache_store.steps import Done, Undone
from cache_store.testing.simulation.world import World

AWAY = Unreachable("store-unavailable", "503 or reset", is_final=False)
SLOW = Unreachable("store-timeout", "no answer in time", is_final=False)
DENIED = Unreachable("store-denied", "the store is full", is_final=True)
REQUEST_TIMEOUT_S = 10.0
READ_TRIES = 4


@dataclass(frozen=True)
class Network:
    """Chances per request, and what kind of store it is. `skew_s`: of the Date header, either way."""

    lost_before: float = 0.0
    lost_after: float = 0.0
    resent: float = 0.0
    late: float = 0.0
    conflict: float = 0.0
    refused: float = 0.0
    stale: float = 0.0
    storms_per_hour: float = 0.0
    latency_s: float = 0.03
    skew_s: float = 0.0
    tells_date: bool = True
    is_full_from_s: float = float("inf")
    is_create_only: bool = False

    @classmethod
    def of(cls, rng: random.Random) -> Network:
        """One of the networks that a seed may have: perfect, usual, bad, or a store of a lesser kind."""
        kind = rng.random()
        if kind < 0.15:
            return cls(tells_date=rng.random() < 0.5)
        worse = 1.0 if kind < 0.75 else 3.0

        def chance(most: float) -> float:
            return rng.random() * most * worse if rng.random() < 0.6 else 0.0

        return cls(
            lost_before=chance(0.04),
            lost_after=chance(0.04),
            resent=chance(0.04),
            late=chance(0.02),
            conflict=chance(0.05),
            refused=chance(0.05),
            stale=chance(0.03),
            storms_per_hour=rng.choice([0.0, 0.0, 4.0, 20.0]),
            latency_s=rng.choice([0.005, 0.03, 0.5, 2.0]),
            skew_s=rng.choice([0.0, 1.0, 2.0]),
            tells_date=rng.random() < 0.7,
            is_full_from_s=rng.uniform(0, 900) if rng.random() < 0.05 else float("inf"),
            is_create_only=rng.random() < 0.03,
        )


@dataclass(frozen=True)
class Kept:
    body: bytes
    etag: str
    written_at: datetime


class Bucket:
    """What is stored. `on_change(key, before, after, by)` is told of every write that was applied, in order."""

    def __init__(self, world: World, network: Network) -> None:
        self._world = world
        self._network = network
        self._kept: dict[str, Kept] = {}
        self._before: dict[str, Kept] = {}
        self.on_change: Callable[[str, bytes | None, bytes | None, str], None] = lambda *_: None
        self.ignores_conditions: Callable[[str], bool] = lambda _key: False
        self._storm_until = 0.0
        if network.storms_per_hour:
            world.at(world.rng.expovariate(network.storms_per_hour / 3600), self._storm)
        self._storms_left = 6

    def _storm(self) -> None:
        rng = self._world.rng
        self._storm_until = self._world.now + rng.uniform(1, 90)
        self._storms_left -= 1
        if self._storms_left > 0:
            self._world.at(rng.expovariate(self._network.storms_per_hour / 3600), self._storm)

    # -- as the server does it -------------------------------------------------------------------------------------

    def peek(self, key: str) -> Kept | None:
        return self._kept.get(key)

    def put(self, key: str, body: bytes, base: str | None, by: str) -> Done | Undone | Unreachable:
        """Over nothing (`base` None) or over the version `base`, in one step."""
        network, found = self._network, self._kept.get(key)
        if self._world.now >= network.is_full_from_s or (network.is_create_only and base is not None):
            return DENIED
        if not self.ignores_conditions(key) and (found.etag if found else None) != base:
            return Undone(412)
        return Done(self._write(key, body, by))

    def put_plainly(self, key: str, body: bytes, by: str) -> None:
        self._write(key, body, by)

    def delete(self, key: str, by: str) -> None:
        found = self._kept.pop(key, None)
        if found is not None:
            self.on_change(key, found.body, None, by)

    def _write(self, key: str, body: bytes, by: str) -> str:
        found = self._kept.get(key)
        etag = hashlib.md5(body, usedforsecurity=False).hexdigest()
        at = self._world.wall().replace(microsecond=0)
        if found is not None:
            self._before[key] = found
        self._kept[key] = Kept(body, etag, at)
        self.on_change(key, found.body if found else None, body, by)
        return etag

    def all_keys(self) -> list[str]:
        return sorted(self._kept)

    def entry(self, key: str) -> Entry | None:
        """Its row in a listing."""
        found = self._kept.get(key)
        return Entry(key, len(found.body), found.written_at) if found else None

    # -- as a client sees it ---------------------------------------------------------------------------------------

    def get(self, key: str) -> Generator[float, None, StoredObject | Missing | Unreachable]:
        """With the retries of `objects.retrying`: reads are asked again."""
        rng = self._world.rng
        answer: StoredObject | Missing | Unreachable = AWAY
        for attempt in range(READ_TRIES):
            answer = yield from self._get_once(key)
            if not isinstance(answer, Unreachable) or answer.is_final:
                return answer
            yield rng.uniform(0.1, 0.5) * 2**attempt
        return answer

    def _get_once(self, key: str) -> Generator[float, None, StoredObject | Missing | Unreachable]:
        network, rng, world = self._network, self._world.rng, self._world
        yield rng.expovariate(1 / network.latency_s)
        if world.now < self._storm_until or rng.random() < network.refused:
            return AWAY
        if rng.random() < network.lost_before:
            yield REQUEST_TIMEOUT_S
            return SLOW
        found = self._kept.get(key)
        if key in self._before and rng.random() < network.stale:
            found = self._before.pop(key)
        skew_s = rng.uniform(-network.skew_s, network.skew_s)
        date = (
            (world.wall() + timedelta(seconds=skew_s)).replace(microsecond=0) if network.tells_date else None
        )
        yield rng.expovariate(1 / network.latency_s)
        if found is None:
            return Missing(date)
        return StoredObject(found.body, found.etag, date, found.written_at)

    def write(
        self, key: str, body: bytes, base: str | None, by: str
    ) -> Generator[float, None, Done | Undone | Unreachable]:
        """One request, asked once; what is said of it may be wrong in every way that a network knows."""
        network, rng, world = self._network, self._world.rng, self._world
        yield rng.expovariate(1 / network.latency_s)
        if world.now < self._storm_until or rng.random() < network.refused:
            return AWAY
        if rng.random() < network.conflict:
            return Undone(409)
        if rng.random() < network.lost_before:
            yield REQUEST_TIMEOUT_S
            return SLOW
        if rng.random() < network.late:
            world.at(REQUEST_TIMEOUT_S + rng.uniform(0, 400), lambda: self._late(key, body, base, by))
            yield REQUEST_TIMEOUT_S
            return SLOW
        answer = self.put(key, body, base, by)
        yield rng.expovariate(1 / network.latency_s)
        if rng.random() < network.lost_after:
            return AWAY
        if rng.random() < network.resent:
            # the client library sent it again by itself, and hears only of the second time
            return self.put(key, body, base, by)
        return answer

    def remove(self, key: str, by: str) -> Generator[float, None, Done | Unreachable]:
        """One DELETE, asked once: it holds no condition, and may arrive late."""
        network, rng, world = self._network, self._world.rng, self._world
        yield rng.expovariate(1 / network.latency_s)
        if world.now < self._storm_until or rng.random() < network.refused:
            return AWAY
        if rng.random() < network.late:
            world.at(REQUEST_TIMEOUT_S + rng.uniform(0, 400), lambda: self.delete(key, by))
            yield REQUEST_TIMEOUT_S
            return SLOW
        self.delete(key, by)
        yield rng.expovariate(1 / network.latency_s)
        return AWAY if rng.random() < network.lost_after else Done()

    def _late(self, key: str, body: bytes, base: str | None, by: str) -> None:
        self._world.tell(by, f"a write of {key.rpartition('/')[2]} arrives late")
        self.put(key, body, base, by)
