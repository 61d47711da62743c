"""What the label adds to a pod's start on a warm bucket, seen from the pods: with and without it, in turns.

    make cluster-up && python benchmarks/pod_start.py [ROUNDS]

Two figures, for both ways in which the program comes into a pod (`program.source`: copy and imageVolume):

- `init_containers_s`: how long our init containers ran, from `startedAt` to `finishedAt` in the pod's status. The
  kubelet keeps whole seconds there, so only the mean over many pods says something; its standard error is beside it.
- `added_s`: from the request that creates the pod to the first line of its engine's log, less the same without the
  label. It holds the kubelet's own share too: it notices the end of a container once a second (its PLEG's period).

Images are on the node. One pod at a time, the kinds alternating, so that all meet the same noise. Writes
docs/evidence/pod-start.json and pod-start.svg.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from benchmarks import evidence  # noqa: E402 -- found by the line above
from tests.e2e.cluster_kubectl import Kubectl, container_status  # noqa: E402 -- as above
from tests.e2e.conftest import Bucket  # noqa: E402 -- as above
from tests.e2e.engine_images import build_engine  # noqa: E402 -- as above
from tests.e2e.fleet import (  # noqa: E402 -- as above
    INIT,
    LABEL,
    Release,
    add_secret,
    engine,
    pod_spec,
    values,
)
from tests.image_e2e.containers import build  # noqa: E402 -- as above
from tools.cluster import images, s3_server  # noqa: E402 -- as above
from tools.cluster.cluster import Cluster  # noqa: E402 -- as above
from tools.cluster.layout import NODE_ADDRESS, S3_PORT, Layout  # noqa: E402 -- as above

WARM_UPS = 2
PROGRAM = "autotune-program"


@dataclass(frozen=True)
class Start:
    """`ran_s`: our init containers together, by the pod's status."""

    seconds: float
    ran_s: float
    report: dict | None
    copied: dict | None


def moment(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def start_one(inside, name, image, labels):
    """Seconds to the engine's first line, and the statuses of our init containers."""
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": pod_spec(engine(image)),
    }
    began = time.time()
    inside.apply(body)
    pod = inside.wait_ready(name, within_s=60)
    first = inside.logs(name, "engine", "--timestamps").split(" ", 1)[0]
    seconds = moment(first[: first.index(".") + 7] + "+00:00") - began
    ours = [status["state"]["terminated"] for status in pod["status"].get("initContainerStatuses", [])]
    copied = json.loads(inside.logs(name, PROGRAM)) if len(ours) == 2 else None
    report = json.loads(container_status(pod, INIT)["state"]["terminated"]["message"]) if ours else None
    inside.delete_pod(name)
    ran = sum(moment(one["finishedAt"]) - moment(one["startedAt"]) for one in ours)
    return Start(seconds, ran, report, copied)


def spread(seconds):
    return {
        "median_s": round(statistics.median(seconds), 3),
        "p90_s": round(statistics.quantiles(seconds, n=10)[-1], 3),
        "all_s": [round(one, 3) for one in seconds],
    }


def told(starts, plain):
    """What one way of bringing the program costs, from its pods' starts."""
    assert {(one.report["outcome"], one.report["requests"]) for one in starts} == {("hit", 1)}, starts
    ran = [one.ran_s for one in starts]
    figures = {
        "init_containers_s": {
            "mean": round(statistics.mean(ran), 2),
            "standard_error": round(statistics.stdev(ran) / len(ran) ** 0.5, 2),
            "all": ran,
        },
        "to_first_line": spread([one.seconds for one in starts]),
        "added_s": round(statistics.median(one.seconds for one in starts) - statistics.median(plain), 3),
        "run_s": round(statistics.median(one.report["seconds"] for one in starts), 3),
    }
    if starts[0].copied:
        figures["copy_s"] = round(statistics.median(one.copied["seconds"] for one in starts), 3)
        figures["program"] = {key: starts[0].copied[key] for key in ("bytes", "files")}
    return figures


def main():
    rounds = int(sys.argv[1]) if sys.argv[1:] else 20
    cluster = Cluster(Layout.of(os.environ, os.getuid()))
    if not cluster.is_up():
        sys.exit("make cluster-up first")
    kubectl = Kubectl({**os.environ, **cluster.layout.exports(os.environ)})
    slim = build("slim")
    images.put_on_node(cluster.layout, slim)
    image = build_engine(cluster.layout, "e2e-engine:1", "python:bookworm")
    server = s3_server.start(cluster.daemons, cluster.layout.run / "objects", NODE_ADDRESS, S3_PORT)
    bucket = Bucket(s3_server.make_bucket(server, f"bench-{int(time.time())}"), server)
    inside = kubectl.within(f"bench-{int(time.time())}")
    kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": inside.namespace}})
    inside.run("wait", "--for=create", "serviceaccount/default", "--timeout=30s")
    add_secret(inside, bucket)
    starts = {}
    with tempfile.TemporaryDirectory() as scratch:
        for source in ("copy", "imageVolume"):
            # one release after the other: two would both answer to the label
            chosen = values(slim, bucket, program={"source": source})
            release = Release(kubectl, "autotune-cache", chosen, Path(scratch))
            release.install()
            try:
                for turn in range(WARM_UPS):  # the very first one tunes
                    start_one(inside, f"warm-{source.lower()}-{turn}", image, LABEL)
                starts[source], starts[f"{source} off"] = [], []
                for turn in range(rounds):
                    name = f"{source.lower()}-{turn}"
                    starts[source].append(start_one(inside, f"with-{name}", image, LABEL))
                    starts[f"{source} off"].append(start_one(inside, f"without-{name}", image, {}))
            finally:
                release.uninstall()
    kubectl.run("delete", "namespace", inside.namespace, "--wait=false")
    plain = [one.seconds for source in ("copy", "imageVolume") for one in starts[f"{source} off"]]
    figures = {
        "what": "what the label adds to a pod's start; warm bucket, images on the node",
        "without_label": spread(plain),
        "copy": told(starts["copy"], plain),
        "imageVolume": told(starts["imageVolume"], plain),
    }
    evidence.keep("pod-start", f"python benchmarks/pod_start.py {rounds}", figures)
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
