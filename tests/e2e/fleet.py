"""An installed chart and the Deployments that it attaches to, for the end-to-end tests."""

import json
import time
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.cluster_kubectl import Kubectl, container_status
from tests.e2e.engine_images import FACTS

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "autotune-cache"
OPERATORS = "autotune-system"
SECRET = "autotune-store"
LABEL = {"autotune-cache.dev/inject": "true"}
STATUS = "autotune-cache.dev/status"
INIT, PROGRAM = "autotune-init", "autotune-program"
ENGINE_ARGS = [
    "--model-path", "/models/qwen3",
    "--dtype", "bfloat16",
    "--quantization", "modelopt_fp8",
    "--moe-runner-backend", "flashinfer_cutlass",
    "--tp", "1",
]  # fmt: skip
PROBE = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "probe", "labels": LABEL},
    "spec": {"containers": [{"name": "engine", "image": "none", "command": ["none"]}]},
}
TUNE_S = 5
# long enough that the other replicas of a Deployment come while it runs
TUNER = f"sh -c 'sleep {TUNE_S}; exec python3 /opt/engine/replay_tuner.py /opt/engine/recording.json'"


@dataclass
class Release:
    """One `helm install`. `values` are what the test sets; the rest are the chart's own."""

    kubectl: Kubectl
    name: str
    values: dict
    scratch: Path

    def install(self, *flags):
        """Returns what helm says, which is the chart's notes."""
        path = self.scratch / f"{self.name}.json"
        path.write_text(json.dumps(self.values))
        told = self._helm(
            "upgrade", "--install", self.name, str(CHART), "--create-namespace",
            "--wait", "--timeout", "120s", "--values", str(path), *flags,
        )  # fmt: skip
        self._wait_until_in_force()
        return told

    def uninstall(self):
        """Whether it is there or not."""
        return self._helm("uninstall", self.name, "--ignore-not-found", "--wait", "--timeout", "60s")

    def _helm(self, *arguments):
        return self.kubectl.within(OPERATORS).helm(*arguments)

    def _wait_until_in_force(self):
        """The API server takes up each new policy a moment after it was written."""
        if self.values.get("policy", {}).get("enabled", True):
            until(lambda: self.values["store"]["url"] in self._probed(), "the label's policy is in force")
            until(lambda: "autotune-cache: " in self._warned(), "whoever applies a misspelt label is warned")

    def wait_until_forgotten(self):
        """And it lets go of an old one as late."""
        until(lambda: self.values["store"]["url"] not in self._probed(), "the label's policy is forgotten")
        until(lambda: "autotune-cache: " not in self._warned(), "the warnings are forgotten")

    def _probed(self):
        """A labelled pod as it would be created."""
        create = ("create", "--dry-run=server", "-o", "json", "-f", "-")
        return self.kubectl.run(*create, stdin=json.dumps(PROBE))

    def _warned(self):
        """What is said of a workload that cannot be attached."""
        nobody = {"autotune-cache.dev/container": "nobody"}
        body = deployment("probe", PROBE["spec"], annotations=nobody)
        return self.kubectl.apply_told(body, "--dry-run=server")


def until(is_so, what):
    limit = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < limit, f"not after 30 s: {what}"
        time.sleep(0.2)


def values(slim_image, bucket, **more):
    """What an installer sets. There is no GPU here, so the node's facts are stated, and the tuner replays a recording."""
    repository, _, tag = slim_image.rpartition(":")
    chosen = {
        "image": {"repository": repository, "tag": tag, "pullPolicy": "Never"},
        "store": {
            "url": bucket.url,
            "endpoint": bucket.settings["AWS_ENDPOINT_URL_S3"],
            "region": bucket.settings["AWS_REGION"],
            "existingSecret": SECRET,
        },
        "tuning": {"tuner": "command", "tunerCommand": TUNER},
        "gpu": {"facts": json.dumps(FACTS)},
    }
    for section, changes in more.items():
        chosen[section] = {**chosen.get(section, {}), **changes} if isinstance(changes, dict) else changes
    return chosen


def add_secret(inside, bucket, **changed):
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    inside.apply({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": SECRET},
        "stringData": {**{name: bucket.settings[name] for name in names}, **changed},
    })  # fmt: skip


def engine(image, **more):
    return {
        "name": "engine",
        "image": image,
        "imagePullPolicy": "Never",
        "command": ["python3", "-m", "sglang.launch_server"],
        "args": ENGINE_ARGS,
        "readinessProbe": {"httpGet": {"path": "/", "port": 30000}, "periodSeconds": 1},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        **more,
    }


def pod_spec(*containers, uid=2000, **more):
    """A pod that PodSecurity `restricted` takes; its user is not the program image's."""
    return {
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": uid,
            "runAsGroup": uid,
            "fsGroup": 3000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": list(containers),
        "terminationGracePeriodSeconds": 1,
        **more,
    }


def deployment(name, spec, *, replicas=1, labels=None, annotations=None):
    app = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": app},
            "template": {
                "metadata": {
                    "labels": {**app, **(LABEL if labels is None else labels)},
                    "annotations": annotations or {},
                },
                "spec": spec,
            },
        },
    }


def pods_of(inside, name):
    """The living pods, oldest first."""
    found = [pod for pod in inside.items("pods", f"app={name}") if "deletionTimestamp" not in pod["metadata"]]
    return sorted(found, key=lambda pod: pod["metadata"]["creationTimestamp"])


def report_of(pod):
    """What autotune-init wrote to its termination log."""
    return json.loads(container_status(pod, INIT)["state"]["terminated"]["message"])


def reports_of(inside, name):
    return [report_of(pod) for pod in pods_of(inside, name)]


def told_by_engine(inside, pod, within_s=30):
    """The line of the stand-in: which files it found, and whether it could use them."""
    limit = time.monotonic() + within_s
    while True:
        for line in inside.logs(pod, "engine").splitlines():
            if line.startswith("ENGINE "):
                return json.loads(line.removeprefix("ENGINE "))
        assert time.monotonic() < limit, "the engine said nothing"
        time.sleep(0.3)
