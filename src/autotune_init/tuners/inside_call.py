"""Ask one of our programs on the engine's Python: a JSON job in, one marked answer line out."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import autotune_init.inside
from autotune_init.tuners import TunerFailed
from autotune_init.tuners.child import ChildNotStarted, ChildResult, run_child
from cache_store.clock import Clock
from cache_store.dataclass import dataclass

ANSWER_MARK = b"AUTOTUNE-ANSWER "  # as in inside/op_calls.py, which cannot be imported from there
_INSIDE = Path(autotune_init.inside.__file__).parent


@dataclass(frozen=True)
class Interpreter:
    """The engine's Python and what its children run with. `progress` gets every line of their stderr."""

    python: str
    environ: Mapping[str, str]
    cwd: Path
    stop: threading.Event
    clock: Clock
    progress: Callable[[str], None] | None = None


def ask_inside(
    program: str, job: Mapping[str, object], interpreter: Interpreter, deadline_s: float
) -> dict[str, object]:
    """Run inside/<program> to its answer. Raises `TunerFailed` for everything else that can happen."""
    try:
        result = run_child(
            [interpreter.python, str(_INSIDE / program)],
            environ=interpreter.environ,
            cwd=interpreter.cwd,
            deadline_s=deadline_s,
            stop=interpreter.stop,
            clock=interpreter.clock,
            stdin=json.dumps(job).encode(),
            progress=interpreter.progress,
        )
    except ChildNotStarted as problem:
        raise TunerFailed("tuner-unavailable", f"the engine's Python does not start: {problem}") from None
    raise_unless_done(result, program)
    return _answer_of(result, program)


def raise_unless_done(result: ChildResult, what: str) -> None:
    """Raises `TunerFailed` unless the child came to its own, successful end."""
    if result.ending == "deadline":
        raise TunerFailed("tuner-timeout", f"{what} had not ended after {result.seconds:.0f} s", result.tail)
    if result.ending == "stopped":
        raise TunerFailed("tuner-cancelled", f"{what} was told to stop", result.tail)
    if result.exit_code < 0:
        detail = f"{what} was killed by signal {-result.exit_code}"
        if result.exit_code == -9:
            detail += " (out of memory?)"
        raise TunerFailed("tuner-crashed", detail, result.tail)
    if result.exit_code > 0:
        raise TunerFailed("tuner-crashed", f"{what} ended with exit code {result.exit_code}", result.tail)


def _answer_of(result: ChildResult, what: str) -> dict[str, object]:
    marked = [line for line in result.stdout.splitlines() if line.startswith(ANSWER_MARK)]
    try:
        answer = json.loads(marked[-1][len(ANSWER_MARK) :])
    except (IndexError, ValueError):
        raise TunerFailed("tuner-crashed", f"{what} ended without an answer", result.tail) from None
    if not isinstance(answer, dict):
        raise TunerFailed("tuner-crashed", f"{what} answered something else than an object", result.tail)
    if "unavailable" in answer:
        raise TunerFailed("tuner-unavailable", str(answer["unavailable"])[:500], result.tail)
    return answer
