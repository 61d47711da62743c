"""What a run has learned so far: at any moment it may be told to end, and its report says what was known by then."""

from __future__ import annotations

from pathlib import Path

from autotune_init.engines import EngineCache
from autotune_init.facts import Facts
from autotune_init.pod_start import Ending, Membership, Pod
from autotune_init.replica_group import ReplicaGroup
from autotune_init.store_access import StoreAccess
from cache_store.dataclass import dataclass, field


@dataclass
class Seen:
    """What the flow has learned so far, so that an ending at any moment can tell it.

    `target` is set as soon as the target's warming has ended; an ending that comes later is the draft's.
    """

    facts: Facts | None = None
    engine: str | None = None
    cache: EngineCache | None = None
    environment: str | None = None
    store: StoreAccess | None = None
    scratch: Path | None = None
    target: Ending | None = None
    draft: EngineCache | None = None
    told: set[str] = field(default_factory=set)
    group: ReplicaGroup | None = None
    member: tuple[Pod, Membership] | None = None
    # the same while the other pods of its group count on this one
    bound: tuple[Pod, Membership] | None = None
    warnings: tuple[str, ...] = ()
