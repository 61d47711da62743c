"""What the fleet page shows, from what a bucket's registers, claims and records say. Pure.

Every text may come from a bucket that others write to: it is shown escaped (`shown`), and never longer than MAX_TEXT.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, timezone

from cache_store.dataclass import dataclass, field

MAX_TEXT = 5000
MAX_MODELS, MAX_GPUS = 40, 12
OTHERS = "(others)"
UNKNOWN = "(unknown)"
# from what is best for a pod to what is worst: a cell of the heat map is the best that it has
STANDINGS = ("complete", "unknown", "incomplete", "quarantined", "retired", "tuning", "unreadable")
EVENTS = ("published", "retired", "quarantined")

Text = Callable[[object], str]


@dataclass(frozen=True)
class Workload:
    """One address. `standing`: one of STANDINGS; `at`: when its register was last written, by the store's clock.

    `facts` are shown when it is looked at: (section, name, value).
    """

    address: str
    state: str
    standing: str
    model: str
    gpu: str
    flashinfer_version: str
    engine: str = ""
    made_by: str = ""
    at: datetime | None = None
    size_bytes: int = 0
    ranks: int = 0
    entries: int = 0
    tune_s: float = 0.0
    note: str = ""
    facts: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True)
class Trouble:
    """Something that a person should look at. `kind` is stable, `tail` are the tuner's last lines."""

    kind: str
    address: str
    detail: str
    tail: tuple[str, ...] = ()


@dataclass(frozen=True)
class Starts:
    """Pods' records, summed: outcome or reason -> count, most first."""

    records: int = 0
    outcomes: tuple[tuple[str, int], ...] = ()
    reasons: tuple[tuple[str, int], ...] = ()
    saved_s: float = 0.0
    tune_s: float = 0.0

    @property
    def known_bad(self) -> tuple[tuple[str, int], ...]:
        """Rows of the list of releases that are known to go wrong (docs/known-bad.md) that pods have met."""
        return tuple((name, count) for name, count in self.reasons if name.startswith("known-bad"))


@dataclass(frozen=True)
class Cell:
    """All workloads of one model on one GPU: how many are published, and the best standing."""

    published: int
    standing: str
    versions: tuple[str, ...]


@dataclass(frozen=True)
class HeatMap:
    """`cells[model][gpu]`; a pair without any workload is absent. `left_out`: models beyond the first MAX_MODELS."""

    models: tuple[str, ...]
    gpus: tuple[str, ...]
    cells: Mapping[str, Mapping[str, Cell]]
    left_out: int = 0


@dataclass(frozen=True)
class Period:
    """A day, or a month where the history is long."""

    label: str
    counts: Mapping[str, int]


@dataclass(frozen=True)
class FleetPage:
    """All that the page shows. `written_at` is this computer's clock."""

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


def counts_of(workloads: Iterable[Workload]) -> dict[str, int]:
    """Workloads by state, most first."""
    return dict(Counter(one.state for one in workloads).most_common())


def heat_map(workloads: Sequence[Workload]) -> HeatMap:
    """Models and GPUs that have most workloads come first; those beyond the limits are counted, not shown."""
    models = [name for name, _ in Counter(one.model for one in workloads).most_common()]
    gpus = [name for name, _ in Counter(one.gpu for one in workloads).most_common()]
    few_gpus = gpus[:MAX_GPUS] + ([OTHERS] if len(gpus) > MAX_GPUS else [])
    shown_models, shown_gpus = set(models[:MAX_MODELS]), set(gpus[:MAX_GPUS])
    gathered: dict[str, dict[str, list[Workload]]] = {}
    for one in workloads:
        if one.model in shown_models:
            gpu = one.gpu if one.gpu in shown_gpus else OTHERS
            gathered.setdefault(one.model, {}).setdefault(gpu, []).append(one)
    cells = {model: {gpu: _cell(some) for gpu, some in by_gpu.items()} for model, by_gpu in gathered.items()}
    return HeatMap(tuple(models[:MAX_MODELS]), tuple(few_gpus), cells, max(0, len(models) - MAX_MODELS))


def _cell(workloads: Sequence[Workload]) -> Cell:
    return Cell(
        published=sum(one.state == "published" for one in workloads),
        standing=min((one.standing for one in workloads), key=STANDINGS.index),
        versions=tuple(sorted({one.flashinfer_version for one in workloads})),
    )


def timeline(workloads: Iterable[Workload], periods: int = 60) -> tuple[Period, ...]:
    """What was written when, oldest first, without gaps: by day, or by month where that would be too many bars."""
    days = Counter[tuple[date, str]]()
    for one in workloads:
        event = {"published": "published", "tombstone": "retired", "quarantined": "quarantined"}.get(
            one.state
        )
        if event is not None and one.at is not None:
            days[one.at.astimezone(timezone.utc).date(), event] += 1
    if not days:
        return ()
    first, last = min(day for day, _ in days), max(day for day, _ in days)
    if (last - first).days < periods:
        spans = [date.fromordinal(number) for number in range(first.toordinal(), last.toordinal() + 1)]
        return tuple(Period(day.isoformat(), {event: days[day, event] for event in EVENTS}) for day in spans)
    months = Counter[tuple[int, str]]()
    for (day, event), count in days.items():
        months[day.year * 12 + day.month - 1, event] += count
    spans_of_months = range(max(_month(first), _month(last) - periods + 1), _month(last) + 1)
    return tuple(
        Period(f"{month // 12:04d}-{month % 12 + 1:02d}", {event: months[month, event] for event in EVENTS})
        for month in spans_of_months
    )


def _month(day: date) -> int:
    return day.year * 12 + day.month - 1
