"""Kubernetes before 1.36: where the policy is a beta it works, where it is not served the installer and the owner read so."""

import pytest
from tests.chart.attachment import check_injected, without_server_fields
from tests.chart.chart_tools import CHART, STORE, Api, engine, labelled, pod, read_values, render, tool, until
from tests.chart.varied_pods import varied_pod
from tools.cluster import api_server

BETA = "admissionregistration.k8s.io/v1beta1/MutatingAdmissionPolicy"

TUNERS = ("engine", "flashinfer-ops", "command")


def served(api):
    groups = api.kubectl(
        "api-resources", "--api-group=admissionregistration.k8s.io", "--output=name", "--cached=false"
    )
    return "mutatingadmissionpolicies" in groups


@pytest.fixture(scope="module")
def beta():
    """1.34 with the policy's gate, and a plugin that refuses containers which it has not set to pull always."""
    with api_server(
        emulated_version="1.34",
        feature_gates={"MutatingAdmissionPolicy": True},
        runtime_config={"admissionregistration.k8s.io/v1beta1": True},
        flags=["--enable-admission-plugins=AlwaysPullImages"],
    ) as server:
        api = Api(server)
        yield api
        api.close()


def test_on_1_34_with_its_gate_the_beta_is_used(beta):
    assert served(beta)
    values = read_values(CHART / "ci" / "everything-values.yaml")
    policy = [one for one in render(values, apis=(BETA,)) if one["kind"].startswith("Mutating")]
    assert [one["apiVersion"] for one in policy] == [BETA.rpartition("/")[0]] * 2
    namespace = beta.attached(values, apis=(BETA,))
    attached = 0
    for seed in range(60):
        given = varied_pod(seed)
        was = beta.pod(given, namespace)
        if not was.is_admitted:
            continue
        now = beta.pod(labelled(given), namespace)
        assert now.is_admitted, (seed, now.made)
        assert now.told, seed
        if now.told == "injected":
            attached += 1
            tuner = given["metadata"].get("annotations", {}).get("autotune-cache.dev/tuner")
            check_injected(without_server_fields(was.made), now.made, keeps_devices=tuner in TUNERS)
    assert attached > 10


def test_a_cluster_that_always_pulls_images_takes_ours_too(beta):
    # the plugin sets the policy before ours adds a container, and refuses afterwards what has not got it
    namespace = beta.attached(apis=(BETA,))
    given = pod("p", engine(), initContainers=[{"name": "i", "image": "x"}])
    answer = beta.pod(labelled(given), namespace)
    assert answer.is_admitted, answer.made
    assert answer.told == "injected"
    assert [one["imagePullPolicy"] for one in answer.made["spec"]["initContainers"]] == ["Always"] * 3


@pytest.mark.parametrize("version", ["1.35", "1.33"])
def test_where_the_policy_is_not_served_it_is_left_out_and_told(version):
    with api_server(emulated_version=version) as server:
        api = Api(server)
        assert not served(api)
        done = tool(
            "helm",
            "install",
            "atc",
            CHART,
            "--namespace",
            "default",
            "-f",
            CHART / "ci" / "default-values.yaml",
            env=server.environ,
        )
        assert done.returncode == 0, done.stderr
        assert "NOT INSTALLED: this cluster" in done.stdout
        assert "docs/attach-overlays.md" in done.stdout
        manifest = tool("helm", "get", "manifest", "atc", "--namespace", "default", env=server.environ).stdout
        assert "MutatingAdmissionPolicy\n" not in manifest
        namespace = api.namespace()
        answer = until(
            lambda: api.pod(labelled(pod("p", engine())), namespace), lambda answer: answer.warnings
        )
        assert answer.is_admitted
        assert "initContainers" not in answer.made["spec"]
        assert "the label does nothing on this cluster" in answer.warnings[0]
        api.close()


def test_a_cluster_that_is_too_old_for_any_of_it_is_refused_with_its_version():
    done = tool(
        "helm",
        "template",
        "atc",
        CHART,
        "--set",
        f"store.url={STORE['store']['url']}",
        "--kube-version",
        "1.29.0",
    )
    assert done.returncode != 0
    assert "chart requires kubeVersion: >=1.30.0-0" in done.stderr


def test_on_1_30_it_installs_and_warns():
    made = render(STORE, apis=(), more=("--kube-version", "1.30.0"))
    kinds = {one["kind"] for one in made}
    assert kinds == {"ServiceAccount", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "Pod"}
