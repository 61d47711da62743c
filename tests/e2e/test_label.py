"""One helm install and one label: the pod's engine finds its tuned kernels."""

import hashlib
import json

import pytest
from tests.e2e.engine_images import RECORDING
from tests.e2e.fleet import (
    INIT,
    PROGRAM,
    STATUS,
    add_secret,
    deployment,
    engine,
    pod_spec,
    pods_of,
    report_of,
    reports_of,
    told_by_engine,
)

RANK = "rank_tp0_pp0_dp0.json"


@pytest.fixture
def fleet(install, restricted, minio):
    """The chart with this test's bucket, and a restricted namespace that holds its credentials."""
    install(minio)
    add_secret(restricted, minio)
    return restricted


def test_three_replicas_when_nothing_is_there_then_one_tunes_and_all_engines_find_the_same_files(
    fleet, engine_image
):
    fleet.apply(deployment("qwen3", pod_spec(engine(engine_image)), replicas=3))

    fleet.wait_rolled_out("qwen3", within_s=120)

    reports = reports_of(fleet, "qwen3")
    outcomes = sorted(report["outcome"] for report in reports)
    assert outcomes.count("tuned") == 1, reports
    assert set(outcomes) <= {"tuned", "waited", "hit"}
    assert len({report["key"] for report in reports}) == 1
    for pod in pods_of(fleet, "qwen3"):
        assert pod["metadata"]["annotations"][STATUS] == "injected"
        found = told_by_engine(fleet, pod["metadata"]["name"])
        (path,) = found["files"]
        assert path.endswith(f"/{reports[0]['key']}/{RANK}")
        assert found["files"][path]["sha256"] == hashlib.sha256(RECORDING.read_bytes()).hexdigest()
        assert found["files"][path]["can_replace"], found
        assert (found["uid"], found["python"][:4]) == (2000, "3.11")


def test_a_rollout_when_the_bundle_is_there_then_every_new_pod_hits_with_one_request(fleet, engine_image):
    fleet.apply(deployment("qwen3", pod_spec(engine(engine_image))))
    fleet.wait_rolled_out("qwen3", within_s=120)

    fleet.run("rollout", "restart", "deployment/qwen3")
    fleet.run("scale", "deployment/qwen3", "--replicas=3")
    fleet.run("rollout", "status", "deployment/qwen3", "--timeout=90s", within_s=100)
    fleet.wait_rolled_out("qwen3")

    reports = reports_of(fleet, "qwen3")
    assert [(report["outcome"], report["reason"], report["requests"]) for report in reports] == [
        ("hit", "found", 1)
    ] * 3
    assert all(report["saved_s"] >= 5 for report in reports)


def test_the_engine_as_the_second_container_when_it_is_named_by_annotation_then_it_is_the_one(
    fleet, engine_image
):
    proxy = {
        **engine(engine_image),
        "name": "proxy",
        "command": ["python3", "-c", "import time; time.sleep(3600)"],
        "args": [],
    }
    del proxy["readinessProbe"]
    spec = pod_spec(proxy, engine(engine_image))

    fleet.apply(deployment("two", spec, annotations={"autotune-cache.dev/container": "engine"}))
    fleet.wait_rolled_out("two", within_s=120)

    (pod,) = pods_of(fleet, "two")
    assert [each["name"] for each in pod["spec"]["initContainers"]] == [PROGRAM, INIT]
    assert told_by_engine(fleet, pod["metadata"]["name"])["files"]
    assert "volumeMounts" not in pod["spec"]["containers"][0] or not [
        mount
        for mount in pod["spec"]["containers"][0]["volumeMounts"]
        if mount["name"].startswith("autotune")
    ]


def test_an_owners_init_container_when_it_brings_the_model_then_ours_runs_after_it(fleet, engine_image):
    bring = {
        "name": "download-model",
        "image": engine_image,
        "imagePullPolicy": "Never",
        "command": ["python3", "-c", "import shutil; shutil.copytree('/models/qwen3', '/late/qwen3')"],
        "volumeMounts": [{"name": "late", "mountPath": "/late"}],
        "securityContext": engine(engine_image)["securityContext"],
    }
    late = engine(engine_image, volumeMounts=[{"name": "late", "mountPath": "/late"}])
    late["args"] = [word.replace("/models/", "/late/") for word in late["args"]]
    spec = pod_spec(late, initContainers=[bring], volumes=[{"name": "late", "emptyDir": {}}])

    fleet.apply(deployment("late", spec))
    fleet.wait_rolled_out("late", within_s=120)

    (pod,) = pods_of(fleet, "late")
    names = [each["name"] for each in pod["spec"]["initContainers"]]
    assert names.index("download-model") < names.index(INIT) == len(names) - 1
    assert reports_of(fleet, "late")[0]["outcome"] == "tuned"


def test_a_pod_without_the_label_is_what_it_was_without_the_chart(namespace, install, minio, engine_image):
    before = create_and_read(namespace, engine_image)

    install(minio)

    assert create_and_read(namespace, engine_image) == before


def create_and_read(namespace, engine_image):
    """The spec as the API server has it, in bytes."""
    name = "plain"
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": pod_spec(engine(engine_image)),
    }
    namespace.apply(body)
    spec = namespace.get("pod", name)["spec"]
    namespace.delete_pod(name)
    # the volume of the service account's token has a random name, and the scheduler may have written the node's
    text = json.dumps({key: value for key, value in spec.items() if key != "nodeName"}, sort_keys=True)
    for volume in spec["volumes"]:
        if volume["name"].startswith("kube-api-access-"):
            text = text.replace(volume["name"], "kube-api-access")
    return text.encode()


def test_the_program_from_an_image_volume_when_the_cluster_can_mount_one_then_nothing_is_copied(
    install, restricted, minio, engine_image
):
    install(minio, program={"source": "imageVolume"})
    add_secret(restricted, minio)

    restricted.apply(deployment("mounted", pod_spec(engine(engine_image))))
    restricted.wait_rolled_out("mounted", within_s=120)

    (pod,) = pods_of(restricted, "mounted")
    assert [each["name"] for each in pod["spec"]["initContainers"]] == [INIT]
    assert report_of(pod)["outcome"] == "tuned"
    assert told_by_engine(restricted, pod["metadata"]["name"])["files"]


def test_an_event_when_it_is_wanted_then_describe_pod_shows_the_outcome(
    install, restricted, minio, engine_image
):
    accounts = [{"namespace": restricted.namespace, "name": "default"}]
    install(minio, event={"enabled": True, "serviceAccounts": accounts})
    add_secret(restricted, minio)

    restricted.apply(deployment("told", pod_spec(engine(engine_image))))
    restricted.wait_rolled_out("told", within_s=120)

    (pod,) = pods_of(restricted, "told")
    described = restricted.run("describe", "pod", pod["metadata"]["name"])
    assert "AutotuneTuned" in described
    assert "published" in described
