"""How deep a JSON text nests, counted without parsing it: a parser that recurses must not be the one to find out."""

from __future__ import annotations

import re

_STRING_OR_BRACKET = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)


def depth_of(body: bytes, limit: int) -> int:
    """Deepest nesting; stops counting past `limit`. Brackets inside strings do not count."""
    depth = deepest = 0
    for match in _STRING_OR_BRACKET.finditer(body):
        token = match.group()
        if token in (b"[", b"{"):
            depth += 1
            deepest = max(deepest, depth)
            if deepest > limit:
                break
        elif token in (b"]", b"}"):
            depth -= 1
    return deepest
