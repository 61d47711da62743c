"""FlashInfer's own collector, asked in one child on the engine's Python: 8 to 12 s of imports, and the last word."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from cache_store.clock import Clock

Run = Callable[[list[str], Mapping[str, str], float], str]

PROGRAM = Path(__file__).parent / "inside" / "collect_metadata.py"
MARKER = "AUTOTUNE_METADATA "
_TAIL_CHARS = 800


class CollectorFailed(Exception):  # noqa: N818 -- reads as what it is
    """No answer from the child. `reason`: "no-flashinfer", "no-torch", "collector-failed", "collector-timeout"."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def runner(clock: Clock, stop: threading.Event) -> Run:
    """Runs a child to its end and gives its stdout; raises `CollectorFailed`. `stop` ends it at once."""

    def run(argv: list[str], environ: Mapping[str, str], deadline_s: float) -> str:
        from autotune_init.tuners.child import ChildNotStarted, run_child

        try:
            done = run_child(
                argv, environ=environ, cwd=Path("/"), deadline_s=deadline_s, stop=stop, clock=clock
            )
        except ChildNotStarted as problem:
            raise CollectorFailed("collector-failed", str(problem)) from None
        said = " ".join(done.tail)[-_TAIL_CHARS:]
        said = f"; it said: {said}" if said else ""
        if done.ending == "deadline":
            raise CollectorFailed("collector-timeout", f"no answer within {deadline_s:.0f} s{said}")
        if not done.succeeded:
            raise CollectorFailed("collector-failed", f"{done.ending} with code {done.exit_code}{said}")
        return done.stdout.decode(errors="replace")

    return run


def ask_flashinfer(python: str, environ: Mapping[str, str], deadline_s: float, run: Run) -> dict[str, str]:
    """What FlashInfer would write as `_metadata` in the engine's process. Raises `CollectorFailed`."""
    return parse_answer(run([python, str(PROGRAM)], environ, deadline_s))


def search_path_of(python: str, environ: Mapping[str, str], deadline_s: float, run: Run) -> tuple[str, ...]:
    """`sys.path` of another interpreter, after its site and .pth files ran (20 ms). Raises `CollectorFailed`."""
    program = f"import json, sys; print({MARKER!r} + json.dumps(sys.path))"
    answer = _marked_json(run([python, "-c", program], environ, deadline_s))
    if not isinstance(answer, list) or not all(isinstance(entry, str) for entry in answer):
        raise CollectorFailed("collector-failed", f"{python} did not tell its search path")
    return tuple(answer)


def parse_answer(stdout: str) -> dict[str, str]:
    """The metadata in the child's stdout, whatever else was printed there. Raises `CollectorFailed`."""
    answer = _marked_json(stdout)
    if not isinstance(answer, dict):
        raise CollectorFailed("collector-failed", "the child's answer is no JSON object")
    if "reason" in answer:
        raise CollectorFailed(str(answer["reason"]), str(answer.get("detail", "")))
    metadata = answer.get("metadata")
    if not isinstance(metadata, dict) or not metadata:
        raise CollectorFailed("collector-failed", "the child's answer has no metadata")
    for name, value in metadata.items():
        if not isinstance(value, str):
            raise CollectorFailed("collector-failed", f"metadata field {name!r} is no text")
    return metadata


def _marked_json(stdout: str) -> object:
    """The last marked line counts: noise may come before and after it, or run into it from the left."""
    lines = [line.partition(MARKER)[2] for line in stdout.splitlines() if MARKER in line]
    if not lines:
        raise CollectorFailed("collector-failed", f"no answer in the child's output: {stdout[-200:]!r}")
    try:
        answer: object = json.loads(lines[-1])
    except ValueError as error:
        raise CollectorFailed("collector-failed", f"the child's answer is no JSON: {error}") from error
    return answer
