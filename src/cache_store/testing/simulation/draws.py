"""What a seed decides before anything happens: the network, the troubles, the fleet."""

from __future__ import annotations

import random
from typing import Literal

from cache_store.claim import Rules
from cache_store.dataclass import dataclass
from cache_store.testing.simulation.seats import Setting
from cache_store.testing.simulation.store import Network


@dataclass(frozen=True)
class Troubles:
    """Chances per step of a pod, and whether operators are at work. `crashes_in_place`: of crashes, else a new pod.

    `cuts`: of a pod's start, that it cannot reach the store for a while. `deletes`: operators who do it the wrong way.
    """

    crash: float = 0.0
    sigterm: float = 0.0
    pause: float = 0.0
    crashes_in_place: float = 0.5
    replaced_when_done: float = 0.0
    full_disks: float = 0.0
    operators: int = 0
    deletes: Literal["", "bundle", "claim"] = ""
    cuts: float = 0.0


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
            sigterm=rng.choice([0.0, 0.0, 0.01]),
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
