"""Which CUDA libraries a process that imports torch would have, and what version they say they are.

Three things decide which file a process gets for `libcudnn.so.9`: the search path written into torch's own library
(its wheels carry DT_RPATH, which wins over LD_LIBRARY_PATH), what `torch/__init__.py` preloads from `nvidia/*/lib`
below sys.path, and the dynamic linker's own search. Where they disagree, this says that it does not know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path

from autotune_init.dynamic_section import DynamicSection, UnreadableLibrary, read_dynamic_section
from cache_store.annotation import Any, Protocol
from cache_store.dataclass import dataclass


class LibraryAbsent(Exception):  # noqa: N818 -- it is an answer
    """The library cannot be loaded, or lacks the function that tells its version."""


class FoundBy(str, Enum):
    """Who decided which file a soname means."""

    RPATH = "DT_RPATH"
    LD_LIBRARY_PATH = "LD_LIBRARY_PATH"
    RUNPATH = "DT_RUNPATH"
    LINKER = "the dynamic linker"


@dataclass(frozen=True)
class Located:
    """`name` is what to hand to dlopen: a path, or the bare soname where the linker's cache decides."""

    name: str
    by: FoundBy


class Libraries(Protocol):
    """What is asked of shared libraries. The names are handed to dlopen."""

    def cublas_version(self, name: str) -> str:
        """Like "13.1.0", by cublasGetProperty or cublasLtGetProperty. Raises `LibraryAbsent`."""

    def cudnn_version(self, name: str) -> int:
        """Like 92100 by cudnnGetVersion. Raises `LibraryAbsent`."""

    def find_library(self, name: str) -> str | None:
        """`ctypes.util.find_library`, which starts ldconfig, gcc and ld: 0.1 to 0.5 s."""

    def dynamic_section(self, library: Path) -> DynamicSection | None:
        """What the library asks of the linker; None where it cannot be read."""


class LoadedLibraries:
    """Asks by loading into this process, as FlashInfer's collector does."""

    def cublas_version(self, name: str) -> str:
        import ctypes

        function = "cublasLtGetProperty" if "libcublasLt." in Path(name).name else "cublasGetProperty"
        get_property = _function(name, function)
        number = ctypes.c_int()
        parts = []
        for which in range(3):  # MAJOR_VERSION, MINOR_VERSION, PATCH_LEVEL of library_types.h
            get_property(which, ctypes.byref(number))
            parts.append(str(number.value))
        return ".".join(parts)

    def cudnn_version(self, name: str) -> int:
        import ctypes

        get_version = _function(name, "cudnnGetVersion")
        get_version.restype = ctypes.c_size_t
        return int(get_version())

    def find_library(self, name: str) -> str | None:
        import ctypes.util

        return ctypes.util.find_library(name)

    def dynamic_section(self, library: Path) -> DynamicSection | None:
        try:
            return read_dynamic_section(library)
        except UnreadableLibrary:
            return None


def locate(
    soname: str,
    wanted_by: Path,
    section: DynamicSection,
    environ: Mapping[str, str],
    search_path: Sequence[str],
) -> Located | None:
    """Which file a process that imports torch has for `soname`, needed by torch's library `wanted_by`.

    The order is ld.so(8)'s. None where torch's preload from `search_path` names another file than the linker would
    take: which of the two wins differs between torch releases. Not modelled: RPATHs of the libraries that load
    `wanted_by`, glibc-hwcaps directories, LD_PRELOAD (the caller refuses that).
    """
    found = _by_linker(soname, wanted_by, section, environ)
    preloaded = _preload_candidates(soname, search_path)
    if not preloaded:
        return found
    if found.by is FoundBy.LINKER or len(preloaded) > 1 or not _is_same_file(preloaded[0], Path(found.name)):
        return None
    return found


def _by_linker(soname: str, wanted_by: Path, section: DynamicSection, environ: Mapping[str, str]) -> Located:
    stated = environ.get("LD_LIBRARY_PATH", "")
    ld_library_path = [entry or "." for entry in stated.replace(";", ":").split(":")] if stated else []
    steps = (
        (FoundBy.RPATH, () if section.runpath else section.rpath),
        (FoundBy.LD_LIBRARY_PATH, ld_library_path),
        (FoundBy.RUNPATH, section.runpath),
    )
    origin = str(wanted_by.parent.resolve())
    for by, directories in steps:
        for directory in directories:
            expanded = directory.replace("${ORIGIN}", origin).replace("$ORIGIN", origin)
            candidate = Path(expanded, soname)
            if candidate.is_file():
                return Located(str(candidate), by)
    return Located(soname, FoundBy.LINKER)


def _preload_candidates(soname: str, search_path: Sequence[str]) -> list[Path]:
    """What `_preload_cuda_deps` of torch 2.15 would load: of the first entry that has any, all that match.

    torch looks below nvidia/<component>/lib, nvidia/cu<major>/lib (CUDA 13) and <component>/lib.
    """
    stem = soname.partition(".so")[0]
    component = {"libcudnn": "cudnn", "libcublas": "cublas", "libcublasLt": "cublas"}[stem]
    for entry in search_path:
        found: dict[Path, None] = {}
        for pattern in (f"nvidia/{component}/lib", "nvidia/cu[0-9]*/lib", f"{component}/lib"):
            for candidate in Path(entry).glob(f"{pattern}/{stem}.so.*[0-9]"):
                found[candidate.resolve()] = None
        if found:
            return list(found)
    return []


def _is_same_file(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def _function(library: str, name: str) -> Any:
    import ctypes

    try:
        return getattr(ctypes.CDLL(library), name)
    except (OSError, AttributeError) as error:
        raise LibraryAbsent(f"{library}: {error}") from error
