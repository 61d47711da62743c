"""Operators who do their steps wrong in one place each."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any

from cache_store.dataclass import replace
from cache_store.emptying import Emptier, Remove
from cache_store.identity import BUNDLE_NAME, CLAIM_NAME
from cache_store.operation_steps import ReadRegister, Refused
from cache_store.operations import Operator
from cache_store.steps import Done, Seen, WriteBundle
from cache_store.testing.simulation.draws import Draws
from cache_store.testing.simulation.mutant import Mutant
from cache_store.testing.simulation.seats import Code

Steps = Generator[Any, Any, Any]


class ByteForByte(Operator):
    """Puts back exactly what was there: the ETag of before is valid again."""

    def _restored(self, kept: Seen, name: str, seen: Seen) -> tuple[bytes, str]:
        super()._restored(kept, name, seen)
        document: dict[str, Any] = json.loads(kept.body)
        return json.dumps(document, indent=1).encode(), document["nonce"]


class NoCopy(Operator):
    def _keep(self, name: str, body: bytes) -> Steps:  # noqa: ARG002 -- the signature is the operator's
        yield from ()


class OverWhatCameMeanwhile(Operator):
    """A refused swap is tried again over what is there now, which nobody has looked at."""

    def _swap(self, body: bytes, base: str, nonce: str) -> Steps:
        tag = base
        for _ in range(5):
            if isinstance((yield WriteBundle(body, tag)), Done):
                return
            found = yield ReadRegister()
            tag = found.etag if isinstance(found, Seen) else tag
        yield from super()._swap(body, tag, nonce)


class NoReadBack(Operator):
    def _swap(self, body: bytes, base: str, nonce: str) -> Steps:
        if not isinstance((yield WriteBundle(body, base)), Done):
            raise _stop(Refused("lost", f"the store said so of {nonce}"))


class DeletesRegisters(Emptier):
    """gc as it was: the registers go with the rest."""

    def run(self) -> Steps:
        swept = yield from super().run()
        if swept.problem is None:
            yield Remove(CLAIM_NAME)
            yield Remove(BUNDLE_NAME)
        return swept


class LeavesTheTombstone(Emptier):
    """Deletes the copy that a tombstone names, which somebody may be about to put back."""

    def _close_register(self) -> Steps:
        yield from ()


def _over_whatever(operation: Any, *_: Any) -> Any:
    """Retires what lies there now, whatever was judged."""
    return operation


def _stop(refused: Refused) -> Exception:
    from cache_store import operations

    return operations._Stop(refused)  # noqa: SLF001 -- a mutant is the class's own code with one thing wrong


def _with_operators(draws: Draws) -> Draws:
    return replace(draws, troubles=replace(draws.troubles, operators=3))


OPERATOR_MUTANTS = (
    Mutant("restored byte for byte", "breaks", Code(operator=ByteForByte), redraw=_with_operators),
    Mutant("a tombstone without a copy", "breaks", Code(operator=NoCopy), redraw=_with_operators),
    Mutant(
        "a tombstone over what came meanwhile",
        "breaks",
        Code(operator=OverWhatCameMeanwhile),
        redraw=_with_operators,
    ),
    Mutant("gc deletes registers", "breaks", Code(emptier=DeletesRegisters), redraw=_with_operators),
    Mutant(
        "gc leaves the tombstone of what it forgets",
        "breaks",
        Code(emptier=LeavesTheTombstone),
        redraw=_with_operators,
    ),
    Mutant(
        "gc retires what it has not judged", "breaks", Code(only_over=_over_whatever), redraw=_with_operators
    ),
    Mutant("an operator does not read back", "breaks", Code(operator=NoReadBack), redraw=_with_operators),
)
