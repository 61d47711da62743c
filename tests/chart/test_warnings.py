"""Who applies a labelled workload whose pods will be left alone reads why, where he applied it."""

import pytest
from tests.chart.chart_tools import LABEL, STORE, engine, labelled, merged, pod, render, until

BAD = pod("p", engine("a"), engine("b"))
WHY = "of its 2 containers 2 ask for a GPU; name the engine by the annotation autotune-cache.dev/container"


def workload(kind, given):
    template = {
        "metadata": {
            name: given["metadata"][name] for name in ("labels", "annotations") if name in given["metadata"]
        },
        "spec": given["spec"],
    }
    selector = {"matchLabels": {"app": "engine"}}
    once = {"template": {**template, "spec": {**template["spec"], "restartPolicy": "Never"}}}
    group, specs = {
        "Deployment": ("apps", {"selector": selector, "template": template}),
        "StatefulSet": ("apps", {"selector": selector, "template": template, "serviceName": "s"}),
        "DaemonSet": ("apps", {"selector": selector, "template": template}),
        "ReplicaSet": ("apps", {"selector": selector, "template": template}),
        "Job": ("batch", once),
        "CronJob": ("batch", {"schedule": "0 0 * * *", "jobTemplate": {"spec": once}}),
    }[kind]
    return {"apiVersion": f"{group}/v1", "kind": kind, "metadata": {"name": "w"}, "spec": specs}


def create(api, namespace, made, *, dry_run=True):
    path = f"/apis/{made['apiVersion']}/namespaces/{namespace}/{made['kind'].lower()}s"
    answer = api.request("POST", path + ("?dryRun=All" if dry_run else ""), made)
    assert answer.is_admitted, answer.made
    return [warning for warning in answer.warnings if "autotune-cache" in warning]


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob"])
def test_a_workload_is_warned_with_the_sentence_that_its_pods_will_carry(api, attached, kind):
    [warning] = create(api, attached, workload(kind, labelled(BAD)))
    assert warning.endswith(f"autotune-cache: its pods will be left alone: {WHY}")
    assert api.pod(labelled(BAD), attached).told == f"left alone: {WHY}"
    assert create(api, attached, workload(kind, labelled(pod("p", engine())))) == []
    assert create(api, attached, workload(kind, BAD)) == []


def test_replica_sets_say_nothing_twice(api, attached):
    assert create(api, attached, workload("ReplicaSet", labelled(BAD))) == []


def test_a_change_is_looked_at_like_a_creation(api):
    namespace = api.attached()
    good = workload("Deployment", labelled(pod("p", engine())))
    assert create(api, namespace, good, dry_run=False) == []
    patch = {"spec": {"template": {"metadata": {"annotations": {"autotune-cache.dev/tuner": "best"}}}}}
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/w"
    answer = api.request("PATCH", path, patch, "application/merge-patch+json")
    assert answer.is_admitted
    assert any("the annotation autotune-cache.dev/tuner is best" in warning for warning in answer.warnings)


def test_a_label_that_says_something_else_is_told(api, attached):
    for value in ("yes", "True", "1", ""):
        [warning] = create(api, attached, workload("Deployment", labelled(pod("p", engine()), value)))
        assert f'the label {LABEL} is "{value}"; only "true" attaches a pod' in warning
    assert create(api, attached, workload("Deployment", labelled(pod("p", engine()), "false"))) == []


def test_a_misspelt_annotation_is_told(api, attached):
    given = labelled(
        pod("p", engine(), annotations={"autotune-cache.dev/gpu": "NVIDIA H100", "other.example/gpu": "x"})
    )
    [warning] = create(api, attached, workload("Deployment", given))
    assert "there is no annotation autotune-cache.dev/gpu; there are container, engine," in warning
    answer = api.pod(given, attached)
    assert answer.told == "injected"
    assert any("there is no annotation autotune-cache.dev/gpu;" in warning for warning in answer.warnings)


def selecting(namespace, **policy):
    return render(
        merged(
            STORE, {"policy": {"namespaceSelector": {"matchLabels": {"autotune-test": namespace}}, **policy}}
        ),
        release=namespace,
    )


def test_warnings_can_be_switched_off_and_the_pods_still_say_why(api):
    namespace = api.namespace()
    made = selecting(namespace, warnings=False)
    assert {one["kind"] for one in made if "Policy" in one["kind"]} == {
        "MutatingAdmissionPolicy",
        "MutatingAdmissionPolicyBinding",
    }
    api.apply([one for one in made if one["kind"].startswith("Mutating")])
    answer = until(lambda: api.pod(labelled(BAD), namespace), lambda answer: answer.told)
    assert (answer.told, answer.warnings) == (f"left alone: {WHY}", [])


def test_where_the_policy_has_not_run_the_pod_says_so(api):
    namespace = api.namespace()
    api.apply([one for one in selecting(namespace) if one["kind"].startswith("Validating")])
    answer = until(lambda: api.pod(labelled(pod("p", engine())), namespace), lambda answer: answer.warnings)
    [warning] = answer.warnings
    assert "the pod was not attached: the policy has not run" in warning
