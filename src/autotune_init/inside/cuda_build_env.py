"""Where FlashInfer's just-in-time builds find CUDA when it comes in pieces: a slim toolkit plus pip's nvidia wheels.

FlashInfer builds its GEMM modules with nvcc from CUDA_HOME (flashinfer/jit/cpp_ext.py) and takes more include and
library directories from FLASHINFER_EXTRA_CUDAFLAGS, _CFLAGS and _LDFLAGS. An image whose toolkit has no cuBLAS or
cuRAND headers, or only versioned library names, fails there although torch brings all of it. LD_LIBRARY_PATH is never
touched: FlashInfer reads its cuBLAS version through it, and that is part of the file's identity.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import site
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

# header -> asked for by gemm (cuBLASLt), by the fp8 helpers, and by runtime compilation
HEADERS = ("cublasLt.h", "curand_kernel.h", "nvrtc.h")
LIBRARIES = ("libcublas", "libcublasLt", "libcudart", "libnvrtc", "libcurand", "libcuda")
_DRIVER = "libcuda"  # the driver's own: linked by name, never put into an rpath
_SYSTEM_LIBRARY_DIRS = (
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/local/nvidia/lib64",
    "/usr/lib64",
)


@dataclass
class BuildEnvironment:
    """Variables to set before FlashInfer is imported, and what a person should know if a build fails."""

    variables: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def prepare(environ: Mapping[str, str], work: Path) -> BuildEnvironment:
    """Look at this machine; write library links below `work`. What the operator has set is added to, not replaced."""
    found = BuildEnvironment()
    _choose_workspace(environ, work, found)
    home = find_cuda_home(environ)
    if home is None:
        found.notes.append(
            "no CUDA toolkit with nvcc was found: only prebuilt FlashInfer modules can be used"
        )
        return found
    found.variables["CUDA_HOME"] = str(home)
    include_dirs = _missing_headers(home, found.notes)
    link_flags = _link_missing_libraries(home, work / "links", found.notes)
    include_flags = [f"-isystem {directory}" for directory in include_dirs]
    for name, flags in (
        ("FLASHINFER_EXTRA_CUDAFLAGS", include_flags),
        ("FLASHINFER_EXTRA_CFLAGS", include_flags),
        ("FLASHINFER_EXTRA_LDFLAGS", link_flags),
    ):
        if flags:
            found.variables[name] = " ".join([environ.get(name, ""), *flags]).strip()
    return found


def find_cuda_home(environ: Mapping[str, str]) -> Path | None:
    """The first directory that has both nvcc and the runtime's headers."""
    candidates = [Path(value) for name in ("CUDA_HOME", "CUDA_PATH") if (value := environ.get(name))]
    candidates.append(Path("/usr/local/cuda"))
    nvcc = shutil.which("nvcc", path=environ.get("PATH"))
    if nvcc:
        candidates += [Path(nvcc).resolve().parent.parent, *_behind_wrapper(Path(nvcc))]
    candidates += sorted(Path("/usr/local").glob("cuda-*"), reverse=True)
    candidates += [directory.parent for directory in nvidia_dirs("bin") if (directory / "nvcc").exists()]
    for home in candidates:
        if (home / "bin/nvcc").exists() and (home / "include/cuda_runtime.h").exists():
            return home
    return None


def _behind_wrapper(nvcc: Path) -> list[Path]:
    """Some images put a shell script named nvcc first on the PATH; the toolkit is where it points."""
    try:
        with nvcc.open("rb") as file:
            text = file.read(4096)
    except OSError:
        return []
    if not text.startswith(b"#!"):
        return []
    words = text.decode("utf-8", "replace").replace('"', " ").split()
    return [Path(word).parent.parent for word in words if word.endswith("/bin/nvcc")]


def nvidia_dirs(kind: str) -> list[Path]:
    """`nvidia/*/<kind>` of every site-packages in reach, and of the one torch is in, whatever PYTHONPATH says."""
    roots = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages(), *sys.path]
    torch = importlib.util.find_spec("torch")
    if torch is not None and torch.origin:
        roots.insert(0, str(Path(torch.origin).parent.parent))
    found = [
        directory
        for root in dict.fromkeys(roots)
        if root
        for pattern in (f"nvidia/*/{kind}", f"nvidia/{kind}")
        for directory in sorted(Path(root).glob(pattern))
    ]
    return [directory for directory in dict.fromkeys(found) if directory.is_dir()]


def _missing_headers(home: Path, notes: list[str]) -> list[Path]:
    needed: list[Path] = []
    for header in HEADERS:
        if (home / "include" / header).exists():
            continue
        directory = next((found for found in nvidia_dirs("include") if (found / header).exists()), None)
        notes.append(f"{header}: {directory or 'not found'}")
        if directory is not None and directory not in needed:
            needed.append(directory)
    return needed


def _link_missing_libraries(home: Path, links: Path, notes: list[str]) -> list[str]:
    """Versioned libraries get the plain name that the linker asks for."""
    own = [home / "lib64", home / "lib64/stubs", home / "lib"]
    elsewhere = [*own, *nvidia_dirs("lib"), *(Path(name) for name in _SYSTEM_LIBRARY_DIRS)]
    run_dirs: list[Path] = []
    for library in LIBRARIES:
        if any((directory / f"{library}.so").exists() for directory in own[:2]):
            continue
        target = _any_version(library, elsewhere)
        if target is None:
            notes.append(f"{library}: not found")
            continue
        links.mkdir(parents=True, exist_ok=True)
        link = links / f"{library}.so"
        if link.is_symlink():
            link.unlink()
        link.symlink_to(target)
        if library != _DRIVER and target.parent not in run_dirs:
            run_dirs.append(target.parent)
    if not links.is_dir():
        return []
    return [f"-L{links}", *(f"-Wl,-rpath,{directory}" for directory in run_dirs)]


def _any_version(library: str, directories: Iterable[Path]) -> Path | None:
    for directory in directories:
        hits = sorted(directory.glob(f"{library}.so*"))
        if hits:
            return hits[0]
    return None


def _choose_workspace(environ: Mapping[str, str], work: Path, found: BuildEnvironment) -> None:
    """`import flashinfer` writes below its workspace and raises if it cannot (FlashInfer 0.7.2, jit/env.py)."""
    if environ.get("FLASHINFER_WORKSPACE_BASE"):
        return
    home = environ.get("HOME") or str(Path("~").expanduser())
    if os.access(home, os.W_OK | os.X_OK):
        return
    workspace = work / "workspace"
    workspace.mkdir(parents=True, exist_ok=True)
    found.variables["FLASHINFER_WORKSPACE_BASE"] = str(workspace)
    found.notes.append(f"{home} is not writable: FlashInfer builds below {workspace}")
