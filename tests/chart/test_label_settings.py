"""What the program is told: values, annotations, and what the owner has said himself, which wins."""

import pytest
from tests.chart.chart_tools import engine, merged, pod
from tests.chart.label_answers import injected, left_alone, mounts


def test_settings_that_the_owner_has_made_win(api):
    namespace = api.attached({"tuning": {"waitSeconds": 77}, "store": {"region": "eu-1"}})
    env = [
        {"name": "AUTOTUNE_WAIT", "value": "5"},
        {"name": "AUTOTUNE_STORE_AWS_REGION", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
    ]
    answer = injected(api, namespace, pod("p", engine(env=env)))
    names = [one["name"] for one in answer.container("autotune-init")["env"]]
    assert names.count("AUTOTUNE_WAIT") == names.count("AUTOTUNE_STORE_AWS_REGION") == 1
    assert answer.env("autotune-init")["AUTOTUNE_WAIT"] == "5"
    assert answer.env("autotune-init")["AUTOTUNE_STORE"] == "s3://models/autotune"
    # the engine itself gets none of ours
    assert {name for name in answer.env("engine") if name.startswith("AUTOTUNE_")} == {
        "AUTOTUNE_WAIT",
        "AUTOTUNE_STORE_AWS_REGION",
    }


def test_annotations_say_what_is_true_of_this_pod_alone(api, attached):
    said = {
        "engine": "sglang",
        "engine-version": "0.5.23",
        "gpu-name": "NVIDIA H200",
        "tuner": "none",
        "cache-dir": "/cache",
    }
    given = pod(
        "p", engine(), annotations={f"autotune-cache.dev/{name}": value for name, value in said.items()}
    )
    env = injected(api, attached, given).env("autotune-init")
    assert env.pop("AUTOTUNE_GROUP_SCOPE").rpartition("/")[2] == attached
    assert {name: env[name] for name in env if name.startswith(("AUTOTUNE_", "SGLANG"))} == {
        "AUTOTUNE_STORE": "s3://models/autotune", "AUTOTUNE_TUNER": "none", "AUTOTUNE_DEADLINE": "1800", "AUTOTUNE_WAIT": "900",
        "AUTOTUNE_GROUP_WAIT": "300", "AUTOTUNE_RESOLVER": "auto", "AUTOTUNE_ENGINE": "sglang", "AUTOTUNE_ENGINE_VERSION": "0.5.23", "AUTOTUNE_CACHE_DIR": "/cache",
        "AUTOTUNE_GPU_NAME": "NVIDIA H200", "SGLANG_CACHE_DIR": "/cache",
    }  # fmt: skip


def test_replicas_of_two_clusters_are_told_apart_by_what_is_stated_else_by_the_cluster_itself(api):
    stated = api.attached({"tuning": {"groupScope": "prod-eu"}})
    env = injected(api, stated, pod("p", engine())).env("autotune-init")
    assert env["AUTOTUNE_GROUP_SCOPE"] == f"prod-eu/{stated}"


@pytest.mark.parametrize(("name", "value"), [("engine", "tgi"), ("tuner", "best")])
def test_an_annotation_with_a_wrong_value_is_told(api, attached, name, value):
    given = pod("p", engine(), annotations={f"autotune-cache.dev/{name}": value})
    assert left_alone(api, attached, given).startswith(
        f"the annotation autotune-cache.dev/{name} is {value}; it may be "
    )


def test_a_pod_that_may_not_live_long_spends_a_quarter_of_it_here_at_most(api, attached):
    answer = injected(api, attached, pod("p", engine(), activeDeadlineSeconds=600, restartPolicy="Never"))
    assert answer.env("autotune-init")["AUTOTUNE_DEADLINE"] == "151"
    answer = injected(api, attached, pod("p", engine(), activeDeadlineSeconds=86400, restartPolicy="Never"))
    assert answer.env("autotune-init")["AUTOTUNE_DEADLINE"] == "1800"


def test_the_store_reaches_the_program_and_not_the_engine(api):
    store = {
        "url": "s3://b/p",
        "endpoint": "http://minio:9000",
        "region": "r",
        "existingSecret": "keys",
        "caConfigMap": "ca",
        "caKey": "root.pem",
    }
    namespace = api.attached({"store": store})
    owners = [{"configMapRef": {"name": "mine"}}]
    answer = injected(api, namespace, pod("p", engine(envFrom=owners)))
    env = answer.env("autotune-init")
    said = {
        name.removeprefix("AUTOTUNE_STORE_"): value
        for name, value in env.items()
        if name.startswith("AUTOTUNE_STORE_")
    }
    assert said == {
        "AWS_ENDPOINT_URL_S3": "http://minio:9000",
        "AWS_REGION": "r",
        "AWS_CA_BUNDLE": "/autotune-ca/root.pem",
    }
    # the last source of a name counts, so the owner's stand behind
    ours = {"prefix": "AUTOTUNE_STORE_", "secretRef": {"name": "keys", "optional": True}}
    assert answer.container("autotune-init")["envFrom"] == [ours, *owners]
    assert answer.container("engine")["envFrom"] == owners
    assert mounts(answer, "autotune-init")["/autotune-ca"] == "autotune-ca"
    volume = next(one for one in answer.made["spec"]["volumes"] if one["name"] == "autotune-ca")
    assert volume["configMap"] == {"name": "ca", "optional": True, "defaultMode": 420}
    assert set(answer.env("engine")) == {
        "SGLANG_CACHE_DIR",
        "VLLM_FLASHINFER_AUTOTUNE_CACHE_DIR",
        "FLASHINFER_AUTOTUNE_CACHE_DIR",
    }


@pytest.mark.parametrize(("mode", "tuner"), [("job", "wait"), ("off", "none")])
def test_a_pod_that_only_pulls_takes_no_gpu_and_sees_none(api, mode, tuner):
    namespace = api.attached({"tuning": {"mode": mode}, "gpu": {"name": "NVIDIA H100 80GB HBM3"}})
    limits = {"nvidia.com/gpu": "8", "rdma/hca": "1", "cpu": "4", "hugepages-2Mi": "64Mi", "memory": "1Gi"}
    given = pod(
        "p", engine(resources={"limits": limits}, env=[{"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}])
    )
    answer = injected(api, namespace, given)
    copied = answer.container("autotune-init")
    plain = {"cpu": "4", "hugepages-2Mi": "64Mi", "memory": "1Gi"}
    assert copied["resources"] == {"limits": plain, "requests": plain}
    env = answer.env("autotune-init")
    assert (env["NVIDIA_VISIBLE_DEVICES"], env["AUTOTUNE_TUNER"], env["AUTOTUNE_GPU_NAME"]) == (
        "void",
        tuner,
        "NVIDIA H100 80GB HBM3",
    )
    assert len(env) == len(copied["env"])
    assert answer.env("engine")["NVIDIA_VISIBLE_DEVICES"] == "all"
    # one pod may tune all the same
    tuning = injected(
        api, namespace, merged(given, {"metadata": {"annotations": {"autotune-cache.dev/tuner": "engine"}}})
    )
    assert tuning.container("autotune-init")["resources"] == answer.container("engine")["resources"]
    assert tuning.env("autotune-init")["NVIDIA_VISIBLE_DEVICES"] == "all"


def test_where_every_pod_has_to_state_its_gpu_one_that_does_not_is_left_alone(api):
    namespace = api.attached({"tuning": {"mode": "job"}, "gpu": {"perPod": True}})
    assert "say it by the annotation autotune-cache.dev/gpu-name" in left_alone(
        api, namespace, pod("p", engine())
    )
    given = pod("p", engine(), annotations={"autotune-cache.dev/gpu-name": "NVIDIA H200"})
    assert injected(api, namespace, given).env("autotune-init")["AUTOTUNE_GPU_NAME"] == "NVIDIA H200"


def test_a_collector_is_told_of_pods_by_name_and_gets_no_token(api):
    namespace = api.attached({"report": {"otlpEndpoint": "http://otel.monitoring.svc:4318"}})
    answer = injected(api, namespace, pod("p", engine(), automountServiceAccountToken=False))

    env = answer.env("autotune-init")
    assert env["AUTOTUNE_OTLP_ENDPOINT"] == "http://otel.monitoring.svc:4318"
    assert [env[name]["fieldRef"]["fieldPath"] for name in ("POD_NAME", "POD_UID", "POD_NAMESPACE")] == [
        "metadata.name", "metadata.uid", "metadata.namespace",
    ]  # fmt: skip
    assert "/var/run/secrets/kubernetes.io/serviceaccount" not in mounts(answer, "autotune-init")
    assert not {"AUTOTUNE_OTLP_ENDPOINT", "POD_NAME"} & set(answer.env("engine"))


def test_records_in_the_store_are_left_where_the_chart_says_so(api):
    asked = injected(api, api.attached({"report": {"toStore": True}}), pod("p", engine()))
    assert asked.env("autotune-init")["AUTOTUNE_REPORT_TO_STORE"] == "1"
    assert "AUTOTUNE_REPORT_TO_STORE" not in asked.env("engine")

    not_asked = injected(api, api.attached(), pod("p", engine()))
    assert "AUTOTUNE_REPORT_TO_STORE" not in not_asked.env("autotune-init")


def test_an_event_needs_a_token_and_only_our_container_gets_it(api):
    namespace = api.attached(
        {"event": {"enabled": True, "serviceAccounts": [{"namespace": "models", "name": "engine"}]}}
    )
    answer = injected(
        api, namespace, pod("p", engine(), serviceAccountName="engine", automountServiceAccountToken=False)
    )
    at = "/var/run/secrets/kubernetes.io/serviceaccount"
    assert mounts(answer, "autotune-init")[at] == "autotune-token"
    assert at not in mounts(answer, "engine")
    env = answer.env("autotune-init")
    assert env["AUTOTUNE_EVENT"] == "1"
    assert [env[name]["fieldRef"]["fieldPath"] for name in ("POD_NAME", "POD_UID", "POD_NAMESPACE")] == [
        "metadata.name", "metadata.uid", "metadata.namespace",
    ]  # fmt: skip
    # inside of a read-only volume no mount point can be made
    inside = pod(
        "p",
        engine(volumeMounts=[{"name": "run", "mountPath": "/var/run", "readOnly": True}]),
        serviceAccountName="engine",
        volumes=[{"name": "run", "emptyDir": {}}],
    )
    assert at not in mounts(injected(api, namespace, inside), "autotune-init")
    # what Kubernetes has mounted into the engine is copied with it
    mounted = pod(
        "p", engine(volumeMounts=[{"name": "kube-api-access-1", "mountPath": at, "readOnly": True}]),
        serviceAccountName="engine", volumes=[{"name": "kube-api-access-1", "emptyDir": {}}],
    )  # fmt: skip
    assert mounts(injected(api, namespace, mounted), "autotune-init")[at] == "kube-api-access-1"


def test_the_program_can_come_by_an_image_volume(api):
    image = {"repository": "registry.example/autotune-cache", "digest": "sha256:" + "a" * 64}
    namespace = api.attached({"program": {"source": "imageVolume"}, "image": image})
    answer = injected(api, namespace, pod("p", engine()))
    assert [one["name"] for one in answer.made["spec"]["initContainers"]] == ["autotune-init"]
    mount = answer.container("autotune-init")["volumeMounts"][-1]
    assert mount == {
        "name": "autotune-program",
        "mountPath": "/opt/autotune",
        "readOnly": True,
    }
    command = answer.container("autotune-init")["command"]
    assert command == ["/opt/autotune/opt/autotune/start", "run", "--"], (
        "containerd 2.1 knows no subPath of images"
    )
    volume = next(one for one in answer.made["spec"]["volumes"] if one["name"] == "autotune-program")
    assert volume["image"] == {
        "reference": f"{image['repository']}@{image['digest']}",
        "pullPolicy": "IfNotPresent",
    }


@pytest.mark.parametrize(
    ("cache", "volume"),
    [
        ({}, {"emptyDir": {}}),
        ({"sizeLimit": "5Gi"}, {"emptyDir": {"sizeLimit": "5Gi"}}),
        ({"existingClaim": "shared"}, {"persistentVolumeClaim": {"claimName": "shared"}}),
        (
            {"hostPath": {"allowed": True, "path": "/data/kernels"}},
            {"hostPath": {"path": "/data/kernels", "type": "DirectoryOrCreate"}},
        ),
    ],
)
def test_the_kind_of_volume_is_chosen(api, cache, volume):
    """and what outlives a pod is rechecked: ops may have quarantined it meanwhile"""
    namespace = api.attached({"cache": {**cache, "mountPath": "/kernels"}})
    answer = injected(api, namespace, pod("p", engine()))
    made = next(one for one in answer.made["spec"]["volumes"] if one["name"] == "autotune-cache")
    assert made == {"name": "autotune-cache", **volume}
    assert answer.env("engine")["SGLANG_CACHE_DIR"] == "/kernels/sglang"
    assert mounts(answer, "engine") == {"/kernels": "autotune-cache"}
    is_kept = "existingClaim" in cache or "hostPath" in cache
    assert answer.env("autotune-init").get("AUTOTUNE_LOCAL") == ("recheck" if is_kept else None)


def test_a_mount_of_the_owners_is_rechecked(api, attached):
    mounted = engine(
        env=[{"name": "SGLANG_CACHE_DIR", "value": "/data/sglang"}],
        volumeMounts=[{"name": "data", "mountPath": "/data"}],
    )
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}

    answer = injected(api, attached, pod("p", mounted, volumes=[volume]))

    assert answer.env("autotune-init")["AUTOTUNE_LOCAL"] == "recheck"


def test_pull_secrets_are_added_where_they_are_missing(api):
    namespace = api.attached({"image": {"pullSecrets": ["ours", "shared"]}})
    answer = injected(api, namespace, pod("p", engine(), imagePullSecrets=[{"name": "shared"}]))
    assert answer.made["spec"]["imagePullSecrets"] == [{"name": "shared"}, {"name": "ours"}]
