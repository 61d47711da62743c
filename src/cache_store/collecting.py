"""What of a bucket may go, decided from what was listed and read: garbage collection in two phases. Pure.

    published --(a rule of the caller's)--> retired, by the operators' own step
    retired, long enough ago ------------> forgotten: every object of the address

A pod lives for seven days at most (the longest --deadline), so whatever it may still write belongs to an address, a
claim or a folder that was touched since; what is older is nobody's. A quarantine is never forgotten unless asked for:
it would be tuned again. Objects that the layout does not know are left alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime

from cache_store.bundle import Bundle, Tombstone
from cache_store.claim import Claim, CoolingDown, MustWait, Rules, UnreadableClaim, judge
from cache_store.dataclass import dataclass, field
from cache_store.identity import BUNDLE_NAME, CLAIM_NAME, Address
from cache_store.objects import Entry

DAY_S = 86400.0
LONGEST_LIFE_S = 7 * DAY_S

_BLOB = re.compile(r"blobs/([0-9a-f]{64})\Z")
_COPY = re.compile(r"retired/[A-Za-z0-9_-]{1,128}\.json\Z")
_PART = re.compile(r"parts/[0-9]+/[A-Za-z0-9_][A-Za-z0-9._-]{0,250}\Z")


@dataclass(frozen=True)
class Unused:
    """What pods' records say: `last_used` by address, and since when there are any (`since`; None: there are none).

    A bundle is unused for `for_s` only where records go back at least as far: silence from before them says nothing.
    """

    for_s: float
    last_used: Mapping[Address, datetime]
    since: datetime | None

    def fits(self, address: Address, published_at: datetime, now: datetime) -> bool:
        if self.since is None or (now - self.since).total_seconds() < self.for_s:
            return False
        last = max(published_at, self.last_used.get(address, published_at))
        return (now - last).total_seconds() > self.for_s


@dataclass(frozen=True)
class CollectRules:
    """When what may go. Ages in seconds; None: never.

    A published bundle is retired where every rule for it that is set fits (`older_than_s`, `unused`, `flashinfer`), and none is
    where no rule is set. `kept` are addresses that stay whatever the rules say.
    """

    older_than_s: float | None = None
    unused: Unused | None = None
    flashinfer: frozenset[str] = frozenset()
    kept: frozenset[Address] = frozenset()
    tombstones_s: float = 30 * DAY_S
    copies_s: float = 90 * DAY_S
    leftovers_s: float = LONGEST_LIFE_S
    groups_s: float | None = None
    memos_s: float | None = None
    reports_s: float | None = None
    forgets_quarantined: bool = False

    @property
    def retires(self) -> bool:
        return self.older_than_s is not None or self.unused is not None or bool(self.flashinfer)


@dataclass(frozen=True)
class Objects:
    """The objects of one address that the layout knows: name below the address -> listing entry."""

    address: Address
    entries: Mapping[str, Entry]

    def size_bytes(self, names: Iterable[str]) -> int:
        return sum(self.entries[name].size_bytes for name in names)


@dataclass(frozen=True)
class Found:
    """What was read there: the register (None: absent, `is_unreadable`: nobody understands it) and the claim.

    `referenced`: digests of the blobs that the register and the copies name; None where a copy could not be read, and
    so nothing may be said of any blob. `tags`: name -> ETag of the register and the claim as they were read.
    """

    register: Bundle | Tombstone | None = None
    is_unreadable: bool = False
    claim: Claim | UnreadableClaim | None = None
    referenced: frozenset[str] | None = frozenset()
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """For one address. `action`: keep | retire | clean (some objects go) | forget (all go). `why` is for a person."""

    address: Address
    action: str
    why: str
    names: tuple[str, ...] = ()
    freed_bytes: int = 0
    tags: Mapping[str, str] = field(default_factory=dict)


def sort_out(listing: Iterable[Entry]) -> tuple[list[Objects], dict[str, list[Entry]], int]:
    """(the objects of each address in order, folder of ours -> its objects, number of foreign objects)."""
    addresses: dict[Address, dict[str, Entry]] = {}
    folders: dict[str, list[Entry]] = {name: [] for name in ("_groups", "_resolved", "_reports", ".probe")}
    foreign = 0
    for entry in listing:
        place = Address.of_object(entry.key)
        if place is not None and _is_known(place[1]):
            addresses.setdefault(place[0], {})[place[1]] = entry
        elif (folder := entry.key.split("/", 1)[0]) in folders:
            folders[folder].append(entry)
        else:
            foreign += 1
    return [Objects(address, entries) for address, entries in sorted(addresses.items())], folders, foreign


def _is_known(name: str) -> bool:
    return name in (BUNDLE_NAME, CLAIM_NAME) or any(one.match(name) for one in (_BLOB, _COPY, _PART))


def needs_copies(objects: Objects) -> tuple[str, ...]:
    """The copies that must be read before anything may be said of this address's blobs."""
    if not any(_BLOB.match(name) for name in objects.entries):
        return ()
    return tuple(sorted(name for name in objects.entries if _COPY.match(name)))


def judge_address(objects: Objects, found: Found, rules: CollectRules, now: datetime) -> Verdict:
    """What becomes of one address."""
    address = objects.address
    if found.is_unreadable:
        return Verdict(address, "keep", "its register cannot be read: `cache-store verify` says why")
    claim_entry = objects.entries.get(CLAIM_NAME)
    if claim_entry is not None and _is_live(found.claim, _age_s(claim_entry, now)):
        return Verdict(address, "keep", "somebody tunes there, or has just failed to")
    if isinstance(found.register, Bundle):
        entry = objects.entries[BUNDLE_NAME]
        why = _why_retired(address, entry, rules, now)
        if why is not None:
            return Verdict(address, "retire", why, tags=found.tags)
    elif (why := _why_forgotten(objects, found, rules, now)) is not None:
        names = _register_last(objects.entries)
        return Verdict(address, "forget", why, names, objects.size_bytes(names), found.tags)
    names = tuple(_leftovers(objects, found, rules, now))
    if not names:
        return Verdict(address, "keep", "")
    return Verdict(address, "clean", "objects that nothing names", names, objects.size_bytes(names))


def judge_folders(
    folders: Mapping[str, Iterable[Entry]], rules: CollectRules, now: datetime
) -> list[tuple[str, int]]:
    """(key, bytes) of what may go beside the addresses."""
    limits = {
        "_groups": rules.groups_s,
        "_resolved": rules.memos_s,
        "_reports": rules.reports_s,
        ".probe": rules.leftovers_s,
    }
    return [
        (entry.key, entry.size_bytes)
        for folder, entries in folders.items()
        for entry in entries
        if (limit_s := limits[folder]) is not None and _age_s(entry, now) > limit_s
    ]


def _is_live(claim: Claim | UnreadableClaim | None, age_s: float) -> bool:
    return claim is not None and isinstance(judge(claim, age_s, Rules()), MustWait | CoolingDown)


def _why_retired(address: Address, entry: Entry, rules: CollectRules, now: datetime) -> str | None:
    age_s = _age_s(entry, now)
    if not rules.retires or address in rules.kept:
        return None
    whys: list[str] = []
    if rules.flashinfer:
        if address.flashinfer_version not in rules.flashinfer:
            return None
        whys.append(f"of FlashInfer {address.flashinfer_version}")
    if rules.older_than_s is not None:
        if age_s <= rules.older_than_s:
            return None
        whys.append(f"{age_s / DAY_S:.0f} days old")
    if rules.unused is not None:
        if not rules.unused.fits(address, entry.last_modified or now, now):
            return None
        whys.append(f"unused for {rules.unused.for_s / DAY_S:.0f} days")
    return "gc: " + ", ".join(whys)


def _why_forgotten(objects: Objects, found: Found, rules: CollectRules, now: datetime) -> str | None:
    """A tombstone (or what never became a bundle) of which no object was touched for long."""
    if objects.address in rules.kept:
        return None
    if (
        isinstance(found.register, Tombstone)
        and not found.register.may_retune
        and not rules.forgets_quarantined
    ):
        return None
    youngest_s = min(_age_s(entry, now) for entry in objects.entries.values())
    if youngest_s <= max(rules.tombstones_s, LONGEST_LIFE_S):
        return None
    what = "retired" if found.register is not None else "never published"
    return f"{what}, and untouched for {youngest_s / DAY_S:.0f} days"


def _register_last(entries: Mapping[str, Entry]) -> tuple[str, ...]:
    """An interrupted deletion must not leave blobs that nothing names, and no claim without its tombstone's epoch."""
    last = {CLAIM_NAME: 1, BUNDLE_NAME: 2}
    return tuple(sorted(entries, key=lambda name: (last.get(name, 0), name)))


def _leftovers(objects: Objects, found: Found, rules: CollectRules, now: datetime) -> Iterable[str]:
    named = found.register.retired_copy if isinstance(found.register, Tombstone) else None
    for name, entry in sorted(objects.entries.items()):
        age_s = _age_s(entry, now)
        is_old = age_s > max(rules.leftovers_s, LONGEST_LIFE_S)
        if _PART.match(name):
            if is_old:
                yield name
        elif blob := _BLOB.match(name):
            if is_old and found.referenced is not None and blob[1] not in found.referenced:
                yield name
        elif _COPY.match(name) and name != named and age_s > max(rules.copies_s, LONGEST_LIFE_S):
            yield name


def _age_s(entry: Entry, now: datetime) -> float:
    """Of an entry that does not tell when it was written, nothing is known: it is as young as can be."""
    return 0.0 if entry.last_modified is None else (now - entry.last_modified).total_seconds()
