"""Something extra that a pod does before its engine starts: it takes a few seconds at most, and never fails the start."""

from __future__ import annotations

import threading
from collections.abc import Callable


def within_budget(work: Callable[[], None], budget_s: float, *, says: type[Exception]) -> str:
    """Why it is not known to be done; empty where it is. Exceptions of the kind `says` speak for themselves."""
    if budget_s <= 0:
        return "the deadline is over"
    problems: list[str] = []

    def run() -> None:
        try:
            work()
        except says as problem:
            problems.append(str(problem))
        except Exception as error:  # noqa: BLE001 -- an extra: the pod starts whatever this was
            problems.append(f"{type(error).__name__}: {error}"[:200])

    # a thread, because a socket's timeout is per packet and a name server has its own; nobody waits for it (os._exit)
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(budget_s)
    if thread.is_alive():
        return f"no answer within {budget_s:.1f} s"
    return problems[0] if problems else ""
