"""From a listing to rows: which bundles a bucket holds, and which of its objects are none of ours.

Pure. A bucket is shared ground: objects that the layout (docs/bucket-layout.md) does not know are counted and left alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from cache_store.identity import BUNDLE_NAME, CLAIM_NAME, Address
from cache_store.objects import Entry

EXAMPLES = 20

_BLOB = re.compile(r"blobs/([0-9a-f]{64})\Z")
_PART = re.compile(r"(?:parts/[0-9]+|retired)/[A-Za-z0-9_][A-Za-z0-9._-]{0,250}\Z")
_OWN_FOLDERS = ("_resolved/", "_groups/", ".probe/")
_KEY_PREFIX = re.compile(r"[0-9a-f]{1,64}\Z")


@dataclass(frozen=True)
class Row:
    """The objects of one address. `objects` counts parts and retired copies too, but nothing foreign."""

    address: Address
    bundle: Entry | None = None
    claim: Entry | None = None
    blobs: frozenset[str] = frozenset()
    objects: int = 0
    size_bytes: int = 0


@dataclass(frozen=True)
class Foreign:
    """Objects that belong to no known place: how many, how large, and the first few keys."""

    objects: int = 0
    size_bytes: int = 0
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class Inventory:
    """A listing, sorted out. `rows` are in address order; `own` counts memos, group decisions and probe objects."""

    rows: tuple[Row, ...] = ()
    own: int = 0
    foreign: Foreign = field(default_factory=Foreign)


@dataclass
class _Gathered:
    bundle: Entry | None = None
    claim: Entry | None = None
    blobs: set[str] = field(default_factory=set)
    objects: int = 0
    size_bytes: int = 0

    def takes(self, entry: Entry, rest: str) -> bool:
        """Whether `rest` is a name that the layout knows; if so it is counted here."""
        if rest == BUNDLE_NAME:
            self.bundle = entry
        elif rest == CLAIM_NAME:
            self.claim = entry
        elif blob := _BLOB.match(rest):
            self.blobs.add(blob[1])
        elif not _PART.match(rest):
            return False
        self.objects += 1
        self.size_bytes += entry.size_bytes
        return True


def take_inventory(listing: Iterable[Entry]) -> Inventory:
    """Every object of `listing` in its place."""
    gathered: dict[Address, _Gathered] = {}
    own = foreign = foreign_bytes = 0
    examples: list[str] = []
    for entry in listing:
        place = Address.of_object(entry.key)
        if place is not None:
            address, rest = place
            row = gathered.get(address) or _Gathered()
            if row.takes(entry, rest):
                gathered[address] = row
                continue
        elif entry.key.startswith(_OWN_FOLDERS):
            own += 1
            continue
        foreign += 1
        foreign_bytes += entry.size_bytes
        if len(examples) < EXAMPLES:
            examples.append(entry.key)
    rows = tuple(
        Row(address, row.bundle, row.claim, frozenset(row.blobs), row.objects, row.size_bytes)
        for address, row in sorted(gathered.items())
    )
    return Inventory(rows, own, Foreign(foreign, foreign_bytes, tuple(examples)))


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
            and _slug(self.gpu or "") in address.environment
        )


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def is_key_prefix(text: str) -> bool:
    return bool(_KEY_PREFIX.match(text))


def with_key_prefix(inventory: Inventory, prefix: str) -> tuple[Address, ...]:
    """Every address whose key begins with `prefix`: one key may live in several environments."""
    return tuple(row.address for row in inventory.rows if row.address.key.startswith(prefix))
