"""All that is known of one address, as (section, name, value) for the page's dialog. Pure, and bounded.

A bundle may hold 300,000 inputs or 10,000 rank files: what is beyond the limits is counted, and `cache-store show` has it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from cache_store.bundle import Bundle
from cache_store.cli.output import for_people_bytes, for_people_seconds
from cache_store.cli.page_text import page_text
from cache_store.cli.views import Reading, text_of_input

MAX_OF_SECTION, MAX_FACTS, MAX_VALUE = 40, 200, 1000
_MADE = (
    "created_at", "holder", "tuner", "verified", "engine_version", "image", "driver", "program", "restored_by", "restored_at",
    "restored_why",
)  # fmt: skip

Fact = tuple[str, str, str]


# name, facts, and how many there are: more than `facts_of` takes, for a hostile bundle. Plain: a page has 100,000 of them
_Section = tuple[str, Iterable[tuple[str, object]], int]


def facts_of(reading: Reading, claim: Mapping[str, Any] | None) -> tuple[Fact, ...]:
    """Facts without a value are left out."""
    told: list[Fact] = []
    for section, facts, size in _sections(reading, claim):
        for name, value in islice(facts, min(MAX_OF_SECTION, MAX_FACTS - len(told))):
            if value is not None and value != "":
                told.append((section, page_text(name, 200), page_text(value, MAX_VALUE)))
        if size > MAX_OF_SECTION:
            told.append((section, "not shown", f"{size - MAX_OF_SECTION:,} more: cache-store show has all"))
    return tuple(told)


def _sections(reading: Reading, claim: Mapping[str, Any] | None) -> Iterator[_Section]:
    """What a person in a hurry looks for comes first, what is long comes last."""
    bundle, tombstone = reading.bundle, reading.tombstone
    if tombstone:
        yield _listed(
            "Taken out of service",
            [
                ("why", tombstone.reason),
                ("by", tombstone.retired_by),
                ("at", tombstone.retired_at),
                ("may be tuned again", "yes" if tombstone.may_retune else "no"),
                ("copy", tombstone.retired_copy),
            ],
        )
    if claim:
        yield _listed("Claim", _of_claim(claim))
    identity = bundle.identity if bundle else tombstone.identity if tombstone else None
    if identity:
        inputs = ((name, text_of_input(value)) for name, value in identity.key_inputs.items())
        yield _listed("Key", [("key", identity.key), ("of the text", identity.key_text)])
        yield "Inputs of the key", inputs, len(identity.key_inputs)
        extra = {f"extra: {name}": told for name, told in islice(identity.extra.items(), MAX_OF_SECTION)}
        environment = (*islice(identity.metadata.items(), MAX_OF_SECTION), *extra.items())
        yield "Environment", environment, len(identity.metadata) + len(identity.extra)
    if bundle:
        yield from _of_bundle(bundle)


def _listed(name: str, facts: list[tuple[str, object]]) -> _Section:
    return name, facts, 0


def _of_claim(claim: Mapping[str, Any]) -> list[tuple[str, object]]:
    return [
        ("what it means", claim["why"]),
        ("holder", claim["holder"]),
        (
            "last heard of",
            None if claim["age_s"] is None else f"{for_people_seconds(claim['age_s'])} before this was read",
        ),
        ("problem", claim["detail"]),
        ("error", claim["error"]),
        *[("the tuner's last lines", line) for line in claim["tail"][-10:]],
    ]


def _of_bundle(bundle: Bundle) -> Iterator[_Section]:
    coverage, made = bundle.coverage, bundle.provenance
    yield _listed(
        "Made",
        [
            ("tuned in", for_people_seconds(made.tune_s)),
            *[(name.replace("_", " "), getattr(made, name)) for name in _MADE],
            ("epoch, nonce", f"{bundle.epoch}, {bundle.nonce}"),
        ],
    )
    yield _listed(
        "Coverage",
        [
            ("entries", coverage.entries),
            ("expected", coverage.expected),
            ("missing", coverage.missing),
            *[("is missing", one) for one in coverage.first_missing[:5]],
        ],
    )
    yield "Entries by op", coverage.ops.items(), len(coverage.ops)
    yield "Left out", coverage.excluded.items(), len(coverage.excluded)
    yield "Not decided", coverage.undecided.items(), len(coverage.undecided)
    yield _listed("Rank files", [("files", len(bundle.ranks)), ("of which different", len(bundle.digests))])
    counts = Counter(bundle.ranks.values())
    sizes = (
        (f"sha256 {digest[:16]}...", f"{count} of {_size_of(bundle, digest)}")
        for digest, count in counts.most_common()
    )
    yield "Their contents", sizes, len(counts)
    rows = (
        (f"{op} {shape}", ", ".join(map(str, buckets[:64])))
        for op, shapes in coverage.buckets.items()
        for shape, buckets in shapes.items()
    )
    yield "Token counts", rows, sum(map(len, coverage.buckets.values()))


def _size_of(bundle: Bundle, digest: str) -> str:
    inline = bundle.files.get(digest)
    return for_people_bytes(bundle.blobs.get(digest, 0) if inline is None else len(inline.encode()))
