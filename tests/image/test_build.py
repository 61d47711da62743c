"""How the tree and the bill of materials are put together."""

import json
import re
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest
from tests.image.trees import ROOT

from cache_store.version import __version__

sys.path.insert(0, str(ROOT / "image"))

from merge import placed
from pruned import why_pruned
from seal import seal
from share_tree import share


def files(**named):
    return {
        PurePosixPath(path.replace("__", "/").replace("_dot_", ".")): digest for path, digest in named.items()
    }


def test_a_package_that_is_the_same_everywhere_is_stored_once():
    everywhere = {version: files(a__b_dot_py="1") for version in ("3.10", "3.11")}

    assert placed(everywhere) == {"common": {PurePosixPath("a/b.py"): "3.11"}, "cp310": {}, "cp311": {}}


def test_compiled_modules_of_several_pythons_lie_side_by_side():
    one = {PurePosixPath("a/__init__.py"): "same", PurePosixPath("a/_a.cpython-310-x86_64-linux-gnu.so"): "x"}
    two = {PurePosixPath("a/__init__.py"): "same", PurePosixPath("a/_a.cpython-311-x86_64-linux-gnu.so"): "y"}

    assert set(placed({"3.10": one, "3.11": two})["common"]) == set(one) | set(two)


def test_another_release_for_one_python_lies_whole_in_its_own_folder():
    """A package in two pieces could not be imported."""
    old = {PurePosixPath("a/__init__.py"): "old", PurePosixPath("a/same.py"): "same"}
    new = {PurePosixPath("a/__init__.py"): "new", PurePosixPath("a/same.py"): "same"}

    found = placed({"3.10": old, "3.11": new, "3.12": new})

    assert set(found["cp310"]) == set(old)
    assert found["common"] == dict.fromkeys(new, "3.12")
    assert (found["cp311"], found["cp312"]) == ({}, {})


def test_an_abi3_module_that_differs_is_not_shared():
    old = {PurePosixPath("a/_a.abi3.so"): "old"}
    new = {PurePosixPath("a/_a.abi3.so"): "new"}

    found = placed({"3.10": old, "3.11": new})

    assert (set(found["cp310"]), found["common"]) == (set(old), dict.fromkeys(new, "3.11"))


def test_what_one_python_alone_needs_is_not_common():
    found = placed({"3.10": {PurePosixPath("backport.py"): "1"}, "3.11": {}})

    assert (found["common"], set(found["cp310"])) == ({}, {PurePosixPath("backport.py")})


@pytest.mark.parametrize(
    ("path", "stays"),
    [
        ("pydantic/main.py", True),
        ("pydantic/v1/main.py", False),
        ("pydantic-2.14.3.dist-info/METADATA", False),
        ("fsspec/tests/abstract/get.py", False),
        ("botocore/data/s3/2006-03-01/service-2.json.gz", True),
        ("botocore/data/sts/2011-06-15/endpoint-rule-set-1.json.gz", True),
        ("botocore/data/s3control/2018-08-20/service-2.json.gz", False),
        ("botocore/data/ec2/2016-11-15/service-2.json.gz", False),
        ("botocore/data/endpoints.json", True),
        ("obstore/_obstore.abi3.so", True),
        ("pydantic_core/_pydantic_core.cpython-312-x86_64-linux-gnu.so", True),
        ("yaml/_yaml.cpython-312-x86_64-linux-gnu.so", False),
        ("cache_store/testing/contract.py", False),
        ("cache_store/probe.py", True),
    ],
)
def test_what_goes_into_the_tree(path, stays):
    assert (why_pruned(PurePosixPath(path)) is None) == stays


def test_sealing_twice_gives_the_same_digest_and_a_changed_file_another(tmp_path):
    (tmp_path / "lib" / "cp311").mkdir(parents=True)
    (tmp_path / "lib" / "a.py").write_text("1")

    first = seal(tmp_path, version="1", platform="linux/amd64", epoch=0)
    again = seal(tmp_path, version="1", platform="linux/amd64", epoch=0)
    (tmp_path / "lib" / "a.py").write_text("2")

    assert first == again
    assert seal(tmp_path, version="1", platform="linux/amd64", epoch=0) != first
    assert (tmp_path / "lib" / "a.py").stat().st_mtime == 0


def test_the_slim_environment_keeps_what_the_tree_has_not(tmp_path):
    site = tmp_path / "venv" / "lib" / "python3.13" / "site-packages"
    for name in ("pydantic", "click", "pydantic-2.dist-info", "__pycache__"):
        (site / name).mkdir(parents=True)
    (site / "six.py").touch()
    for name in ("cp313", "common/pydantic", "common/__pycache__"):
        (tmp_path / "tree" / "lib" / name).mkdir(parents=True)
    (tmp_path / "tree" / "lib" / "common" / "six.py").touch()

    removed = share(tmp_path / "venv", tmp_path / "tree")

    assert removed == ["pydantic", "six.py"]
    kept = sorted(path.name for path in site.iterdir())
    assert kept == ["__pycache__", "autotune_tree.pth", "click", "pydantic-2.dist-info"]
    assert (site / "autotune_tree.pth").read_text().splitlines() == [
        str(tmp_path / "tree" / "lib" / "cp313"),
        str(tmp_path / "tree" / "lib" / "common"),
    ]


def test_the_bill_of_materials_is_the_same_twice_and_names_what_the_lock_does_not():
    command = [sys.executable, "image/make_sbom.py", "-"]
    first, second = (
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout for _ in range(2)
    )

    document = json.loads(first)
    named = {component["name"] for component in document["components"]}
    assert first == second
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.5")
    assert document["metadata"]["component"]["version"] == __version__
    assert {"pydantic", "obstore", "s3fs", "rich", "musl"} <= named
    assert "pytest" not in named


def test_the_dockerfile_has_the_versions_of_this_checkout():
    text = (ROOT / "Dockerfile").read_text()
    uv = re.search(r"^UV_VERSION := (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)

    assert set(re.findall(r"^ARG VERSION=(\S+)$", text, re.MULTILINE)) == {__version__}
    assert uv is not None
    assert re.findall(r"^ARG UV_VERSION=(\S+)$", text, re.MULTILINE) == [uv[1]]


def test_compiling_for_another_python_than_was_asked_for_fails(tmp_path):
    done = subprocess.run(
        [sys.executable, "image/compile_tree.py", str(tmp_path), "3.9"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 1
    assert "not 3.9: pass another base image" in done.stderr


def test_the_build_context_has_no_secret_places():
    patterns = (Path(ROOT) / ".dockerignore").read_text().splitlines()

    assert "*" in patterns
    assert not [line for line in patterns if line.startswith("!.")]
