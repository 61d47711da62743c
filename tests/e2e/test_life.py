"""What happens to attached pods later: volumes that outlive them, reboots, Jobs that tune for them, an uninstall."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.e2e.engine_images import FACTS
from tests.e2e.fleet import (
    ENGINE_ARGS,
    INIT,
    OPERATORS,
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

from cache_store.objects.open_url import open_store


def test_pods_on_one_volume_when_the_first_has_tuned_then_the_rest_ask_only_whether_it_was_quarantined(
    install, restricted, minio, engine_image, claim
):
    install(minio, cache={"existingClaim": claim})
    add_secret(restricted, minio)

    restricted.apply(deployment("first", pod_spec(engine(engine_image))))
    restricted.wait_rolled_out("first", within_s=120)
    restricted.apply(deployment("second", pod_spec(engine(engine_image))))
    restricted.wait_rolled_out("second")

    (first,), (second,) = reports_of(restricted, "first"), reports_of(restricted, "second")
    assert (first["outcome"], second["outcome"], second["requests"]) == ("tuned", "local", 1)
    (pod,) = pods_of(restricted, "second")
    assert told_by_engine(restricted, pod["metadata"]["name"])["files"]

    quarantine_all(minio)
    restricted.apply(deployment("third", pod_spec(engine(engine_image))))
    restricted.wait_rolled_out("third")

    (third,) = reports_of(restricted, "third")
    assert (third["outcome"], third["reason"]) == ("cold", "quarantined")
    (pod,) = pods_of(restricted, "third")
    files = told_by_engine(restricted, pod["metadata"]["name"])["files"]
    assert [Path(name).suffix for name in files] == [".aside"], "kept for people; no engine reads it"


def quarantine_all(bucket):
    """As ops do it, from a machine beside the cluster."""
    command = [sys.executable, "-m", "cache_store.cli", "--store", bucket.url]
    environ = {**os.environ, **bucket.settings}
    listed = subprocess.run(
        [*command, "ls", "--json"], env=environ, capture_output=True, timeout=60, check=True
    )
    for row in json.loads(listed.stdout)["bundles"]:
        words = ["quarantine", row["address"], "--reason", "e2e", "--yes"]
        subprocess.run([*command, *words], env=environ, capture_output=True, timeout=60, check=True)


def test_a_node_reboot_when_the_pod_comes_back_then_its_init_container_finds_everything_there(
    install, restricted, minio, engine_image, cluster
):
    install(minio)
    add_secret(restricted, minio)
    restricted.apply(deployment("qwen3", pod_spec(engine(engine_image))))
    restricted.wait_rolled_out("qwen3", within_s=120)
    (before,) = pods_of(restricted, "qwen3")
    ended = {each["name"]: each["containerID"] for each in before["status"]["initContainerStatuses"]}

    cluster.reboot_node()

    name = before["metadata"]["name"]

    def is_back(pod):
        found = {each["name"]: each for each in pod["status"].get("initContainerStatuses", [])}
        return (
            found[INIT].get("containerID") not in (None, ended[INIT]) and "terminated" in found[INIT]["state"]
        )

    restricted.wait("pod", name, is_back, within_s=120, what="run again")
    restricted.wait_ready(name, within_s=60)
    (after,) = pods_of(restricted, "qwen3")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    report = report_of(after)
    assert (report["outcome"], report["requests"]) == ("local", 0), report


def test_a_prewarm_job_when_it_has_tuned_then_pods_without_a_gpu_in_their_init_container_hit(
    install, restricted, kubectl, minio, engine_image, gpus
):
    gpus(1)
    operators = kubectl.within(OPERATORS)
    kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": OPERATORS}})
    add_secret(operators, minio)
    job = {
        "name": "h100",
        "image": engine_image,
        "imagePullPolicy": "Never",
        "command": ["python3", "-m", "sglang.launch_server"],
        "args": ENGINE_ARGS,
        "gpus": 1,
        "tuner": "command",
        # there is no GPU to ask
        "env": [{"name": "AUTOTUNE_FACTS", "value": json.dumps(FACTS)}],
    }
    install(minio, tuning={"mode": "job"}, prewarm=[job])
    (made,) = operators.items("jobs", "app.kubernetes.io/component=prewarm")
    operators.wait(
        "job", made["metadata"]["name"], lambda found: found["status"].get("succeeded"), within_s=90
    )
    add_secret(restricted, minio)

    limits = {"limits": {"nvidia.com/gpu": "1"}}
    restricted.apply(deployment("qwen3", pod_spec(engine(engine_image, resources=limits))))
    restricted.wait_rolled_out("qwen3", within_s=90)

    (pod,) = pods_of(restricted, "qwen3")
    (init,) = [each for each in pod["spec"]["initContainers"] if each["name"] == INIT]
    report = report_of(pod)
    assert "nvidia.com/gpu" not in json.dumps(init.get("resources", {}))
    assert {"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"} in init["env"]
    assert (report["outcome"], report["reason"], report["requests"]) == ("hit", "found", 1)
    assert told_by_engine(restricted, pod["metadata"]["name"])["files"]


def test_an_uninstall_when_pods_run_then_they_run_on_and_nothing_is_left(
    install, restricted, kubectl, minio, engine_image
):
    release = install(minio)
    add_secret(restricted, minio)
    restricted.apply(deployment("qwen3", pod_spec(engine(engine_image))))
    restricted.wait_rolled_out("qwen3", within_s=120)
    (before,) = pods_of(restricted, "qwen3")

    release.uninstall()
    release.wait_until_forgotten()

    kinds = kubectl.run("api-resources", "--verbs=list", "-o", "name").split()
    ours = kubectl.run(
        "get", ",".join(kinds), "-A", "-o", "name", "-l", f"app.kubernetes.io/instance={release.name}"
    )
    assert ours == ""
    (after,) = pods_of(restricted, "qwen3")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["spec"] == before["spec"]
    assert after["status"]["containerStatuses"][0]["restartCount"] == 0
    restricted.apply(deployment("later", pod_spec(engine(engine_image))))
    restricted.wait_rolled_out("later")
    (later,) = pods_of(restricted, "later")
    assert "initContainers" not in later["spec"]
    assert STATUS not in later["metadata"].get("annotations", {})


def test_an_upgrade_when_the_store_moves_then_new_pods_use_the_new_one(
    install, restricted, minio, engine_image
):
    release = install(minio)
    add_secret(restricted, minio)
    release.values["store"]["url"] = f"s3://{minio.name}/moved"

    release.install()
    restricted.apply(deployment("qwen3", pod_spec(engine(engine_image))))
    restricted.wait_rolled_out("qwen3", within_s=120)

    store = open_store(f"s3://{minio.name}", environ=minio.settings)
    keys = [found.key for found in store.list("")]
    store.close()
    assert keys
    assert all(key.startswith("moved/") for key in keys)


@pytest.fixture
def claim(restricted, cluster):
    """A claim on a directory of the node, which any pod there may mount."""
    name = f"shared-{restricted.namespace}"
    folder = cluster.layout.run / name
    folder.mkdir()
    folder.chmod(0o777)
    size = {"storage": "64Mi"}
    restricted.apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": name},
            "spec": {
                "capacity": size,
                "accessModes": ["ReadWriteMany"],
                "hostPath": {"path": str(folder)},
                "storageClassName": "",
                "claimRef": {"name": "shared", "namespace": restricted.namespace},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "shared"},
            "spec": {
                "accessModes": ["ReadWriteMany"],
                "resources": {"requests": size},
                "storageClassName": "",
                "volumeName": name,
            },
        },
    )
    yield "shared"
    restricted.run("delete", "persistentvolume", name, "--wait=false")
