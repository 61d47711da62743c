"""`autotune-init fleet` without the rights, the roads or the settings that it needs: one sentence, and a number."""

import base64
import json
import sys

import pytest
import trustme
from tests.kube.terminal import wants

from autotune_init.fleet import CLUSTER

PODS = {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}


def test_with_the_right_to_list_pods_alone_the_rest_is_named(terminal, api, models, mixed, namespace):
    token = api.account(namespace, [PODS])
    api.kubeconfig(terminal.kubeconfig, token, namespace)

    ran = terminal("--json")

    assert ran.code == 0
    assert "no right to list nodes in the whole cluster: what it would show is missing here" in ran.stderr
    rows = ran.rows
    assert {row["gpu"] for row in rows.values()} == {"unknown"}
    assert {row["kind"] for row in rows.values()} == {"ReplicaSet"}
    assert rows["warm-abc"]["state"] == "hit"


def test_without_the_right_to_list_pods_there_is_no_answer(terminal, api, namespace):
    api.kubeconfig(terminal.kubeconfig, api.account(namespace), namespace)

    ran = terminal("--json")

    assert ran.code == CLUSTER
    error = json.loads(ran.stderr)["error"]
    assert error == {
        "kind": "cluster-denied",
        "message": f"no right to list pods in namespace {namespace}",
        "exit_code": 3,
    }


def test_without_the_right_to_create_jobs_that_is_named(terminal, api, models, namespace):
    models.serve("cold", wants("miss"))
    api.kubeconfig(terminal.kubeconfig, api.account(namespace, [PODS]), namespace)

    ran = terminal("prewarm", "--apply")

    assert (ran.code, ran.stdout) == (CLUSTER, "")
    assert f"no right to create jobs in namespace {namespace}" in ran.stderr


def test_a_token_that_is_none(terminal, api):
    api.kubeconfig(terminal.kubeconfig, "not-a-token")

    ran = terminal()

    assert (ran.code, ran.stderr) == (
        CLUSTER,
        "autotune-init fleet: the cluster does not take these credentials; log in again\n",
    )


def test_a_cluster_that_is_not_there(terminal):
    config = json.loads(terminal.kubeconfig.read_text())
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    terminal.kubeconfig.write_text(json.dumps(config))

    ran = terminal()

    assert ran.code == CLUSTER
    assert "refused" in ran.stderr
    assert ran.stderr.count("\n") == 1


def test_a_cluster_of_a_foreign_authority(terminal):
    config = json.loads(terminal.kubeconfig.read_text())
    authority = base64.b64encode(trustme.CA().cert_pem.bytes()).decode()
    config["clusters"][0]["cluster"]["certificate-authority-data"] = authority
    terminal.kubeconfig.write_text(json.dumps(config))

    ran = terminal()

    assert ran.code == CLUSTER
    assert "CERTIFICATE_VERIFY_FAILED" in ran.stderr


def test_no_kubeconfig(terminal, tmp_path):
    terminal.environ |= {"HOME": str(tmp_path)}
    terminal.environ.pop("KUBECONFIG")

    ran = terminal()

    assert (ran.code, ran.stderr) == (
        2,
        "autotune-init fleet: no kubeconfig: set KUBECONFIG, or log in to a cluster\n",
    )


@pytest.mark.parametrize("text", ["", "{", "[]", "apiVersion: v1", '{"contexts": 5}', "\x00"])
def test_a_kubeconfig_that_is_none(terminal, text):
    terminal.kubeconfig.write_text(text)

    ran = terminal()

    assert ran.code == 2
    assert ran.stderr.startswith("autotune-init fleet: ")


def test_a_context_that_is_not_there(terminal):
    ran = terminal("--context", "staging")

    assert ran.code == 2
    assert "staging" in ran.stderr


def test_a_store_that_is_away_ends_it_with_the_stores_code(terminal, mixed):
    terminal.environ |= {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1", "AUTOTUNE_REQUEST_TIMEOUT": "0.3"}

    ran = terminal("--json")

    assert ran.code == 10
    assert json.loads(ran.stderr)["error"]["kind"] == "store-unavailable"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--no-such-option"], "--no-such-option"),
        (["-n", "a", "-A"], "exclude each other"),
        (["--facts", "H100"], "GPU=FILE"),
        (["--facts", "H100=/no/such/file"], "H100"),
        (["--model-config", "x=/no/such/dir"], "x"),
        (["prewarm", "--json"], "--json"),
        (["prewarm", "-o", "toml"], "toml"),
    ],
)
def test_wrong_usage(terminal, arguments, said):
    ran = terminal(*arguments)

    assert (ran.code, ran.stdout) == (2, "")
    assert said in ran.stderr


def test_a_misspelt_variable_is_refused(terminal):
    terminal.environ["AUTOTUNE_STOER"] = "s3://x"

    ran = terminal()

    assert ran.code == 2
    assert "did you mean AUTOTUNE_STORE?" in ran.stderr


def test_inside_of_a_cluster_the_pods_own_account_is_used(
    terminal, api, models, namespace, in_pod, monkeypatch, tmp_path
):
    models.serve("cold", wants("miss"))
    inside = in_pod(api.account(namespace, [PODS]))
    monkeypatch.setattr("autotune_init.kube._MOUNT", inside.mount)
    terminal.environ.pop("KUBECONFIG")
    terminal.environ |= {**inside.environ, "HOME": str(tmp_path)}

    assert "cold-abc" in terminal("--json").rows


def test_a_pod_without_an_account_has_no_cluster(terminal, tmp_path):
    terminal.environ.pop("KUBECONFIG")
    terminal.environ |= {
        "HOME": str(tmp_path),
        "KUBERNETES_SERVICE_HOST": "127.0.0.1",
        "KUBERNETES_SERVICE_PORT": "1",
    }

    ran = terminal()

    assert ran.code == 2
    assert "Service token file does not exist" in ran.stderr


def test_without_the_client_it_is_said_how_to_get_it(terminal, monkeypatch):
    monkeypatch.setitem(sys.modules, "kubernetes", None)

    ran = terminal()

    assert ran.code == 2
    assert "install autotune-cache with [kubernetes]" in ran.stderr


def test_help_is_no_failure(terminal, capsys):
    assert terminal("--help").code == 0
    assert terminal("prewarm", "--help").code == 0
    assert "--all-namespaces" in capsys.readouterr().out
