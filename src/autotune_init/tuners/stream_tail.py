"""The end of a stream, in bounded memory: bytes, or lines that are also passed on as they come."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable

TAIL_LINES = 100
LINE_LIMIT = 2000

_BREAK = re.compile(rb"[\r\n]+")  # progress bars end their lines with \r


class ByteTail:
    """The last `limit` bytes that were fed."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept = bytearray()

    def feed(self, chunk: bytes) -> None:
        self._kept += chunk
        if len(self._kept) > 2 * self._limit:  # trimmed rarely: each trim copies
            del self._kept[: -self._limit]

    def value(self) -> bytes:
        return bytes(self._kept[-self._limit :])


class LineTail:
    """The last 100 lines, each cut to 2000 characters; every line goes to `progress` once."""

    def __init__(self, progress: Callable[[str], None] | None = None) -> None:
        self._progress = progress
        self._lines: deque[str] = deque(maxlen=TAIL_LINES)
        self._begun = b""

    def feed(self, chunk: bytes) -> None:
        *complete, rest = _BREAK.split(self._begun + chunk)
        # a character is at most 4 bytes, so this keeps a whole line; the rest of a longer one is dropped
        self._begun = rest[: 4 * LINE_LIMIT]
        for line in complete:
            self._emit(line)

    def finish(self) -> None:
        """The stream has ended, perhaps in the middle of a line."""
        self._emit(self._begun)
        self._begun = b""

    def lines(self) -> tuple[str, ...]:
        return tuple(self._lines)

    def _emit(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace")[:LINE_LIMIT].rstrip()
        if not text:
            return
        self._lines.append(text)
        if self._progress is not None:
            self._progress(text)
