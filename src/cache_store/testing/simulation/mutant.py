"""What a mutant is: the protocol with one thing wrong, as another class, a patched function or other operators."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Literal
from unittest import mock

from cache_store.dataclass import dataclass, field
from cache_store.testing.simulation.draws import Draws
from cache_store.testing.simulation.fleet import Run
from cache_store.testing.simulation.seats import Code


@dataclass(frozen=True)
class Mutant:
    """It breaks an invariant (`breaks`), or shows as more tunes than the protocol needs in the same seeds (`costs`).

    `patches`: (object, attribute, what it becomes). `prepare` changes a run before it begins, `redraw` its draws.
    """

    name: str
    shows: Literal["breaks", "costs"]
    code: Code = field(default_factory=Code)
    patches: tuple[tuple[Any, str, Any], ...] = ()
    prepare: Callable[[Run], None] = lambda _run: None
    redraw: Callable[[Draws], Draws] = lambda draws: draws

    def run(self, seed: int) -> Run:
        """The run of one seed; `to_the_end` is the caller's, inside of `applied`."""
        run = Run(seed, code=self.code, is_told=False, redraw=self.redraw)
        self.prepare(run)
        return run

    def applied(self) -> ExitStack:
        stack = ExitStack()
        for where, name, what in self.patches:
            stack.enter_context(mock.patch.object(where, name, what))
        return stack
