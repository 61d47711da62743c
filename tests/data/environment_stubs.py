"""Real shared libraries for the probes to load, compiled at test time."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def compile_library(source: str, target: Path, *flags: str, **macros: str | int) -> Path:
    """Compile `source` of this directory to the shared library `target`. Fails the test where there is no gcc."""
    gcc = shutil.which("gcc")
    if gcc is None:
        pytest.fail("gcc is needed to build the stub libraries of this test; install it")
    target.parent.mkdir(parents=True, exist_ok=True)
    defines = [f"-D{name}={value}" for name, value in macros.items()]
    done = subprocess.run(
        [gcc, "-shared", "-fPIC", *defines, str(HERE / source), "-o", str(target), *flags],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.fail(f"{source} does not compile: {done.stderr}")
    return target


def nvml_library(
    directory: Path,
    *names: str,
    count: int | None = None,
    init: int = 0,
    mig: int = -1,
    virtualization: int = 0,
) -> str:
    target = compile_library(
        "environment_nvml.c",
        directory / "libnvidia-ml.so.1",
        GPU_NAMES=",".join(f'"{name}"' for name in names),
        GPU_COUNT=len(names) if count is None else count,
        INIT_CODE=init,
        MIG_MODE=mig,
        VIRTUALIZATION=virtualization,
    )
    return str(target)


def cuda_library(
    target: Path, *, cublas: tuple[int, int, int] = (0, 0, 0), cudnn: int = 0, soname: str = ""
) -> Path:
    major, minor, patch = cublas
    flags = [f"-Wl,-soname,{soname or target.name}"]
    return compile_library(
        "environment_cuda.c", target, *flags, MAJOR=major, MINOR=minor, PATCH=patch, CUDNN=cudnn
    )


def torch_library(torch: Path, *needed: Path, rpath: str = "", runpath: str = "") -> Path:
    """A libtorch_cuda.so that needs the libraries in `needed` by their sonames."""
    flags = ["-Wl,--no-as-needed", *map(str, needed)]
    if rpath:
        flags += ["-Wl,--disable-new-dtags", f"-Wl,-rpath,{rpath}"]
    if runpath:
        flags += ["-Wl,--enable-new-dtags", f"-Wl,-rpath,{runpath}"]
    return compile_library(
        "environment_cuda.c", torch / "lib" / "libtorch_cuda.so", *flags, MAJOR=0, MINOR=0, PATCH=0, CUDNN=0
    )
