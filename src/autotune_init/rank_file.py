"""One FlashInfer v1 cache file as bytes from anywhere: parsed under limits, never evaluated.

Format (FlashInfer 0.6.11 to 0.7.2, flashinfer/autotuner/autotuner.py `save_configs`): one JSON object of
`_metadata` (field -> text), entries keyed by the repr of (custom_op, runner, profile[, extras]) with a list as value,
and from 0.6.18 `_generation` and `_records`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from cache_store.json_depth import depth_of

MAX_RANK_FILE_BYTES = 16 * 1024 * 1024
MAX_DEPTH = 64
MAX_ENTRIES = 200_000

# the op is the first element of the tuple's repr; a bucket is the first number of a shape that is no constant 1 or -1
_OP = re.compile(r"\('([^']{1,200})'")
_PROFILE = re.compile(r"\((\((?:-?\d+(?:, ?|,?(?=\))))+\))")


class BadRankFile(ValueError):  # noqa: N818 -- reads as what it is
    """`reason`: too-large, too-deep, not-json, not-a-cache-file, no-metadata, ... (stable)."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class RankFile:
    """What one file says. `entries` maps FlashInfer's key text to its value, untouched."""

    metadata: Mapping[str, str]
    entries: Mapping[str, list[object]]
    has_records: bool

    def ops(self) -> dict[str, int]:
        """Op -> number of entries."""
        counts: dict[str, int] = {}
        for key in self.entries:
            name = op_of(key)
            counts[name] = counts.get(name, 0) + 1
        return counts

    def max_bucket(self) -> int:
        """The largest token count that an entry was tuned for; 0 where none can be read."""
        return max((bucket_of(key) for key in self.entries), default=0)


def op_of(key: str) -> str:
    match = _OP.match(key)
    return match.group(1) if match else "unknown"


def bucket_of(key: str) -> int:
    """Tokens: of the first input's shape the dimension that was bucketed, i.e. the last but one ((1, M, K), (T, H))."""
    match = _PROFILE.search(key)
    if match is None:
        return 0
    shape = [int(number) for number in re.findall(r"-?\d+", match.group(1))]
    dimension = shape[-2] if len(shape) >= 2 else shape[0]
    return max(0, dimension)


def parse_rank_file(body: bytes) -> RankFile:
    """Raises `BadRankFile`. Size and nesting are checked before anything is parsed."""
    if len(body) > MAX_RANK_FILE_BYTES:
        raise BadRankFile("too-large", f"more than {MAX_RANK_FILE_BYTES} bytes")
    if depth_of(body, MAX_DEPTH) > MAX_DEPTH:
        raise BadRankFile("too-deep", f"nested deeper than {MAX_DEPTH}")
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRankFile("not-json", str(error)[:200]) from None
    if not isinstance(document, dict):
        raise BadRankFile("not-a-cache-file", "not a JSON object")
    metadata = document.get("_metadata")
    if metadata is None:
        raise BadRankFile("no-metadata", "FlashInfer would load such a file without any check")
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise BadRankFile("not-a-cache-file", "_metadata is not a map of texts")
    entries = {key: value for key, value in document.items() if not key.startswith("_")}
    if len(entries) > MAX_ENTRIES:
        raise BadRankFile("too-large", f"more than {MAX_ENTRIES} entries")
    for key, value in entries.items():
        if not key.startswith("(") or not isinstance(value, list) or len(value) < 2:
            raise BadRankFile("not-a-cache-file", f"not an entry: {key[:80]!r}")
    return RankFile(metadata, entries, bool(document.get("_records")))
