"""One start of one pod: what is known of it, what the flow acts with, and how it ended."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from autotune_init.engines import EngineCache
from autotune_init.expected_keys import Expected
from autotune_init.outcomes import Outcome
from autotune_init.place import Ownership, Placed
from cache_store.annotation import TYPE_CHECKING
from cache_store.bundle import Bundle, Provenance
from cache_store.chance import Chance
from cache_store.clock import Clock
from cache_store.dataclass import dataclass, field
from cache_store.group_place import GroupPlace
from cache_store.identity import Identity
from cache_store.objects import ObjectStore

if TYPE_CHECKING:
    # what a tune needs costs a hit a sixth of its time to import
    from autotune_init.tuners import Tuner, TuneRequest
    from cache_store.claim import Rules
    from cache_store.register import Unreachable
    from cache_store.steps import Fit, Step, Unfit


@dataclass(frozen=True)
class Membership:
    """A pod's place in a replica of several: whose roll it is on, and how long it waits for the others there.

    `incarnation` is this very pod's, also when its containers run again. `bind` and `release` tell whoever ends the
    run that the others may count on this pod, and that they no longer do.
    """

    place: GroupPlace
    rank: int
    incarnation: str
    patience_s: float
    bind: Callable[[], None] = lambda: None
    release: Callable[[], None] = lambda: None

    @property
    def holder(self) -> str:
        """The whole group's name in a claim; no two groups of a bucket share it."""
        return self.place.key.split("/")[1]


@dataclass(frozen=True)
class Pod:
    """What is known of this pod once its key and environment are."""

    cache: EngineCache
    identity: Identity
    holder: str
    ownership: Ownership
    provenance: Provenance
    rules: Callable[[], Rules]
    wait_until: float
    deadline: float
    tune_time_s: float | None = None
    expected: Expected = field(default_factory=Expected)
    allowed_bad: frozenset[str] = frozenset()
    group: Membership | None = None
    rechecks_local: bool = False


@dataclass(frozen=True)
class Tools:
    """What the flow acts with. Everything that touches the world comes in here."""

    open_store: Callable[[], ObjectStore] | None
    check_store: Callable[[ObjectStore], Fit | Unfit | Unreachable]
    tuner: Tuner | None  # None: --tuner none, or with `waits` --tuner wait
    waits: bool
    tune_request: Callable[[], TuneRequest]
    clock: Clock
    stop: threading.Event
    rng: Chance
    nonce: Callable[[], str]
    on_step: Callable[[Step], None] | None = None


@dataclass(frozen=True)
class Ending:
    """How it ended, with what a report needs."""

    outcome: Outcome
    reason: str
    detail: str = ""
    tail: tuple[str, ...] = ()
    bundle: Bundle | None = None
    placed: Placed | None = None
    moved_aside: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
