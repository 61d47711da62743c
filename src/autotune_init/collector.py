"""FlashInfer's own collector, asked in one child on the engine's Python: 8 to 12 s of imports, and the last word."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

Run = Callable[[list[str], Mapping[str, str], float], str]

PROGRAM = Path(__file__).parent / "inside" / "collect_metadata.py"
MARKER = "AUTOTUNE_METADATA "
_ANSWER_LIMIT_BYTES = 1024 * 1024
_TAIL_CHARS = 800


class CollectorFailed(Exception):  # noqa: N818 -- reads as what it is
    """No answer from the child. `reason`: "no-flashinfer", "no-torch", "collector-failed", "collector-timeout"."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def run_child(argv: list[str], environ: Mapping[str, str], deadline_s: float) -> str:
    """Run to the end and give its stdout. Its whole process group is dead when this returns or raises.

    Output goes to files, not pipes: a grandchild that survives elsewhere cannot keep us waiting for end of file.
    Raises `CollectorFailed`.
    """
    import os
    import signal
    import subprocess
    import tempfile

    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            child = subprocess.Popen(
                argv,
                env=dict(environ),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        except OSError as error:
            raise CollectorFailed("collector-failed", f"{argv[0]}: {error.strerror}") from error
        try:
            code = child.wait(timeout=deadline_s)
        except subprocess.TimeoutExpired as error:
            detail = f"no answer within {deadline_s:.0f} s"
            raise CollectorFailed("collector-timeout", f"{detail}{_tail(err)}") from error
        finally:
            try:
                os.killpg(child.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # the normal case: the group ended with its leader
            child.wait()
        if code != 0:
            raise CollectorFailed("collector-failed", f"exit code {code}{_tail(err)}")
        out.seek(0)
        return out.read(_ANSWER_LIMIT_BYTES).decode(errors="replace")


def ask_flashinfer(
    python: str, environ: Mapping[str, str], deadline_s: float, run: Run = run_child
) -> dict[str, str]:
    """What FlashInfer would write as `_metadata` in the engine's process. Raises `CollectorFailed`."""
    return parse_answer(run([python, str(PROGRAM)], environ, deadline_s))


def search_path_of(
    python: str, environ: Mapping[str, str], deadline_s: float, run: Run = run_child
) -> tuple[str, ...]:
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


def _tail(err: IO[bytes]) -> str:
    err.seek(0, 2)
    size = err.tell()
    err.seek(max(0, size - 4 * _TAIL_CHARS))
    text = err.read(4 * _TAIL_CHARS).decode(errors="replace").strip()[-_TAIL_CHARS:]
    return f"; it said: {text}" if text else ""
