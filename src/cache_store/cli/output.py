"""The one door to stdout and stderr. Whatever comes from a bucket is escaped here before a terminal sees it."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from typing import Any, TextIO

LONGEST_S = 9999 * 86400  # a bucket may say anything; nothing real is older
_UTC = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d{1,9})?(?:Z|\+00:00)\Z", re.ASCII)
_UNCUT = 10_000  # columns: longer than any row

_UNREAD: list[TextIO] = []  # streams whose readers left
Document = Mapping[str, Any]
Branch = Mapping[str, Any]


def escape(text: object) -> str:
    r"""Printable: control characters, ANSI escapes, bidirectional overrides and line separators become \x1b and such."""
    plain = str(text)
    if plain.isprintable():
        return plain  # nearly all: a list of 10,000 bundles is 2 MB of text
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in plain
    )


def cell_width(text: str) -> int:
    """How many cells of a terminal `text` takes, which is escaped: a Chinese character takes two, an accent none."""
    if text.isascii():
        return len(text)  # nearly all, and rich costs 20 ms
    from rich.cells import cell_len

    return cell_len(text)


def padded(text: str, width: int) -> str:
    """`text`, which is escaped, and blanks up to `width` cells."""
    return text + " " * (width - cell_width(text))


def terminal_width() -> int:
    return shutil.get_terminal_size().columns


def emit_json(document: Document) -> None:
    """`document` on stdout as one line of ASCII JSON. Numbers that JSON does not have become null."""
    try:
        text = json.dumps(document, allow_nan=False)
    except (TypeError, ValueError):  # seldom, and 10,000 bundles are 300,000 values
        text = json.dumps(_finite(document), allow_nan=False)
    _write(sys.stdout, f"{text}\n")


def emit_lines(lines: Iterable[str]) -> None:
    """Lines on stdout, each escaped."""
    _write(sys.stdout, "".join(f"{escape(line)}\n" for line in lines))


def emit_bytes(body: bytes) -> None:
    """Exactly these bytes, except to a terminal: that gets them readable."""
    if not is_terminal():
        try:
            sys.stdout.buffer.write(body)
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            _nobody_reads(sys.stdout)
        return
    emit_lines(body.decode("utf-8", "backslashreplace").splitlines())


def emit_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Aligned columns with two blanks between them; a cell without content is "-"."""
    cells = [list(header), *([str(cell) or "-" for cell in row] for row in rows)]
    text = "".join(chain.from_iterable(cells))
    if text.isascii() and text.isprintable():
        # nearly all tables, and 10,000 rows have 100,000 cells: no look at each of them
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        aligned = "  ".join(f"%-{width}s" for width in widths)
        lines = (aligned % tuple(row) for row in cells)
    else:
        cells = [[escape(cell) for cell in row] for row in cells]
        widths = [max(map(cell_width, column)) for column in zip(*cells, strict=True)]
        lines = ("  ".join(map(padded, row, widths)) for row in cells)
    emit_lines(line.rstrip() for line in lines)


def emit_tree(title: str, branches: Branch) -> None:
    """Nested mappings as a tree on a terminal; a leaf is a text or None."""
    from rich.console import Console
    from rich.text import Text
    from rich.tree import Tree

    def grow(tree: Tree, branch: Branch) -> None:
        for label, below in branch.items():
            twig = tree.add(Text(escape(label)))
            if isinstance(below, Mapping):
                grow(twig, below)
            elif below:
                twig.add(Text(escape(below)))

    tree = Tree(Text(escape(title)))
    grow(tree, branches)
    # a Tree cuts at the console's width, soft_wrap or not; the terminal wraps what is longer. Without a height rich takes
    # 80 columns for a dumb terminal, whatever the width
    Console(file=sys.stdout, highlight=False, soft_wrap=True, width=_UNCUT, height=_UNCUT).print(tree)


def tell(text: str) -> None:
    """One line of the story, on stderr."""
    _write_story(f"cache-store: {escape(text)}\n")


def tell_usage(text: str) -> None:
    """Our own usage text on stderr, line by line."""
    _write_story("".join(f"{escape(line)}\n" for line in text.splitlines()))


def tell_error(kind: str, message: str, exit_code: int, *, is_json: bool) -> None:
    """Why there is no answer. With --json: {"error": {"kind", "message", "exit_code"}}."""
    if is_json:
        document = {"error": {"kind": kind, "message": message, "exit_code": int(exit_code)}}
        _write_story(json.dumps(document, ensure_ascii=True) + "\n")
    else:
        tell(f"error: {message}")


def is_terminal() -> bool:
    return sys.stdout.isatty()


def for_people_bytes(size: int) -> str:
    number = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024 or unit == "GiB":
            return f"{number:.0f}{unit}" if unit == "B" else f"{number:.1f}{unit}"
        number /= 1024
    raise AssertionError("the last unit takes every number")


def for_people_seconds(seconds: float | None) -> str:
    """12s, 3m20s, 5h02m, 12d: two units at most; "-" for unknown."""
    if seconds is None or not math.isfinite(seconds):
        return "-"
    if seconds >= LONGEST_S:
        return f">{LONGEST_S // 86400}d"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 2 * 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d"


def for_people_time(text: str) -> str:
    """An ISO time in UTC without its microseconds; anything else as it is: a bucket may say anything."""
    found = _UTC.match(text)
    return f"{found[1]}Z" if found else text


def shortened(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 3]}..."


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): _finite(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return value


def _write_story(text: str) -> None:
    with suppress(OSError):  # nobody reads it any more; the answer and the number still count
        _write(sys.stderr, text)


def _write(stream: TextIO, text: str) -> None:
    """All of `text` in whatever the stream can encode. A reader that left (`| head`) is no error."""
    encoding = stream.encoding or "utf-8"
    try:
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
    except BrokenPipeError:
        _nobody_reads(stream)


def is_read() -> bool:
    """Whether anybody is left who reads stdout, as far as writing showed."""
    return sys.stdout not in _UNREAD


def _nobody_reads(stream: TextIO) -> None:
    _UNREAD.append(stream)
    # else the interpreter tries to flush the rest at exit and complains (Python docs, "Note on SIGPIPE")
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
