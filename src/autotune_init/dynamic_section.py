"""What a shared library asks of the dynamic linker: DT_NEEDED, DT_SONAME, DT_RPATH and DT_RUNPATH of an ELF file.

Reads a few hundred bytes of the file and loads nothing (System V ABI, chapters 4 and 5; 64-bit little-endian only,
which is what x86_64 and aarch64 Linux are).
"""

from __future__ import annotations

import struct
from pathlib import Path

from cache_store.annotation import BinaryIO
from cache_store.dataclass import dataclass

_PT_LOAD, _PT_DYNAMIC = 1, 2
_DT_NEEDED, _DT_STRTAB, _DT_STRSZ, _DT_SONAME, _DT_RPATH, _DT_RUNPATH = 1, 5, 10, 14, 15, 29
_ELF64_LITTLE = b"\x7fELF\x02\x01"
_MAX_SEGMENTS = 256
_MAX_BYTES = 16 * 1024 * 1024  # of one table; libtorch's string tables are below 1 MiB in practice


class UnreadableLibrary(ValueError):  # noqa: N818 -- reads as what it is
    """No 64-bit little-endian ELF library, or one that contradicts itself."""


@dataclass(frozen=True)
class DynamicSection:
    """`rpath` and `runpath` are the entries as written, "$ORIGIN" included; empty where the tag is absent."""

    needed: tuple[str, ...]
    soname: str = ""
    rpath: tuple[str, ...] = ()
    runpath: tuple[str, ...] = ()

    def needs(self, stem: str) -> str | None:
        """The needed soname that begins with `stem`, e.g. "libcudnn.so" -> "libcudnn.so.9"."""
        return next((soname for soname in self.needed if soname.startswith(stem)), None)


@dataclass(frozen=True)
class _Segment:
    kind: int
    offset: int
    address: int
    size: int


def read_dynamic_section(library: Path) -> DynamicSection:
    """Parse `library`. Raises `UnreadableLibrary`, also where the file cannot be opened."""
    try:
        with library.open("rb") as elf:
            return _parse(elf)
    except (OSError, struct.error, ValueError) as error:
        raise UnreadableLibrary(f"{library}: {error}") from error


def _parse(elf: BinaryIO) -> DynamicSection:
    header = elf.read(64)
    if header[:6] != _ELF64_LITTLE:
        raise UnreadableLibrary("not a 64-bit little-endian ELF file")
    (table,) = struct.unpack_from("<Q", header, 32)
    entry_size, count = struct.unpack_from("<HH", header, 54)
    if count > _MAX_SEGMENTS or entry_size < 56:
        raise UnreadableLibrary("absurd program header table")
    segments = [_segment(_read(elf, table + i * entry_size, 56)) for i in range(count)]
    dynamic = next((s for s in segments if s.kind == _PT_DYNAMIC), None)
    if dynamic is None:
        raise UnreadableLibrary("not dynamically linked")
    tags = []
    for tag, value in struct.iter_unpack("<QQ", _read(elf, dynamic.offset, dynamic.size // 16 * 16)):
        if tag == 0:
            break
        tags.append((tag, value))
    single = dict(tags)
    strings = _read(elf, _file_offset(segments, single.get(_DT_STRTAB, 0)), single.get(_DT_STRSZ, 0))

    def text(at: int) -> str:
        end = strings.find(b"\0", at)
        if at >= len(strings) or end < 0:
            raise UnreadableLibrary("a name lies outside of the string table")
        return strings[at:end].decode(errors="surrogateescape")

    def path(tag: int) -> tuple[str, ...]:
        return tuple(part for part in text(single[tag]).split(":") if part) if tag in single else ()

    return DynamicSection(
        needed=tuple(text(value) for tag, value in tags if tag == _DT_NEEDED),
        soname=text(single[_DT_SONAME]) if _DT_SONAME in single else "",
        rpath=path(_DT_RPATH),
        runpath=path(_DT_RUNPATH),
    )


def _segment(header: bytes) -> _Segment:
    kind, _flags, offset, address, _physical, file_size, _memory_size, _align = struct.unpack(
        "<IIQQQQQQ", header
    )
    return _Segment(kind, offset, address, file_size)


def _file_offset(segments: list[_Segment], address: int) -> int:
    for segment in segments:
        if segment.kind == _PT_LOAD and segment.address <= address < segment.address + segment.size:
            return segment.offset + address - segment.address
    raise UnreadableLibrary("the string table is in no segment")


def _read(elf: BinaryIO, offset: int, size_bytes: int) -> bytes:
    if size_bytes > _MAX_BYTES:
        raise UnreadableLibrary("absurd table size")
    elf.seek(offset)
    found = elf.read(size_bytes)
    if len(found) != size_bytes:
        raise UnreadableLibrary("truncated")
    return found
