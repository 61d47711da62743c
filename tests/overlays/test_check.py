"""examples/overlays/check.py finds what an owner may have left behind when the chart changed."""

import copy
import subprocess
import sys

import pytest
import yaml
from examples.overlays import check
from tests.overlays.rendering import OVERLAYS, read


@pytest.fixture
def spec():
    return copy.deepcopy(read(OVERLAYS / "deployment/deployment.yaml")[0]["spec"]["template"]["spec"])


def test_all_is_well(spec):
    assert check.problems(spec) == []


def test_another_flag(spec):
    spec["containers"][0]["command"] = [*spec["containers"][0]["command"], "--dtype", "half"]
    (problem,) = check.problems(spec)
    assert problem.startswith("command line: ")
    assert problem.endswith("'--dtype', 'half']")


def test_no_dashes(spec):
    spec["initContainers"][-1]["command"] = ["/opt/autotune/start", "run"]
    assert check.problems(spec)[0].startswith("command line: autotune-init has None")


def test_another_image(spec):
    spec["containers"][0]["image"] = "lmsysorg/sglang:v0.5.24"
    (problem,) = check.problems(spec)
    assert problem.startswith("image: ")


def test_another_user(spec):
    spec["containers"][0]["securityContext"] = {"runAsUser": 2000}
    problems = check.problems(spec)
    assert [problem.split(" has ")[0] for problem in problems] == [
        "securityContext: autotune-program",
        "securityContext: autotune-init",
    ]


def test_a_stricter_root_file_system_is_fine(spec):
    context = spec["initContainers"][0]["securityContext"]
    spec["initContainers"][0]["securityContext"] = {**context, "readOnlyRootFilesystem": True}
    assert check.problems(spec) == []


def test_another_variable(spec):
    spec["containers"][0]["env"] = [*spec["containers"][0]["env"], {"name": "SGLANG_X", "value": "1"}]
    assert check.problems(spec) == ["variable SGLANG_X: autotune-init has none, engine has '1'"]


def test_the_engine_looks_elsewhere(spec):
    for container in (spec["containers"][0], spec["initContainers"][-1]):
        container["env"] = [{"name": "SGLANG_CACHE_DIR", "value": "/root/.cache"}]
    assert check.problems(spec) == ["/root/.cache is not below /autotune-cache"]


def test_the_engine_has_no_variable(spec):
    spec["containers"][0]["env"] = []
    (problem,) = check.problems(spec)
    assert problem.startswith("engine has none of SGLANG_CACHE_DIR")


def test_the_model_is_not_mounted(spec):
    mounts = spec["initContainers"][-1]["volumeMounts"]
    spec["initContainers"][-1]["volumeMounts"] = [one for one in mounts if one["name"] != "models"]
    assert check.problems(spec) == ["volume models (/models) is not mounted by autotune-init"]


def test_the_cache_is_mounted_elsewhere(spec):
    mount = next(one for one in spec["initContainers"][-1]["volumeMounts"] if one["name"] == "autotune-cache")
    mount["mountPath"] = "/cache"
    assert check.problems(spec) == ["volume autotune-cache: at /cache here, at /autotune-cache there"]


def test_a_download_behind_us(spec):
    spec["initContainers"].append({"name": "storage-initializer"})
    (problem,) = check.problems(spec)
    assert problem.startswith("order: storage-initializer after autotune-init")


def test_the_program_behind_us(spec):
    spec["initContainers"].reverse()
    assert check.problems(spec) == ["order: autotune-program comes after autotune-init"]


def test_nobody_brings_the_program(spec):
    del spec["initContainers"][0]
    assert check.problems(spec) == ["nothing fills the volume autotune-program"]


def test_the_program_lies_in_the_image(spec):
    """The form for charts with room for one init container: an image FROM the engine's, with our tree inside."""
    del spec["initContainers"][0]
    init = spec["initContainers"][0]
    init["volumeMounts"] = [one for one in init["volumeMounts"] if one["name"] != "autotune-program"]
    spec["volumes"] = [one for one in spec["volumes"] if one["name"] != "autotune-program"]
    assert check.problems(spec) == []


def test_no_engine(spec):
    spec["containers"][0]["volumeMounts"] = []
    assert check.problems(spec) == ["no container, or more than one, mounts the volume autotune-cache"]


def checked(text):
    return subprocess.run(
        [sys.executable, str(OVERLAYS / "check.py")],
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_exit_codes():
    good = (OVERLAYS / "deployment/deployment.yaml").read_text()
    assert checked(good).returncode == 0
    document = yaml.safe_load(good)
    document["spec"]["template"]["spec"]["containers"][0]["image"] = "other"
    wrong = checked(yaml.safe_dump(document))
    assert wrong.returncode == 1
    assert wrong.stdout.startswith("Deployment/qwen3 spec/template/spec: image: ")
    nothing = checked("kind: Service\n")
    assert (nothing.returncode, nothing.stderr) == (2, "no pod template has a container autotune-init\n")
