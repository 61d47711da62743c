"""A program as the kernel gets it, and what is said of one that is not followed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

from cache_store.dataclass import dataclass

SHOWN = 60


class Unreadable(Exception):  # noqa: N818 -- reads as what it is
    """A command line that is not followed. `reason` is a stable code, `detail` a sentence for a person."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Started:
    """`directory` is where it starts, None for the container's own.

    `assumes` are sentences about what cannot be seen from here.
    """

    words: tuple[str, ...]
    environ: Mapping[str, str]
    directory: PurePosixPath | None = None
    assumes: tuple[str, ...] = ()
