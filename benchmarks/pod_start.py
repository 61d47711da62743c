"""What the label adds to a pod's start on a warm bucket, seen from the pods: with and without it, in turns.

    make cluster-up && python benchmarks/pod_start.py [PAIRS]

Time is taken from the request that creates the pod to the first line of its engine's log, both by the clock of the one
machine that is client and node; images are there. One pod at a time, labelled and unlabelled alternating, so that both
meet the same noise. Writes docs/evidence/pod-start.json.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from tests.e2e.cluster_kubectl import Kubectl, container_status  # noqa: E402 -- found by the line above
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

EVIDENCE = ROOT / "docs" / "evidence" / "pod-start.json"
WARM_UPS = 2


def start_one(inside, name, image, labels):
    """Seconds to the engine's first line, and the report of our init container where there is one."""
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
    told = first[: first.index(".") + 7] + "+00:00"
    seconds = datetime.fromisoformat(told).timestamp() - began
    report = json.loads(container_status(pod, INIT)["state"]["terminated"]["message"]) if labels else None
    copied = json.loads(inside.logs(name, "autotune-program")) if labels else None
    inside.delete_pod(name)
    return seconds, report, copied


def spread(seconds):
    return {
        "median_s": round(statistics.median(seconds), 3),
        "p90_s": round(statistics.quantiles(seconds, n=10)[-1], 3),
        "all_s": [round(one, 3) for one in seconds],
    }


def main():
    pairs = int(sys.argv[1]) if sys.argv[1:] else 15
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
    with tempfile.TemporaryDirectory() as scratch:
        release = Release(kubectl, "autotune-cache", values(slim, bucket), Path(scratch))
        release.install()
        try:
            for turn in range(WARM_UPS):  # the first one tunes
                start_one(inside, f"warm-{turn}", image, LABEL)
            labelled, plain = [], []
            for turn in range(pairs):
                labelled.append(start_one(inside, f"with-{turn}", image, LABEL))
                plain.append(start_one(inside, f"without-{turn}", image, {}))
        finally:
            release.uninstall()
            kubectl.run("delete", "namespace", inside.namespace, "--wait=false")
    outcomes = {(report["outcome"], report["requests"]) for _, report, _ in labelled}
    assert outcomes == {("hit", 1)}, outcomes
    with_s, without_s = [one[0] for one in labelled], [one[0] for one in plain]
    evidence = {
        "what": "seconds from creating a pod to the first line of its engine; warm bucket, images on the node",
        "command": f"python benchmarks/pod_start.py {pairs}",
        "cores": os.cpu_count(),
        "load_1m": round(os.getloadavg()[0], 1),
        "with_label": spread(with_s),
        "without": spread(without_s),
        "added_median_s": round(statistics.median(with_s) - statistics.median(without_s), 3),
        "of_it_copy_median_s": round(statistics.median(one[2]["seconds"] for one in labelled), 3),
        "of_it_run_median_s": round(statistics.median(one[1]["seconds"] for one in labelled), 3),
        "program_bytes": labelled[0][2]["bytes"],
        "program_files": labelled[0][2]["files"],
    }
    EVIDENCE.write_text(json.dumps(evidence, indent=1) + "\n")
    print(
        json.dumps({key: value for key, value in evidence.items() if not isinstance(value, dict)}, indent=1)
    )


if __name__ == "__main__":
    main()
