"""Our probe against FlashInfer's own collector, both on the same real installation, varied.

Needs no GPU: the collector's `gpu` is left out of the comparison. Interpreters: `make flashinfer-envs`, or the
variables below.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
from pathlib import Path

import pytest
from tests.data.environment_stubs import cuda_library

from autotune_init.collector import ask_flashinfer, runner
from cache_store.clock import SystemClock

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "tests" / "data" / "environment_variants.py"
VERSIONS = {"0.6.18": "AUTOTUNE_TEST_FLASHINFER_0_6_18", "0.7.2": "AUTOTUNE_TEST_FLASHINFER_0_7_2"}

pytestmark = pytest.mark.flashinfer


@pytest.fixture(scope="module", params=VERSIONS)
def python(request):
    variable = VERSIONS[request.param]
    found = os.environ.get(variable) or str(ROOT / ".tools" / f"fi-{request.param}" / "bin" / "python")
    if not Path(found).exists():
        message = f"no FlashInfer {request.param} at {found}: run `make flashinfer-envs` or set {variable}"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return found


@pytest.fixture(scope="module")
def environ(tmp_path_factory):
    """FlashInfer writes a cache and a log below its workspace when it is imported."""
    home = tmp_path_factory.mktemp("workspace")
    kept = {name: os.environ[name] for name in ("PATH",) if name in os.environ}
    return {**kept, "HOME": str(home), "FLASHINFER_WORKSPACE_BASE": str(home), "CUDA_VISIBLE_DEVICES": ""}


def distribution(site, name, version):
    place = site / f"{name.replace('-', '_')}-{version}.dist-info"
    place.mkdir(parents=True)
    (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\n")


def without(path, target, *starts):
    """The search path with each site-packages replaced by a copy of links that lacks what begins with `starts`."""
    mirrored = []
    for number, entry in enumerate(path):
        if "site-packages" not in entry or not os.path.isdir(entry):
            mirrored.append(entry)
            continue
        mirror = target / str(number)
        mirror.mkdir(parents=True)
        for child in os.listdir(entry):
            if not child.startswith(starts):
                (mirror / child).symlink_to(Path(entry, child))
        mirrored.append(str(mirror))
    return mirrored


def variants(path, base):
    """(name, search path, more variables)."""
    frontend = base / "frontend"
    (frontend / "cudnn").mkdir(parents=True)
    (frontend / "cudnn" / "__init__.py").write_text(
        '__version__ = "9.9.9"\n\n\ndef backend_version():\n    return 0\n'
    )
    dsl = base / "dsl"
    distribution(dsl, "nvidia-cutlass-dsl-libs-cu99", "9.9.9")
    distribution(dsl, "NVIDIA-cutlass-dsl", "1.2.3")
    cublas = base / "cublas"
    distribution(cublas, "nvidia-cublas-cu99", "99.8.7.6")
    linked = base / "linked"
    # what /usr/local/cuda/lib64/stubs in LIBRARY_PATH is in NVIDIA's devel images: gcc finds it, the linker does not
    cuda_library(linked / "libcublas.so", cublas=(99, 1, 2), soname="libcublas.so.13")
    no_cublas = without(path, base / "no-cublas", "nvidia_cublas")
    return [
        ("as installed", path, {}),
        ("without cudnn-frontend", without(path, base / "no-frontend", "cudnn", "nvidia_cudnn_frontend"), {}),
        ("another cudnn-frontend", [str(frontend), *path], {}),
        ("without CuTe-DSL", without(path, base / "no-dsl", "nvidia_cutlass_dsl"), {}),
        ("more CuTe-DSL packages", [str(dsl), *path], {}),
        ("a search path entry that comes twice", [*path, *path], {}),
        ("another cuBLAS package", [str(cublas), *path], {}),
        ("without a cuBLAS package", no_cublas, {}),
        ("without a cuBLAS package, but one for gcc", no_cublas, {"LIBRARY_PATH": str(linked)}),
    ]


def look(python, who, cases, environ):
    done = subprocess.run(
        [python, str(PROGRAM), who],
        input=json.dumps([{"name": n, "path": p, "environ": e} for n, p, e in cases]),
        env={**environ, "PYTHONPATH": str(ROOT / "src")} if who == "ours" else environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def search_path(python, environ):
    program = "import json, sys; print(json.dumps([e for e in sys.path if e]))"
    return json.loads(
        subprocess.run([python, "-c", program], env=environ, capture_output=True, check=True).stdout
    )


def test_every_variant_is_seen_as_flashinfer_sees_it(python, environ, tmp_path):
    cases = variants(search_path(python, environ), tmp_path)
    ours, theirs = (look(python, who, cases, environ) for who in ("ours", "flashinfer"))
    assert ours.pop("modules") == []
    for name, _, _ in cases:
        assert ours[name].pop("is_certain"), (name, ours[name])
        assert ours[name].pop("gpu") == "any"
        assert theirs[name].pop("gpu", None) == "unknown", (name, theirs[name])
        assert ours[name] == theirs[name], name
    # the variants really are the environments that they are called after
    assert theirs["without cudnn-frontend"]["cudnn_frontend_version"] == "unknown"
    assert theirs["another cudnn-frontend"]["cudnn_frontend_version"] == "9.9.9"
    if "cutlass_dsl_version" in theirs["as installed"]:
        assert theirs["without CuTe-DSL"]["cutlass_dsl_version"] == "unknown"
        assert "cu99==9.9.9" in theirs["more CuTe-DSL packages"]["cutlass_dsl_version"]
    cublas = {name: found["cublas_version"] for name, found in theirs.items()}
    assert cublas["another cuBLAS package"] == "99.8.7"
    assert cublas["without a cuBLAS package"].startswith("cuda-toolkit-")
    assert cublas["without a cuBLAS package, but one for gcc"] == cublas["as installed"]


def test_the_linker_s_libraries_are_seen_as_flashinfer_sees_them(python, environ, tmp_path):
    """Given LD_LIBRARY_PATH with another cuBLAS and another cuDNN, when FlashInfer is asked through our own child,
    then it takes that cuBLAS but torch's cuDNN, and so do we.
    """
    cuda_library(tmp_path / "libcublas.so", cublas=(99, 1, 2), soname="libcublas.so.99")
    cuda_library(tmp_path / "libcudnn.so.9", cudnn=99999)
    environ = {**environ, "LD_LIBRARY_PATH": str(tmp_path)}
    theirs = ask_flashinfer(python, environ, 100, runner(SystemClock(), threading.Event()))
    ours = look(python, "ours", [("as installed", search_path(python, environ), {})], environ)["as installed"]
    assert theirs["cublas_version"] == "99.1.2"
    assert theirs.pop("gpu") == "unknown"
    assert ours.pop("gpu") == "any"
    assert ours.pop("is_certain")
    assert ours == theirs
