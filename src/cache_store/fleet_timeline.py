"""The page's histories: what happened on which day, or in which month. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, timezone

from cache_store.dataclass import dataclass
from cache_store.fleet_page import Workload

EVENTS = ("published", "retired", "quarantined")
ENDINGS = ("warm", "cold")
PERIODS = 60
# days are shown where they leave out no more than one event in ten
_ENOUGH = 0.9


@dataclass(frozen=True)
class Period:
    """A day, or a month where the history is long."""

    label: str
    counts: Mapping[str, int]


@dataclass(frozen=True)
class Timeline:
    """Periods without gaps, oldest first. `earlier`: events before the first of them."""

    periods: tuple[Period, ...] = ()
    earlier: int = 0
    events: tuple[str, ...] = EVENTS

    @property
    def total(self) -> int:
        return sum(sum(period.counts.values()) for period in self.periods)


def timeline(workloads: Iterable[Workload]) -> Timeline:
    """When bundles were tuned and taken out. A bundle that was retired and tuned anew is all three events but its first tune:
    that date is in the retired copy, which is not read.
    """
    days = Counter[tuple[date, str]]()
    for one in workloads:
        for moment in one.taken_out:
            days[_day(moment), "retired"] += 1
        if one.state in EVENTS and one.at is not None:
            days[_day(one.at), one.state] += 1
    return over_time(days, EVENTS)


def over_time(
    days: Mapping[tuple[date, str], int], events: Sequence[str], periods: int = PERIODS
) -> Timeline:
    """The last `periods` days where they hold nearly all, else the last `periods` months; the rest is counted as `earlier`.

    One date that is wrong by years does not stretch the others into one bar.
    """
    if not days:
        return Timeline(events=tuple(events))
    last = max(day for day, _ in days).toordinal()
    all_events = sum(days.values())
    by_day = {(day.toordinal(), event): count for (day, event), count in days.items()}
    recent = sum(count for (number, _), count in by_day.items() if number > last - periods)
    if recent >= _ENOUGH * all_events:
        return _window(by_day, last, periods, events, lambda number: date.fromordinal(number).isoformat())
    by_month = Counter[tuple[int, str]]()
    for (day, event), count in days.items():
        by_month[day.year * 12 + day.month - 1, event] += count
    last = max(number for number, _ in by_month)
    return _window(
        by_month, last, periods, events, lambda number: f"{number // 12:04d}-{number % 12 + 1:02d}"
    )


def _window(
    counts: Mapping[tuple[int, str], int],
    last: int,
    periods: int,
    events: Sequence[str],
    label: Callable[[int], str],
) -> Timeline:
    inside = {key: count for key, count in counts.items() if key[0] > last - periods}
    first = min(number for number, _ in inside)
    told = tuple(
        Period(label(number), {event: inside.get((number, event), 0) for event in events})
        for number in range(first, last + 1)
    )
    return Timeline(told, sum(counts.values()) - sum(inside.values()), tuple(events))


def _day(moment: datetime) -> date:
    return moment.astimezone(timezone.utc).date()
