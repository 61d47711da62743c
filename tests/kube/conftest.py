"""A real API server for the tests of this folder, and objects on it. No node and no controller: pods get their status here."""

import itertools
import json
import shutil
import subprocess
from dataclasses import dataclass
from http.client import HTTPSConnection
from ssl import create_default_context
from urllib.parse import urlsplit

import pytest
from tests import bundles
from tests.kube import manifests as m
from tests.kube import terminal as terminal_
from tools.cluster import ApiServer, api_server

from cache_store.claim import Claim

_numbers = itertools.count(1)


@dataclass
class Api:
    """The API server with an administrator's rights, over one connection."""

    server: ApiServer
    connection: HTTPSConnection

    def request(self, method, path, body=None, content_type="application/json"):
        headers = {"Authorization": f"Bearer {self.server.token}", "Content-Type": content_type}
        try:
            self.connection.request(method, path, None if body is None else json.dumps(body), headers)
            with self.connection.getresponse() as answer:
                document = json.loads(answer.read())
        except OSError:
            self.connection.close()  # one slow answer must not fail every test after it
            raise
        assert answer.status < 300, f"{method} {path}: {answer.status} {document}"
        return document

    def create(self, manifest):
        group, plural = _PATHS[manifest["kind"]]
        namespace = manifest["metadata"].get("namespace")
        scope = f"/namespaces/{namespace}" if namespace else ""
        return self.request("POST", f"{group}{scope}/{plural}", manifest)

    def create_pod(self, pod):
        """With the status that `pod` has: a kubelet would have reported it."""
        made = self.create({name: part for name, part in pod.items() if name != "status"})
        if "status" in pod:
            path = (
                f"/api/v1/namespaces/{made['metadata']['namespace']}/pods/{made['metadata']['name']}/status"
            )
            self.request("PATCH", path, {"status": pod["status"]}, "application/merge-patch+json")
        return made

    def kubectl(self, *arguments):
        return subprocess.run(
            ["kubectl", *arguments],
            env=self.server.environ,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout

    def namespace(self):
        name = f"models-{next(_numbers)}"
        self.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        return name

    def account(self, namespace, rules=(), cluster_rules=()):
        """The token of a fresh service account with these rights."""
        name = f"account-{next(_numbers)}"
        self.create(
            {
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": {"name": name, "namespace": namespace},
            }
        )
        self._grant(name, namespace, "Role", rules)
        self._grant(name, namespace, "ClusterRole", cluster_rules)
        return self.kubectl("create", "token", name, "--namespace", namespace).strip()

    def _grant(self, name, namespace, kind, rules):
        if not rules:
            return
        scope = {"namespace": namespace} if kind == "Role" else {}
        metadata = {"name": f"{namespace}-{name}", **scope}
        group = "rbac.authorization.k8s.io"
        version = {"apiVersion": f"{group}/v1"}
        self.create({**version, "kind": kind, "metadata": metadata, "rules": list(rules)})
        self.create(
            {
                **version,
                "kind": f"{kind}Binding",
                "metadata": metadata,
                "roleRef": {"apiGroup": group, "kind": kind, "name": metadata["name"]},
                "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
            }
        )

    def kubeconfig(self, path, token, namespace="default"):
        """A file that leads here with that token."""
        config = json.loads(self.server.kubeconfig.read_text())
        config["users"][0]["user"] = {"token": token}
        config["contexts"][0]["context"]["namespace"] = namespace
        path.write_text(json.dumps(config))
        return path


_CORE, _APPS, _BATCH, _RBAC = (
    "/api/v1",
    "/apis/apps/v1",
    "/apis/batch/v1",
    "/apis/rbac.authorization.k8s.io/v1",
)
_PATHS = {
    "Namespace": (_CORE, "namespaces"),
    "Node": (_CORE, "nodes"),
    "Pod": (_CORE, "pods"),
    "ServiceAccount": (_CORE, "serviceaccounts"),
    "Deployment": (_APPS, "deployments"),
    "ReplicaSet": (_APPS, "replicasets"),
    "StatefulSet": (_APPS, "statefulsets"),
    "Job": (_BATCH, "jobs"),
    "Role": (_RBAC, "roles"),
    "RoleBinding": (_RBAC, "rolebindings"),
    "ClusterRole": (_RBAC, "clusterroles"),
    "ClusterRoleBinding": (_RBAC, "clusterrolebindings"),
}


@pytest.fixture(scope="session")
def api():
    with api_server() as server:
        where = urlsplit(server.url)
        trust = create_default_context(cafile=str(server.ca_file))
        connection = HTTPSConnection(where.hostname, where.port, timeout=90, context=trust)
        yield Api(server, connection)
        connection.close()


@pytest.fixture
def namespace(api):
    return api.namespace()


class InPod:
    """What a container sees: the mount of its service account and its variables."""

    def __init__(self, folder, api, namespace, token):
        folder.mkdir()
        self.mount = folder
        (folder / "token").write_text(token)
        (folder / "namespace").write_text(namespace)
        shutil.copy(api.server.ca_file, folder / "ca.crt")
        url = urlsplit(api.server.url)
        self.environ = {"KUBERNETES_SERVICE_HOST": url.hostname, "KUBERNETES_SERVICE_PORT": str(url.port)}


@pytest.fixture
def pod(api, namespace):
    container = {"name": "engine", "image": "engine"}
    return api.create_pod(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "qwen3-0", "namespace": namespace},
            "spec": {
                "containers": [container],
                "initContainers": [{"name": "autotune-init", "image": "engine"}],
            },
        }
    )


@pytest.fixture
def in_pod(tmp_path, api, namespace, pod):
    def make(token):
        made = InPod(tmp_path / "mount", api, namespace, token)
        made.environ |= {"POD_NAME": "qwen3-0", "POD_UID": pod["metadata"]["uid"]}
        return made

    return make


@pytest.fixture
def terminal(api, namespace, tmp_path, s3):
    return terminal_.Terminal(api, namespace, tmp_path, s3)


@pytest.fixture
def models(api, namespace, s3):
    return terminal_.Models(api, namespace, s3)


@pytest.fixture
def mixed(api, models, namespace):
    """One workload of every kind."""
    labels = {"nvidia.com/gpu.product": m.PRODUCT}
    api.create(
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": f"gpu-{namespace}", "labels": labels}}
    )
    node = f"gpu-{namespace}"
    models.serve(
        "warm", terminal_.wants("hit", outcome="hit", reason="found", saved_s=93.5), replicas=3, node=node
    )
    models.serve("cold", terminal_.wants("miss"), node=node)
    models.serve("tuning", terminal_.wants("claimed"), node=node)
    models.serve("banned", terminal_.wants("quarantined", reason="quarantined"), node=node)
    models.serve(
        "grouped", terminal_.wants("miss", outcome="skipped", reason="replica-group", detail="2 pods")
    )
    models.serve("unreadable", "Traceback (most recent call last):\n  boom")
    models.serve("young")
    models.publish(terminal_.KEYS["hit"])
    claim = Claim(
        state="held", epoch=1, counter=1, nonce="n", holder="tuning-abc-0", lease_s=60.0, held_s=120.0
    )
    models.store.put_if_absent(
        bundles.identity(key=terminal_.KEYS["claimed"]).address.claim_key, claim.encode()
    )
    stone = bundles.tombstone(may_retune=False)
    models.store.put_if_absent(
        bundles.identity(key=terminal_.KEYS["quarantined"]).address.bundle_key, stone.encode()
    )
    return models
