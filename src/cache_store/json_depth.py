"""How deep a JSON text nests, counted without parsing it: a parser that recurses must not be the one to find out.

Time and memory grow with the length alone, whatever the text: a regular expression for strings with escapes does not
(an open string of 32 KB took seconds, and one long string 120 bytes of stack for each of its own).
"""

from __future__ import annotations

_QUOTE = ord('"')
_OPENING = frozenset(b"[{")
_REST = bytes(sorted(set(range(256)) - set(b'"[]{}')))


def depth_of(body: bytes, limit: int) -> int:
    """Deepest nesting; stops counting past `limit`. Brackets inside strings do not count.

    Exact up to where `body` stops being JSON, and no parser goes on from there.
    """
    # backslashes stand in strings only; pairs first, so that what is left before a quote escapes it
    escaped = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    # two quotes side by side are a string without brackets, or an end and a beginning: either way, inside stays inside
    marks = escaped.translate(None, _REST).replace(b'""', b"")
    depth = deepest = 0
    is_inside = False
    for mark in marks:
        if mark == _QUOTE:
            is_inside = not is_inside
        elif is_inside:
            continue
        elif mark in _OPENING:
            depth += 1
            deepest = max(deepest, depth)
            if deepest > limit:
                break
        else:
            depth -= 1
    return deepest
