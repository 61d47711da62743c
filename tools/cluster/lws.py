"""The real LeaderWorkerSet controller beside a cluster, with its admission webhooks, for tests of replica groups.

It runs on the host like the rest of the control plane, with a certificate of its own, so that no pod, Service or
certificate manager is needed. Its webhooks look at one namespace label only: they fail closed, and would otherwise
stop every pod of the cluster once it ends.
"""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from typing import Any

from tools.charts.fetch import fetch
from tools.cluster.certificates import Authority
from tools.cluster.cluster import Cluster
from tools.cluster.layout import BIN

NAME = "lws-controller"
LABEL = "lws.e2e/groups"  # on namespaces whose pods it may make members of a group
WEBHOOK_PORT = 19443
HEALTH_PORT = 19081
_GROUP = "leaderworkerset.x-k8s.io"


def start(cluster: Cluster) -> None:
    """Idempotent. Ends with the cluster."""
    if cluster.daemons.pid(NAME) is not None:
        return
    for manifest in sorted((fetch("lws") / "config" / "crd" / "bases").glob("*.yaml")):
        cluster.kubectl("apply", "--server-side", "-f", str(manifest))
    cluster.daemons.wait_until("LeaderWorkerSet's kind", 30, lambda: _is_served(cluster))
    folder = cluster.layout.run / "lws"
    authority = Authority(folder / "pki")
    pair = authority.issue("tls", "lws-webhooks", ["127.0.0.1"])
    pair.certificate.replace(folder / "tls.crt")
    pair.key.replace(folder / "tls.key")
    config = folder / "config.json"
    config.write_text(json.dumps(_configuration(str(folder))))
    environ = {
        "PATH": "/usr/bin:/bin",
        "KUBECONFIG": cluster.layout.exports({})["KUBECONFIG"],
        "HOME": str(folder),
    }
    cluster.daemons.start(NAME, [BIN / NAME, "--config", config], environ=environ)
    cluster.daemons.wait_until("the LeaderWorkerSet controller", 60, _is_ready, needs=[NAME])
    bundle = base64.b64encode(authority.ca_file.read_bytes()).decode()
    hooks = folder / "webhooks.json"
    hooks.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": _webhooks(bundle)}))
    cluster.kubectl("apply", "-f", str(hooks))


def _is_served(cluster: Cluster) -> bool:
    """Neither `kubectl wait` nor jsonpath: in its first moments the object has no list of conditions, and both fail."""
    kind = json.loads(cluster.kubectl("get", "crd", f"leaderworkersets.{_GROUP}", "-o", "json"))
    conditions = kind.get("status", {}).get("conditions") or []
    return any(one["type"] == "Established" and one["status"] == "True" for one in conditions)


def _configuration(certificates: str) -> dict[str, Any]:
    """LWS 0.9.0, api/config/v1alpha1/configuration_types.go."""
    return {
        "apiVersion": "config.lws.x-k8s.io/v1alpha1",
        "kind": "Configuration",
        "leaderElection": {"leaderElect": False},
        "internalCertManagement": {"enable": False},
        "webhook": {"host": "127.0.0.1", "port": WEBHOOK_PORT, "certDir": certificates},
        "health": {"healthProbeBindAddress": f"127.0.0.1:{HEALTH_PORT}"},
        "metrics": {"bindAddress": "0"},
    }


def _webhooks(bundle: str) -> list[dict[str, Any]]:
    """LWS 0.9.0, config/webhook/manifests.yaml, but for where it is reached and whom it looks at."""

    def hook(
        name: str, path: str, group: str, version: str, operations: list[str], resource: str
    ) -> dict[str, Any]:
        return {
            "name": name,
            "admissionReviewVersions": ["v1"],
            "clientConfig": {"url": f"https://127.0.0.1:{WEBHOOK_PORT}/{path}", "caBundle": bundle},
            "failurePolicy": "Fail",
            "sideEffects": "None",
            "namespaceSelector": {"matchLabels": {LABEL: "true"}},
            "rules": [
                {
                    "apiGroups": [group],
                    "apiVersions": [version],
                    "operations": operations,
                    "resources": [resource],
                }
            ],
        }

    both = ["CREATE", "UPDATE"]
    kinds = {
        "MutatingWebhookConfiguration": [
            hook("mleaderworkerset.kb.io", f"mutate-{_dashed()}", _GROUP, "v1", both, "leaderworkersets"),
            hook("mpod.kb.io", "mutate--v1-pod", "", "v1", ["CREATE"], "pods"),
        ],
        "ValidatingWebhookConfiguration": [
            hook("vleaderworkerset.kb.io", f"validate-{_dashed()}", _GROUP, "v1", both, "leaderworkersets"),
            hook("vpod.kb.io", "validate--v1-pod", "", "v1", both, "pods"),
        ],
    }
    return [
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": kind,
            "metadata": {"name": "lws-e2e"},
            "webhooks": webhooks,
        }
        for kind, webhooks in kinds.items()
    ]


def _dashed() -> str:
    return f"{_GROUP.replace('.', '-')}-v1-leaderworkerset"


def _is_ready() -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{HEALTH_PORT}/readyz", timeout=2):
            return True
    except (OSError, urllib.error.URLError):
        return False
