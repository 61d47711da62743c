"""Who is in a fleet: the workload, the pods' places with what outlives a container, and what a run has in common."""

from __future__ import annotations

from collections.abc import Callable

from cache_store.bundle import IdentityRecord
from cache_store.claim import Rules
from cache_store.coordination import Participant
from cache_store.dataclass import dataclass, field
from cache_store.emptying import Emptier
from cache_store.identity import Environment, Identity
from cache_store.only_over import only_over
from cache_store.operation_steps import Operation
from cache_store.operations import Operator
from cache_store.settling import Settling
from cache_store.steps import Seen

IDENTITY = Identity(
    engine="sglang",
    flashinfer_version="0.7.2",
    arch="sm90",
    key="0123456789abcdef",
    key_text="m",
    key_inputs={"model_path": "m"},
    environment=Environment({"gpu": "NVIDIA H100 80GB HBM3", "flashinfer_version": "0.7.2"}),
)
ADDRESS = IDENTITY.address
WHO = IdentityRecord.of(IDENTITY)


@dataclass(frozen=True)
class Code:
    """The protocol under test. A mutant has another one of these."""

    participant: type[Participant] = Participant
    settling: type[Settling] = Settling
    operator: type[Operator] = Operator
    emptier: type[Emptier] = Emptier
    only_over: Callable[[Operation, Callable[[Seen], bool], str], Operation] = only_over
    writes_bundle_plainly: bool = False
    installs_before_decision: bool = False
    forgets_that_it_is_bound: bool = False


@dataclass(frozen=True)
class Setting:
    """What all pods of a run have in common. Seconds."""

    rules: Rules
    wait_s: float
    deadline_s: float
    patience_s: float
    tune_s: tuple[float, float]
    failing_tunes: float
    shares_work: bool
    restarts_alone: bool
    says_tune_time: bool
    keeps_conditions: bool = True


@dataclass
class Disk:
    """What outlives a container: whose it is, what the group's mark says, what is installed."""

    incarnation: str
    mark: str | None = None
    installed: str | None = None
    is_full: bool = False


@dataclass
class Seat:
    """A pod's place in the fleet: who sits there may change. `cut`: from when to when it cannot reach the store.

    `is_cut_when_bound`: that begins when others may count on the pod, the worst of all moments.
    """

    group: int
    rank: int
    size: int
    skew_s: float
    disk: Disk
    ending: tuple[str, str] | None = None
    began_at: float = 0.0
    ended_at: float | None = None
    paused_s: float = 0.0
    is_cut_off: bool = False
    cut: tuple[float, float] = (0.0, 0.0)
    is_cut_when_bound: bool = False
    reads_of_bundle: dict[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"g{self.group}p{self.rank}"
