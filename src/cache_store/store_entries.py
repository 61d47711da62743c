"""One entry of FlashInfer's own store as bytes from anywhere: parsed under limits, never evaluated.

Format (FlashInfer 0.7.0 to 0.7.2.post1, flashinfer/autotune_cache.py `ManagedAutotuneCache.publish`): a JSON object of
`key` (the repr that a v1 file would have as its key), `runner`, `tactic`, and optional `profiling_policy` (a list; from
0.7.1) and `key_fields` (the key taken apart). Its file is named sha256(key)[:24] + ".json", below `entries/` of the
environment's directory. `manifest.json` beside `entries/` spells out that environment; FlashInfer never reads it back.

`lookup` serves an entry whose `key` is the one it asked for, `preload` one whose file name is the key's too; everything
else is a miss. So one entry needs no other one, and two stores of one environment are merged by uniting their files.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping

from cache_store.dataclass import dataclass
from cache_store.json_depth import depth_of
from cache_store.pattern import pattern
from cache_store.rank_file import MAX_KEY_CHARACTERS, BadRankFile, RankFile
from cache_store.sha256 import sha256_hex

MANIFEST_NAME = "manifest.json"
ENTRIES_FOLDER = "entries"
MAX_ENTRY_BYTES = 64 * 1024
MAX_ENTRIES = 10_000
MAX_DEPTH = 64

_NAME = pattern(r"[0-9a-f]{24}\.json")


class BadEntry(BadRankFile):
    """`reason`: wrong-name, too-large, too-deep, not-json, not-an-entry, no-entries, foreign-environment (stable)."""


@dataclass(frozen=True)
class StoreEntry:
    """What one entry says. `tactic` is FlashInfer's, untouched."""

    key: str
    runner: str
    tactic: object


def path_in_store(name: str) -> str:
    """Where FlashInfer looks for a file of a bundle of its own store, below the environment's directory."""
    return name if name == MANIFEST_NAME else f"{ENTRIES_FOLDER}/{name}"


def entry_name(key: str) -> str:
    """The name of the file that FlashInfer keeps `key` in."""
    return sha256_hex(key.encode())[:24] + ".json"


def parse_entry(name: str, body: bytes) -> StoreEntry:
    """Raises `BadEntry` unless FlashInfer would serve these bytes from a file of this name."""
    _check_entry_name(name)
    document = _object(name, body)
    key, runner, policy = document.get("key"), document.get("runner"), document.get("profiling_policy")
    if not isinstance(key, str) or not key.startswith("(") or len(key) > MAX_KEY_CHARACTERS:
        raise BadEntry("not-an-entry", f"{name}: its key is no key")
    if not isinstance(runner, str) or not runner or "tactic" not in document:
        raise BadEntry("not-an-entry", f"{name}: no runner or no tactic")
    if policy is not None and not isinstance(policy, list):
        raise BadEntry("not-an-entry", f"{name}: profiling_policy is no list")
    try:
        belongs = entry_name(key)
    except UnicodeEncodeError:
        raise BadEntry("not-an-entry", f"{name}: its key holds half a character") from None
    if belongs != name:
        raise BadEntry("wrong-name", f"{name}: its key belongs to {belongs}")
    return StoreEntry(key, runner, document["tactic"])


def parse_manifest(body: bytes) -> dict[str, str]:
    """Raises `BadEntry` unless it is an object of texts."""
    document = _object(MANIFEST_NAME, body)
    texts = {name: value for name, value in document.items() if isinstance(value, str)}
    if len(texts) != len(document):
        raise BadEntry("not-an-entry", f"{MANIFEST_NAME}: a value is no text")
    return texts


def encode_manifest(manifest: Mapping[str, str]) -> bytes:
    """As `_atomic_write_json` of flashinfer/autotune_cache.py spells it."""
    return json.dumps(dict(manifest), indent=2, sort_keys=True).encode()


def check_entries(contents: Mapping[str, bytes], manifest: Mapping[str, str]) -> dict[str, StoreEntry]:
    """File name -> entry, for bytes from outside (a bucket, a tuner): all of them good, and all of this environment.

    `contents` are entries by their file name, and `manifest.json`. Raises `BadEntry` for the first that is not good.
    """
    check_entry_names(contents.keys())
    written = parse_manifest(contents[MANIFEST_NAME])
    if written != dict(manifest):
        raise BadEntry("foreign-environment", f"{MANIFEST_NAME}: {manifest_difference(written, manifest)}")
    entries = {
        name: parse_entry(name, body) for name, body in sorted(contents.items()) if name != MANIFEST_NAME
    }
    if not entries:
        raise BadEntry("no-entries", "there is a manifest and no entry")
    return entries


def check_entry_names(names: Collection[str]) -> None:
    """What can be told before any content is there. Raises `BadEntry`."""
    if MANIFEST_NAME not in names:
        raise BadEntry(
            "foreign-environment", f"{MANIFEST_NAME} is missing: nothing says where these were made"
        )
    if len(names) - 1 > MAX_ENTRIES:
        raise BadEntry("too-large", f"{len(names) - 1} entries; the limit is {MAX_ENTRIES}")
    for name in sorted(names):
        if name != MANIFEST_NAME:
            _check_entry_name(name)


def _check_entry_name(name: str) -> None:
    if _NAME.fullmatch(name) is None:
        raise BadEntry("wrong-name", f"{name[:80]!r} is no entry's file name")


def manifest_difference(written: Mapping[str, str], manifest: Mapping[str, str]) -> str:
    """The first field that differs, for a person; "" where none does."""
    for name in sorted({*written, *manifest}):
        there, here = written.get(name), manifest.get(name)
        if there != here:
            return f"{name[:80]} is {there if there is None else there[:80]!r}, this pod's is {here!r}"
    return ""


def as_rank_file(entries: Mapping[str, StoreEntry], metadata: Mapping[str, str]) -> RankFile:
    """The same as one v1 file would say it, so that coverage is counted in one way."""
    return RankFile(
        metadata, {entry.key: [entry.runner, entry.tactic] for entry in entries.values()}, has_records=False
    )


def _object(name: str, body: bytes) -> dict[str, object]:
    if len(body) > MAX_ENTRY_BYTES:
        raise BadEntry("too-large", f"{name}: more than {MAX_ENTRY_BYTES} bytes")
    if depth_of(body, MAX_DEPTH) > MAX_DEPTH:
        raise BadEntry("too-deep", f"{name}: nested deeper than {MAX_DEPTH}")
    try:
        document = json.loads(
            body.decode()
        )  # from bytes, json would take UTF-16 too, and FlashInfer does not
    except ValueError as error:
        raise BadEntry("not-json", f"{name}: {error}"[:200]) from None
    if not isinstance(document, dict):
        raise BadEntry("not-an-entry", f"{name}: it is JSON, but no object")
    return document
