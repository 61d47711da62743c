"""The file that carries bundles to where no network goes: a plain tar, with a manifest first. Pure: bytes in, facts out.

    manifest.json                    what follows, in this order, with every digest
    <address>/blobs/<sha256>         as in the bucket
    <address>/bundle.json            as in the bucket, byte for byte

The same bundles make the same bytes: members in the order of their names, and every header field that could differ
(times, owners, modes) is the same in every file. It came over who knows how many desks: headers are read here, not by
`tarfile`, which follows extensions (pax, GNU) of any length, and would make a link if it were asked to.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterable
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cache_store.bundle import MAX_FILE_BYTES, MAX_REGISTER_BYTES, digest_of
from cache_store.dataclass import dataclass
from cache_store.identity import BUNDLE_NAME, Address
from cache_store.json_depth import depth_of
from cache_store.json_fields import Digest
from cache_store.layout import blob_digest
from cache_store.objects import MIB

MANIFEST_SCHEMA: Final = "autotune-cache/export-manifest/v1"
MANIFEST = "manifest.json"

BLOCK_BYTES = 512
RECORD_BYTES = 20 * BLOCK_BYTES
MAX_MEMBERS = 100_000
MAX_MANIFEST_BYTES = 48 * MIB
MAX_TOTAL_BYTES = 16 * 1024 * MIB
_MAX_DEPTH = 8

_OCTAL = re.compile(rb" *([0-7]{1,11})[ \0]*\Z")
_KINDS = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a device",
    b"4": "a device",
    b"5": "a directory",
    b"6": "a pipe",
    b"x": "an extended header",
    b"g": "an extended header",
    b"L": "an extended header",
    b"K": "an extended header",
}


class BadExport(ValueError):  # noqa: N818 -- reads as what it is
    """A file that is not what `export` writes. `reason` is stable, the message is for a person."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", populate_by_name=True)


class Member(_Record):
    """One file in the archive, after the manifest."""

    name: Annotated[str, Field(max_length=512)]
    sha256: Digest
    size_bytes: Annotated[int, Field(ge=0)]

    @property
    def place(self) -> tuple[Address, str | None]:
        """Whose it is, and the digest of the blob that it is (None: bundle.json). Raises `BadExport`."""
        found = Address.of_object(self.name)
        if found is not None:
            address, rest = found
            if rest == BUNDLE_NAME:
                return address, None
            if digest := blob_digest(rest):
                return address, digest
        raise BadExport(
            "export-foreign-member", f"{self.name[:300]!r} is no bundle.json and no blob of an address"
        )


class Manifest(_Record):
    """What the archive holds. `members` are in the order in which they follow."""

    schema_name: Literal["autotune-cache/export-manifest/v1"] = Field(alias="schema", default=MANIFEST_SCHEMA)
    addresses: tuple[str, ...]
    members: tuple[Member, ...]

    @classmethod
    def of(cls, members: Iterable[Member]) -> Manifest:
        listed = tuple(sorted(members, key=lambda one: one.name))
        return cls(addresses=tuple(sorted({str(one.place[0]) for one in listed})), members=listed)

    def encode(self) -> bytes:
        return json.dumps(self.model_dump(by_alias=True), indent=1, sort_keys=True).encode() + b"\n"


def parse_manifest(body: bytes) -> Manifest:
    """Raises `BadExport`."""
    if depth_of(body, _MAX_DEPTH) > _MAX_DEPTH:
        raise BadExport("export-bad-manifest", f"nested deeper than {_MAX_DEPTH}")
    try:
        manifest = Manifest.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part)[:80] for part in first["loc"])
        raise BadExport("export-bad-manifest", f"{where or 'document'}: {first['msg']}"[:300]) from None
    _check_members(manifest)
    return manifest


def _check_members(manifest: Manifest) -> None:
    names = [one.name for one in manifest.members]
    if len(names) > MAX_MEMBERS:
        raise BadExport("export-too-large", f"{len(names)} members; the limit is {MAX_MEMBERS}")
    if sorted(set(names)) != names:
        raise BadExport(
            "export-bad-manifest", "its members are not in the order of their names, or some are twice"
        )
    if (total := sum(one.size_bytes for one in manifest.members)) > MAX_TOTAL_BYTES:
        raise BadExport("export-too-large", f"{total} bytes; the limit is {MAX_TOTAL_BYTES}")
    registers: set[str] = set()
    places: set[str] = set()
    for one in manifest.members:
        address, digest = one.place
        places.add(str(address))
        limit = MAX_REGISTER_BYTES if digest is None else MAX_FILE_BYTES
        if one.size_bytes > limit:
            raise BadExport("export-too-large", f"{one.name}: {one.size_bytes} bytes; the limit is {limit}")
        if digest is None:
            registers.add(str(address))
        elif digest != one.sha256:
            raise BadExport("export-bad-manifest", f"{one.name}: its digest is another than its name")
    if sorted(places) != list(manifest.addresses) or registers != places:
        raise BadExport(
            "export-bad-manifest", "its addresses are not those of its members, or one has no bundle.json"
        )


@dataclass(frozen=True)
class Header:
    """One member's header, of which nothing but name and size is used."""

    name: str
    size_bytes: int


def is_nameable(name: str) -> bool:
    """A ustar header holds 256 bytes of name, parted at a slash: enough for every version that was ever released."""
    try:
        header_of(name, 0)
    except ValueError:
        return False
    return True


def header_of(name: str, size_bytes: int) -> bytes:
    """Raises `ValueError` for a name that does not fit."""
    header = tarfile.TarInfo(name)
    header.size = size_bytes
    header.mode = 0o644
    return header.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")


def padding_of(size_bytes: int) -> int:
    """The bytes of zeros that follow a content, up to a whole block."""
    return -size_bytes % BLOCK_BYTES


def parse_header(block: bytes) -> Header | None:
    """None for the block of zeros that ends the archive. Raises `BadExport`."""
    if block == bytes(BLOCK_BYTES):
        return None
    if len(block) != BLOCK_BYTES:
        raise BadExport("export-truncated", "the file ends in the middle of a header")
    if block[257:263] != b"ustar\0" or _number(block[148:156]) != 256 + sum(block[:148]) + sum(
        block[156:512]
    ):
        raise BadExport(
            "export-not-a-tar", "this is no header of a POSIX tar; only files that `export` wrote are read"
        )
    raw = block[345:500].partition(b"\0")[0], block[:100].partition(b"\0")[0]
    try:
        name = "/".join(part.decode("ascii") for part in raw if part)
    except UnicodeDecodeError:
        raise BadExport("export-foreign-member", "a member's name is not ASCII") from None
    kind = block[156:157]
    if kind not in (b"0", b"\0"):
        told = _KINDS.get(kind, "of an unknown kind")
        raise BadExport("export-foreign-member", f"{name[:300]!r} is {told}; only regular files may be in it")
    size = _number(block[124:136])
    if size is None:
        raise BadExport("export-not-a-tar", f"{name[:300]!r} has no readable size")
    return Header(name, size)


def check_header(header: Header, wanted: Member) -> None:
    """Raises `BadExport` unless the header is that of the member that the manifest has next."""
    if header.name != wanted.name:
        detail = f"{header.name[:300]!r} is where the manifest has {wanted.name!r}"
        raise BadExport("export-foreign-member", detail)
    if header.size_bytes != wanted.size_bytes:
        detail = f"{wanted.name}: {header.size_bytes} bytes, the manifest says {wanted.size_bytes}"
        raise BadExport("export-digest-mismatch", detail)


def check_body(body: bytes, wanted: Member) -> None:
    """Raises `BadExport` unless `body` is what the manifest says."""
    if digest_of(body) != wanted.sha256:
        raise BadExport("export-digest-mismatch", f"{wanted.name} is not what the manifest says")


def _number(field: bytes) -> int | None:
    """None for what is no octal number: GNU's base-256 has sizes that nothing here has."""
    match = _OCTAL.match(field)
    return int(match[1], 8) if match else None
