"""Reads an export: nothing of it is believed before it is checked, and no more of it is held than one bundle."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

from cache_store.export_file import (
    BLOCK_BYTES,
    MANIFEST,
    MAX_MANIFEST_BYTES,
    RECORD_BYTES,
    BadExport,
    Manifest,
    Member,
    check_body,
    check_header,
    padding_of,
    parse_header,
    parse_manifest,
)
from cache_store.parcel import LeftOut, Parcel, open_register, pack_parcel

_GZIP_MAGIC = b"\x1f\x8b"


def read_parcels(file: BinaryIO) -> Iterator[Parcel]:
    """Every bundle of an export, from its beginning, each checked; at the end, that nothing else is in it.

    What is decompressed is bounded by what the headers say, and that by the manifest. Raises `BadExport`; `OSError` for
    a disk.
    """
    file.seek(0)
    is_packed = file.read(2) == _GZIP_MAGIC
    file.seek(0)
    with _as_bad_export():
        if not is_packed:
            yield from _parcels(file)
            return
        with gzip.GzipFile(fileobj=file, mode="rb") as unpacked:
            yield from _parcels(cast("BinaryIO", unpacked))


@contextmanager
def _as_bad_export() -> Iterator[None]:
    try:
        yield
    except EOFError as error:
        raise BadExport("export-truncated", "the compressed file ends too early") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise BadExport("export-not-a-tar", f"the compressed file is damaged: {error}") from error


def _parcels(stream: BinaryIO) -> Iterator[Parcel]:
    manifest = _manifest(stream)
    blobs: dict[str, bytes | None] = {}
    for member in manifest.members:
        body = _content(stream, member)
        address, digest = member.place
        if digest is not None:
            blobs[digest] = body
            continue
        bundle = open_register(address, body)
        parcel = bundle if isinstance(bundle, LeftOut) else pack_parcel(address, bundle, body, blobs)
        if isinstance(parcel, LeftOut):
            raise BadExport(_reason(parcel), f"{address}: {parcel.detail}")
        if stray := blobs.keys() - parcel.blobs.keys():
            raise BadExport("export-foreign-member", f"{address}: no rank uses blob {min(stray)}")
        blobs = {}
        yield parcel
    _end(stream)


def _reason(parcel: LeftOut) -> str:
    return "export-foreign-member" if parcel.is_out_of_service else parcel.reason


def _manifest(stream: BinaryIO) -> Manifest:
    header = parse_header(_exactly(stream, BLOCK_BYTES))
    if header is None or header.name != MANIFEST:
        raise BadExport("export-bad-manifest", f"{MANIFEST} is not the first member")
    if header.size_bytes > MAX_MANIFEST_BYTES:
        detail = f"{MANIFEST}: {header.size_bytes} bytes; the limit is {MAX_MANIFEST_BYTES}"
        raise BadExport("export-too-large", detail)
    return parse_manifest(_body(stream, header.size_bytes))


def _content(stream: BinaryIO, member: Member) -> bytes:
    header = parse_header(_exactly(stream, BLOCK_BYTES))
    if header is None:
        raise BadExport("export-truncated", f"it ends before {member.name}")
    check_header(header, member)
    body = _body(stream, header.size_bytes)
    check_body(body, member)
    return body


def _body(stream: BinaryIO, size_bytes: int) -> bytes:
    body = _exactly(stream, size_bytes)
    if any(_exactly(stream, padding_of(size_bytes))):
        raise BadExport("export-not-a-tar", "something lies between two members")
    return body


def _end(stream: BinaryIO) -> None:
    """Two blocks of zeros, and zeros up to a whole record."""
    rest = stream.read(2 * RECORD_BYTES + 1)
    if len(rest) < 2 * BLOCK_BYTES:
        raise BadExport("export-truncated", "its end is missing")
    if len(rest) > 2 * RECORD_BYTES or any(rest):
        raise BadExport("export-foreign-member", "something follows that the manifest does not name")


def _exactly(stream: BinaryIO, size_bytes: int) -> bytes:
    body = stream.read(size_bytes)
    if len(body) != size_bytes:
        raise BadExport("export-truncated", "the file ends too early")
    return body
