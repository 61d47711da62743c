"""What a pod of a replica group remembers beside its files, beyond the end of one run.

`bound`: it may be on its group's roll, so the others may count on it. `warm`: it has installed what the group decided.
`torn`: its run ended with an exit code so that the group starts anew; that is done once, then it starts cold.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from cache_store.dataclass import dataclass

NAME = ".autotune-cache-group"  # hidden, and no .json: nobody who lists rank files takes it for one
SCHEMA = "autotune-cache/group-mark/v1"
_MAX_BYTES = 4096
_STATES = ("bound", "warm", "torn")


@dataclass(frozen=True)
class Mark:
    """`incarnation` is the pod's; a mark of another pod that had this volume before means nothing."""

    incarnation: str
    state: str


def read_mark(directory: Path, incarnation: str) -> str | None:
    """The pod's own state; None where it left none. A mark that cannot be read is no mark."""
    try:
        with (directory / NAME).open("rb") as file:
            document = json.loads(file.read(_MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or document.get("incarnation") != incarnation:
        return None
    state = document.get("state")
    return state if isinstance(state, str) and state in _STATES else None


def write_mark(directory: Path, mark: Mark) -> None:
    """Atomically, and on the disk when it returns. Raises OSError."""
    body = json.dumps({"schema": SCHEMA, "incarnation": mark.incarnation, "state": mark.state}).encode()
    temp = directory / f"{NAME}.{os.getpid()}.tmp"
    try:
        descriptor = os.open(
            temp, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644
        )
        with os.fdopen(descriptor, "wb") as file:
            file.write(body)
            file.flush()
            os.fsync(descriptor)
        temp.replace(directory / NAME)
    except OSError:
        temp.unlink(missing_ok=True)
        raise


def remove_mark(directory: Path) -> None:
    """No mark is left; one that cannot be removed costs at most one needless restart."""
    try:
        (directory / NAME).unlink(missing_ok=True)
    except OSError:
        return
