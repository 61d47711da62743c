"""What the fleet page shows, from what a bucket's registers, claims and records say. Pure.

Every text may come from a bucket that others write to: it is shown escaped, and never longer than MAX_TEXT.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import date, datetime

from cache_store.dataclass import dataclass, field

MAX_TEXT = 5000
OTHERS = "(others)"
UNKNOWN = "(unknown)"
# the page's words for what an address holds, for people; `ls` has the objects' own (tombstone, claimed-only, orphaned)
STATES = (
    "published", "being tuned", "claimed", "stale", "failed", "retired", "quarantined", "left behind", "unreadable",
)  # fmt: skip
# what an attentive eye should meet first, where a cell of the map has nothing published
GRAVEST = (
    "unreadable", "quarantined", "failed", "stale", "left behind", "retired", "claimed", "being tuned", "published",
)  # fmt: skip
COVERAGES = ("complete", "incomplete", "unknown")


@dataclass(frozen=True)
class Workload:
    """One address. `state`: one of STATES; `claim`: another of them, where a retired bundle is being tuned again, or was to be.

    `coverage`: one of COVERAGES for what is published, else "". `expected` and `missing` are entries, None where the bundle
    does not say. `at`: when it was tuned or taken out, or when its newest object was written. `taken_out`: when bundles were
    retired here, one for each. `facts` are shown when it is looked at: (section, name, value).
    """

    address: str
    state: str
    model: str
    gpu: str
    flashinfer_version: str
    claim: str = ""
    coverage: str = ""
    engine: str = ""
    made_by: str = ""
    at: datetime | None = None
    taken_out: tuple[datetime, ...] = ()
    size_bytes: int = 0
    entries: int = 0
    expected: int | None = None
    missing: int | None = None
    tune_s: float = 0.0
    note: str = ""
    is_named: bool = True
    facts: tuple[tuple[str, str, str], ...] = ()

    @property
    def percent(self) -> int | None:
        """Of the expected entries, those that are there; 100 is said of all only. None: not known, or nothing published."""
        if self.coverage not in ("complete", "incomplete"):
            return None
        return percent_of(self.expected, self.missing)


def percent_of(expected: int | None, missing: int | None) -> int | None:
    """In whole numbers, rounded down: numbers from a bucket may be too large for a float."""
    if not expected or missing is None:
        return None
    return 100 * max(0, expected - max(0, missing)) // expected


@dataclass(frozen=True)
class Trouble:
    """Something that a person should look at. `kind` is stable, `tail` are the tuner's last lines. `since`: written then."""

    kind: str
    address: str
    detail: str
    tail: tuple[str, ...] = ()
    since: datetime | None = None


@dataclass(frozen=True)
class Met:
    """A row of docs/known-bad.md that pods have met: `starts` times, with these addresses (the first few)."""

    reason: str
    starts: int
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True)
class Starts:
    """Pods' records, summed: outcome or reason -> count, most first. `days`: (day, "warm" or "cold") -> starts.

    `unread`: records that are none, or could not be read. `problem`: why there may be more than these.
    """

    records: int = 0
    unread: int = 0
    problem: str = ""
    outcomes: tuple[tuple[str, int], ...] = ()
    reasons: tuple[tuple[str, int], ...] = ()
    warm: int = 0
    saved_s: float = 0.0
    first: datetime | None = None
    last: datetime | None = None
    days: Mapping[tuple[date, str], int] = field(default_factory=dict)
    known_bad: tuple[Met, ...] = ()


@dataclass(frozen=True)
class FleetPage:
    """All that the page shows. `written_at` is this computer's clock. `counts`: by `ls`'s states, most first."""

    store: str
    written_at: datetime
    program: str
    workloads: tuple[Workload, ...]
    troubles: tuple[Trouble, ...]
    starts: Starts
    objects: int = 0
    size_bytes: int = 0
    foreign: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def tune_s(self) -> float:
        return sum(one.tune_s for one in self.workloads)

    @property
    def needs_attention(self) -> int:
        return len(self.troubles) + len(self.starts.known_bad)

    @property
    def states(self) -> Mapping[str, int]:
        """Workloads by the page's own words, in the order of STATES."""
        counts = Counter(one.state for one in self.workloads)
        return {state: counts[state] for state in STATES if counts[state]}


def counts_of(states: Iterable[str]) -> dict[str, int]:
    """Most first."""
    return dict(Counter(states).most_common())
