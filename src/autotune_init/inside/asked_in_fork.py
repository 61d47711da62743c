"""Ask something of an engine in a process of its own: what the asking leaves behind ends with it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any


class CannotResolve(Exception):  # noqa: N818 -- reads as what it is
    """`rule` names why the answer would be a guess."""

    def __init__(self, rule: str, why: str) -> None:
        super().__init__(f"{rule}: {why}")


def in_fork(ask: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """`ask` in a process of its own. Raises `CannotResolve` for what it raised."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        try:
            said: dict[str, Any] = {"answer": ask()}
        except BaseException as error:
            if os.environ.get("AUTOTUNE_RESOLVE_TRACE"):
                import traceback

                traceback.print_exc()
            rule = "" if isinstance(error, CannotResolve) else f"worker: {type(error).__name__}: "
            said = {"raised": f"{rule}{error}"}
        with os.fdopen(write, "wb") as stream:
            stream.write(json.dumps(said).encode())
        os._exit(0)  # no atexit of the engine's: they would end what the parent owns
    os.close(write)
    with os.fdopen(read, "rb") as stream:
        text = stream.read()
    _, status = os.waitpid(child, 0)
    if not text:
        raise CannotResolve("worker", f"ended with wait status {status} and without a word")
    answer = json.loads(text)
    if "raised" in answer:
        rule, _, why = str(answer["raised"]).partition(": ")
        raise CannotResolve(rule, why[:900])
    found: dict[str, Any] = answer["answer"]
    return found
