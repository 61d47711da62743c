"""Makers of what a cluster with the cache holds: pods as the admission policy leaves them, and their owners."""

import json

from tests.bundles import H100, identity

STORE = "s3://models/autotune"
PRODUCT = "NVIDIA-H100-80GB-HBM3"
ARGV = ["python3", "-m", "sglang.launch_server", "--model-path", "/models/qwen3", "--tp", "2"]
TOKEN = {"name": "kube-api-access-x7k2p", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}


def engine(argv=ARGV, env=(), **more):
    return {
        "name": "engine",
        "image": "registry.example/sglang:0.5.23",
        "command": list(argv),
        "env": [{"name": "HF_HOME", "value": "/models/hf"}, *env],
        "resources": {"limits": {"nvidia.com/gpu": "2"}, "requests": {"nvidia.com/gpu": "2"}},
        "volumeMounts": [{"name": "models", "mountPath": "/models"}],
        "ports": [{"containerPort": 30000}],
        "readinessProbe": {"tcpSocket": {"port": 30000}},
        **more,
    }


def injected(container, store=STORE, flags=(), env=(), **more):
    """Our init container beside `container`: its copy with our program in front."""
    kept = {name: part for name, part in container.items() if name not in ("ports", "readinessProbe", "args")}
    stores = [{"name": "AUTOTUNE_STORE", "value": store}] if store else []
    return {
        **kept,
        "name": "autotune-init",
        "command": ["/opt/autotune/start", "run", *flags, "--"],
        "args": [*container.get("command", ()), *container.get("args", ())],
        "env": [*container["env"], *stores, *env],
        "volumeMounts": [
            *container["volumeMounts"],
            {"name": "autotune-program", "mountPath": "/opt/autotune"},
            {"name": "autotune-cache", "mountPath": "/autotune-cache"},
        ],
        "terminationMessagePolicy": "FallbackToLogsOnError",
        **more,
    }


def program():
    return {
        "name": "autotune-program",
        "image": "registry.example/autotune-cache:1.0",
        "command": ["/opt/autotune/start", "copy", "/program"],
        "volumeMounts": [{"name": "autotune-program", "mountPath": "/program"}],
    }


def spec(container=None, init=None, **more):
    container = container or engine()
    return {
        "containers": [container],
        "initContainers": [program(), init or injected(container)],
        "volumes": [
            {"name": "models", "persistentVolumeClaim": {"claimName": "models"}},
            {"name": "autotune-program", "emptyDir": {}},
            {"name": "autotune-cache", "emptyDir": {}},
        ],
        **more,
    }


def pod(name="qwen3-abc-x", namespace="models", owner=None, message=None, node=None, spec_=None, **metadata):
    """`message`: what its init container left (a dict becomes JSON)."""
    text = json.dumps(message) if isinstance(message, dict) else message
    state = {"exitCode": 0, "message": text} if text is not None else None
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": f"uid-{name}",
            "labels": {"autotune-cache.dev/inject": "true"},
            "creationTimestamp": "2026-11-23T00:00:00Z",
            **({"ownerReferences": [owner]} if owner else {}),
            **metadata,
        },
        "spec": {**(spec_ or spec()), **({"nodeName": node} if node else {})},
        "status": {
            "phase": "Running",
            "initContainerStatuses": [
                {
                    "name": "autotune-init",
                    "image": "i",
                    "imageID": "",
                    "ready": True,
                    "restartCount": 0,
                    "state": {"terminated": state} if state else {"running": {}},
                }
            ],
        },
    }


def owned_by(kind, name, uid=None, api="apps/v1"):
    return {"apiVersion": api, "kind": kind, "name": name, "uid": uid or f"uid-{name}", "controller": True}


def replica_set(name="qwen3-abc", deployment="qwen3", namespace="models"):
    return {
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": f"uid-{name}",
            "ownerReferences": [owned_by("Deployment", deployment)],
        },
        "spec": {"replicas": 1},
    }


def deployment(name="qwen3", namespace="models", replicas=1, labels=None, container=None, annotations=None):
    """As its owner wrote it: nothing of ours but the label."""
    labels = {"autotune-cache.dev/inject": "true"} if labels is None else labels
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "uid": f"uid-{name}"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name, **labels}, "annotations": annotations or {}},
                "spec": {
                    "containers": [container or engine()],
                    "volumes": [{"name": "models", "persistentVolumeClaim": {"claimName": "models"}}],
                },
            },
        },
    }


def report(outcome="cold", reason="miss", who=None, **more):
    """A pod's report about the bundle of `who`."""
    address = (who or identity(H100)).address
    return {
        "schema": "autotune-cache/report/v1",
        "outcome": outcome,
        "reason": reason,
        "detail": "",
        "engine": "sglang",
        "engine_version": "0.5.23",
        "flashinfer_version": address.flashinfer_version,
        "arch": address.arch,
        "key": address.key,
        "environment": address.environment,
        "saved_s": 0.0,
        "draft": None,
        **more,
    }
