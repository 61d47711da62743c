"""What a bucket holds, counted: by state, FlashInfer version, arch, GPU and model, and what that costs. Pure.

Memory grows with the number of different models and GPUs that are named there, which is bounded, and not with the bundles.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from cache_store.dataclass import dataclass, field

GIB = 1024**3
# a bucket may name anything: so many names are told apart, and so much of each
MAX_GROUPS = 10_000
MAX_NAME = 256
OTHERS = "(others)"


@dataclass(frozen=True)
class Counted:
    """One bundle as it is counted. `groups`: what it is counted by -> its name there, None for unknown."""

    state: str
    groups: Mapping[str, str | None]
    size_bytes: int
    tune_s: float


@dataclass
class Group:
    """`tune_s`: of the published ones, what their tunes took together."""

    bundles: int = 0
    size_bytes: int = 0
    tune_s: float = 0.0


@dataclass
class Tally:
    """Sums so far."""

    states: Counter[str] = field(default_factory=Counter)
    groups: dict[str, dict[str, Group]] = field(default_factory=dict)
    size_bytes: int = 0
    tune_s: float = 0.0

    def add(self, one: Counted) -> None:
        self.states[one.state] += 1
        self.size_bytes += one.size_bytes
        self.tune_s += one.tune_s
        for by, name in one.groups.items():
            names = self.groups.setdefault(by, {})
            short = "(unknown)" if name is None else name[:MAX_NAME]
            if short not in names and len(names) >= MAX_GROUPS:
                short = OTHERS
            group = names.setdefault(short, Group())
            group.bundles += 1
            group.size_bytes += one.size_bytes
            group.tune_s += one.tune_s

    def merge(self, by: str, names: Mapping[str, str]) -> None:
        """Groups of `by` that turned out to be another's, under that one's name: {what they were called: its name}."""
        groups = self.groups.get(by, {})
        for other, name in names.items():
            if other == name or other not in groups or name[:MAX_NAME] not in groups:
                continue
            gone, group = groups.pop(other), groups[name[:MAX_NAME]]
            group.bundles += gone.bundles
            group.size_bytes += gone.size_bytes
            group.tune_s += gone.tune_s

    def largest(self, by: str) -> list[tuple[str, Group]]:
        """The groups of `by`, those of most bundles first."""
        return sorted(self.groups.get(by, {}).items(), key=lambda item: (-item[1].bundles, item[0]))


@dataclass(frozen=True)
class Prices:
    """US dollars. The defaults are S3 Standard's list prices in us-east-1: an assumption, not a bill."""

    per_gib_month: float = 0.023
    per_1000_get: float = 0.0004


@dataclass(frozen=True)
class Cost:
    """An estimate: storage, a thousand pods that each find their bundle in one GET, and the reads of this very answer."""

    storage_usd_per_month: float
    thousand_hits_usd: float
    this_answer_usd: float


def estimate(prices: Prices, size_bytes: int, reads: int) -> Cost:
    return Cost(
        storage_usd_per_month=size_bytes / GIB * prices.per_gib_month,
        thousand_hits_usd=prices.per_1000_get,
        this_answer_usd=reads / 1000 * prices.per_1000_get,
    )
