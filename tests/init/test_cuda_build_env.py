"""What FlashInfer's builds are told about CUDA, on toolkits that lie in pieces."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune_init.inside import cuda_build_env
from autotune_init.inside.cuda_build_env import HEADERS, LIBRARIES, find_cuda_home, prepare


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


@pytest.fixture
def toolkit(tmp_path) -> Path:
    """nvcc and the runtime's headers, nothing else."""
    home = tmp_path / "toolkit"
    touch(home / "bin/nvcc", home / "include/cuda_runtime.h")
    (home / "bin/nvcc").chmod(0o755)
    return home


@pytest.fixture
def wheels(tmp_path, monkeypatch) -> Path:
    """What pip's nvidia wheels bring, and no other directory of this machine."""
    root = tmp_path / "site-packages/nvidia/cu13"
    touch(*(root / "include" / name for name in HEADERS))
    touch(*(root / "lib" / f"{name}.so.13" for name in LIBRARIES if name != "libcuda"))
    monkeypatch.setattr(cuda_build_env, "nvidia_dirs", lambda kind: [root / kind])
    driver = tmp_path / "driver"
    touch(driver / "libcuda.so.1")
    monkeypatch.setattr(cuda_build_env, "_SYSTEM_LIBRARY_DIRS", (str(driver),))
    return root


def environ(toolkit: Path, tmp_path: Path, **more: str) -> dict[str, str]:
    return {"CUDA_HOME": str(toolkit), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin", **more}


def test_a_whole_toolkit_needs_nothing_added(toolkit, wheels, tmp_path):
    touch(*(toolkit / "include" / name for name in HEADERS))
    touch(*(toolkit / "lib64" / f"{name}.so" for name in LIBRARIES))
    found = prepare(environ(toolkit, tmp_path), tmp_path / "work")
    assert found.variables == {"CUDA_HOME": str(toolkit)}
    assert found.notes == []


def test_headers_and_libraries_that_the_toolkit_lacks_come_from_the_wheels(toolkit, wheels, tmp_path):
    work = tmp_path / "work"
    found = prepare(environ(toolkit, tmp_path), work)
    assert found.variables["FLASHINFER_EXTRA_CUDAFLAGS"] == f"-isystem {wheels / 'include'}"
    assert found.variables["FLASHINFER_EXTRA_CFLAGS"] == f"-isystem {wheels / 'include'}"
    flags = found.variables["FLASHINFER_EXTRA_LDFLAGS"].split()
    assert flags == [f"-L{work / 'links'}", f"-Wl,-rpath,{wheels / 'lib'}"]
    assert {link.name for link in (work / "links").iterdir()} == {f"{name}.so" for name in LIBRARIES}
    assert (work / "links/libcublas.so").resolve() == wheels / "lib/libcublas.so.13"
    assert (work / "links/libcuda.so").resolve() == tmp_path / "driver/libcuda.so.1"


def test_the_library_path_is_never_touched(toolkit, wheels, tmp_path):
    """Given that FlashInfer reads its cuBLAS version through it, when we prepare a build, then it stays as it is."""
    assert "LD_LIBRARY_PATH" not in prepare(environ(toolkit, tmp_path), tmp_path / "work").variables


def test_a_second_preparation_replaces_its_own_links(toolkit, wheels, tmp_path):
    first = prepare(environ(toolkit, tmp_path), tmp_path / "work")
    assert prepare(environ(toolkit, tmp_path), tmp_path / "work").variables == first.variables


def test_what_the_operator_has_set_is_kept(toolkit, wheels, tmp_path):
    found = prepare(environ(toolkit, tmp_path, FLASHINFER_EXTRA_LDFLAGS="-lfoo"), tmp_path / "work")
    assert found.variables["FLASHINFER_EXTRA_LDFLAGS"].startswith("-lfoo -L")


def test_what_is_nowhere_is_noted(toolkit, tmp_path, monkeypatch):
    monkeypatch.setattr(cuda_build_env, "nvidia_dirs", lambda _kind: [])
    monkeypatch.setattr(cuda_build_env, "_SYSTEM_LIBRARY_DIRS", ())
    found = prepare(environ(toolkit, tmp_path), tmp_path / "work")
    assert found.variables == {"CUDA_HOME": str(toolkit)}
    assert {note.split(":")[0] for note in found.notes} == {*HEADERS, *LIBRARIES}


def test_a_cuda_home_without_nvcc_is_passed_over_for_the_one_on_the_path(toolkit, tmp_path):
    found = find_cuda_home({"CUDA_HOME": str(tmp_path / "gone"), "PATH": str(toolkit / "bin")})
    if Path("/usr/local/cuda/bin/nvcc").exists():
        assert found == Path("/usr/local/cuda")  # a toolkit of this very machine comes first
    else:
        assert found == toolkit


def test_a_wrapper_script_is_followed_to_the_toolkit(toolkit, tmp_path):
    wrapper = tmp_path / "bin/nvcc"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\nexec "{toolkit}/bin/nvcc" --threads 2 "$@"\n')
    assert cuda_build_env._behind_wrapper(wrapper) == [toolkit]


@pytest.mark.parametrize(("stated", "moved"), [({}, True), ({"FLASHINFER_WORKSPACE_BASE": "/ws"}, False)])
def test_a_home_that_is_not_there_moves_the_workspace_unless_one_is_stated(
    toolkit, wheels, tmp_path, stated, moved
):
    found = prepare({**environ(toolkit, tmp_path), "HOME": "/nonexistent", **stated}, tmp_path / "work")
    assert ("FLASHINFER_WORKSPACE_BASE" in found.variables) is moved
    assert (tmp_path / "work/workspace").is_dir() is moved
