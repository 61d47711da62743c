"""What pods' records say together: how their starts ended, and what the cache spared them. Pure."""

from __future__ import annotations

from collections import Counter

from cache_store.dataclass import dataclass, field
from cache_store.use_record import WARM, UseRecord

# a bucket may name anything
MAX_NAMES = 200
OTHERS = "(others)"


@dataclass
class Uses:
    """Sums so far. `reasons` are those of starts that were not warm. `unread` are records that are none."""

    records: int = 0
    unread: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    saved_s: float = 0.0
    tune_s: float = 0.0

    def add(self, record: UseRecord | None) -> None:
        """None: bytes that are no record."""
        if record is None:
            self.unread += 1
            return
        self.records += 1
        _count(self.outcomes, record.outcome)
        if record.outcome not in WARM:
            _count(self.reasons, record.reason)
        self.saved_s += record.saved_s
        if record.outcome == "tuned":
            self.tune_s += record.tune_s or 0.0


def _count(names: Counter[str], name: str) -> None:
    names[name if name in names or len(names) < MAX_NAMES else OTHERS] += 1
