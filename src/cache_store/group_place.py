"""Where the pods of one replica meet: the name of their register. Pure, and cheap to import: every pod asks for it."""

from __future__ import annotations

import re

from cache_store.annotation import Final
from cache_store.dataclass import dataclass
from cache_store.identity import Address, canonical_json
from cache_store.sha256 import sha256_hex

FOLDER: Final = "_groups/"
MAX_PODS = 256


@dataclass(frozen=True)
class GroupPlace:
    """Which register is a group's. `scope` tells clusters apart that use one bucket; `name` is the replica's.

    The size and the bundle's address are part of it: a group that was resized or upgraded begins anew, and pods of
    the old shape cannot meet those of the new one. `restarts_alone`: its controller replaces single pods.
    """

    scope: str
    name: str
    size: int
    address: Address
    restarts_alone: bool = False

    @property
    def key(self) -> str:
        slug = re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")[:40].strip("-") or "group"
        whole = canonical_json([self.scope, self.name, self.size, str(self.address)])
        return f"{FOLDER}{slug}-{sha256_hex(whole)[:16]}/roll.json"
