"""What `ls` read of bundles before: a bundle.json that the listing shows unchanged is not read again.

One file a store in the user's own cache directory ($XDG_CACHE_HOME, else ~/.cache, /autotune-cache), a JSON line a
bundle. It spares requests and nothing else: without a directory, without the right to write there, or with a file that
another release wrote, every bundle is read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from cache_store.cli.bundle_rows import CONTENTS, View
from cache_store.cli.json_lines import read_values
from cache_store.identity import canonical_json
from cache_store.objects import KIB, MIB, Entry
from cache_store.sha256 import sha256_hex
from cache_store.version import __version__
from cache_store.whole_file import whole_file

SCHEMA = "autotune-cache/ls-memory/v2"
MAX_FILE_BYTES = 256 * MIB
MAX_LINE_BYTES = 64 * KIB
# what only the bundle's own bytes decide; why another could not be read may have been the network's or the rights' doing
_LASTING = frozenset({"published", "tombstone", "quarantined"})
_NUMBERS = frozenset({"ranks", "entries", "epoch", "tune_s"})
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AZURE_STORAGE_ACCOUNT_NAME")


class RowMemory:
    """bundle.json's key -> the version of it that was read, and its `contents_view`."""

    def __init__(self, path: Path | None, rows: Mapping[str, tuple[str, View]]) -> None:
        self._path = path
        self._rows = dict(rows)
        self._seen: set[str] = set()
        self._is_changed = False

    def recall(self, entry: Entry) -> View | None:
        """What is known of the bundle.json that was listed as `entry`; None where it must be read."""
        self._seen.add(entry.key)
        version, view = self._rows.get(entry.key, (None, None))
        return dict(view) if view is not None and entry.etag and version == entry.etag else None

    def learn(self, entry: Entry, view: View) -> None:
        """`view`: as `contents_view` made it, from a read that came after the listing of `entry`."""
        if self._path is not None and entry.etag and view["state"] in _LASTING:
            self._rows[entry.key] = (entry.etag, {name: view[name] for name in CONTENTS})
            self._is_changed = True

    def save(self, prefix: str, nonce: str) -> None:
        """Keeps it for the next time, without what a whole listing of `prefix` no longer had; or keeps nothing."""
        gone = [key for key in self._rows if key.startswith(prefix) and key not in self._seen]
        if self._path is None or not (gone or self._is_changed):
            return
        for key in gone:
            del self._rows[key]
        with suppress(OSError, ValueError):  # a text that UTF-8 cannot hold is a ValueError
            self._path.parent.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._path.parent.mkdir(mode=0o700, exist_ok=True)
            with whole_file(self._path, nonce) as file:
                file.write(_line(_head()))
                for key, (version, view) in self._rows.items():
                    line = _line([key, version, list(view.values())])
                    if len(line) <= MAX_LINE_BYTES:
                        file.write(line)


def memory_of(store_url: str, environ: Mapping[str, str]) -> RowMemory:
    """What is known of the store at `store_url`. Never fails: what cannot be read is not known."""
    folder = _folder(environ)
    if folder is None:
        return RowMemory(None, {})
    where = canonical_json([store_url, *(environ.get(name, "") for name in _ENDPOINTS)])
    path = folder / f"ls-{sha256_hex(where)[:16]}.jsonl"
    try:
        return RowMemory(path, _read(path))
    except OSError:
        return RowMemory(path, {})


def _folder(environ: Mapping[str, str]) -> Path | None:
    """As the XDG base directory specification has it; nothing is made for a user who has no home."""
    if not (base := environ.get("XDG_CACHE_HOME")):
        if not (home := environ.get("HOME")) or not Path(home).is_dir():
            return None
        base = f"{home}/.cache"
    return Path(base) / "autotune-cache" if Path(base).is_absolute() else None


def _read(path: Path) -> dict[str, tuple[str, View]]:
    """Raises `OSError`."""
    if not path.is_file() or path.stat().st_size > MAX_FILE_BYTES:
        return {}
    rows = {}
    with path.open("rb") as lines:
        values = read_values(lines, MAX_LINE_BYTES)
        if next(values, None) != _head():
            return {}
        for row in values:
            if (
                isinstance(row, list)
                and len(row) == 3
                and isinstance(row[0], str)
                and isinstance(row[1], str)
                and isinstance(row[2], list)
                and len(row[2]) == len(CONTENTS)
            ):
                view = dict(zip(CONTENTS, row[2], strict=True))
                if all(map(_is_of_its_kind, view, view.values())):
                    rows[row[0]] = (row[1], view)
    return rows


def _is_of_its_kind(name: str, value: object) -> bool:
    """Somebody may have changed the file: what `contents_view` cannot have made is not known."""
    if value is None:
        return name != "state"
    if isinstance(value, bool):
        return False
    if name in _NUMBERS:
        return isinstance(value, (int, float)) and math.isfinite(value)
    return isinstance(value, str) and (name != "state" or value in _LASTING)


def _head() -> list[str]:
    return [SCHEMA, __version__, *CONTENTS]


def _line(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
