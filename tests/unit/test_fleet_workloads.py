"""From what a cluster shows to workloads: owners, templates, and pods that somebody attached by hand."""

import pytest
from tests.kube import manifests as m

from autotune_init.fleet_pods import controller_of, pod_of, product_of
from autotune_init.fleet_workloads import gather


def workloads(pods, controllers=()):
    found = gather(map(pod_of, pods), [controller_of(raw, kind) for kind, raw in controllers])
    return [(one.kind, one.path, one.replicas, len(one.pods)) for one in found]


def test_pods_of_a_deployment_are_one_workload():
    pods = [m.pod(f"qwen3-abc-{n}", owner=m.owned_by("ReplicaSet", "qwen3-abc")) for n in "xyz"]

    found = workloads(pods, [("ReplicaSet", m.replica_set()), ("Deployment", m.deployment())])

    assert found == [("Deployment", "models/qwen3", 3, 3)]


def test_two_revisions_of_a_deployment_are_one_workload():
    pods = [m.pod(f"{rs}-x", owner=m.owned_by("ReplicaSet", rs)) for rs in ("qwen3-abc", "qwen3-def")]
    sets = [("ReplicaSet", m.replica_set(rs)) for rs in ("qwen3-abc", "qwen3-def")]

    assert workloads(pods, [*sets, ("Deployment", m.deployment())]) == [("Deployment", "models/qwen3", 2, 2)]


def test_without_the_right_to_list_replica_sets_the_replica_set_is_the_workload():
    pods = [m.pod(owner=m.owned_by("ReplicaSet", "qwen3-abc"))]

    assert workloads(pods) == [("ReplicaSet", "models/qwen3-abc", 1, 1)]


def test_an_unknown_owner_of_a_replica_set_is_the_workload():
    rollout = m.replica_set()
    rollout["metadata"]["ownerReferences"] = [m.owned_by("Rollout", "qwen3", api="argoproj.io/v1alpha1")]

    pods = [m.pod(owner=m.owned_by("ReplicaSet", "qwen3-abc"))]

    assert workloads(pods, [("ReplicaSet", rollout)]) == [("Rollout", "models/qwen3", 1, 1)]


def test_leader_and_workers_of_a_leader_worker_set_are_one_workload():
    name = {"labels": {"leaderworkerset.sigs.k8s.io/name": "big", "autotune-cache.dev/inject": "true"}}
    leader = m.pod("big-0", owner=m.owned_by("StatefulSet", "big"), **name)
    worker = m.pod("big-0-1", owner=m.owned_by("StatefulSet", "big-0", "uid-set-big-0"), **name)
    sets = [
        {
            "metadata": {
                "name": "big",
                "namespace": "models",
                "uid": "uid-big",
                "ownerReferences": [m.owned_by("LeaderWorkerSet", "big", "uid-lws")],
            }
        },
        {
            "metadata": {
                "name": "big-0",
                "namespace": "models",
                "uid": "uid-set-big-0",
                "ownerReferences": [m.owned_by("Pod", "big-0")],
            }
        },
    ]

    found = workloads([leader, worker], [("StatefulSet", one) for one in sets])

    assert found == [("LeaderWorkerSet", "models/big", 2, 2)]


def test_a_pod_on_its_own_is_a_workload():
    assert workloads([m.pod()]) == [("Pod", "models/qwen3-abc-x", 1, 1)]


def test_an_init_container_of_ours_attaches_a_pod_without_the_label():
    assert workloads([m.pod(labels={})]) == [("Pod", "models/qwen3-abc-x", 1, 1)]


def test_a_pod_with_neither_is_nobodys():
    bare = {"containers": [m.engine()]}

    assert workloads([m.pod(labels={}, spec_=bare)]) == []
    assert workloads([m.pod(labels={"autotune-cache.dev/inject": "false"}, spec_=bare)]) == []


def test_a_labelled_deployment_without_pods_is_a_workload_too():
    assert workloads([], [("Deployment", m.deployment(replicas=4))]) == [("Deployment", "models/qwen3", 4, 0)]
    assert workloads([], [("Deployment", m.deployment(labels={}))]) == []


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_pod_that_is_over_is_no_replica(phase):
    raw = m.pod()
    raw["status"]["phase"] = phase

    assert workloads([raw]) == []


def test_a_leader_worker_set_counts_the_pods_of_its_groups():
    template = {"metadata": {"labels": {"autotune-cache.dev/inject": "true"}}, "spec": {"containers": []}}
    raw = {
        "metadata": {"name": "big", "namespace": "models", "uid": "u"},
        "spec": {"replicas": 3, "leaderWorkerTemplate": {"size": 2, "workerTemplate": template}},
    }

    assert workloads([], [("LeaderWorkerSet", raw)]) == [("LeaderWorkerSet", "models/big", 6, 0)]


def test_owners_in_a_circle_end():
    pods = [m.pod("a", owner=m.owned_by("Pod", "b")), m.pod("b", owner=m.owned_by("Pod", "a"))]

    assert len(workloads(pods)) == 2


@pytest.mark.parametrize("raw", [{}, {"metadata": None}, {"spec": [], "status": "x"}, {"metadata": []}])
def test_odd_objects_are_read_as_empty(raw):
    assert pod_of(raw).name == ""
    assert controller_of(raw, "Deployment").template is None
    assert product_of(raw) == ("", None)


def test_the_last_word_of_a_restarted_init_container_counts():
    raw = m.pod()
    raw["status"]["initContainerStatuses"][0] |= {
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"message": "said before"}},
    }

    assert (pod_of(raw).init, pod_of(raw).message) == ("waiting", "said before")
