"""How deep a JSON text nests, counted without parsing it: a parser that recurses must not be the one to find out.

Time and memory grow with the length alone, whatever the text: a regular expression for strings with escapes does not
(an open string of 32 KB took seconds, and one long string 120 bytes of stack for each of its own).
"""

from __future__ import annotations

_OPENING = ord("[")
_NEITHER = bytes(sorted(set(range(256)) - set(b'[]{}"')))  # no bracket and no quote
_ONE_KIND = bytes.maketrans(b"{}", b"[]")
# a split keeps some 40 bytes for each string
_PART_BYTES = 64 * 1024


def depth_of(body: bytes, limit: int) -> int:
    """Deepest nesting; stops counting past `limit`. Brackets inside strings do not count.

    Exact up to where `body` stops being JSON, and no parser goes on from there.
    """
    # what ends just before its neighbour begins has been as deep already: a row of siblings becomes one
    marks = _brackets(body).replace(b"][", b"").replace(b"][", b"")
    depth = deepest = 0
    for mark in marks:
        if mark == _OPENING:
            depth += 1
            deepest = max(deepest, depth)
            if deepest > limit:
                break
        else:
            depth -= 1
    return deepest


def _brackets(body: bytes) -> bytes:
    """Those outside strings, all of one kind."""
    if b"\\" in body:
        # backslashes stand in strings only; pairs first, so that what is left before a quote escapes it
        if b"\\\\" in body:
            body = body.replace(b"\\\\", b"")
        body = body.replace(b'\\"', b"")
    found = []
    is_inside = False
    for start in range(0, len(body), _PART_BYTES):
        marks = body[start : start + _PART_BYTES].translate(_ONE_KIND, _NEITHER)
        # two quotes with nothing between them: what is around stays as far inside a string, or outside, as it was
        pieces = marks.replace(b'""', b"").split(b'"')
        found.append(b"".join(pieces[is_inside::2]))
        is_inside ^= len(pieces) % 2 == 0
    return b"".join(found)
