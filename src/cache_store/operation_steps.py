"""The vocabulary between an operator's step in the protocol and its driver: what it asks for, how it ends."""

from __future__ import annotations

from collections.abc import Generator

from cache_store.dataclass import dataclass
from cache_store.register import Unreachable
from cache_store.steps import Absent, Done, ReadBlob, ReadClaim, Seen, Undone, Wait, WriteBundle, WriteClaim


@dataclass(frozen=True)
class ReadRegister:
    """bundle.json as bytes. Answer: Seen | Absent | Unreachable."""


@dataclass(frozen=True)
class ReadCopy:
    """What lies below `retired/`. Answer: Seen | Absent | Unreachable."""

    name: str


@dataclass(frozen=True)
class KeepCopy:
    """Create it. Answer: Done | Undone | Unreachable."""

    name: str
    body: bytes


OperatorStep = ReadRegister | ReadCopy | KeepCopy | ReadBlob | ReadClaim | WriteBundle | WriteClaim | Wait
OperatorAnswer = Seen | Absent | Done | Undone | Unreachable


@dataclass(frozen=True)
class Changed:
    """It is so now; with `is_dry` it would be. `copy`: where what was taken out lies, below the bundle's address."""

    before: str
    after: str
    nonce: str
    copy: str | None = None
    is_dry: bool = False


@dataclass(frozen=True)
class Unchanged:
    """It was so before."""

    state: str
    detail: str


@dataclass(frozen=True)
class Refused:
    """Nothing was done, or it is not known whether (`is_unsettled`: a write may still arrive). `reason` is stable."""

    reason: str
    detail: str
    is_unsettled: bool = False


OperationOutcome = Changed | Unchanged | Refused
Operation = Generator[OperatorStep, OperatorAnswer, OperationOutcome]


@dataclass(frozen=True)
class Order:
    """Who wants it and why; both are written down. With `is_dry` nothing is written."""

    by: str
    reason: str
    is_dry: bool = False
