"""One bundle as one row: what a listing tells of it, what reading it adds, which rows are wanted, in which order. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from cache_store.bundle import Bundle, Tombstone
from cache_store.cli.views import Reading, address_view, engine_of, model_of
from cache_store.dataclass import dataclass
from cache_store.inventory import Row
from cache_store.objects import Entry

View = dict[str, Any]
_NUMBER = re.compile(r"([0-9]+)")

STATES = ("published", "tombstone", "quarantined", "claimed-only", "orphaned", "unreadable")
# those that a bundle.json may be in; for the others no bundle needs to be read
_READ_STATES = frozenset(STATES) - {"claimed-only", "orphaned"}
# what --sort calls a field, and whether only reading the bundle tells it
ORDERS = {
    "address": ("address", False),
    "age": ("age_s", False),
    "size": ("size_bytes", False),
    "objects": ("objects", False),
    "state": ("state", True),
    "model": ("model", True),
    "engine": ("engine", True),
    "ranks": ("ranks", True),
    "entries": ("entries", True),
    "coverage": ("completeness", True),
    "epoch": ("epoch", True),
    "made-by": ("tuned_by", True),
    "took": ("tune_s", True),
}
CONTENTS: View = dict.fromkeys(
    (
        "state", "problem", "detail", "model", "engine", "ranks", "entries", "completeness", "epoch", "created_at",
        "tuned_by", "tuner", "tune_s", "verified", "driver", "image", "retired_by", "reason",
    )
)  # fmt: skip


@dataclass(frozen=True)
class Wanted:
    """What rows must be, beyond their address. None and () take all; a row of unknown age is neither old nor young."""

    model: str | None = None
    states: tuple[str, ...] = ()
    older_than_s: float | None = None
    younger_than_s: float | None = None

    @property
    def needs_contents(self) -> bool:
        return self.model is not None or bool(self.states)

    def may_read(self, entry: Entry, now: datetime) -> bool:
        """Whether the bundle.json that was listed as `entry` can be wanted at all."""
        return self.takes_age(_age_s(entry, now)) and (
            not self.states or not _READ_STATES.isdisjoint(self.states)
        )

    def takes_age(self, age_s: float | None) -> bool:
        if self.older_than_s is None and self.younger_than_s is None:
            return True
        return (
            age_s is not None
            and (self.older_than_s is None or age_s > self.older_than_s)
            and (self.younger_than_s is None or age_s < self.younger_than_s)
        )

    def takes_contents(self, view: View) -> bool:
        is_model = self.model is None or self.model.casefold() in (view["model"] or "").casefold()
        return is_model and (not self.states or view["state"] in self.states)


def listed_view(row: Row, now: datetime) -> View:
    """What a listing tells; the rest is None. The age is that of bundle.json, else of claim.json."""
    return {
        **address_view(row.address),
        **CONTENTS,
        "has_bundle": row.bundle is not None,
        "has_claim": row.claim is not None,
        "objects": row.objects,
        "size_bytes": row.size_bytes,
        "age_s": _age_s(row.bundle or row.claim, now),
    }


def contents_view(reading: Reading) -> View:
    """What reading `bundle.json` adds."""
    bundle, tombstone = reading.bundle, reading.tombstone
    told: View = {
        **CONTENTS,
        "state": reading.state,
        "problem": reading.problem,
        "detail": reading.detail,
    }
    if tombstone:
        told["model"] = model_of_register(tombstone)
        told |= {"epoch": tombstone.epoch, "retired_by": tombstone.retired_by, "reason": tombstone.reason}
    if bundle:
        made = bundle.provenance
        told |= {
            "model": model_of(bundle.identity),
            "engine": engine_of(bundle),
            "ranks": len(bundle.ranks),
            "entries": bundle.coverage.entries,
            "completeness": bundle.coverage.completeness,
            "epoch": bundle.epoch,
            "created_at": made.created_at,
            "tuned_by": made.holder,
            "tuner": made.tuner,
            "tune_s": made.tune_s,
            "verified": made.verified,
            "driver": made.driver,
            "image": made.image,
        }
    return told


def model_of_register(register: Bundle | Tombstone | None) -> str | None:
    """Of what was taken out of service, too: its tombstone has the identity, unless nobody could read that."""
    identity = register.identity if register else None
    return model_of(identity) if identity else None


def state_without_bundle(row: Row) -> str:
    return "claimed-only" if row.claim is not None else "orphaned"


def by_numbers(address: str) -> tuple[tuple[tuple[int, str], ...], ...]:
    """Sorts addresses as people do: 0.6.9 before 0.6.18, sm90 before sm100."""
    version, arch, rest = address.split("/", 2)
    return _numbers(version), _numbers(arch), ((0, rest),)


@lru_cache(1000)
def _numbers(text: str) -> tuple[tuple[int, str], ...]:
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in _NUMBER.split(text))


def _age_s(entry: Entry | None, now: datetime) -> float | None:
    """By our own clock: a listing tells when, and not what time it is there."""
    if entry is None or entry.last_modified is None:
        return None
    return max(0.0, (now - entry.last_modified).total_seconds())


@dataclass(frozen=True)
class Order:
    """One name of --sort: the field of a view, and which way."""

    field: str
    is_descending: bool
    needs_contents: bool


def parse_orders(text: str) -> tuple[Order, ...]:
    """`age,-size` and the like. Raises ValueError with a sentence."""
    orders = []
    for word in text.split(","):
        name = word.strip()
        is_descending = name.startswith("-")
        known = ORDERS.get(name.removeprefix("-"))
        if known is None:
            raise ValueError(f"cannot sort by {name[:40]!r}; there are {', '.join(ORDERS)}")
        orders.append(Order(known[0], is_descending, known[1]))
    return tuple(orders)


def in_order(views: Iterable[View], orders: Sequence[Order]) -> list[View]:
    """By the first of `orders`, equals by the next, and by address at last; what is unknown comes last either way."""
    rows = sorted(views, key=lambda view: by_numbers(view["address"]))
    for order in reversed(orders):
        rows = _by(rows, order)
    return rows


def _by(rows: Sequence[View], order: Order) -> list[View]:
    known = [view for view in rows if view[order.field] is not None]
    # sorted is stable in both directions
    known = sorted(known, key=lambda view: _comparable(view[order.field]), reverse=order.is_descending)
    return known + [view for view in rows if view[order.field] is None]


def _comparable(value: Any) -> Any:
    return value.casefold() if isinstance(value, str) else value
