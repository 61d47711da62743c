"""One FlashInfer v1 cache file as bytes from anywhere: parsed under limits, never evaluated.

Format (FlashInfer 0.6.11 to 0.7.2, flashinfer/autotuner/autotuner.py `save_configs`): one JSON object of
`_metadata` (field -> text), entries keyed by the repr of (custom_op, runner, profile[, extras]) with a list as value,
and from 0.6.18 `_generation` and `_records`.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping

from cache_store.dataclass import dataclass
from cache_store.json_depth import depth_of
from cache_store.pattern import pattern

MAX_RANK_FILE_BYTES = 16 * 1024 * 1024
MAX_DEPTH = 64
MAX_ENTRIES = 200_000

MAX_KEY_CHARACTERS = 20_000
MAX_KEY_DEPTH = 8

# of a Python repr: quoted texts, brackets, commas, and words (numbers, True, None, torch.bfloat16)
_TOKEN = pattern(r"\s*('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|[(),]|[^\s(),'\"]+)")
# the op is the first element of the tuple's repr; a bucket is the first number of a shape that is no constant 1 or -1
_OP = pattern(r"\('([^']{1,200})'")
_PROFILE = pattern(r"\((\((?:-?\d+(?:, ?|,?(?=\))))+\))")


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


Atom = str | int | None
Part = Atom | tuple["Part", ...]


@dataclass(frozen=True)
class EntryKey:
    """One entry's key, taken apart.

    `profile` has one shape an input: the bucket stands in place of the token count, -1 for a dimension that follows
    from others, (0,) for an input that is no tensor. `extras` are what else the runner keys on, empty before
    FlashInfer 0.6.13; words of the repr that are neither numbers nor quoted stay text (torch.bfloat16).
    """

    op: str
    runner: str
    profile: tuple[tuple[int, ...], ...]
    extras: tuple[Part, ...]


@functools.lru_cache(
    maxsize=4096
)  # ranks have the same keys, and each is looked at for its gaps and its coverage
def parse_key(key: str) -> EntryKey | None:
    """The key taken apart, or None for one that is not understood. Never evaluated, whatever it says."""
    parsed = _parse_repr(key) if len(key) <= MAX_KEY_CHARACTERS else None
    if not isinstance(parsed, tuple) or len(parsed) not in (3, 4):
        return None
    op, runner, profile, *rest = parsed
    extras = rest[0] if rest else ()
    if not (isinstance(op, str) and isinstance(runner, str) and isinstance(profile, tuple)):
        return None
    shapes: list[tuple[int, ...]] = []
    for shape in profile:
        if not isinstance(shape, tuple):
            return None
        numbers = tuple(number for number in shape if isinstance(number, int))
        if len(numbers) != len(shape):
            return None
        shapes.append(numbers)
    return EntryKey(op, runner, tuple(shapes), extras) if isinstance(extras, tuple) else None


def shape_of(key: EntryKey | None) -> str:
    """What was tuned, but for its bucket ("M"): shapes that name sizes, then the dtypes that the runner keys on.

    Of the first input the bucketed dimension is the last but one; ops of the trtllm-gen kind ("flashinfer::...") put
    the bucket into every input.
    """
    if key is None or not key.profile:
        return "unknown"
    first = key.profile[0]
    place = max(0, len(first) - 2)
    bucket = first[place] if first else 0
    is_everywhere = key.op.startswith("flashinfer::")
    shapes: list[str] = []
    for number, shape in enumerate(key.profile):
        if number and (-1 in shape or not any(size > 1 for size in shape)):
            continue  # what follows from the others, a scale, or no tensor at all
        sizes = [
            "M" if (number == 0 and at == place) or (is_everywhere and size == bucket) else str(size)
            for at, size in enumerate(shape)
        ]
        shapes.append("x".join(sizes))
    words = (part.removeprefix("torch.") for part in key.extras if isinstance(part, str) and "torch." in part)
    return " ".join([*shapes, *dict.fromkeys(words)])


def _parse_repr(text: str) -> Part:
    """A repr of nested tuples as tuples; None for anything else. Without recursion: the text is a stranger's."""
    levels: list[list[Part]] = [[]]
    position, wants_comma, end = 0, False, len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None:
            return None
        position, word = match.end(), match.group(1)
        if word == ",":
            if not wants_comma:
                return None
            wants_comma = False
        elif word == ")":
            if len(levels) == 1:
                return None
            done = tuple(levels.pop())
            levels[-1].append(done)
            wants_comma = True
        elif wants_comma or len(levels) > MAX_KEY_DEPTH:
            return None
        elif word == "(":
            levels.append([])
        else:
            levels[-1].append(_atom(word))
            wants_comma = True
    return levels[0][0] if len(levels) == len(levels[0]) == 1 else None


def _atom(word: str) -> Atom:
    if word[0] in "'\"":
        return word[1:-1]
    if word in ("True", "False"):
        return word == "True"
    if word == "None":
        return None
    try:
        return int(word) if len(word) < 20 else word
    except ValueError:
        return word


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
