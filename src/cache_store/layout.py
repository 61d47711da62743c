"""Which names the bucket's layout knows (docs/bucket-layout.md); whatever has another one is somebody else's. Pure.

The only place that tells: what `ls` counts as ours, `gc` may delete and a tombstone may name is one and the same.
"""

from __future__ import annotations

from typing import Final, Literal

from cache_store.bundle import is_copy_name
from cache_store.group_place import FOLDER as GROUPS
from cache_store.identity import BUNDLE_NAME, CLAIM_NAME
from cache_store.pattern import pattern

Kind = Literal["register", "claim", "blob", "copy", "part"]

MEMOS: Final = "_resolved/"  # memo.py
RECORDS: Final = "_reports/"  # use_record.py
PROBES: Final = ".probe/"  # probe.py
FOLDERS: Final = (GROUPS, MEMOS, RECORDS, PROBES)

_BLOB = pattern(r"blobs/([0-9a-f]{64})\Z")
_PART = pattern(r"parts/[0-9]+/[A-Za-z0-9_][A-Za-z0-9._-]{0,250}\Z")


def kind_of(name: str) -> Kind | None:
    """What an object is by its name below an address; None where it is none of ours."""
    if name == BUNDLE_NAME:
        return "register"
    if name == CLAIM_NAME:
        return "claim"
    if _BLOB.match(name):
        return "blob"
    if is_copy_name(name):
        return "copy"
    return "part" if _PART.match(name) else None


def blob_digest(name: str) -> str | None:
    """The digest that a blob's name below an address is; None for any other name."""
    found = _BLOB.match(name)
    return found[1] if found else None


def folder_of(key: str) -> str | None:
    """The folder beside the addresses that `key` lies in (with its slash); None for what lies in none of ours."""
    return next((folder for folder in FOLDERS if key.startswith(folder)), None)
