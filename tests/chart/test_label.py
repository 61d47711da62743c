"""Which container is the engine, where ours stand, and that a pod is attached once, and only where it belongs."""

import pytest
from tests.chart.chart_tools import STATUS, engine, labelled, pod, until
from tests.chart.label_answers import injected, left_alone


def test_of_several_containers_the_one_with_a_gpu_is_the_engine(api, attached):
    proxy = engine("proxy", resources=None, command=["envoy"])
    answer = injected(api, attached, pod("p", proxy, engine()))
    assert answer.container("autotune-init")["args"][:3] == ["python3", "-m", "sglang.launch_server"]
    assert "volumeMounts" not in answer.container("proxy")


@pytest.mark.parametrize(
    ("resources", "is_engine"),
    [
        ({"limits": {"nvidia.com/mig-1g.5gb": "1"}}, True),
        ({"limits": {"volcano.sh/vgpu-number": "1"}}, True),
        ({"limits": {"rdma/hca": "1"}}, False),
        ({"limits": {"cpu": "64"}}, False),
    ],
)
def test_what_counts_as_asking_for_a_gpu(api, attached, resources, is_engine):
    given = pod("p", engine("proxy", resources=None), engine(resources=resources))
    assert (api.pod(labelled(given), attached).told == "injected") == is_engine


def test_a_resource_claim_counts_as_asking_for_a_gpu(api, attached):
    claims = {"claims": [{"name": "gpus"}]}
    given = pod(
        "p", engine("proxy", resources=None), engine(resources=claims),
        resourceClaims=[{"name": "gpus", "resourceClaimTemplateName": "gpus"}],
    )  # fmt: skip
    assert injected(api, attached, given).container("autotune-init")["resources"] == claims


def test_where_it_is_not_clear_which_container_is_the_engine_it_is_left_alone(api, attached):
    two = pod("p", engine("prefill"), engine("decode"))
    assert left_alone(api, attached, two).startswith(
        "of its 2 containers 2 ask for a GPU; name the engine by"
    )
    none = pod("p", engine("a", resources=None), engine("b", resources=None))
    assert left_alone(api, attached, none).startswith("of its 2 containers none asks for a GPU")


def test_the_annotation_names_the_engine(api, attached):
    def named(name):
        return pod(
            "p",
            engine("prefill"),
            engine("decode", args=["--second"]),
            annotations={"autotune-cache.dev/container": name},
        )

    assert injected(api, attached, named("decode")).container("autotune-init")["args"][-1] == "--second"
    assert (
        left_alone(api, attached, named("decoder"))
        == "it has no container decoder, which the annotation autotune-cache.dev/container names"
    )


def test_an_image_with_an_entrypoint_gives_its_arguments_and_one_without_both_is_left_alone(api, attached):
    args_only = pod(
        "p", engine(command=None, args=["--model", "m"]), annotations={"autotune-cache.dev/engine": "vllm"}
    )
    answer = injected(api, attached, args_only)
    assert answer.container("autotune-init")["args"] == ["--model", "m"]
    assert answer.env("autotune-init")["AUTOTUNE_ENGINE"] == "vllm"
    assert "neither command nor args" in left_alone(api, attached, pod("p", engine(command=None, args=None)))


def test_ours_come_last_behind_the_owners_and_behind_native_sidecars(api, attached):
    owners = [
        {"name": "download", "image": "busybox", "command": ["true"]},
        {"name": "log-shipper", "image": "busybox", "restartPolicy": "Always"},
    ]
    answer = injected(api, attached, pod("p", engine(), initContainers=owners))
    assert [one["name"] for one in answer.made["spec"]["initContainers"]] == [
        "download", "log-shipper", "autotune-program", "autotune-init",
    ]  # fmt: skip


def test_a_pod_that_is_attached_in_another_way_too_is_left_alone(api, attached):
    by_name = {"name": "autotune-init", "image": "busybox"}
    by_command = {"name": "warm", "image": "busybox", "command": ["/opt/autotune/start", "run", "--", "x"]}
    for theirs in (by_name, by_command):
        assert "attached in another way" in left_alone_by_owner(
            api, attached, pod("p", engine(), initContainers=[theirs])
        )


def left_alone_by_owner(api, namespace, given):
    answer = api.pod(labelled(given), namespace)
    assert answer.is_admitted
    assert answer.made["spec"]["initContainers"][0]["name"] == given["spec"]["initContainers"][0]["name"]
    assert len(answer.made["spec"]["initContainers"]) == 1
    return answer.told


@pytest.mark.parametrize("name", ["autotune-program", "autotune-cache"])
def test_a_volume_of_our_name_is_the_owners(api, attached, name):
    assert "a volume whose name is one of ours" in left_alone(
        api, attached, pod("p", engine(), volumes=[{"name": name, "emptyDir": {}}])
    )


@pytest.mark.parametrize("path", ["/opt", "/opt/", "/opt/autotune", "/opt/autotune/attempts"])
def test_a_mount_over_our_program_is_the_owners(api, attached, path):
    given = pod(
        "p",
        engine(volumeMounts=[{"name": "tools", "mountPath": path}]),
        volumes=[{"name": "tools", "emptyDir": {}}],
    )
    assert "has a mount over /opt/autotune" in left_alone(api, attached, given)


def test_a_windows_pod_is_left_alone(api, attached):
    assert left_alone(api, attached, pod("p", engine(), os={"name": "windows"})) == "it is a Windows pod"
    assert (
        left_alone(api, attached, pod("p", engine(), nodeSelector={"kubernetes.io/os": "windows"}))
        == "it is a Windows pod"
    )


def test_a_static_pods_mirror_is_not_touched(api, attached):
    mirror = labelled(pod("p", engine(), annotations={"kubernetes.io/config.mirror": "x"}, nodeName="node1"))
    answer = api.pod(mirror, attached)
    # NodeRestriction aside, an administrator may create one; what counts is that the policy kept away
    assert answer.is_admitted, answer.made
    assert (answer.told, answer.warnings) == (None, [])


def test_the_label_has_to_say_true_and_the_namespace_has_to_be_selected(api, attached):
    assert api.pod(labelled(pod("p", engine()), "false"), attached).told is None
    assert api.pod(pod("p", engine()), attached).told is None
    elsewhere = api.namespace()
    assert api.pod(labelled(pod("p", engine())), elsewhere).told is None


def test_kube_system_is_never_touched_whatever_the_selector_says(api):
    namespace = api.attached()
    api.request(
        "PATCH", "/api/v1/namespaces/kube-system", {"metadata": {"labels": {"autotune-test": namespace}}}, "application/merge-patch+json"
    )  # fmt: skip
    # the same policy attaches there, so it is active
    assert injected(api, namespace, pod("p", engine()))
    answer = api.pod(labelled(pod("p", engine())), "kube-system")
    assert answer.is_admitted
    assert (answer.told, answer.warnings) == (None, [])


def test_two_releases_attach_a_pod_once(api):
    namespace = api.attached()
    second = api.attached({"store": {"url": "s3://other/place"}})
    api.request(
        "PATCH",
        f"/api/v1/namespaces/{second}",
        {"metadata": {"labels": {"autotune-test": namespace}}},
        "application/merge-patch+json",
    )
    answer = injected(api, namespace, pod("p", engine()))
    names = [one["name"] for one in answer.made["spec"]["initContainers"]]
    assert names == ["autotune-program", "autotune-init"]


def test_a_pod_that_somebody_changes_after_us_is_not_attached_twice(api):
    namespace = api.attached()
    changing = {
        "matchConstraints": {
            "resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
            "namespaceSelector": {"matchLabels": {"autotune-test": namespace}},
        },
        "failurePolicy": "Fail",
        "reinvocationPolicy": "IfNeeded",
        "mutations": [{
            "patchType": "ApplyConfiguration",
            "applyConfiguration": {"expression": "Object{metadata: Object.metadata{annotations: {'late': 'change'}}}"},
        }],
    }  # fmt: skip
    name = {"name": f"z-{namespace}"}
    group = {"apiVersion": "admissionregistration.k8s.io/v1"}
    api.apply(
        [
            {**group, "kind": "MutatingAdmissionPolicy", "metadata": name, "spec": changing},
            {
                **group,
                "kind": "MutatingAdmissionPolicyBinding",
                "metadata": name,
                "spec": {"policyName": name["name"]},
            },
        ]
    )
    answer = until(
        lambda: injected(api, namespace, pod("p", engine())),
        lambda answer: "late" in answer.made["metadata"]["annotations"],
    )
    assert answer.made["metadata"]["annotations"] == {"late": "change", STATUS: "injected"}
    assert [one["name"] for one in answer.made["spec"]["initContainers"]] == [
        "autotune-program",
        "autotune-init",
    ]
    assert len(answer.env("autotune-init")) == len(answer.container("autotune-init")["env"])


def test_a_pod_of_a_thousand_variables_and_hundreds_of_mounts_is_attached_too(api, attached):
    # what CEL may cost is limited, and a policy that exceeds it is passed over in silence
    env = [{"name": f"SETTING_{number}", "value": "x" * 20} for number in range(1000)]
    names = [f"v{number}" for number in range(300)]
    heavy = engine(env=env, volumeMounts=[{"name": name, "mountPath": f"/m/{name}"} for name in names])
    others = [engine(f"sidecar-{number}", resources=None) for number in range(40)]
    injected(
        api, attached, pod("p", heavy, *others, volumes=[{"name": name, "emptyDir": {}} for name in names])
    )
