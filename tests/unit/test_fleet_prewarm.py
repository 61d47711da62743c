"""Prewarm Jobs: the workload's own engine container with our program in front, once for each bundle and GPU."""

import copy
from dataclasses import replace

import pytest
import yaml
from tests import bundles
from tests.kube import manifests as m

from autotune_init.fleet_identity import Stated, Wanted
from autotune_init.fleet_lookup import Found
from autotune_init.fleet_pods import controller_of, pod_of
from autotune_init.fleet_prewarm import Choices, job_name, plan_jobs
from autotune_init.fleet_rows import rows_of
from autotune_init.fleet_workloads import gather
from autotune_init.fleet_yaml import to_yaml

MISS = Found("miss", "miss")


def missing(*pods, products=None, found=MISS):
    rows = rows_of(gather(map(pod_of, pods), []), products or {"n": m.PRODUCT}, Stated(), None)
    return [replace(row, found=found) for row in rows]


def job(spec=None, choices=None, **pod):
    plan = plan_jobs(missing(m.pod(message=m.report(), node="n", spec_=spec, **pod)), choices or Choices())
    (made,) = plan.jobs
    assert plan.left_out == ()
    return made


def pod_spec(*arguments, **more):
    return job(*arguments, **more)["spec"]["template"]["spec"]


def container(*arguments, **more):
    return pod_spec(*arguments, **more)["containers"][0]


def test_the_engines_container_runs_with_our_program_in_front():
    made = container()

    assert made["command"] == [
        "/opt/autotune/start", "run", "--strict", "--tuner", "engine", "--deadline", "1800", "--",
    ]  # fmt: skip
    assert made["args"] == m.ARGV
    assert made["image"] == m.engine()["image"]
    assert made["resources"] == m.engine()["resources"]
    assert {"name": "AUTOTUNE_STORE", "value": m.STORE} in made["env"]
    assert not {"ports", "readinessProbe", "livenessProbe", "lifecycle"} & made.keys()
    mounts = {one["mountPath"] for one in made["volumeMounts"]}
    assert mounts == {"/models", "/opt/autotune", "/autotune-cache"}


def test_the_program_in_an_image_volume_is_started_where_the_workload_has_it():
    spec = m.spec()
    deeper = "/opt/autotune/opt/autotune/start"
    spec["initContainers"][-1]["command"][0] = deeper

    assert container(spec)["command"][0] == deeper


def test_the_program_comes_from_the_workloads_own_init_container():
    assert [one["image"] for one in pod_spec()["initContainers"]] == ["registry.example/autotune-cache:1.0"]


def test_what_the_owner_runs_before_us_runs_here_too():
    spec = m.spec()
    spec["initContainers"].insert(0, {"name": "download", "image": "curl"})
    spec["initContainers"].append({"name": "after", "image": "x"})

    assert [one["name"] for one in pod_spec(spec)["initContainers"]] == ["download", "autotune-program"]


def test_where_pods_only_pull_the_job_has_the_engines_gpus():
    engine = m.engine()
    init = m.injected(
        engine,
        env=[
            {"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"},
            {"name": "AUTOTUNE_TUNER", "value": "none"},
        ],
        resources={"limits": {"memory": "1Gi"}},
        flags=["--deadline", "60", "--tuner", "none"],
    )
    made = container(m.spec(engine, init))

    assert made["resources"]["limits"] == {"nvidia.com/gpu": "2"}
    assert "NVIDIA_VISIBLE_DEVICES" not in {one["name"] for one in made["env"]}
    # the last of two flags counts, and a flag beats its variable
    assert made["command"][-5:] == ["--tuner", "engine", "--deadline", "1800", "--"]


def test_an_owners_own_choice_of_gpus_stays():
    engine = m.engine(env=[{"name": "NVIDIA_VISIBLE_DEVICES", "value": "0"}])
    init = m.injected(engine)
    init["env"] = [
        one if one["name"] != "NVIDIA_VISIBLE_DEVICES" else {**one, "value": "void"} for one in init["env"]
    ]

    assert {"name": "NVIDIA_VISIBLE_DEVICES", "value": "0"} in container(m.spec(engine, init))["env"]


@pytest.mark.parametrize("env", [[], [{"name": "AUTOTUNE_STORE", "valueFrom": {"configMapKeyRef": {}}}]])
def test_the_workloads_own_store_beats_the_terminals(env):
    engine = m.engine()
    spec = m.spec(engine, m.injected(engine, store=None if env else m.STORE, env=env))

    assert "--store" not in container(spec, Choices(store="file:///tmp/x"))["command"]


def test_references_are_left_to_the_kubelet():
    engine = m.engine(
        [*m.ARGV, "--port", "$(PORT)"],
        env=[{"name": "PORT", "value": "30000"}, {"name": "A", "value": "$$(B)"}],
    )
    init = m.injected(engine, flags=["--holder", "$(POD_NAME)"])
    made = container(m.spec(engine, init))

    assert made["args"][-1] == "$(PORT)"
    assert made["command"][2:4] == ["--holder", "$(POD_NAME)"]


@pytest.mark.parametrize(
    ("flags", "choice", "tuner"),
    [
        ([], None, "engine"),
        (["--tuner", "wait"], None, "engine"),
        (["--tuner", "flashinfer-ops"], None, "flashinfer-ops"),
        (["--tuner", "command", "--tuner-command", "t"], None, "command"),
        (["--tuner", "flashinfer-ops"], "engine", "engine"),
    ],
)
def test_the_tuner(flags, choice, tuner):
    command = container(m.spec(m.engine(), m.injected(m.engine(), flags=flags)), Choices(tuner=choice))[
        "command"
    ]

    assert command[len(command) - 1 - command[::-1].index("--tuner") + 1] == tuner


def test_a_job_is_no_replica():
    spec = m.spec(
        nodeName="n",
        hostname="h",
        topologySpreadConstraints=[{}],
        affinity={"podAntiAffinity": {"x": 1}, "nodeAffinity": {"y": 2}},
        nodeSelector={"pool": "gpu"},
        tolerations=[{"key": "nvidia.com/gpu"}, {"key": "node.kubernetes.io/not-ready"}],
        serviceAccountName="models",
        imagePullSecrets=[{"name": "pull"}],
        schedulerName="default-scheduler",
        runtimeClassName="nvidia",
        terminationGracePeriodSeconds=600,
    )
    made = pod_spec(spec)

    assert made["affinity"] == {"nodeAffinity": {"y": 2}}
    assert made["nodeSelector"] == {"pool": "gpu", "nvidia.com/gpu.product": m.PRODUCT}
    assert made["tolerations"] == [{"key": "nvidia.com/gpu"}]
    assert (made["serviceAccountName"], made["runtimeClassName"]) == ("models", "nvidia")
    assert made["imagePullSecrets"] == [{"name": "pull"}]
    assert made["restartPolicy"] == "Never"
    unwanted = {
        "nodeName",
        "hostname",
        "topologySpreadConstraints",
        "schedulerName",
        "terminationGracePeriodSeconds",
    }
    assert not unwanted & made.keys()


def test_the_cache_of_a_job_is_empty_and_its_token_comes_from_the_cluster():
    spec = m.spec()
    spec["volumes"][2] = {"name": "autotune-cache", "persistentVolumeClaim": {"claimName": "shared"}}
    spec["volumes"].append({"name": m.TOKEN["name"], "projected": {}})
    for one in [*spec["containers"], *spec["initContainers"]]:
        one["volumeMounts"].append(m.TOKEN)
    made = pod_spec(spec)

    assert {"name": "autotune-cache", "emptyDir": {}} in made["volumes"]
    assert "kube-api-access" not in str(made)


def test_the_workload_itself_is_left_as_it_is():
    spec = m.spec()
    before = copy.deepcopy(spec)
    job(spec)

    assert spec == before


def test_a_job_lets_the_cluster_clean_up():
    spec = job()["spec"]

    assert (spec["backoffLimit"], spec["ttlSecondsAfterFinished"]) == (1, 3600)


def test_one_job_for_workloads_that_want_the_same():
    pods = [
        m.pod(name, namespace, message=m.report(), node="n") for name, namespace in (("a", "z"), ("b", "b"))
    ]
    plan = plan_jobs(missing(*pods), Choices())

    assert [one["metadata"]["namespace"] for one in plan.jobs] == ["b"]


def test_a_name_is_the_identitys():
    wanted = Wanted(bundles.identity().address, None, "sglang 0.5.23", "report")
    name = job_name(wanted, m.PRODUCT)

    assert job()["metadata"]["name"] == name
    assert job_name(replace(wanted, source="recipe", engine=""), m.PRODUCT) == name
    others = {
        job_name(wanted, "NVIDIA-H200"),
        job_name(replace(wanted, address=bundles.identity(bundles.H200).address), m.PRODUCT),
        job_name(replace(wanted, draft=wanted.address), m.PRODUCT),
    }
    assert len(others | {name}) == 4


@pytest.mark.parametrize(
    "reason", ["claimed", "quarantined", "cooling-down", "bundle-corrupt", "store-denied"]
)
def test_what_a_job_would_not_mend_gets_none(reason):
    rows = missing(m.pod(message=m.report()), found=Found("miss", reason))

    assert plan_jobs(rows, Choices()).jobs == ()


def labelled(**more):
    """A Deployment that nobody injected yet, with a key by some other means."""
    workloads = gather([], [controller_of(m.deployment(**more), "Deployment")])
    wanted = Wanted(bundles.identity().address, None, "sglang 0.5.23", "recipe")
    return [replace(row, wants=wanted, found=MISS) for row in rows_of(workloads, {}, Stated(), None)]


def test_before_injection_image_and_store_are_stated():
    annotations = {"autotune-cache.dev/engine-version": "0.5.23"}
    plan = plan_jobs(labelled(annotations=annotations), Choices(image="slim:1", store="s3://b/p"))

    (made,) = plan.jobs
    pod = made["spec"]["template"]["spec"]
    (program,) = pod["initContainers"]
    assert (program["image"], program["command"]) == (
        "slim:1",
        ["/opt/autotune/start", "copy", "/autotune-program"],
    )
    prewarm = pod["containers"][0]
    assert prewarm["command"][-3:] == ["--store", "s3://b/p", "--"]
    assert {"name": "AUTOTUNE_ENGINE_VERSION", "value": "0.5.23"} in prewarm["env"]
    assert {one["name"] for one in prewarm["volumeMounts"]} <= {one["name"] for one in pod["volumes"]}
    assert "nvidia.com/gpu.product" not in pod.get("nodeSelector", {})


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        (Choices(store="s3://b"), "--image"),
        (Choices(image="i"), "--store"),
        (Choices("i", "command", "s3://b"), "command"),
    ],
)
def test_what_is_missing_is_said(choices, said):
    plan = plan_jobs(labelled(), choices)

    assert plan.jobs == ()
    assert said in plan.left_out[0]


def test_a_template_that_is_not_clear_is_said():
    spec = m.spec()
    spec["initContainers"][1]["command"] = ["sh", "-c", "x"]
    plan = plan_jobs(missing(m.pod(message=m.report(), spec_=spec)), Choices())

    assert plan.left_out == (
        "models/qwen3-abc-x: the init container autotune-init does not begin with /opt/autotune/start run",
    )


def test_yaml_is_read_back_as_it_was():
    made = job(m.spec(m.engine(["sh", "-c", "set -e\nexec python3 -m sglang.launch_server\n"])))
    made["metadata"]["annotations"]["evil"] = "\x1b[2J\u202e"
    text = to_yaml([made, made])

    assert list(yaml.safe_load_all(text)) == [made, made]
    assert "&id" not in text
    assert "      - |\n" in text.replace("        - |", "      - |")
    assert all(one == "\n" or one.isprintable() for one in text)
