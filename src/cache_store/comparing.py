"""Two bundles side by side: what their identities differ in, and what their tunes found. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from cache_store.bundle import Bundle
from cache_store.dataclass import dataclass
from cache_store.rank_file import BadRankFile, bucket_of, op_of, parse_key, parse_rank_file, shape_of
from cache_store.store_entries import MANIFEST_NAME, parse_entry

MOST_CHANGES = 10_000  # listed one by one; all are counted


@dataclass(frozen=True)
class Field:
    """One input that differs; None: one of them has no such field. `part`: key | environment | extra | made."""

    part: str
    name: str
    left: str | None
    right: str | None


@dataclass(frozen=True)
class Change:
    """One entry that differs. `kind`: left-only | right-only | tactic. Tactics as FlashInfer wrote them."""

    kind: str
    rank: str
    op: str
    shape: str
    bucket: int
    left: str | None = None
    right: str | None = None


@dataclass(frozen=True)
class Comparison:
    """`verdict`: equal | tactics (the same entries were tuned, and some came out another way) | coverage (one has
    entries that the other lacks) | ranks (they have no rank file in common).

    `counts`: (op, bucket) -> entries by kind, "equal" among them.
    """

    verdict: str
    identity: tuple[Field, ...]
    made: tuple[Field, ...]
    ranks_left: tuple[str, ...]
    ranks_right: tuple[str, ...]
    counts: Mapping[tuple[str, int], Counter[str]]
    changes: tuple[Change, ...]

    @property
    def totals(self) -> Counter[str]:
        return sum(self.counts.values(), Counter())

    @property
    def sentence(self) -> str:
        totals = self.totals
        if self.verdict == "equal":
            return "both have the same entries with the same tactics"
        if self.verdict == "tactics":
            told = f"both tuned the same {sum(totals.values())} entries and disagree about {totals['tactic']}"
            return f"{told}: {self._why_tactics_differ}"
        if self.verdict == "ranks":
            return "they have no rank file in common"
        if not (totals["left-only"] or totals["right-only"]):
            return (
                f"one has rank files that the other lacks; the {sum(totals.values())} entries of those in common "
                f"are in both, and {totals['tactic']} of them have other tactics"
            )
        return (
            f"{totals['left-only']} entries are in the first alone and {totals['right-only']} in the second alone; "
            f"of those in both {totals['tactic']} have other tactics"
        )

    @property
    def _why_tactics_differ(self) -> str:
        """Two tunes of one identity may disagree; of two identities nothing follows."""
        names = [one.name for one in self.identity if one.part != "key"]
        if names:
            return (
                f"they are of different GPUs or environments ({', '.join(names[:3])}), so that says nothing"
            )
        if self.identity:
            return f"their keys have different inputs ({', '.join(one.name for one in self.identity[:3])})"
        return "two live tunes do, where tactics are about as fast as each other"


def compare(
    left: Bundle, right: Bundle, left_contents: Mapping[str, bytes], right_contents: Mapping[str, bytes]
) -> Comparison:
    """Contents are rank file -> bytes, as `lookup.fetch_contents` hands them out. Raises `BadRankFile`."""
    common = sorted(left.ranks.keys() & right.ranks.keys())
    counts: dict[tuple[str, int], Counter[str]] = {}
    changes: list[Change] = []
    for rank in common:
        here, there = _entries(rank, left_contents[rank]), _entries(rank, right_contents[rank])
        for key in sorted(here.keys() | there.keys()):
            change = _change(rank, key, here.get(key), there.get(key))
            kind = change.kind if change else "equal"
            counts.setdefault((op_of(key), bucket_of(key)), Counter())[kind] += 1
            if change is not None and len(changes) < MOST_CHANGES:
                changes.append(change)
    return Comparison(
        _verdict(common, left, right, counts),
        tuple(_identity(left, right)),
        tuple(_made(left, right)),
        tuple(sorted(left.ranks.keys() - right.ranks.keys())),
        tuple(sorted(right.ranks.keys() - left.ranks.keys())),
        dict(sorted(counts.items())),
        # a key as text has bucket 1024 before 256
        tuple(sorted(changes, key=lambda one: (one.rank, one.op, one.shape, one.bucket))),
    )


def _verdict(
    common: list[str], left: Bundle, right: Bundle, counts: Mapping[tuple[str, int], Counter[str]]
) -> str:
    if not common and (left.ranks or right.ranks):
        return "ranks"
    totals = sum(counts.values(), Counter[str]())
    if totals["left-only"] or totals["right-only"] or left.ranks.keys() != right.ranks.keys():
        return "coverage"
    return "tactics" if totals["tactic"] else "equal"


def _entries(rank: str, body: bytes) -> Mapping[str, str]:
    """Key -> what was chosen, as text. A file of FlashInfer's own store is one entry; its manifest is none."""
    if rank == MANIFEST_NAME:
        return {}
    try:
        return {key: repr(value) for key, value in parse_rank_file(body).entries.items()}
    except BadRankFile as problem:
        if problem.reason not in ("no-metadata", "not-a-cache-file"):
            raise
    entry = parse_entry(rank, body)
    return {entry.key: repr([entry.runner, entry.tactic])}


def _change(rank: str, key: str, left: str | None, right: str | None) -> Change | None:
    if left == right:
        return None
    kind = "right-only" if left is None else "left-only" if right is None else "tactic"
    return Change(kind, rank, op_of(key), shape_of(parse_key(key)), bucket_of(key), left, right)


def _identity(left: Bundle, right: Bundle) -> Iterator[Field]:
    one, other = left.identity, right.identity
    yield from _fields("key", {"engine": one.engine}, {"engine": other.engine})
    yield from _fields("key", one.key_inputs, other.key_inputs)
    yield from _fields("environment", {"arch": one.arch}, {"arch": other.arch})
    yield from _fields("environment", one.metadata, other.metadata)
    yield from _fields("extra", one.extra, other.extra)


def _made(left: Bundle, right: Bundle) -> Iterator[Field]:
    names = (
        "created_at",
        "holder",
        "tuner",
        "tune_s",
        "verified",
        "engine_version",
        "image",
        "driver",
        "program",
    )
    yield from _fields(
        "made", *({name: getattr(one.provenance, name) for name in names} for one in (left, right))
    )


def _fields(part: str, left: Mapping[str, object], right: Mapping[str, object]) -> Iterator[Field]:
    for name in [*left, *(name for name in right if name not in left)]:
        here, there = (str(one[name]) if name in one else None for one in (left, right))
        if here != there:
            yield Field(part, name, here, there)
