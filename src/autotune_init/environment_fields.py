"""One function per field of FlashInfer's `_metadata`: the collector's rule, followed without importing torch.

Each answers with a `ProbedField` and is uncertain, never wrong, where the process that FlashInfer's collector runs in
could see something else. Rules: flashinfer/autotuner/autotuner.py `_collect_metadata`, `_get_cublas_version`,
`_get_cudnn_backend_version` and flashinfer/jit/cute_dsl_core.py `_get_cute_dsl_version` (FlashInfer 0.6.7 to
0.7.2.post1); torch/backends/cudnn/__init__.py `_init` and torch/__init__.py `_load_global_deps` (torch 2.15).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from autotune_init.collector_rules import CollectorRules
from autotune_init.installed import InstalledPackages, text_assignment
from autotune_init.nvml import NvmlGpu
from cache_store.annotation import TYPE_CHECKING
from cache_store.dataclass import dataclass
from cache_store.pattern import pattern

if TYPE_CHECKING:
    from autotune_init.shared_libraries import Libraries, Located

UNKNOWN = "unknown"
_CUDNN_PIN = pattern(r"nvidia-cudnn-cu\d+\s*\(?\s*==\s*(\d+)\.(\d+)")


@dataclass(frozen=True)
class ProbedField:
    """One `_metadata` field. `value` is None where nothing could be found; `source` is a text for people."""

    value: str | None
    source: str
    is_certain: bool = True


def _unsure(source: str, value: str | None = None) -> ProbedField:
    return ProbedField(value, source, is_certain=False)


@dataclass(frozen=True)
class Linking:
    """What decides which libraries the engine's process has: torch's own, the search path and the linker."""

    torch: Path
    packages: InstalledPackages
    libraries: Libraries
    environ: Mapping[str, str]

    @property
    def torch_library(self) -> Path:
        return self.torch / "lib" / "libtorch_cuda.so"

    def is_preloaded(self, stem: str) -> bool:
        """LD_PRELOAD brings its own copy, which then answers for every later name."""
        return stem in self.environ.get("LD_PRELOAD", "")

    def of_torch(self, soname_or_stem: str) -> tuple[str, Located | None] | None:
        """(soname, where) for what torch's library needs by that name; None where it needs no such library."""
        from autotune_init.shared_libraries import locate

        section = self.libraries.dynamic_section(self.torch_library)
        soname = section.needs(soname_or_stem) if section else None
        if section is None or soname is None:
            return None
        where = locate(soname, self.torch_library, section, self.environ, self.packages.search_path)
        return soname, where


def flashinfer_version(packages: InstalledPackages) -> ProbedField:
    """`flashinfer.version.__version__`: what `_build_meta.py` assigns. None where FlashInfer is not installed."""
    directory = packages.package_dir("flashinfer")
    if directory is None:
        source = "package metadata of flashinfer-python"
        version = packages.version("flashinfer-python")
        return ProbedField(None, "not installed") if version is None else _unsure(source, version)
    value = text_assignment(directory / "_build_meta.py", "__version__")
    return ProbedField(value, "flashinfer/_build_meta.py", is_certain=bool(value))


def cuda_version(torch: Path) -> ProbedField:
    """`torch.version.cuda`, the CUDA that torch was built with; None there (CPU, ROCm) is written as unknown."""
    value = text_assignment(torch / "version.py", "cuda")
    if value is None:
        return _unsure("torch/version.py has no plain `cuda = ...` line")
    return ProbedField(value or UNKNOWN, "torch/version.py")


def cublas_version(linking: Linking, cuda: ProbedField) -> ProbedField:
    """`_get_cublas_version`: plain names through the linker, then ldconfig's names, then any pip package, then CUDA.

    A name with a number (libcublas.so.13, from ldconfig) means torch's copy in FlashInfer's process, because torch
    has loaded a library of that soname; a plain libcublas.so does not, because no library carries that soname.
    """
    if linking.is_preloaded("cublas"):
        return _unsure("LD_PRELOAD names a cuBLAS")
    for name in ("libcublas.so", "libcublasLt.so"):
        found = _ask_cublas(linking, name)
        if found is not None:
            return found
    for base in ("cublas", "cublasLt"):
        soname = linking.libraries.find_library(base)
        if soname is None:
            continue
        of_torch = linking.of_torch(soname)
        if of_torch is None:
            found = _ask_cublas(linking, soname)
        elif of_torch[1] is None:
            return _unsure(f"torch and the linker may mean different files by {soname}")
        else:
            found = _ask_cublas(linking, of_torch[1].name) or _unsure(f"{soname} of torch does not answer")
        if found is not None:
            return found
    return _cublas_package(linking.packages) or _cuda_toolkit(cuda)


def _ask_cublas(linking: Linking, name: str) -> ProbedField | None:
    from autotune_init.shared_libraries import LibraryAbsent

    try:
        return ProbedField(linking.libraries.cublas_version(name), f"{name}: GetProperty")
    except LibraryAbsent:
        return None


def _cublas_package(packages: InstalledPackages) -> ProbedField | None:
    """Whatever package's name sorts last among nvidia-cublas*, nvidia-cublasmp included: the collector's rule."""
    names = [found.name for found in packages.distributions_called("nvidia-cublas")]
    for name in sorted((name for name in names if name.startswith("nvidia-cublas")), reverse=True):
        version = packages.version(name)
        if version is not None:
            return ProbedField(".".join(version.split(".")[:3]), f"package metadata of {name}")
    return None


def _cuda_toolkit(cuda: ProbedField) -> ProbedField:
    if not cuda.is_certain or cuda.value is None:
        return _unsure("no cuBLAS found, and torch's CUDA is not known")
    if cuda.value == UNKNOWN:
        return ProbedField(UNKNOWN, "no cuBLAS, and torch has no CUDA")
    return ProbedField(f"cuda-toolkit-{cuda.value}", cuda.source)


def cudnn_version(
    linking: Linking, cuda: ProbedField, frontend: ProbedField | None, rules: CollectorRules
) -> ProbedField:
    """`torch.backends.cudnn.version()` of the libcudnn that torch's library is linked to.

    torch raises instead if that is older than the one it was built with, whose version only its wheel's pin tells.
    """
    from autotune_init.shared_libraries import LibraryAbsent

    if linking.is_preloaded("cudnn"):
        return _unsure("LD_PRELOAD names a cuDNN")
    if cuda.value == UNKNOWN and not linking.torch_library.exists():
        if rules.asks_frontend and (frontend is None or frontend.value != UNKNOWN):
            return _unsure("torch has no cuDNN; cudnn-frontend would be asked")
        return ProbedField(rules.no_cudnn, "torch without CUDA")
    of_torch = linking.of_torch("libcudnn.so")
    if of_torch is None:
        return _unsure("torch/lib/libtorch_cuda.so does not say which cuDNN it needs")
    soname, where = of_torch
    if where is None:
        return _unsure(f"torch and the linker may mean different files by {soname}")
    try:
        version = linking.libraries.cudnn_version(where.name)
    except LibraryAbsent as absent:
        return _unsure(str(absent))
    source = f"{soname} by {where.by.value}: cudnnGetVersion"
    return ProbedField(str(version), source, is_certain=_torch_accepts(version, where, linking.packages))


def _torch_accepts(version: int, where: Located, packages: InstalledPackages) -> bool:
    """Same major and no older minor than torch was built with.

    Without a pin (a torch built from source) the image's own cuDNN is the one it was built with, unless
    LD_LIBRARY_PATH brought another.
    """
    from autotune_init.shared_libraries import FoundBy

    torch = packages.distribution("torch")
    pins = [_CUDNN_PIN.match(requirement) for requirement in (torch.requires if torch else ())]
    built_with = [(int(pin.group(1)), int(pin.group(2))) for pin in pins if pin]
    if not built_with:
        return where.by is not FoundBy.LD_LIBRARY_PATH
    # cudnn_version.h: 9.26.0 is 92600; up to 8.x it was 8907
    loaded = (
        (version // 10000, version % 10000 // 100)
        if version >= 90000
        else (version // 1000, version % 1000 // 100)
    )
    return all(loaded[0] == major and loaded[1] >= minor for major, minor in built_with)


def cudnn_frontend_version(packages: InstalledPackages) -> ProbedField:
    """`cudnn.__version__`, a literal in `cudnn/__init__.py`; unknown where `import cudnn` fails.

    Certain only as long as that import works, which needs the libcudnn that `cudnn_version` answers for.
    """
    directory = packages.package_dir("cudnn")
    if directory is None:
        if packages.version("nvidia-cudnn-frontend") is not None:
            return _unsure("nvidia-cudnn-frontend is installed, but not as a plain package")
        return ProbedField(UNKNOWN, "cudnn-frontend is not installed")
    value = text_assignment(directory / "__init__.py", "__version__")
    return ProbedField(value, "cudnn/__init__.py", is_certain=bool(value))


def cutlass_dsl_version(packages: InstalledPackages) -> ProbedField:
    """`_get_cute_dsl_version`: every nvidia-cutlass-dsl* distribution as name==version, sorted, joined by ";"."""
    stack = sorted(
        f"{found.name}=={found.version}"
        for found in packages.distributions_called("nvidia-cutlass-dsl")
        if found.name.lower().startswith("nvidia-cutlass-dsl")
    )
    return ProbedField(";".join(stack) or UNKNOWN, "package metadata of nvidia-cutlass-dsl*")


def gpu_name(gpus: tuple[NvmlGpu, ...]) -> ProbedField:
    """`torch.cuda.get_device_name` of the current device; `gpus` are the visible ones, all of one name.

    NVML and CUDA tell one name for a whole GPU; for a MIG slice CUDA's carries the profile, and a virtual GPU's is
    its host's to choose.
    """
    indices = ", ".join(str(gpu.index) for gpu in gpus)
    source = f"NVML device{'s' if len(gpus) > 1 else ''} {indices}"
    return ProbedField(gpus[0].name, source, is_certain=not any(gpu.is_split for gpu in gpus))
