"""Replicas of several pods under the real LeaderWorkerSet controller: together warm, or together cold."""

import hashlib
import json
import time

import pytest
from tests.e2e.engine_images import RECORDING
from tests.e2e.fleet import (
    LABEL,
    add_secret,
    engine,
    pod_spec,
    report_of,
    told_by_engine,
    until,
)
from tools.cluster import lws

WARM = {"hit", "waited", "tuned", "local"}
SIZE = 2


@pytest.fixture(scope="session")
def controller(cluster):
    lws.start(cluster)


@pytest.fixture
def groups(controller, install, restricted, minio, kubectl):
    """A namespace whose LeaderWorkerSets are seen to, with the chart and the store's credentials."""
    install(minio, tuning={"groupWaitSeconds": 40})
    kubectl.run("label", "namespace", restricted.namespace, f"{lws.LABEL}=true")
    add_secret(restricted, minio)
    yield restricted
    # the sets first: their controller would make the pods again, and forgets them only while it looks
    restricted.run("delete", "leaderworkersets", "--all", "--timeout=60s", within_s=70)


def leader_worker_set(image, *, replicas, size=SIZE):
    container = engine(image)
    args = [word for word in container["args"] if word != "1"]
    # as the engines' own examples spell it: the controller's variables, expanded by the kubelet
    container["args"] = [
        *args, str(size),
        "--nnodes", "$(LWS_GROUP_SIZE)", "--node-rank", "$(LWS_WORKER_INDEX)",
        "--dist-init-addr", "$(LWS_LEADER_ADDRESS):20000",
    ]  # fmt: skip
    template = {"metadata": {"labels": LABEL}, "spec": pod_spec(container)}
    return {
        "apiVersion": "leaderworkerset.x-k8s.io/v1",
        "kind": "LeaderWorkerSet",
        "metadata": {"name": "big"},
        "spec": {
            "replicas": replicas,
            "leaderWorkerTemplate": {"size": size, "leaderTemplate": template, "workerTemplate": template},
        },
    }


def pods_of(inside):
    found = inside.items("pods", "leaderworkerset.sigs.k8s.io/name=big")
    return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


def label_of(pod, name):
    return pod["metadata"]["labels"][f"leaderworkerset.sigs.k8s.io/{name}"]


def wait_ready(inside, count, within_s=150):
    limit = time.monotonic() + within_s
    while True:
        pods = pods_of(inside)
        ready = [pod for pod in pods if is_ready(pod)]
        if len(ready) == len(pods) == count:
            return sorted(pods, key=lambda pod: pod["metadata"]["name"])
        if time.monotonic() > limit:
            inside.run("get", "pods", "-o", "wide")
            raise AssertionError(f"{len(ready)} of {count} ready: {[pod['status'] for pod in pods]}"[:6000])
        time.sleep(0.5)


def is_ready(pod):
    return any(
        one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions", [])
    )


def found_by(inside, pod):
    """The engine's own word: rank file -> digest."""
    told = told_by_engine(inside, pod["metadata"]["name"])["files"]
    return {
        path.rpartition("/")[2]: one["sha256"]
        for path, one in told.items()
        if path.rpartition("/")[2].startswith("rank_")
    }


def endings(pods):
    return {pod["metadata"]["name"]: report_of(pod)["outcome"] for pod in pods}


def test_three_groups_at_once_then_one_tunes_and_every_pod_has_its_own_ranks_file(groups, engine_image):
    groups.apply(leader_worker_set(engine_image, replicas=3))

    pods = wait_ready(groups, 3 * SIZE)

    reports = [report_of(pod) for pod in pods]
    outcomes = [report["outcome"] for report in reports]
    assert outcomes.count("tuned") == 1, reports
    assert set(outcomes) <= WARM, reports
    assert len({report["nonce"] for report in reports}) == 1
    digest = hashlib.sha256(RECORDING.read_bytes()).hexdigest()
    for pod in pods:
        rank = label_of(pod, "worker-index")
        assert found_by(groups, pod) == {f"rank_tp{rank}_pp0_dp0.json": digest}
    assert sum(
        status.get("restartCount", 0) for pod in pods for status in pod["status"]["initContainerStatuses"]
    ) == 0  # fmt: skip


def test_a_group_that_is_made_anew_when_its_worker_dies_then_hits_together(groups, engine_image):
    groups.apply(leader_worker_set(engine_image, replicas=1))
    before = {pod["metadata"]["uid"] for pod in wait_ready(groups, SIZE)}

    groups.delete_pod("big-0-1")
    until(
        lambda: not before & {pod["metadata"]["uid"] for pod in pods_of(groups)},
        "the controller makes the whole group anew",
    )
    pods = wait_ready(groups, SIZE)

    assert set(endings(pods).values()) == {"hit"}


@pytest.mark.parametrize("victim", ["big-0", "big-0-1"], ids=["leader", "worker"])
def test_a_pod_killed_while_its_group_tunes_then_the_claim_passes_on_and_every_group_is_one(
    groups, install, minio, engine_image, victim
):
    slow = "sh -c 'sleep 15; exec python3 /opt/engine/replay_tuner.py /opt/engine/recording.json'"
    install(minio, tuning={"groupWaitSeconds": 40, "tunerCommand": slow})
    groups.apply(leader_worker_set(engine_image, replicas=2))
    until(lambda: "this pod tunes" in init_log(groups, "big-0") + init_log(groups, "big-1"), "a group tunes")
    tuning = "big-0" if "this pod tunes" in init_log(groups, "big-0") else "big-1"

    groups.delete_pod(victim.replace("big-0", tuning))
    pods = wait_ready(groups, 2 * SIZE, within_s=240)

    for number in ("0", "1"):
        group = [pod for pod in pods if label_of(pod, "group-index") == number]
        warm = {report_of(pod)["outcome"] in WARM for pod in group}
        assert len(group) == SIZE
        assert len(warm) == 1, json.dumps([report_of(pod) for pod in group], indent=1)
        assert len({bool(found_by(groups, pod)) for pod in group}) == 1
    assert any(report_of(pod)["outcome"] in WARM for pod in pods), "the claim passed on"


def init_log(inside, name):
    try:
        return inside.logs(name, "autotune-init")
    except AssertionError:
        return ""  # it has not started
