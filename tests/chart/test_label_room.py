"""A pod fits where it fitted before: its QoS class, quotas, limit ranges, PodSecurity and what other plugins insist on."""

import pytest
from tests.chart.chart_tools import RESTRICTED, engine, labelled, pod, until

GUARANTEED = {"limits": {"cpu": "4", "memory": "32Gi", "nvidia.com/gpu": "2"}}
BURSTABLE = {
    "requests": {"cpu": "4", "memory": "1Gi", "nvidia.com/gpu": "2"},
    "limits": {"nvidia.com/gpu": "2"},
}
BEST_EFFORT = {"limits": {"nvidia.com/gpu": "2"}}


@pytest.fixture(scope="module")
def pulling(api):
    return api.attached({"tuning": {"mode": "job"}, "gpu": {"name": "NVIDIA H200"}})


@pytest.mark.parametrize("mode", ["attached", "pulling"])
@pytest.mark.parametrize(
    ("resources", "quality"),
    [(GUARANTEED, "Guaranteed"), (BURSTABLE, "Burstable"), (BEST_EFFORT, "BestEffort"), (None, "BestEffort")],
)
def test_the_qos_class_stays(api, request, mode, resources, quality):
    namespace = request.getfixturevalue(mode)
    given = pod("p", engine(resources=resources))
    answer = api.pod(labelled(given), namespace)
    assert (answer.told, answer.made["status"]["qosClass"]) == ("injected", quality)
    assert api.pod(given, namespace).made["status"]["qosClass"] == quality


def test_a_quota_with_exactly_the_engines_room_has_room_for_it(api):
    namespace = api.attached()
    hard = {
        "pods": "1", "requests.cpu": "4", "limits.cpu": "4", "requests.memory": "32Gi", "limits.memory": "32Gi", "requests.nvidia.com/gpu": "2",
    }  # fmt: skip
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": hard}}
    path = f"/api/v1/namespaces/{namespace}/resourcequotas"
    assert api.request("POST", path, quota).is_admitted
    # a controller would count what is used; there is none here
    used = {**quota, "status": {"hard": hard, "used": dict.fromkeys(hard, "0")}}
    assert api.request("PUT", f"{path}/q/status", used).is_admitted
    too_much = {"limits": {**GUARANTEED["limits"], "cpu": "5"}}
    refused = until(
        lambda: api.pod(pod("p", engine(resources=too_much)), namespace),
        lambda answer: "exceeded quota" in str(answer.made),
    )
    assert refused.status == 403
    answer = api.pod(labelled(pod("p", engine(resources=GUARANTEED))), namespace)
    assert answer.is_admitted, answer.made
    assert answer.told == "injected"
    # which also says that each container has what the quota asks each to state
    no_limits = api.pod(pod("p", engine(resources=BEST_EFFORT)), namespace)
    assert "must specify limits.cpu" in no_limits.made["message"]


def test_a_limit_range_that_lets_the_engine_in_lets_ours_in(api):
    namespace = api.attached()
    limits = [
        {
            "type": "Container",
            "min": {"cpu": "2", "memory": "16Gi"},
            "max": {"cpu": "8", "memory": "64Gi"},
            "default": {"cpu": "8", "memory": "64Gi"},
            "defaultRequest": {"cpu": "4", "memory": "32Gi"},
            "maxLimitRequestRatio": {"cpu": "2"},
        },
        {"type": "Pod", "max": {"cpu": "8", "memory": "64Gi"}},
    ]
    body = {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "l"}, "spec": {"limits": limits}}
    assert api.request("POST", f"/api/v1/namespaces/{namespace}/limitranges", body).is_admitted
    small = pod("p", engine(resources={"limits": {"cpu": "1", "memory": "1Gi"}}))
    until(lambda: api.pod(small, namespace), lambda answer: answer.status == 403)
    for resources in (GUARANTEED, BEST_EFFORT, None):
        answer = api.pod(labelled(pod("p", engine(resources=resources))), namespace)
        assert answer.is_admitted, answer.made
        assert answer.told == "injected"
        ours, engines = (
            answer.container("autotune-program")["resources"],
            answer.container("engine")["resources"],
        )
        assert ours["limits"]["cpu"] == engines["limits"]["cpu"]


def test_a_restricted_namespace_takes_the_pod_that_it_would_take_without_the_label(api):
    namespace = api.attached(**{"pod-security.kubernetes.io/enforce": "restricted"})
    by_container = pod("p", engine(securityContext=RESTRICTED))
    by_pod = pod(
        "p", engine(securityContext={"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}})
    )
    by_pod["spec"]["securityContext"] = {
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    for given in (by_container, by_pod):
        answer = api.pod(labelled(given), namespace)
        assert answer.is_admitted, answer.made
        assert answer.told == "injected"
    root = api.pod(labelled(pod("p", engine())), namespace)
    assert root.status == 403
    assert (
        '"autotune-'
        not in root.made["message"].replace('"autotune-init"', "").replace('"autotune-program"', "")
        or "engine" in root.made["message"]
    )


def test_our_own_container_has_no_right_that_the_engine_had(api, attached):
    wide = {
        "privileged": True,
        "allowPrivilegeEscalation": True,
        "capabilities": {"add": ["SYS_ADMIN"]},
        "runAsUser": 0,
    }
    answer = api.pod(labelled(pod("p", engine(securityContext=wide))), attached)
    assert answer.told == "injected"
    assert answer.container("autotune-program")["securityContext"] == {
        "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True, "runAsUser": 0,
    }  # fmt: skip
    assert answer.container("autotune-init")["securityContext"] == wide


def test_a_node_directory_is_not_put_into_pods_whose_namespace_refuses_it(api):
    host_path = {"cache": {"hostPath": {"allowed": True, "path": "/data"}}}
    for level in ("baseline", "restricted"):
        namespace = api.attached(host_path, **{"pod-security.kubernetes.io/enforce": level})
        answer = api.pod(labelled(pod("p", engine(securityContext=RESTRICTED))), namespace)
        assert answer.is_admitted, answer.made
        assert (
            answer.told
            == "left alone: its namespace enforces a PodSecurity level that refuses hostPath, and cache.hostPath is on"
        )
