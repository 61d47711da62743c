"""What the admission policies cost a pod's creation: server-side dry-run creates, without label, left alone, injected.

    make bench-admission       # writes docs/evidence/admission.json and admission.svg

One kube-apiserver and etcd beside it, one keep-alive connection, kinds interleaved so that they share the
machine's moods. The difference of two rows of one run says something; a row alone says how busy the machine was.
"""

import copy
import http.client
import json
import ssl
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import evidence  # noqa: E402 -- the repository's root has to be on the path first
from tools.cluster import api_server  # noqa: E402 -- as above
from tools.cluster.layout import BIN  # noqa: E402 -- as above

LABEL = "autotune-cache.dev/inject"
SERVED = "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy"
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "engine", "labels": {"app": "engine"}},
    "spec": {
        "containers": [
            {
                "name": "engine",
                "image": "lmsysorg/sglang:v0.5.23",
                "command": ["python3", "-m", "sglang.launch_server"],
                "args": ["--model-path", "/models/qwen3", "--tp", "8"],
                "env": [{"name": f"SETTING_{number}", "value": "x"} for number in range(10)],
                "ports": [{"containerPort": 30000}],
                "readinessProbe": {"httpGet": {"path": "/health", "port": 30000}},
                "resources": {"limits": {"nvidia.com/gpu": "8", "cpu": "32", "memory": "256Gi"}},
                "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}],
            }
        ],
        "volumes": [{"name": "shm", "emptyDir": {"medium": "Memory"}}],
    },
}


class Pods:
    def __init__(self, api):
        trust = ssl.create_default_context(cafile=str(api.ca_file))
        self._connection = http.client.HTTPSConnection(api.url.partition("//")[2], context=trust)
        self._headers = {"Authorization": f"Bearer {api.token}", "Content-Type": "application/json"}

    def create(self, pod):
        """(milliseconds, the pod as it would have been created)."""
        body = json.dumps(pod)
        began = time.perf_counter()
        self._connection.request("POST", "/api/v1/namespaces/default/pods?dryRun=All", body, self._headers)
        answer = self._connection.getresponse()
        read = answer.read()
        took = (time.perf_counter() - began) * 1000
        if answer.status != 201:
            raise SystemExit(read.decode())
        return took, json.loads(read)


def labelled(pod, **annotations):
    made = copy.deepcopy(pod)
    made["metadata"]["labels"][LABEL] = "true"
    made["metadata"]["annotations"] = {
        f"autotune-cache.dev/{name}": value for name, value in annotations.items()
    }
    return made


def install(api):
    chart = [
        str(BIN / "helm"),
        "template",
        "bench",
        str(ROOT / "helm/autotune-cache"),
        "--api-versions",
        SERVED,
    ]
    rendered = subprocess.run(
        [*chart, "--set", "store.url=s3://models/autotune,image.repository=autotune-cache"],
        capture_output=True,
        text=True,
        check=True,
    )
    subprocess.run(
        [str(BIN / "kubectl"), "apply", "-f", "-"],
        input=rendered.stdout,
        text=True,
        check=True,
        env=api.environ,
        stdout=sys.stderr,
    )


def wait_until_active(pods):
    for _ in range(100):
        if "initContainers" in pods.create(labelled(POD))[1]["spec"]:
            return
        time.sleep(0.2)
    raise SystemExit("the policy did not become active within 20 s")


def measure(pods, kinds, rounds):
    times = {name: [] for name in kinds}
    for number in range(rounds + 50):
        for name, pod in kinds.items():
            took, _ = pods.create(pod)
            if number >= 50:  # the first ones warm caches
                times[name].append(took)
    return {
        name: {
            "p50_ms": round(statistics.median(took), 2),
            "p90_ms": round(statistics.quantiles(took, n=10)[8], 2),
        }
        for name, took in times.items()
    }


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    with api_server() as api:
        pods = Pods(api)
        before = measure(pods, {"before the chart": POD}, rounds)
        install(api)
        wait_until_active(pods)
        kinds = {
            "without label": POD,
            "left alone": labelled(POD, container="nobody"),
            "injected": labelled(POD),
        }
        rows = before | measure(pods, kinds, rounds)
    for name, row in rows.items():
        row["p90_ratio_to_without_label"] = round(row["p90_ms"] / rows["without label"]["p90_ms"], 2)
        print(f"{name:18s} {row}")
    evidence.keep("admission", "make bench-admission", {"rounds": rounds, "rows": rows})


if __name__ == "__main__":
    main()
