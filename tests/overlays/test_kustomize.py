"""The kustomize components with pods that the projects' examples do not have."""

import pytest
import yaml
from tests.overlays.rendering import charts, kustomized, read

EDITS = {"my-engine": "mine", "my-container": "server"}
SECURITY = {"runAsUser": 1000, "runAsNonRoot": True}


def deployment(**container):
    engine = {
        "name": "server",
        "image": "vllm/vllm-openai:v0.33.0",
        "resources": {"limits": {"nvidia.com/gpu": 1}},
        "securityContext": SECURITY,
        **container,
    }
    pod = {
        "initContainers": [{"name": "download", "image": "downloader"}],
        "containers": [engine, {"name": "sidecar", "image": "sidecar"}],
    }
    template = {"metadata": {"labels": {"app": "mine"}}, "spec": pod}
    spec = {"selector": {"matchLabels": {"app": "mine"}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "mine"}, "spec": spec}


def pod_of(rendered):
    return rendered[0]["spec"]["template"]["spec"]


def test_the_owners_download_comes_before_us(tmp_path):
    base = [deployment(command=["vllm"], args=["serve", "m"])]
    names = [
        one["name"] for one in pod_of(kustomized(base, "kustomize", [EDITS], tmp_path))["initContainers"]
    ]
    assert names == ["autotune-program", "download", "autotune-init"]


def test_an_engine_that_the_images_entrypoint_starts(tmp_path):
    base = [deployment(args=["--model", "m"])]
    pod = pod_of(kustomized(base, "kustomize", [EDITS], tmp_path, lacks=("command",)))
    init = pod["initContainers"][-1]
    assert init["command"] == ["/opt/autotune/start", "run", "--"]
    assert init["args"] == ["--model", "m"]


def test_our_user_is_the_engines(tmp_path):
    base = [deployment(command=["vllm", "serve", "m"])]
    pod = pod_of(kustomized(base, "kustomize", [EDITS], tmp_path, lacks=("args",)))
    ours = [one for one in pod["initContainers"] if one["name"] != "download"]
    assert [one["securityContext"] for one in ours] == [SECURITY, SECURITY]


def test_the_sidecar_and_what_the_owner_set_stay(tmp_path):
    mounts = [{"name": "models", "mountPath": "/models"}]
    base = [deployment(command=["a"], env=[{"name": "X", "value": "1"}], volumeMounts=mounts)]
    pod = pod_of(kustomized(base, "kustomize", [EDITS], tmp_path, lacks=("args",)))
    assert pod["containers"][1] == {"name": "sidecar", "image": "sidecar"}
    engine, init = pod["containers"][0], pod["initContainers"][-1]
    assert {"name": "X", "value": "1"} in engine["env"]
    assert init["env"] == engine["env"]
    assert mounts[0] in engine["volumeMounts"]
    assert mounts[0] in init["volumeMounts"]


def refused(base, overlay, edits, folder):
    """What kustomize says; `kustomized` fails on its exit status."""
    with pytest.raises(AssertionError) as error:
        kustomized(base, overlay, edits, folder)
    return str(error.value)


def test_what_the_container_lacks_is_an_error_that_names_it(tmp_path):
    said = refused([deployment(command=["a"])], "kustomize", [EDITS], tmp_path)
    assert "spec.template.spec.containers.0.args` is missing for replacement source" in said


def test_init_containers_of_a_custom_resource_are_not_overwritten(tmp_path):
    base = [read(charts("rbg") / "examples/inference/pd-disagg-standalone.yaml")[0]]
    pod = base[0]["spec"]["roles"][1]["standalonePattern"]["template"]["spec"]
    pod["initContainers"] = [{"name": "download", "image": "downloader"}]
    edits = {"my-group": "sglang-pd-inference", "roles/0": "roles/1", "roles.0": "roles.1"}
    said = refused(base, "rbg", [edits], tmp_path)
    assert "testing value /spec/roles/1/standalonePattern/template/spec/initContainers failed" in said


def test_another_deployment_of_the_same_file_is_left_alone(tmp_path):
    other = deployment(command=["b"])
    other["metadata"]["name"] = "other"
    rendered = kustomized([deployment(command=["a"], args=["x"]), other], "kustomize", [EDITS], tmp_path)
    assert yaml.safe_dump(
        next(one for one in rendered if one["metadata"]["name"] == "other")
    ) == yaml.safe_dump(other)
