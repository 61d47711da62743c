"""A tune that takes its time, may fail, and in a replica group is shared among its pods."""

from __future__ import annotations

import functools
from collections.abc import Generator
from typing import TYPE_CHECKING
from zlib import crc32

from cache_store.bundle import Bundle, CoverageRecord, Provenance, pack
from cache_store.objects import StoredObject
from cache_store.steps import Done, Failed, Finished, StillRunning, Undone, Work
from cache_store.testing.simulation.seats import ADDRESS, WHO, Seat, Setting
from cache_store.testing.simulation.store import Bucket
from cache_store.testing.simulation.world import World

if TYPE_CHECKING:
    from cache_store.testing.simulation.checks import Checks

Going = Generator[float, None, StillRunning | Finished | Failed]


class Tuning:
    """One pod's. `is_running`: begun, neither over nor stopped. `has_result`: one to publish."""

    def __init__(
        self,
        world: World,
        bucket: Bucket,
        seat: Seat,
        setting: Setting,
        checks: Checks,
        *,
        who: str,
        deadline: float,
    ) -> None:
        self.world = world
        self.bucket = bucket
        self.seat = seat
        self.setting = setting
        self.checks = checks
        self.who = who
        self.deadline = deadline
        self.is_running = False
        self.has_result = False
        self.left_s: float | None = None

    def go_on(self, step: Work) -> Going:
        rng = self.world.rng
        if self.left_s is None:
            self.left_s = rng.uniform(*self.setting.tune_s)
            self.checks.tune_began(self.seat)
        self.is_running = True
        spent = min(step.max_s, self.left_s, max(0.0, self.deadline - self.world.now))
        yield spent
        self.left_s -= spent
        if self.left_s > 0:
            return StillRunning()
        if rng.random() < self.setting.failing_tunes:
            self.left_s, self.is_running = None, False
            return Failed("tuner-crashed", "exit 3")
        if self.seat.size > 1 and self.setting.shares_work:
            return (yield from self._share(step))
        return self._finished()

    def _share(self, step: Work) -> Going:
        """As `autotune_init.group_tune`: members leave a part, the leader waits for all of them."""
        keys = [f"{ADDRESS}/parts/{step.epoch}/{self.seat.group}-{rank}" for rank in range(self.seat.size)]
        if self.seat.rank > 0:
            body = f"{self.who} {step.epoch}".encode()
            answer = yield from self.bucket.write(keys[self.seat.rank], body, None, self.who)
            if not isinstance(answer, Done | Undone):
                return StillRunning()
        for key in keys[1:] if self.seat.rank == 0 else ():
            seen = yield from self.bucket.get(key)
            if not isinstance(seen, StoredObject):
                yield 5.0
                self.left_s = 0.0
                return StillRunning()
        return self._finished()

    def _finished(self) -> Finished:
        self.is_running = False
        self.has_result = self.seat.rank == 0
        # a third of the pods has a result that is too large to ride inline
        is_large = crc32(self.who.encode()) % 3 == 0
        ranks, files, _ = pack({"rank_tp0_pp0_dp0.json": f'{{"tune": "{self.who}"}}'.encode()})
        contents = {digest: text.encode() for digest, text in files.items()}
        compose = functools.partial(self.compose, ranks, contents, is_large=is_large)
        return Finished(compose, contents if is_large else {})

    def compose(
        self,
        ranks: dict[str, str],
        contents: dict[str, bytes],
        epoch: int,
        nonce: str,
        *,
        is_large: bool,
    ) -> Bundle:
        return Bundle(
            identity=WHO,
            ranks=ranks,
            files={} if is_large else {digest: body.decode() for digest, body in contents.items()},
            blobs={digest: len(body) for digest, body in contents.items()} if is_large else {},
            epoch=epoch,
            nonce=nonce,
            provenance=Provenance(holder=self.who),
            coverage=CoverageRecord(),
        )
