"""Binds an operator's step to what somebody has judged: what came to lie there since is nobody's to take out."""

from __future__ import annotations

from collections.abc import Callable

from cache_store.operation_steps import Operation, OperationOutcome, ReadRegister, Refused
from cache_store.steps import Seen


def only_over(operation: Operation, is_judged: Callable[[Seen], bool], detail: str) -> Operation:
    """`operation`, unless the register that it reads first is another than the judged one: a pod may have published since.

    What it then writes is conditional on that very read, so nothing can come between either. `detail` is for the person.
    """
    is_first = True
    try:
        step = next(operation)
        while True:
            answer = yield step
            if is_first and isinstance(step, ReadRegister):
                is_first = False  # what is read later is read back, and may be our own write
                if isinstance(answer, Seen) and not is_judged(answer):
                    return Refused("changed-meanwhile", detail)
            step = operation.send(answer)
    except StopIteration as end:
        outcome: OperationOutcome = end.value
        return outcome
