"""The pages' lines for a cluster, as a reader would copy them, on a real API server; the real ones of whole clusters are in
tests/e2e. Which lines: tests/docs/line_classes.py."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.docs.all_lines import of, words_of
from tests.kube import manifests as m
from tests.kube.terminal import wants
from tests.pods import ROOT
from tools.cluster.layout import BIN

LINES = of("api server")
FLEET = [one for one in LINES if one.values[0].text.startswith("autotune-init fleet")]
NAMES = [one for one in LINES if len(words_of(one.values[0])) == 2 or "describe" in one.values[0].text]
REST = [one for one in LINES if one not in FLEET and one not in NAMES]


@pytest.fixture
def types(api, namespace, tmp_path, s3):
    """Runs a line with this namespace and this bucket where the page has somebody's."""
    kubeconfig = api.kubeconfig(tmp_path / "kubeconfig", api.server.token, namespace)
    programs = f"{Path(sys.executable).parent}:{BIN}:{os.environ['PATH']}"
    environ = {**api.server.environ, **s3.environ, "KUBECONFIG": str(kubeconfig), "PATH": programs}
    environ |= {"AUTOTUNE_STORE": s3.url, "HELM_CACHE_HOME": str(tmp_path), "HELM_CONFIG_HOME": str(tmp_path)}

    def types(line):
        for theirs, own in {
            "--namespace models": f"--namespace {namespace}",
            "--namespace NS": f"--namespace {namespace}",
            "autotune-system": f"{namespace}-system",
            "s3://models/autotune": s3.url,
        }.items():
            line = line.replace(theirs, own)
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", line],
            cwd=ROOT, env=environ, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    return types


@pytest.mark.parametrize("told", FLEET)
def test_a_line_for_the_fleet_finds_the_workload(types, api, models, namespace, told):
    labels = {"nvidia.com/gpu.product": m.PRODUCT}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": f"gpu-{namespace}", "labels": labels}}
    api.create(node)
    models.serve("cold", wants("miss"), node=f"gpu-{namespace}")

    done = types(told.text)

    assert (done.returncode, done.stderr) == (0, "")
    if "--apply" in told.text:
        assert f"job/{namespace}/" in done.stdout
    elif "prewarm" in told.text:
        assert "kind: Job" in done.stdout
    else:
        assert f"  {namespace}/cold " in done.stdout


@pytest.mark.parametrize("told", NAMES)
def test_a_command_that_is_named_is_one_of_that_program(types, told):
    done = types(f"{told.text} --help")

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("told", REST)
def test_a_line_that_changes_the_cluster_changes_it(types, api, namespace, told):
    api.create(m.deployment("qwen3", namespace, 1))
    try:
        done = types(told.text)

        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        if told.text.startswith("helm"):
            assert "mutatingadmissionpolicy" in api.kubectl(
                "get", "mutatingadmissionpolicies", "--output", "name"
            )
        else:
            path = f"/apis/apps/v1/namespaces/{namespace}/deployments/qwen3"
            labels = api.request("GET", path)["spec"]["template"]["metadata"]["labels"]
            assert labels["autotune-cache.dev/inject"] == "true"
    finally:
        types("helm uninstall autotune-cache --namespace autotune-system --ignore-not-found")


def test_all_kinds_of_lines_are_there():
    assert [bool(some) for some in (FLEET, NAMES, REST)] == [True] * 3
    assert shutil.which("helm", path=str(BIN)), "run `make servers`"
