"""The vocabulary between the protocol and its driver: what it asks for, what it is told, how it ends."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NoReturn, Protocol, TypeVar

from cache_store.bundle import Bundle
from cache_store.dataclass import dataclass, field
from cache_store.register import Hit, Quarantined, Unreachable, Unusable, Vacant

# -- steps ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ReadBundle:
    """Answer: a register state."""


@dataclass(frozen=True)
class ReadClaim:
    """Answer: Seen | Absent | Unreachable."""


@dataclass(frozen=True)
class WriteClaim:
    """Conditional: over nothing (`base` None) or over the version `base`. Answer: Done | Undone | Unreachable."""

    body: bytes
    base: str | None


@dataclass(frozen=True)
class WriteBundle:
    """As WriteClaim."""

    body: bytes
    base: str | None


@dataclass(frozen=True)
class WriteBlob:
    """Create a content-addressed object. Answer: Done | Undone | Unreachable."""

    digest: str
    body: bytes


@dataclass(frozen=True)
class ReadBlob:
    """Answer: Seen | Absent | Unreachable, with the reason store-too-large where it has more than `limit_bytes`."""

    digest: str
    limit_bytes: int


@dataclass(frozen=True)
class CheckStore:
    """Does this store keep conditions? Asked before the first claim. Answer: Fit | Unfit | Unreachable."""


@dataclass(frozen=True)
class Wait:
    """Answer: Done."""

    seconds: float


@dataclass(frozen=True)
class Work:
    """Start the tune if it has not begun, and let it run for at most `max_s`. Answer: StillRunning|Finished|Failed.

    `epoch` is the claim's under which it runs: parts of a replica group belong to one.
    """

    max_s: float
    epoch: int = 0


@dataclass(frozen=True)
class StopWork:
    """End the tune; its result is not wanted. Answer: Done."""


Step = (
    ReadBundle
    | ReadClaim
    | WriteClaim
    | WriteBundle
    | WriteBlob
    | ReadBlob
    | CheckStore
    | Wait
    | Work
    | StopWork
)

# -- answers -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """The claim object. `age_s` by the server's clock, None where that is unusable; `written_at` by that clock."""

    body: bytes
    etag: str
    age_s: float | None
    written_at: datetime | None = None


@dataclass(frozen=True)
class Absent:
    """No claim object."""


@dataclass(frozen=True)
class Done:
    """It happened. `etag` names what was written, where something was."""

    etag: str = ""


@dataclass(frozen=True)
class Undone:
    """The store says that the condition did not hold; not to be believed before a read-back."""

    status: int


@dataclass(frozen=True)
class Fit:
    """Conditions are kept."""


@dataclass(frozen=True)
class Unfit:
    """The store cannot carry the protocol."""

    reason: str
    detail: str


@dataclass(frozen=True)
class StillRunning:
    """The tune goes on."""


class Compose(Protocol):
    """Makes the bundle once epoch and nonce are known."""

    def __call__(self, epoch: int, nonce: str) -> Bundle:
        """The bundle to publish."""


@dataclass(frozen=True)
class Finished:
    """The tune is over and verified. `blobs` are the contents too large to ride inline, by digest."""

    compose: Compose
    blobs: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Failed:
    """The tune gave nothing usable."""

    reason: str
    detail: str
    tail: tuple[str, ...] = ()


Answer = (
    Hit
    | Vacant
    | Quarantined
    | Unusable
    | Unreachable
    | Seen
    | Absent
    | Done
    | Undone
    | Fit
    | Unfit
    | StillRunning
    | Finished
    | Failed
)

# -- outcomes ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Adopted:
    """Somebody else's bundle, to be used like a hit."""

    bundle: Bundle
    etag: str
    waited: bool


@dataclass(frozen=True)
class Published:
    """Our own bundle, now the fleet's."""

    bundle: Bundle
    etag: str
    blobs: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Unpublished:
    """Our own verified result, good for this pod; the fleet did not get it."""

    bundle: Bundle
    blobs: Mapping[str, bytes]
    reason: str
    detail: str


@dataclass(frozen=True)
class GaveUp:
    """No bundle. The pod starts cold."""

    reason: str
    detail: str
    tail: tuple[str, ...] = ()


Outcome = Adopted | Published | Unpublished | GaveUp


T = TypeVar("T")


def expect(answer: Answer, kind: type[T]) -> T:
    """The answer, which must be of that kind. Raises AssertionError: the driver is at fault."""
    return answer if isinstance(answer, kind) else unexpected(answer)


def unexpected(answer: Answer) -> NoReturn:
    """Raises AssertionError."""
    raise AssertionError(f"the driver answered {answer!r} to a step that it does not fit")
