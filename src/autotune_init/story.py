"""What a person reads in the pod's log: short lines on stderr. The answer is the report on stdout."""

from __future__ import annotations

from cache_store.annotation import TextIO
from cache_store.pattern import pattern

_UNPRINTABLE = pattern(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Story:
    """One line per step, prefixed, control characters taken out: lines may quote a bucket or a child."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def tell(self, text: str) -> None:
        line = text if text.isprintable() else _UNPRINTABLE.sub("?", text.replace("\n", " "))
        try:
            self._stream.write(f"autotune-init: {line}\n")
            self._stream.flush()
        except (OSError, ValueError):
            return  # nobody reads the log any more; the report still counts
