"""From a listing to rows: which bundles a bucket holds, and which of its objects are none of ours.

Pure. A bucket is shared ground: objects that the layout (docs/bucket-layout.md) does not know are counted and left alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime

from cache_store.dataclass import dataclass, field
from cache_store.identity import BUNDLE_NAME, Address
from cache_store.layout import blob_digest, folder_of, kind_of
from cache_store.objects import Entry

EXAMPLES = 20

_KEY_PREFIX = re.compile(r"[0-9a-f]{1,64}\Z")


@dataclass(frozen=True)
class Row:
    """The objects of one address. `objects` counts parts and retired copies too, but nothing foreign.

    `retired`: copies of what was taken out of service, in the order of their names.
    """

    address: Address
    bundle: Entry | None = None
    claim: Entry | None = None
    blobs: frozenset[str] = frozenset()
    objects: int = 0
    size_bytes: int = 0
    retired: tuple[Entry, ...] = ()


@dataclass(frozen=True)
class Foreign:
    """Objects that belong to no known place: how many, how large, and the first few keys."""

    objects: int = 0
    size_bytes: int = 0
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class Inventory:
    """A listing, sorted out. `rows` are in address order; `own` counts memos, group decisions, pods' records and probe objects.

    `newest`: when the last object was written, by the store's clock, which this computer's may not agree with.
    """

    rows: tuple[Row, ...] = ()
    own: int = 0
    foreign: Foreign = field(default_factory=Foreign)
    newest: datetime | None = None
    own_size_bytes: int = 0


@dataclass
class _Gathered:
    bundle: Entry | None = None
    claim: Entry | None = None
    blobs: set[str] = field(default_factory=set)
    objects: int = 0
    size_bytes: int = 0
    retired: list[Entry] = field(default_factory=list)

    def takes(self, entry: Entry, rest: str) -> bool:
        """Whether `rest` is a name that the layout knows; if so it is counted here."""
        kind = kind_of(rest)
        if kind is None:
            return False
        if kind == "register":
            self.bundle = entry
        elif kind == "claim":
            self.claim = entry
        elif kind == "copy":
            self.retired.append(entry)
        elif digest := blob_digest(rest):
            self.blobs.add(digest)
        self.objects += 1
        self.size_bytes += entry.size_bytes
        return True


class Sorting:
    """A listing on its way to an inventory, entry by entry: who reads along can begin before its end."""

    def __init__(self) -> None:
        self._gathered: dict[Address, _Gathered] = {}
        self._own = self._own_bytes = self._foreign = self._foreign_bytes = 0
        self._examples: list[str] = []
        self._newest: datetime | None = None

    def take(self, entry: Entry) -> Address | None:
        """Puts `entry` in its place; the address if it is a bundle.json."""
        written_at = entry.last_modified
        if written_at is not None and (self._newest is None or written_at > self._newest):
            self._newest = written_at
        place = Address.of_object(entry.key)
        if place is not None:
            address, rest = place
            row = self._gathered.get(address) or _Gathered()
            if row.takes(entry, rest):
                self._gathered[address] = row
                return address if rest == BUNDLE_NAME else None
        elif folder_of(entry.key) is not None:
            self._own += 1
            self._own_bytes += entry.size_bytes
            return None
        self._foreign += 1
        self._foreign_bytes += entry.size_bytes
        if len(self._examples) < EXAMPLES:
            self._examples.append(entry.key)
        return None

    def inventory(self) -> Inventory:
        rows = tuple(
            Row(
                address,
                row.bundle,
                row.claim,
                frozenset(row.blobs),
                row.objects,
                row.size_bytes,
                tuple(row.retired),
            )
            for address, row in sorted(self._gathered.items(), key=_place)
        )
        foreign = Foreign(self._foreign, self._foreign_bytes, tuple(self._examples))
        return Inventory(rows, self._own, foreign, self._newest, self._own_bytes)


def _place(item: tuple[Address, _Gathered]) -> tuple[str, ...]:
    """As addresses are ordered, and a tenth of the time of comparing them one by one."""
    address = item[0]
    return address.flashinfer_version, address.arch, address.key, address.environment


def take_inventory(listing: Iterable[Entry]) -> Inventory:
    """Every object of `listing` in its place."""
    sorting = Sorting()
    for entry in listing:
        sorting.take(entry)
    return sorting.inventory()


@dataclass(frozen=True)
class Selection:
    """Which addresses are asked for. None takes all; `key` is a prefix, `gpu` a part of the GPU's name."""

    flashinfer_version: str | None = None
    arch: str | None = None
    key: str | None = None
    gpu: str | None = None

    @property
    def prefix(self) -> str:
        """The longest listing prefix that every selected object has."""
        if self.flashinfer_version is None:
            return ""
        if self.arch is None:
            return f"{self.flashinfer_version}/"
        return f"{self.flashinfer_version}/{self.arch}/{self.key or ''}"

    def takes(self, address: Address) -> bool:
        """`gpu` is compared with the address's slug, which is the GPU's name in lower case with dashes."""
        return (
            self.flashinfer_version in (None, address.flashinfer_version)
            and self.arch in (None, address.arch)
            and address.key.startswith(self.key or "")
            and (self.gpu is None or _slug(self.gpu) in address.environment)
        )


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def is_key_prefix(text: str) -> bool:
    return bool(_KEY_PREFIX.match(text))


def with_key_prefix(inventory: Inventory, prefix: str) -> tuple[Address, ...]:
    """Every address whose key begins with `prefix`: one key may live in several environments."""
    return tuple(row.address for row in inventory.rows if row.address.key.startswith(prefix))
