"""The file that lets a `verify` go on where another ended: which bundles were sound, and which version of them.

One JSON line a bundle, written as soon as it was found sound, so that whatever ends the run costs nothing. It says what
not to read again, so whoever may write it decides that; it makes nothing be read or written.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from cache_store.cli.json_lines import read_values
from cache_store.cli.session import Problem
from cache_store.cli.verdicts import Target
from cache_store.exit_codes import ExitCode
from cache_store.objects import KIB, MIB

SCHEMA = "autotune-cache/verify-state/v1"
MAX_FILE_BYTES = 512 * MIB
MAX_LINE_BYTES = 4 * KIB


class Memory:
    """What earlier runs found sound, and where this one writes what it finds."""

    def __init__(self, known: Mapping[str, str], file: TextIO | None) -> None:
        self._known = known
        self._file = file

    def knows(self, target: Target) -> bool:
        return target.version is not None and self._known.get(str(target.address)) == target.version

    def keep(self, target: Target) -> None:
        """Raises `Problem`."""
        if self._file is None or target.version is None:
            return
        try:
            self._file.write(json.dumps([str(target.address), target.version]) + "\n")
        except OSError as error:
            raise _unusable(f"cannot be written: {error.strerror}") from error


@contextmanager
def memory_at(path: str | None, store_url: str) -> Iterator[Memory]:
    """None: nothing is known, and nothing is kept. Raises `Problem` for a file that is not ours: it is left as it is."""
    if path is None:
        yield Memory({}, None)
        return
    file = Path(path)
    try:
        is_new = not file.exists() or (file.is_file() and file.stat().st_size == 0)
        known = {} if is_new else _read(file, store_url)
        with file.open("a", encoding="utf-8", buffering=1) as lines:
            # a line that was cut short ends here
            lines.write(json.dumps({"schema": SCHEMA, "store": store_url}) + "\n" if is_new else "\n")
            yield Memory(known, lines)
    except OSError as error:
        raise _unusable(f"{path}: {error.strerror or error}") from error


def _read(file: Path, store_url: str) -> dict[str, str]:
    if not file.is_file():
        raise _unusable(f"{file} is no plain file")
    if file.stat().st_size > MAX_FILE_BYTES:
        raise _unusable(f"{file} is larger than {MAX_FILE_BYTES // MIB} MiB")
    with file.open("rb") as lines:
        values = read_values(lines, MAX_LINE_BYTES)
        if next(values, None) != {"schema": SCHEMA, "store": store_url}:
            raise _unusable(f"{file} is no state of a verify of {store_url}; name another file")
        known = {}
        for row in values:
            if isinstance(row, list) and len(row) == 2 and all(isinstance(one, str) for one in row):
                known[row[0]] = row[1]
    return known


def _unusable(why: str) -> Problem:
    return Problem("usage", f"--state: {why}", ExitCode.USAGE)
