"""What of a bucket may go, decided from what was listed and read: garbage collection in two phases. Pure.

    published --(a rule of the caller's)--> retired, by the operators' own step
    retired, long enough ago ------------> forgotten: every object of the address but its two registers

bundle.json and claim.json stay for ever: a DELETE carries no condition, so one that arrives late would take what
somebody has published meanwhile (`emptying` has the rest of it). A pod lives for seven days at most (the longest
--deadline), so whatever it may still write belongs to a claim or a folder that was touched since; what is older is
nobody's. A quarantine is never forgotten unless asked for: it would be tuned again. Objects that the layout does not
know are left alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from cache_store.bundle import Bundle, Tombstone, copy_name
from cache_store.claim import Claim, CoolingDown, MustWait, Rules, UnreadableClaim, judge
from cache_store.dataclass import dataclass, field
from cache_store.group_place import FOLDER as GROUPS
from cache_store.identity import BUNDLE_NAME, CLAIM_NAME, Address
from cache_store.layout import FOLDERS, MEMOS, PROBES, RECORDS, Kind, blob_digest, folder_of, kind_of
from cache_store.objects import Entry

DAY_S = 86400.0
LONGEST_LIFE_S = 7 * DAY_S


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

    def of_kind(self, kind: Kind) -> dict[str, Entry]:
        return {name: entry for name, entry in sorted(self.entries.items()) if kind_of(name) == kind}


@dataclass(frozen=True)
class Found:
    """What was read there: the register (None: absent, `is_unreadable`: nobody understands it) and the claim.

    A claim without a tag was too large to be read, so nobody can write over it either.

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
    """For one address. `action`: keep | retire | clean (some objects go) | forget (all but the registers). `why` is for
    a person.

    `going`: name -> what the listing said of it, in the order in which they go. `tags` as in `Found`: what was judged.
    `epoch`: the first that no claim has had yet.
    """

    address: Address
    action: str
    why: str
    going: Mapping[str, Entry] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    epoch: int = 1

    @property
    def freed_bytes(self) -> int:
        return sum(entry.size_bytes for entry in self.going.values())


def sort_out(listing: Iterable[Entry]) -> tuple[list[Objects], dict[str, list[Entry]], int]:
    """(the objects of each address in order, folder of ours -> its objects, number of foreign objects)."""
    addresses: dict[Address, dict[str, Entry]] = {}
    folders: dict[str, list[Entry]] = {folder: [] for folder in FOLDERS}
    foreign = 0
    for entry in listing:
        place = Address.of_object(entry.key)
        if place is not None and kind_of(place[1]) is not None:
            addresses.setdefault(place[0], {})[place[1]] = entry
        elif folder := folder_of(entry.key):
            folders[folder].append(entry)
        else:
            foreign += 1
    return [Objects(address, entries) for address, entries in sorted(addresses.items())], folders, foreign


def needs_copies(objects: Objects) -> tuple[str, ...]:
    """The copies that must be read before anything may be said of this address's blobs."""
    return tuple(objects.of_kind("copy")) if objects.of_kind("blob") else ()


def judge_address(objects: Objects, found: Found, rules: CollectRules, now: datetime) -> Verdict:
    """What becomes of one address."""
    address = objects.address
    if address in rules.kept:
        return Verdict(address, "keep", "")
    if found.is_unreadable:
        return Verdict(address, "keep", "its register cannot be read: `cache-store verify` says why")
    claim_entry = objects.entries.get(CLAIM_NAME)
    if claim_entry is not None and _is_live(found.claim, _age_s(claim_entry, now)):
        return Verdict(address, "keep", "somebody tunes there, or has just failed to")
    if isinstance(found.register, Bundle):
        why = _why_retired(address, objects.entries[BUNDLE_NAME], rules, now)
        if why is not None:
            return Verdict(address, "retire", why, tags=found.tags)
    if isinstance(found.claim, UnreadableClaim) and CLAIM_NAME not in found.tags:
        return Verdict(address, "keep", "its claim is too large to be read, and so nobody can take it")
    epoch = ((found.claim.epoch or 0) if found.claim else 0) + 1
    if not isinstance(found.register, Bundle):
        why = _why_forgotten(objects, found, rules, now)
        if why is not None:
            return Verdict(address, "forget", why, _all_but_registers(objects), found.tags, epoch)
    going = dict(_leftovers(objects, found, rules, now))
    if not going:
        return Verdict(address, "keep", "")
    return Verdict(address, "clean", "objects that nothing names", going, found.tags, epoch)


def judge_folders(
    folders: Mapping[str, Iterable[Entry]], rules: CollectRules, now: datetime
) -> list[tuple[str, int]]:
    """(key, bytes) of what may go beside the addresses."""
    limits = {
        GROUPS: rules.groups_s,
        MEMOS: rules.memos_s,
        RECORDS: rules.reports_s,
        PROBES: LONGEST_LIFE_S,
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
    if not rules.retires:
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
    is_quarantined = isinstance(found.register, Tombstone) and not found.register.may_retune
    if is_quarantined and not rules.forgets_quarantined:
        return None
    if not _all_but_registers(objects) and not is_quarantined:
        return None  # it was forgotten before: the two registers are all that stays
    youngest_s = min(_age_s(entry, now) for entry in objects.entries.values())
    if youngest_s <= max(rules.tombstones_s, LONGEST_LIFE_S):
        return None
    what = "retired" if found.register is not None else "never published"
    return f"{what}, and untouched for {youngest_s / DAY_S:.0f} days"


def _all_but_registers(objects: Objects) -> dict[str, Entry]:
    """Copies first: one whose contents are gone already must not be put back."""
    return objects.of_kind("copy") | objects.of_kind("part") | objects.of_kind("blob")


def _leftovers(
    objects: Objects, found: Found, rules: CollectRules, now: datetime
) -> Iterator[tuple[str, Entry]]:
    register = found.register
    # the copy of what is published may be there already: whoever is about to retire it finds it in place
    named = (
        register.retired_copy
        if isinstance(register, Tombstone)
        else copy_name(register.nonce, "")
        if register
        else None
    )
    for name, entry in objects.of_kind("copy").items():
        if name != named and _age_s(entry, now) > max(rules.copies_s, LONGEST_LIFE_S):
            yield name, entry
    for name, entry in objects.of_kind("part").items():
        if _age_s(entry, now) > LONGEST_LIFE_S:
            yield name, entry
    claim = objects.entries.get(CLAIM_NAME)
    if claim is not None and _age_s(claim, now) <= LONGEST_LIFE_S:
        return  # who has claimed may tune still, its lease lost, and will find the contents of its result in place
    for name, entry in objects.of_kind("blob").items():
        if (
            found.referenced is not None
            and blob_digest(name) not in found.referenced
            and _age_s(entry, now) > LONGEST_LIFE_S
        ):
            yield name, entry


def _age_s(entry: Entry, now: datetime) -> float:
    """Of an entry that does not tell when it was written, nothing is known: it is as young as can be."""
    return 0.0 if entry.last_modified is None else (now - entry.last_modified).total_seconds()
