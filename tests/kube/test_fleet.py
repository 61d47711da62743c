"""`autotune-init fleet` against a real API server and a real S3; pods have the status that a kubelet would have reported."""

import json

from tests.kube import manifests as m
from tests.kube.terminal import KEYS, Models, wants, without_claim
from tests.pods import ROOT


def test_every_workload_is_looked_up_by_what_its_pods_said(terminal, mixed):
    ran = terminal("--json")

    assert (ran.code, ran.stderr) == (0, "")
    rows = ran.rows
    assert {name: (row["state"], row["reason"]) for name, row in rows.items()} == {
        "warm": ("hit", "found"),
        "cold": ("miss", "miss"),
        "tuning": ("miss", "claimed"),
        "banned": ("miss", "quarantined"),
        "grouped": ("refused", "replica-group"),
        "unreadable": ("refused", "not-a-report"),
        "young": ("refused", "no-report"),
    }
    warm = rows["warm"]
    assert (warm["gpu"], warm["kind"], warm["replicas"]) == (m.PRODUCT, "Deployment", 3)
    assert (warm["saved_s"], warm["tune_s"], warm["engine"]) == (280.5, 93.5, "sglang 0.5.23")
    assert rows["tuning"]["holder"] == "tuning-abc-0"
    assert rows["tuning"]["since_s"] >= 120
    assert [name for name, row in rows.items() if row["is_to_tune"]] == ["cold"]
    assert rows["young"]["gpu"] == "unknown"


def test_the_table_is_by_gpu(terminal, mixed, namespace):
    ran = terminal()

    lines = ran.stdout.splitlines()
    assert lines[0] == m.PRODUCT
    assert lines[1].split() == ["WORKLOAD", "KIND", "REPLICAS", "ENGINE", "KEY", "STATE", "REASON", "SAVED"]
    (cold,) = [line for line in lines if line.startswith(f"  {namespace}/cold ")]
    assert cold.split()[1:] == ["Deployment", "1", "sglang", "0.5.23", KEYS["miss"], "miss", "miss", "-"]
    assert "claimed by tuning-abc-0 since 2m" in ran.stdout
    assert "unknown" in lines
    assert lines[-1] == "7 rows: 1 hit, 3 miss (1 to tune), 3 refused; saved 4m40s of tuning"


def test_the_store_of_each_workload_is_asked_where_none_is_stated(terminal, models, s3):
    container = m.engine()
    spec = without_claim(m.spec(container, m.injected(container, store=s3.url)))
    models.serve("cold", wants("miss"), spec=spec)
    hidden = m.injected(container, store=None, env=[{"name": "AUTOTUNE_STORE", "valueFrom": _KEY}])
    models.serve("hidden", wants("miss"), spec=without_claim(m.spec(container, hidden)))

    rows = terminal("--json", store=False).rows

    assert (rows["cold"]["state"], rows["cold"]["reason"]) == ("miss", "miss")
    assert (rows["hidden"]["state"], rows["hidden"]["reason"]) == ("refused", "no-store")


_KEY = {"configMapKeyRef": {"name": "autotune", "key": "store"}}


def test_a_missing_bundle_becomes_a_job_that_the_cluster_takes(terminal, mixed, api, namespace):
    printed = terminal("prewarm")
    (job,) = printed.jobs
    first = terminal("prewarm", "--apply")
    second = terminal("prewarm", "--apply")

    name = job["metadata"]["name"]
    assert (first.code, first.stdout) == (0, f"job/{namespace}/{name} created\n")
    assert (second.code, second.stdout) == (0, f"job/{namespace}/{name} exists\n")
    kept = api.request("GET", f"/apis/batch/v1/namespaces/{namespace}/jobs/{name}")
    pod = kept["spec"]["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"] == {"nvidia.com/gpu": "2"}
    assert pod["nodeSelector"] == {"nvidia.com/gpu.product": m.PRODUCT}
    assert kept["metadata"]["annotations"]["autotune-cache.dev/workload"] == "Deployment/cold"
    # a Job's pods are no workload of the fleet
    assert "autotune-cache.dev/inject" not in kept["spec"]["template"]["metadata"]["labels"]


def test_nothing_to_tune_is_said(terminal, models):
    models.serve("warm", wants("hit"))
    models.publish(KEYS["hit"])

    ran = terminal("prewarm")

    assert (ran.code, ran.stdout) == (0, "")
    assert "nothing is missing" in ran.stderr


def test_an_empty_namespace_is_said(terminal):
    ran = terminal()

    assert (ran.code, ran.stdout) == (0, "")
    assert "no workload here has the label" in ran.stderr


def test_a_deployment_that_has_no_pods_yet_is_decided_by_the_recipe(terminal, api, namespace):
    argv = ["python3", "-m", "sglang.launch_server", "--model-path", "/models/qwen3", "--dtype", "bfloat16"]
    argv += ["--quantization", "modelopt_fp8", "--moe-runner-backend", "flashinfer_cutlass"]
    made = m.deployment("fresh", namespace, 0, container=m.engine(argv))
    made["spec"]["template"]["spec"]["nodeSelector"] = {"nvidia.com/gpu.product": m.PRODUCT}
    api.create(made)
    facts, model = ROOT / "examples" / "facts-h100.json", ROOT / "examples" / "model"

    (row,) = terminal(
        "--json", "--facts", f"{m.PRODUCT}={facts}", "--model-config", f"fresh={model}"
    ).rows.values()
    job = terminal(
        "prewarm",
        "--facts",
        f"{m.PRODUCT}={facts}",
        "--model-config",
        f"{namespace}/fresh={model}",
        "--image",
        "registry.example/autotune-cache:1.0",
        "--apply",
    )
    without = terminal("prewarm", "--facts", f"{m.PRODUCT}={facts}", "--model-config", f"fresh={model}")

    assert (row["state"], row["reason"], row["source"]) == ("miss", "miss", "recipe")
    assert (row["gpu"], row["replicas"], row["engine"]) == (m.PRODUCT, 0, "sglang 0.5.23")
    assert row["address"].startswith("0.7.2.post1/sm90/")
    assert job.stdout.endswith(" created\n")
    assert "state --image" in without.stderr


def test_all_namespaces(terminal, api, models, s3):
    models.serve("cold", wants("miss"))
    elsewhere = Models(api, api.namespace(), s3)
    elsewhere.serve("cold", wants("miss"))

    ran = terminal("--json", "-A")

    document = json.loads(ran.stdout)
    places = {(row["namespace"], row["workload"]) for row in document["rows"]}
    assert {(models.namespace, "cold"), (elsewhere.namespace, "cold")} <= places


def test_five_hundred_workloads_are_read_in_pages(terminal, api, models, namespace):
    for number in range(500):
        made = m.pod(f"one-{number:03}", namespace, message=wants("miss"), spec_=without_claim(m.spec()))
        del made["metadata"]["uid"]
        api.create_pod(made)

    ran = terminal("--json")

    assert len(ran.rows) == 500
    assert {row["reason"] for row in ran.rows.values()} == {"miss"}
    assert len(terminal("prewarm").jobs) == 1


def test_hostile_texts_reach_no_terminal(terminal, models):
    models.serve("evil", wants("miss", engine="\x1b]0;owned\x07", reason="miss", detail="\x1b[2J"))
    models.serve("rude", m.report(key=None, reason="undecidable", detail="\x1b[31m\u202eetirw\n\x00"))

    ran = terminal()

    assert "\\x1b]0;owned\\x07" in ran.stdout
    assert all(one == "\n" or one.isprintable() for one in ran.stdout + ran.stderr)
