"""Files of one JSON value a line, as commands keep them beside the store: cut lines and strangers' lines are no values."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import BinaryIO

from cache_store.json_depth import depth_of

_MAX_DEPTH = 2


def read_values(lines: BinaryIO, max_line_bytes: int) -> Iterator[object]:
    """The value of each line; None for what is no JSON: a line that was cut, or not written by us."""
    while line := lines.readline(max_line_bytes):
        yield _value(line)


def _value(line: bytes) -> object:
    if depth_of(line, _MAX_DEPTH) > _MAX_DEPTH:
        return None
    try:
        return json.loads(line)
    except ValueError:
        return None
