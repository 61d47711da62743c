"""Pods as people write them, and stranger ones: every field that the policy reads or copies varies. Deterministic by seed."""

import random

from tests.chart.chart_tools import RESTRICTED
from tests.chart.varied_containers import maybe, varied_container, varied_mounts

ANNOTATION = "autotune-cache.dev/"


def varied_pod(seed):
    """A pod that is valid but for rare accidents (a test compares with what the API server says without our label)."""
    dice = random.Random(seed)
    is_hardened = dice.random() < 0.4
    volumes = _volumes(dice, is_hardened)
    names = dice.sample(
        ["engine", "server", "main", "sidecar", "proxy", "a" * 63, "metrics", "x-1"],
        dice.choice([1, 1, 1, 2, 3, 5]),
    )
    spec = {
        "containers": [
            varied_container(dice, name, volumes, is_hardened, is_engine=index == 0)
            for index, name in enumerate(names)
        ],
    }
    if volumes or dice.random() < 0.3:
        spec["volumes"] = volumes
    maybe(dice, spec, 0.4, "initContainers", lambda: _init_containers(dice, volumes, is_hardened))
    maybe(dice, spec, 0.3, "securityContext", lambda: _pod_security(dice, is_hardened))
    maybe(
        dice,
        spec,
        0.2,
        "imagePullSecrets",
        lambda: [{"name": name} for name in dice.sample(["registry", "other", "third"], dice.choice([1, 2]))],
    )
    maybe(dice, spec, 0.1, "hostNetwork", lambda: not is_hardened)
    maybe(dice, spec, 0.1, "resources", lambda: {"limits": {"cpu": "64", "memory": "64Gi"}})
    maybe(dice, spec, 0.1, "hostUsers", lambda: False)
    maybe(dice, spec, 0.2, "restartPolicy", lambda: dice.choice(["Never", "OnFailure", "Always"]))
    maybe(
        dice,
        spec,
        0.15,
        "activeDeadlineSeconds",
        lambda: dice.choice([60, 601, 7199, 7200, 86400, 2147483647]),
    )
    maybe(dice, spec, 0.15, "terminationGracePeriodSeconds", lambda: dice.choice([0, 1, 600]))
    maybe(
        dice,
        spec,
        0.15,
        "nodeSelector",
        lambda: {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3", "kubernetes.io/os": "linux"},
    )
    maybe(
        dice,
        spec,
        0.15,
        "tolerations",
        lambda: [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
    )
    maybe(dice, spec, 0.1, "shareProcessNamespace", lambda: True)
    maybe(dice, spec, 0.1, "automountServiceAccountToken", lambda: dice.choice([True, False]))
    maybe(dice, spec, 0.4, "serviceAccountName", lambda: "engine")
    maybe(dice, spec, 0.1, "priorityClassName", lambda: "system-node-critical" if dice.random() < 0.2 else "")
    maybe(dice, spec, 0.1, "enableServiceLinks", lambda: False)
    maybe(
        dice,
        spec,
        0.1,
        "topologySpreadConstraints",
        lambda: [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {"app": "engine"}},
            }
        ],
    )
    if any(container.get("resources", {}).get("claims") for container in spec["containers"]):
        spec["resourceClaims"] = [{"name": "gpus", "resourceClaimTemplateName": "gpus"}]
    if dice.random() < 0.03:
        _windows(spec)
    metadata = {"labels": {"app": "engine"}}
    metadata |= (
        {"generateName": "engine-" + "g" * dice.choice([0, 200])}
        if dice.random() < 0.3
        else {"name": "p" * dice.choice([1, 40, 253])}
    )
    maybe(dice, metadata, 0.5, "annotations", lambda: _annotations(dice, names))
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}  # fmt: skip


def _annotations(dice, names):
    made = {"prometheus.io/scrape": "true"}
    maybe(
        dice,
        made,
        0.6,
        ANNOTATION + "container",
        lambda: dice.choice([names[0], names[0], names[-1], "nobody"]),
    )
    maybe(
        dice,
        made,
        0.4,
        ANNOTATION + "engine",
        lambda: dice.choice(["sglang", "sglang", "vllm", "vllm", "flashinfer", "tgi", ""]),
    )
    maybe(dice, made, 0.2, ANNOTATION + "engine-version", lambda: dice.choice(["0.5.23", 'a"b\\c']))
    maybe(
        dice,
        made,
        0.2,
        ANNOTATION + "tuner",
        lambda: dice.choice(["none", "wait", "engine", "engine", "flashinfer-ops", "command", "bogus"]),
    )
    maybe(
        dice,
        made,
        0.2,
        ANNOTATION + "gpu-name",
        lambda: dice.choice(["NVIDIA H100 80GB HBM3", "NVIDIA H200", "$(HOME)", "ä€"]),
    )
    maybe(
        dice,
        made,
        0.2,
        ANNOTATION + "cache-dir",
        lambda: dice.choice(["/cache", "/data/kernels/", "relative", "/", "", "/a/../b", "/etc/x"]),
    )
    maybe(dice, made, 0.05, ANNOTATION + "status", lambda: dice.choice(["injected", "left alone: long ago"]))
    maybe(dice, made, 0.1, ANNOTATION + "engine-name", lambda: "sglang")
    return made


def _volumes(dice, is_hardened):
    kinds = [
        {"name": "models", "persistentVolumeClaim": {"claimName": "models"}}, {"name": "shm", "emptyDir": {"medium": "Memory"}}, {"name": "scratch", "emptyDir": {}},
        {"name": "settings", "configMap": {"name": "settings"}}, {"name": "keys", "secret": {"secretName": "keys"}},
        {"name": "about", "downwardAPI": {"items": [{"path": "l", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
        {"name": "both", "projected": {"sources": [{"secret": {"name": "s"}}]}}, {"name": "csi", "csi": {"driver": "d.example"}},
        {"name": "weights", "image": {"reference": "registry.example/weights:1", "pullPolicy": "IfNotPresent"}}, {"name": "block", "persistentVolumeClaim": {"claimName": "block"}},
        {"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
        {"name": "eph", "ephemeral": {"volumeClaimTemplate": {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}}},
    ]  # fmt: skip
    if not is_hardened:
        kinds += [
            {"name": "host", "hostPath": {"path": "/data"}},
            {"name": "nfs", "nfs": {"server": "s", "path": "/p"}},
        ]
    made = dice.sample(kinds, dice.choice([0, 0, 1, 2, 4]))
    if dice.random() < 0.08:
        made.append(
            {
                "name": dice.choice(["autotune-cache", "autotune-program", "autotune-ca", "autotune-token"]),
                "emptyDir": {},
            }
        )
    return made


def _init_containers(dice, volumes, is_hardened):
    made = []
    for name in dice.sample(
        ["download", "wait", "native-sidecar", "autotune-init", "autotune-program", "i" * 63],
        dice.choice([1, 1, 2, 3]),
    ):
        if name.startswith("autotune") and dice.random() < 0.8:
            continue
        one = {
            "name": name,
            "image": "busybox",
            "command": dice.choice(
                [["true"], ["/opt/autotune/start", "run"], ["sh", "-c", "sleep 1"]]
                if dice.random() < 0.1
                else [["true"]]
            ),
        }
        if name == "native-sidecar":
            one["restartPolicy"] = "Always"
        if is_hardened:
            one["securityContext"] = dict(RESTRICTED)
        mounts = varied_mounts(dice, volumes)
        if mounts:
            one["volumeMounts"] = mounts
        made.append(one)
    return made


def _pod_security(dice, is_hardened):
    made = (
        {"fsGroup": 1000, "runAsUser": 1000, "runAsNonRoot": True}
        if is_hardened
        else dice.choice(
            [
                {},
                {"runAsUser": 0},
                {"supplementalGroups": [44]},
                {"sysctls": [{"name": "net.ipv4.tcp_syncookies", "value": "1"}]},
            ]
        )
    )
    if is_hardened:
        made["seccompProfile"] = {"type": "RuntimeDefault"}
    return made


def _windows(spec):
    spec.pop("securityContext", None)
    for name in ("hostUsers", "shareProcessNamespace", "hostNetwork"):
        spec.pop(name, None)
    for container in [*spec["containers"], *spec.get("initContainers", [])]:
        container.pop("securityContext", None)
    spec["os"] = {"name": "windows"}
