"""Writes an export: members are gathered beside the file, the manifest is written before them, the name comes last."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, BinaryIO, cast

from cache_store.bundle import digest_of
from cache_store.export_file import (
    BLOCK_BYTES,
    MANIFEST,
    RECORD_BYTES,
    Manifest,
    Member,
    header_of,
    padding_of,
    parse_manifest,
)
from cache_store.parcel import Parcel


def members_of(parcel: Parcel) -> Iterator[tuple[str, bytes]]:
    """(name, content) in the order of the names."""
    for digest, content in sorted(parcel.blobs.items()):
        yield parcel.address.blob_key(digest), content
    yield parcel.address.bundle_key, parcel.body


def write_export(
    parcels: Iterable[Parcel], target: BinaryIO, *, folder: Path | None, is_packed: bool
) -> Manifest:
    """All of `parcels`, which come in the order of their addresses' texts. `folder`: where there is room for a copy.

    Raises `BadExport` where it would be too large to be imported, `OSError`, and what `parcels` raises.
    """
    with TemporaryFile(dir=folder) as gathered:
        members: list[Member] = []
        for parcel in parcels:
            for name, content in members_of(parcel):
                members.append(Member(name=name, sha256=digest_of(content), size_bytes=len(content)))
                _append(gathered, name, content)
        manifest = Manifest.of(members)
        if list(manifest.members) != members:
            raise AssertionError("the parcels did not come in order")
        parse_manifest(manifest.encode())  # what nobody could import is not exported
        gathered.seek(0)
        if is_packed:
            # neither name nor time: the same bundles make the same bytes
            with gzip.GzipFile(filename="", mode="wb", fileobj=target, mtime=0) as packed:
                _write(cast("BinaryIO", packed), manifest, gathered)
        else:
            _write(target, manifest, gathered)
    return manifest


def _write(target: BinaryIO, manifest: Manifest, gathered: IO[bytes]) -> None:
    body = manifest.encode()
    _append(target, MANIFEST, body)
    shutil.copyfileobj(gathered, target, 1 << 20)
    written = BLOCK_BYTES + len(body) + padding_of(len(body))
    written += sum(BLOCK_BYTES + one.size_bytes + padding_of(one.size_bytes) for one in manifest.members)
    written += 2 * BLOCK_BYTES
    target.write(bytes(2 * BLOCK_BYTES + -written % RECORD_BYTES))


def _append(target: IO[bytes], name: str, content: bytes) -> None:
    target.write(header_of(name, len(content)))
    target.write(content)
    target.write(bytes(padding_of(len(content))))
