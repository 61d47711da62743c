"""Every rule of FlashInfer's collector that is followed without torch, on made-up installations and real libraries."""

from __future__ import annotations

import importlib.metadata
import shutil
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from tests.data.environment_stubs import cuda_library, torch_library

from autotune_init.collector import CollectorFailed, ask_flashinfer, parse_answer, runner, search_path_of
from autotune_init.collector_rules import RULES, rules_for
from autotune_init.dynamic_section import UnreadableLibrary, read_dynamic_section
from autotune_init.environment import EnvironmentUnknown, Machine, probe_environment
from autotune_init.environment_fields import ProbedField
from autotune_init.installed import InstalledPackages, text_assignment
from autotune_init.machine import this_machine
from autotune_init.nvml import NodeGpus, NoGpu, NvmlGpu
from autotune_init.shared_libraries import FoundBy, LibraryAbsent, LoadedLibraries, locate
from cache_store.clock import SystemClock

H100 = "NVIDIA H100 80GB HBM3"
PIN = "nvidia-cudnn-cu13==9.20.0.48; platform_system == 'Linux'"


class FakeLibraries(LoadedLibraries):
    """The linker's view by table; ELF files are read for real."""

    def __init__(self, cublas=None, cudnn=None, found=None):
        self.cublas, self.cudnn, self.found = cublas or {}, cudnn or {}, found or {}
        self.asked = []

    def cublas_version(self, name):
        name = str(Path(name).resolve()) if "/" in name else name
        self.asked.append(name)
        if name not in self.cublas:
            raise LibraryAbsent(name)
        return self.cublas[name]

    def cudnn_version(self, name):
        name = str(Path(name).resolve()) if "/" in name else name
        self.asked.append(name)
        if name not in self.cudnn:
            raise LibraryAbsent(name)
        return self.cudnn[name]

    def find_library(self, name):
        self.asked.append(f"find {name}")
        return self.found.get(name)


def distribution(site, name, version, *requires, suffix="dist-info"):
    place = site / f"{name.replace('-', '_')}-{version}.{suffix}"
    place.mkdir(parents=True)
    headers = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {r}" for r in requires)]
    filename = "METADATA" if suffix == "dist-info" else "PKG-INFO"
    (place / filename).write_text("Metadata-Version: 2.1\n" + "\n".join(headers) + "\n\nName: not-a-header\n")


def module(site, path, text):
    (site / path).parent.mkdir(parents=True, exist_ok=True)
    (site / path).write_text(text)


@pytest.fixture(scope="session")
def wheels(tmp_path_factory):
    """Compiled once: torch linked to cuDNN and cuBLAS by DT_RPATH, as its wheels are."""
    wheels = tmp_path_factory.mktemp("wheels")
    cudnn = cuda_library(wheels / "nvidia/cudnn/lib/libcudnn.so.9", cudnn=92000)
    cublas = cuda_library(wheels / "nvidia/cu13/lib/libcublas.so.13", cublas=(13, 4, 1))
    rpath = "$ORIGIN/../../nvidia/cudnn/lib:$ORIGIN/../../nvidia/cu13/lib"
    torch_library(wheels / "torch", cudnn, cublas, rpath=rpath)
    return wheels


@pytest.fixture
def site(tmp_path, wheels):
    """A site-packages as the wheels leave it: FlashInfer 0.7.2.post1, torch for CUDA 13.0 with cuDNN 9.20."""
    site = shutil.copytree(wheels, tmp_path / "site")
    module(site, "flashinfer/__init__.py", "raise SystemExit('imported')")
    module(site, "flashinfer/_build_meta.py", '"""Build metadata."""\n__version__ = "0.7.2.post1"\n')
    module(site, "torch/__init__.py", "raise SystemExit('imported')")
    module(
        site, "torch/version.py", "__version__ = '2.15.0+cu130'\ncuda: Optional[str] = '13.0'\nhip = None\n"
    )
    distribution(site, "flashinfer-python", "0.7.2.post1")
    distribution(site, "torch", "2.15.0", "filelock", PIN)
    return site


def cudnn_of(site):
    return str((site / "nvidia/cudnn/lib/libcudnn.so.9").resolve())


def gpus(*names, is_split=False):
    return NodeGpus("580.95", tuple(NvmlGpu(i, n, f"GPU-{i}", (9, 0), is_split) for i, n in enumerate(names)))


def never():
    raise AssertionError("FlashInfer's collector was asked")


def machine(site, libraries=None, *, environ=None, node=None, ask=never, search_path=None):
    return Machine(
        environ=environ or {},
        packages=InstalledPackages(search_path or [str(site)]),
        libraries=lambda: (
            libraries or FakeLibraries(cublas={"libcublas.so": "13.1.0"}, cudnn={cudnn_of(site): 92000})
        ),
        read_gpus=lambda: node or gpus(H100),
        ask_flashinfer=ask,
    )


TOLD = {
    "flashinfer_version": "0.7.2.post1",
    "cuda_version": "13.0",
    "cublas_version": "13.9.9",
    "cudnn_version": "92000",
    "cudnn_frontend_version": "unknown",
    "cutlass_dsl_version": "unknown",
    "gpu": H100,
}


def probe(found_machine, **stated):
    return probe_environment(
        found_machine, {name: ProbedField(value, "facts file") for name, value in stated.items()}
    )


# -- the whole


def test_all_fields_are_certain_and_no_child_runs(site):
    found = probe(machine(site))
    assert found.metadata == {**TOLD, "cublas_version": "13.1.0"}
    assert {name: field.source for name, field in found.fields.items()} == {
        "flashinfer_version": "flashinfer/_build_meta.py",
        "cuda_version": "torch/version.py",
        "cublas_version": "libcublas.so: GetProperty",
        "cudnn_version": "libcudnn.so.9 by DT_RPATH: cudnnGetVersion",
        "cudnn_frontend_version": "cudnn-frontend is not installed",
        "cutlass_dsl_version": "package metadata of nvidia-cutlass-dsl*",
        "gpu": "NVML device 0",
    }


def test_the_same_with_libraries_that_are_loaded_for_real(site):
    found = probe(machine(site, LoadedLibraries()), cublas_version="13.1.0")
    assert found.metadata["cudnn_version"] == "92000"


@pytest.mark.parametrize(
    ("version", "fields"),
    [
        ("0.6.7", 5),
        ("0.6.10", 5),
        ("0.6.11", 6),
        ("0.6.15", 6),
        ("0.6.18.post1", 6),
        ("0.7.0", 7),
        ("0.7.2.post1", 7),
    ],
)
def test_the_release_decides_which_fields_there_are(site, version, fields):
    module(site, "flashinfer/_build_meta.py", f'__version__ = "{version}"\n')
    found = probe(machine(site))
    assert len(found.fields) == fields
    assert found.metadata["flashinfer_version"] == version


@pytest.mark.parametrize(
    "version", ["0.6.6", "0.7.3", "0.8.0", "0.7.0rc1", "0.7.2+cu130", "0.6.10.post1", "1", ""]
)
def test_a_release_that_nobody_has_read_is_left_to_its_own_collector(site, version):
    assert rules_for(version) is None
    module(site, "flashinfer/_build_meta.py", f'__version__ = "{version}"\n')
    found = probe(machine(site, ask=lambda: {**TOLD, "new_field": "x"}))
    assert found.metadata == {**TOLD, "new_field": "x"}
    assert found.fields["new_field"].source == "FlashInfer's collector"


def test_the_ranges_of_releases_do_not_overlap():
    for rules in RULES:
        assert rules_for(rules.first) is rules
        assert rules_for(rules.last) is rules


def test_one_unsure_field_asks_once_and_the_answer_goes_above_every_probe(site):
    asked = []
    unsure = machine(site, environ={"LD_PRELOAD": "/x/libcudnn.so.9"}, ask=lambda: asked.append(1) or TOLD)
    found = probe(unsure)
    assert asked == [1]
    assert found.metadata == TOLD
    assert (
        found.fields["cublas_version"].source
        == "FlashInfer's collector; libcublas.so: GetProperty said 13.1.0"
    )


def test_what_is_stated_is_believed_even_against_the_collector(site):
    unsure = machine(site, environ={"LD_PRELOAD": "/x/libcudnn.so.9"}, ask=lambda: TOLD)
    found = probe(unsure, cublas_version="1.2.3")
    assert found.metadata["cublas_version"] == "1.2.3"
    assert found.fields["cublas_version"].source == "facts file"


def test_what_is_stated_is_not_probed(site):
    libraries = FakeLibraries()
    found = probe(machine(site, libraries), cublas_version="1.2.3", cudnn_version="91900")
    assert libraries.asked == []
    assert found.metadata["cudnn_version"] == "91900"


def test_the_collector_can_be_forced(site):
    found = probe_environment(machine(site, ask=lambda: TOLD), {}, is_collector_forced=True)
    assert found.metadata == TOLD


def test_another_python_s_libraries_are_left_to_its_collector(site):
    foreign = replace(machine(site, FakeLibraries(), ask=lambda: TOLD), is_engine_python=False)
    assert probe(foreign).metadata == TOLD


@pytest.mark.parametrize("reason", ["collector-timeout", "collector-failed", "no-torch"])
def test_a_collector_that_fails_is_not_replaced_by_a_guess(site, reason):
    def fail():
        raise CollectorFailed(reason, "why")

    with pytest.raises(EnvironmentUnknown, match="why") as unknown:
        probe(machine(site, environ={"LD_PRELOAD": "libcublas.so"}, ask=fail))
    assert unknown.value.reason == reason


# -- what is absent


def test_no_flashinfer(tmp_path):
    with pytest.raises(EnvironmentUnknown) as unknown:
        probe(machine(tmp_path))
    assert unknown.value.reason == "no-flashinfer"


def test_no_torch(site):
    (site / "torch/__init__.py").unlink()
    (site / "torch-2.15.0.dist-info/METADATA").unlink()
    with pytest.raises(EnvironmentUnknown) as unknown:
        probe(machine(site))
    assert unknown.value.reason == "no-torch"


def test_no_gpu_is_said_before_anything_slow_happens(site):
    def absent():
        raise NoGpu("libnvidia-ml.so.1 cannot be loaded")

    libraries = FakeLibraries()
    with pytest.raises(EnvironmentUnknown, match=r"libnvidia-ml\.so\.1") as unknown:
        probe(replace(machine(site, libraries), read_gpus=absent))
    assert unknown.value.reason == "no-gpu"
    assert libraries.asked == []


@pytest.mark.parametrize("stated", ["", "-1", "GPU-none"])
def test_hidden_gpus_are_no_gpu(site, stated):
    with pytest.raises(EnvironmentUnknown, match="hides every GPU") as unknown:
        probe(machine(site, environ={"CUDA_VISIBLE_DEVICES": stated}))
    assert unknown.value.reason == "no-gpu"


def test_a_collector_without_a_gpu_is_no_gpu(site):
    told = {**TOLD, "gpu": "unknown"}
    with pytest.raises(EnvironmentUnknown) as unknown:
        probe(machine(site, node=gpus(H100, is_split=True), ask=lambda: told))
    assert unknown.value.reason == "no-gpu"


# -- gpu


def test_gpus_of_two_names_are_refused(site):
    with pytest.raises(EnvironmentUnknown, match="NVIDIA B200 and NVIDIA H100") as unknown:
        probe(machine(site, node=gpus(H100, "NVIDIA B200")))
    assert unknown.value.reason == "mixed-gpus"


def test_of_two_kinds_the_visible_one_counts(site):
    found = probe(machine(site, node=gpus("NVIDIA B200", H100), environ={"CUDA_VISIBLE_DEVICES": "GPU-1"}))
    assert found.metadata["gpu"] == H100


@pytest.mark.parametrize("environ", [{}, {"CUDA_VISIBLE_DEVICES": "MIG-0f1e"}])
def test_a_slice_is_named_by_cuda(site, environ):
    told = {**TOLD, "gpu": "NVIDIA H100 80GB HBM3 MIG 1g.10gb"}
    found = probe(machine(site, node=gpus(H100, is_split=True), environ=environ, ask=lambda: told))
    assert found.metadata["gpu"] == "NVIDIA H100 80GB HBM3 MIG 1g.10gb"


# -- FlashInfer and CUDA versions


def test_an_editable_flashinfer_is_left_to_its_collector(site):
    (site / "flashinfer/__init__.py").unlink()
    assert probe(machine(site, ask=lambda: TOLD)).metadata == TOLD


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("cuda: Optional[str] = '12.8'", "12.8"),
        ('cuda = "13.0"', "13.0"),
        ("cuda: Optional[str] = None", "unknown"),
    ],
)
def test_cuda_is_what_torch_was_built_with(site, line, expected):
    module(site, "torch/version.py", f"__version__ = '2'\n{line}\ncuda_other = '9'\n")
    assert probe(machine(site)).metadata["cuda_version"] == expected


def test_a_cuda_that_is_computed_is_left_to_the_collector(site):
    module(site, "torch/version.py", "cuda = _compute()\n")
    assert probe(machine(site, ask=lambda: TOLD)).metadata == TOLD


# -- cuBLAS


def libraries_with(site, **more):
    return FakeLibraries(cudnn={cudnn_of(site): 92000}, **more)


def cublas(site, libraries, **more):
    return probe(machine(site, libraries, **more)).fields["cublas_version"]


def test_a_plain_libcublas_wins_and_nothing_else_is_asked(site):
    libraries = libraries_with(site, cublas={"libcublas.so": "13.1.0", "libcublasLt.so": "1.1.1"})
    assert cublas(site, libraries).value == "13.1.0"
    assert not [name for name in libraries.asked if name.startswith("find")]


def test_a_plain_libcublaslt_is_second(site):
    assert cublas(site, libraries_with(site, cublas={"libcublasLt.so": "13.2.0"})).value == "13.2.0"


def test_a_numbered_name_means_the_copy_that_torch_has_loaded(site):
    torchs = str((site / "nvidia/cu13/lib/libcublas.so.13").resolve())
    libraries = libraries_with(
        site, cublas={"libcublas.so.13": "13.0.0", torchs: "13.4.1"}, found={"cublas": "libcublas.so.13"}
    )
    assert cublas(site, libraries).value == "13.4.1"


def test_a_numbered_name_that_torch_does_not_need_means_the_linker_s(site):
    libraries = libraries_with(
        site, cublas={"libcublas.so.12": "12.8.4"}, found={"cublas": "libcublas.so.12"}
    )
    assert cublas(site, libraries).value == "12.8.4"


def test_the_package_whose_name_sorts_last_is_cut_to_three_parts(site):
    distribution(site, "nvidia-cublas", "13.4.1.3")
    assert cublas(site, libraries_with(site)).value == "13.4.1"
    distribution(site, "nvidia-cublas-cu12", "12.8.4.1")
    found = cublas(site, libraries_with(site))
    assert (found.value, found.source) == ("12.8.4", "package metadata of nvidia-cublas-cu12")


def test_a_package_of_another_spelling_does_not_count(site):
    distribution(site, "NVIDIA-cublas", "13.4.1.3")
    assert cublas(site, libraries_with(site)).value == "cuda-toolkit-13.0"


def test_without_any_cublas_the_toolkit_is_named(site):
    found = cublas(site, libraries_with(site))
    assert (found.value, found.source) == ("cuda-toolkit-13.0", "torch/version.py")


# -- cuDNN


def test_torch_s_own_path_goes_above_ld_library_path(site, tmp_path):
    cuda_library(tmp_path / "other/libcudnn.so.9", cudnn=91000)
    found = probe(machine(site, environ={"LD_LIBRARY_PATH": str(tmp_path / "other")}))
    assert found.metadata["cudnn_version"] == "92000"


@pytest.mark.parametrize("version", [91900, 89907, 100000], ids=["older-minor", "older-major", "newer-major"])
def test_a_cudnn_that_torch_refuses_is_left_to_the_collector(site, version):
    libraries = FakeLibraries(cublas={"libcublas.so": "13.1.0"}, cudnn={cudnn_of(site): version})
    assert probe(machine(site, libraries, ask=lambda: TOLD)).metadata == TOLD


def test_a_newer_cudnn_is_fine(site):
    libraries = FakeLibraries(cublas={"libcublas.so": "13.1.0"}, cudnn={cudnn_of(site): 92600})
    assert probe(machine(site, libraries)).metadata["cudnn_version"] == "92600"


def from_source(site, runpath=""):
    """An image's own torch: no pin, libraries of the system."""
    (site / "torch-2.15.0.dist-info/METADATA").write_text("Name: torch\nVersion: 2.15.0\n\n")
    library = site / "nvidia/cudnn/lib/libcudnn.so.9"
    elsewhere = site.parent / "system" / "libcudnn.so.9"
    elsewhere.parent.mkdir()
    library.rename(elsewhere)
    torch_library(site / "torch", elsewhere, runpath=runpath)
    return elsewhere


def test_a_torch_built_from_source_takes_the_linker_s_cudnn(site):
    from_source(site)
    libraries = FakeLibraries(cublas={"libcublas.so": "13.1.0"}, cudnn={"libcudnn.so.9": 91900})
    found = probe(machine(site, libraries)).fields["cudnn_version"]
    assert (found.value, found.source) == ("91900", "libcudnn.so.9 by the dynamic linker: cudnnGetVersion")


def test_a_torch_built_from_source_with_a_cudnn_from_ld_library_path_is_left_to_the_collector(site):
    elsewhere = from_source(site)
    libraries = FakeLibraries(cublas={"libcublas.so": "13.1.0"}, cudnn={str(elsewhere): 91900})
    environ = {"LD_LIBRARY_PATH": f"/nowhere:{elsewhere.parent}"}
    assert probe(machine(site, libraries, environ=environ, ask=lambda: TOLD)).metadata == TOLD


def test_two_cudnn_packages_on_the_search_path_are_left_to_the_collector(site, tmp_path):
    cuda_library(tmp_path / "user/nvidia/cudnn/lib/libcudnn.so.9", cudnn=93000)
    found = machine(site, search_path=[str(tmp_path / "user"), str(site)], ask=lambda: TOLD)
    assert probe(found).metadata == TOLD


@pytest.mark.parametrize(
    ("version", "expected"), [("0.6.15", "None"), ("0.6.16", "unknown"), ("0.7.1", "unknown")]
)
def test_a_torch_without_cuda_has_no_cudnn_and_each_release_spells_that_its_way(site, version, expected):
    module(site, "flashinfer/_build_meta.py", f'__version__ = "{version}"\n')
    module(site, "torch/version.py", "cuda: Optional[str] = None\n")
    (site / "torch/lib/libtorch_cuda.so").unlink()
    found = probe(machine(site, FakeLibraries()))
    assert found.metadata["cudnn_version"] == expected
    assert found.metadata["cublas_version"] == "unknown"


def test_a_frontend_may_know_the_cudnn_that_torch_lacks(site):
    module(site, "torch/version.py", "cuda: Optional[str] = None\n")
    (site / "torch/lib/libtorch_cuda.so").unlink()
    module(site, "cudnn/__init__.py", '__version__ = "1.31.0"\n')
    assert probe(machine(site, FakeLibraries(), ask=lambda: TOLD)).metadata == TOLD


# -- cuDNN frontend and CuTe-DSL


def test_the_frontend_s_version_is_the_literal_in_its_module(site):
    module(site, "cudnn/__init__.py", 'import os\n\n__version__ = "1.31.0"  # released\n')
    distribution(site, "nvidia-cudnn-frontend", "1.30.0")
    assert probe(machine(site)).metadata["cudnn_frontend_version"] == "1.31.0"


def test_a_frontend_without_a_cudnn_is_left_to_the_collector(site):
    module(site, "cudnn/__init__.py", '__version__ = "1.31.0"\n')
    found = machine(site, FakeLibraries(cublas={"libcublas.so": "1.1.1"}), ask=lambda: TOLD)
    assert probe(found).metadata == TOLD


@pytest.mark.parametrize("text", ["from .v import __version__\n", None], ids=["not-a-literal", "editable"])
def test_a_frontend_that_cannot_be_read_is_left_to_the_collector(site, text):
    distribution(site, "nvidia-cudnn-frontend", "1.30.0")
    if text:
        module(site, "cudnn/__init__.py", text)
    assert probe(machine(site, ask=lambda: TOLD)).metadata == TOLD


def test_the_dsl_stack_is_every_package_of_it_sorted(site):
    for name in ("nvidia-cutlass-dsl", "nvidia-cutlass-dsl-libs-cu13", "nvidia-cutlass-dsl-libs-base"):
        distribution(site, name, "4.7.1")
    assert probe(machine(site)).metadata["cutlass_dsl_version"] == (
        "nvidia-cutlass-dsl-libs-base==4.7.1;nvidia-cutlass-dsl-libs-cu13==4.7.1;nvidia-cutlass-dsl==4.7.1"
    )


# -- installed packages: the same answers as importlib.metadata


def test_installed_packages_answer_as_importlib_metadata_does(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    distribution(one, "nvidia-cublas", "13.1")
    distribution(two, "nvidia-cublas", "13.2")
    distribution(two, "Nvidia.Cublas_Extra", "1.0")
    distribution(two, "nvidia-cublas-legacy", "2.0", suffix="egg-info")
    distribution(two, "~vidia-cublas", "0.9")
    (two / "~vidia_cublas-0.9.dist-info/METADATA").write_text("Name: nvidia-cublas\nVersion: 0.9\n\n")
    (two / "nvidia_cublas_broken-1.dist-info").mkdir()
    path = [str(one), str(two), str(two), str(tmp_path / "missing")]
    real = [
        (d.metadata["Name"], d.version)
        for d in importlib.metadata.distributions(path=path)
        if (d.metadata.get("Name") or "").startswith("nvidia-cublas")
    ]
    packages = InstalledPackages(path)
    ours = [(d.name, d.version) for d in packages.distributions_called("nvidia-cublas")]
    assert sorted(pair for pair in ours if pair[0].startswith("nvidia-cublas")) == sorted(real)
    assert packages.version("nvidia_cublas") == "13.1"
    assert packages.version("nvidia-cublas-extra") == "1.0"
    assert packages.version("nvidia-cublas-missing") is None


def test_installed_packages_agree_on_everything_installed_here():
    packages = InstalledPackages(sys.path)
    names = {d.metadata["Name"] for d in importlib.metadata.distributions()}
    assert names
    assert {n: packages.version(n) for n in names} == {n: importlib.metadata.version(n) for n in names}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = 'a'", "a"),
        ('x: str = "b"  # c', "b"),
        ("x = None", ""),
        ("x = f()", None),
        (" x = 'a'", None),
        ("", None),
    ],
)
def test_text_assignment(tmp_path, text, expected):
    (tmp_path / "m.py").write_text(f"y = 'z'\n{text}\n")
    assert text_assignment(tmp_path / "m.py", "x") == expected


# -- shared libraries


def test_versions_of_real_libraries(tmp_path):
    cublas = cuda_library(tmp_path / "libcublas.so.13", cublas=(13, 1, 2), cudnn=91900)
    assert LoadedLibraries().cublas_version(str(cublas)) == "13.1.2"
    assert LoadedLibraries().cudnn_version(str(cublas)) == 91900
    with pytest.raises(LibraryAbsent, match=r"libno\.so"):
        LoadedLibraries().cublas_version(str(tmp_path / "libno.so"))
    (tmp_path / "libtext.so").write_text("no library")
    with pytest.raises(LibraryAbsent):
        LoadedLibraries().cudnn_version(str(tmp_path / "libtext.so"))


def test_a_library_says_what_it_needs_and_where_it_looks(tmp_path):
    needed = cuda_library(tmp_path / "libcudnn.so.9")
    section = read_dynamic_section(torch_library(tmp_path / "t", needed, rpath="$ORIGIN/a:/b"))
    assert section.needs("libcudnn.so") == "libcudnn.so.9"
    assert section.needs("libcublas.so") is None
    assert (section.rpath, section.runpath) == (("$ORIGIN/a", "/b"), ())
    section = read_dynamic_section(torch_library(tmp_path / "t", needed, runpath="/c"))
    assert (section.rpath, section.runpath) == ((), ("/c",))
    assert read_dynamic_section(needed).soname == "libcudnn.so.9"


def test_no_prefix_of_a_library_is_taken_for_one(tmp_path):
    whole = cuda_library(tmp_path / "libcudnn.so.9").read_bytes()
    cut = tmp_path / "cut.so"
    outcomes = set()
    for size in range(0, len(whole), 97):
        cut.write_bytes(whole[:size])
        try:
            outcomes.add(read_dynamic_section(cut).soname)
        except UnreadableLibrary:
            outcomes.add("refused")
    assert outcomes == {"refused", "libcudnn.so.9"}


@pytest.mark.parametrize(
    ("path_kind", "has_ld_library_path", "expected"),
    [
        ("rpath", True, FoundBy.RPATH),
        ("rpath", False, FoundBy.RPATH),
        ("runpath", True, FoundBy.LD_LIBRARY_PATH),
        ("runpath", False, FoundBy.RUNPATH),
        ("none", True, FoundBy.LD_LIBRARY_PATH),
        ("none", False, FoundBy.LINKER),
    ],
)
def test_the_search_order_is_the_dynamic_linker_s(tmp_path, path_kind, has_ld_library_path, expected):
    own = cuda_library(tmp_path / "own/libcudnn.so.9", cudnn=1)
    cuda_library(tmp_path / "ld/libcudnn.so.9", cudnn=2)
    library = torch_library(
        tmp_path / "torch", own, **({} if path_kind == "none" else {path_kind: "$ORIGIN/../../own"})
    )
    environ = {"LD_LIBRARY_PATH": str(tmp_path / "ld")} if has_ld_library_path else {}
    found = locate("libcudnn.so.9", library, read_dynamic_section(library), environ, [])
    assert found is not None
    assert found.by is expected


# -- the child


def python_program(tmp_path, text):
    path = tmp_path / "python"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


PATH = {"PATH": "/usr/bin:/bin"}
run_child = runner(SystemClock(), threading.Event())


def test_the_child_s_answer_is_found_among_noise(tmp_path):
    program = python_program(
        tmp_path,
        """echo noise; printf 'more AUTOTUNE_METADATA {"metadata":{"gpu":"x"}}\\n'; echo after; echo e >&2""",
    )
    assert ask_flashinfer(program, PATH, 10, run_child) == {"gpu": "x"}


@pytest.mark.parametrize(
    ("text", "reason", "detail"),
    [
        ("echo gone wrong >&2; exit 3", "collector-failed", "code 3; it said: gone wrong"),
        ("echo nothing", "collector-failed", "no answer"),
        ("""echo 'AUTOTUNE_METADATA {"reason":"no-torch","detail":"d"}'""", "no-torch", "d"),
        ("echo 'AUTOTUNE_METADATA {'", "collector-failed", "no JSON"),
        ("echo 'AUTOTUNE_METADATA []'", "collector-failed", "no JSON object"),
        ("""echo 'AUTOTUNE_METADATA {"metadata":{}}'""", "collector-failed", "no metadata"),
        ("""echo 'AUTOTUNE_METADATA {"metadata":{"gpu":1}}'""", "collector-failed", "'gpu' is no text"),
    ],
)
def test_a_child_without_an_answer_has_a_reason(tmp_path, text, reason, detail):
    with pytest.raises(CollectorFailed, match=detail) as failed:
        ask_flashinfer(python_program(tmp_path, text), PATH, 10, run_child)
    assert failed.value.reason == reason


def test_a_python_that_does_not_exist_has_a_reason(tmp_path):
    with pytest.raises(CollectorFailed, match="No such file") as failed:
        ask_flashinfer(str(tmp_path / "python"), PATH, 10, run_child)
    assert failed.value.reason == "collector-failed"


def test_the_deadline_kills_the_child_and_what_it_started(tmp_path):
    program = python_program(tmp_path, f"sleep 60 & echo $! > {tmp_path}/pid; echo started >&2; wait")
    began = time.monotonic()
    with pytest.raises(CollectorFailed, match="it said: started") as failed:
        run_child([program], PATH, 0.5)
    assert failed.value.reason == "collector-timeout"
    assert time.monotonic() - began < 10
    grandchild = (tmp_path / "pid").read_text().strip()
    for _ in range(100):
        state = Path(f"/proc/{grandchild}/stat")
        if not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.02)
    pytest.fail("the grandchild outlived the deadline")


def test_the_program_reports_a_python_without_torch(tmp_path):
    with pytest.raises(CollectorFailed) as failed:
        ask_flashinfer(sys.executable, PATH, 30, run_child)
    assert failed.value.reason == "no-torch"


FAKE_TORCH = "print('noise of torch')\n__version__ = '2'\n"


@pytest.mark.parametrize("layout", ["module", "package"])
def test_the_program_finds_the_collector_of_either_layout_and_keeps_its_stdout_clean(tmp_path, layout):
    site = tmp_path / "site"
    collector = "import os\nos.system('echo noise of C')\ndef _collect_metadata():\n    return {'gpu': 'x'}\n"
    module(site, "torch/__init__.py", FAKE_TORCH)
    module(site, "flashinfer/__init__.py", "")
    if layout == "module":
        module(site, "flashinfer/autotuner.py", collector)
    else:
        module(
            site,
            "flashinfer/autotuner/__init__.py",
            "from flashinfer.autotuner.autotuner import _collect_metadata",
        )
        module(site, "flashinfer/autotuner/autotuner.py", collector)
    seen = []

    def run(argv, environ, deadline_s):
        seen.append(run_child(argv, environ, deadline_s))
        return seen[-1]

    assert ask_flashinfer(sys.executable, {**PATH, "PYTHONPATH": str(site)}, 30, run) == {"gpu": "x"}
    assert "noise" not in seen[0]


@pytest.mark.parametrize(
    ("files", "reason", "detail"),
    [
        ({"torch/__init__.py": FAKE_TORCH}, "no-flashinfer", "No module named 'flashinfer'"),
        ({"torch/__init__.py": "import no_such_dependency"}, "collector-failed", "no_such_dependency"),
        (
            {"torch/__init__.py": FAKE_TORCH, "flashinfer/__init__.py": "", "flashinfer/autotuner.py": "1/0"},
            "collector-failed",
            "ZeroDivisionError",
        ),
        (
            {"torch/__init__.py": FAKE_TORCH, "flashinfer/__init__.py": "", "flashinfer/autotuner.py": ""},
            "collector-failed",
            "_collect_metadata",
        ),
    ],
)
def test_the_program_says_why_it_cannot_ask(tmp_path, files, reason, detail):
    for path, text in files.items():
        module(tmp_path, path, text)
    with pytest.raises(CollectorFailed, match=detail) as failed:
        ask_flashinfer(sys.executable, {**PATH, "PYTHONPATH": str(tmp_path)}, 30, run_child)
    assert failed.value.reason == reason


def test_parse_answer_takes_the_last_marked_line():
    text = 'AUTOTUNE_METADATA {"metadata":{"a":"1"}}\nAUTOTUNE_METADATA {"metadata":{"a":"2"}}\n'
    assert parse_answer(text) == {"a": "2"}


# -- the machine


def test_our_own_python_is_not_asked_for_its_search_path():
    ours = this_machine({"PATH": ""}, None, collector_deadline_s=1, run=lambda *_: pytest.fail("a child ran"))
    assert ours.is_engine_python
    assert ours.packages.search_path == tuple(entry or "." for entry in sys.path)
    named = this_machine(
        {}, sys.executable, collector_deadline_s=1, run=lambda *_: pytest.fail("a child ran")
    )
    assert named.is_engine_python


def test_another_python_tells_its_search_path(tmp_path):
    other = python_program(tmp_path, f'exec "{sys.executable}" "$@"')
    environ = {**PATH, "PYTHONPATH": str(tmp_path / "extra")}
    found = this_machine(environ, other, collector_deadline_s=30, run=run_child)
    assert not found.is_engine_python
    assert str(tmp_path / "extra") in found.packages.search_path
    assert str(tmp_path / "extra") in search_path_of(other, environ, 30, run_child)


def test_a_python_that_does_not_run_is_said(tmp_path):
    with pytest.raises(EnvironmentUnknown) as unknown:
        this_machine(PATH, str(tmp_path / "no-python"), collector_deadline_s=1, run=run_child)
    assert unknown.value.reason == "collector-failed"
