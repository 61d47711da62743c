"""A hundred pods that start at once on this machine: when the last one has its files, and what each of them waited.

    make bench-crowd           # writes docs/evidence/crowd.json and crowd.svg

All begin at one moment and pull the 8 files of pull_peers.py into a directory of their own, from one MinIO. A fleet has a
machine for each; here they share two cores with the store, so that this counts what a start costs a node and the store.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import evidence  # noqa: E402 -- found by the line above
import pulls  # noqa: E402 -- as above
from tests.processes import minio  # noqa: E402 -- as above

PODS = 100
# each of KServe's is five processes: 100 of them do not fit into 16 GB beside the rest
FEWER = {"KServe storage initializer": 25}


def crowd(command, scratch, wanted, pods):
    """Seconds until each pod's end, and how many directories are right."""
    outs = [scratch / f"pod-{number}" for number in range(pods)]
    for out in outs:
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
    began = time.perf_counter()
    started = [
        subprocess.Popen(
            [str(word) for word in command(out)],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for out in outs
    ]  # kept until all have ended: a Popen that is thrown away has its process reaped by the next one
    living = {pod.pid: out for pod, out in zip(started, outs, strict=True)}
    ends, cpu_s = [], 0.0
    while living:
        pid, status, usage = os.wait4(-1, 0)
        if os.waitstatus_to_exitcode(status):
            raise SystemExit(f"{living[pid]} ended with {os.waitstatus_to_exitcode(status)}")
        del living[pid]
        ends.append(time.perf_counter() - began)
        cpu_s += usage.ru_utime + usage.ru_stime
    right = sum({path.name: path.read_bytes() for path in pulls.placed(out)} == wanted for out in outs)
    return ends, cpu_s, right


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=evidence.FOLDER)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        with minio.serve(scratch / "minio") as endpoint:
            os.environ.update(minio.KEYS)
            os.environ.update(AWS_DEFAULT_REGION="us-east-1")
            pulls.point_at(endpoint)
            bucket = minio.Bucket(endpoint, "bench").create()
            pulls.seed(scratch, bucket)
            pulls.compile_all()
            wanted = {path.name: path.read_bytes() for path in pulls.placed(scratch / "seed")}
            commands = {
                pulls.IN_IMAGE: pulls.in_image(bucket.name, pulls.image_tree(scratch / "tree")),
                **pulls.rows_of(bucket.name),
            }
            names, taken = list(commands), {name: [] for name in commands}
            for turn in range(options.rounds):
                for name in names[turn % len(names) :] + names[: turn % len(names)]:
                    taken[name].append(crowd(commands[name], scratch, wanted, FEWER.get(name, PODS)))
                    print(name, round(taken[name][-1][0][-1], 2), "s", flush=True)
    rows = {
        name: {
            "pods": FEWER.get(name, PODS),
            "last_s": round(statistics.median(ends[-1] for ends, _, _ in rounds), 2),
            "median_s": round(statistics.median(statistics.median(ends) for ends, _, _ in rounds), 2),
            "cpu_s_a_pod": round(
                statistics.median(cpu_s for _, cpu_s, _ in rounds) / FEWER.get(name, PODS), 3
            ),
            "right": min(right for _, _, right in rounds),
        }
        for name, rounds in taken.items()
    }
    for row in rows.values():
        if row["pods"] == PODS:
            row["our_ratio"] = round(rows[pulls.OURS]["last_s"] / row["last_s"], 2)
            row["pods_ratio"] = round(rows[pulls.IN_IMAGE]["last_s"] / row["last_s"], 2)
    figures = {"pods": PODS, "rounds": options.rounds, "rows": rows}
    evidence.keep("crowd", "make bench-crowd", figures, options.out)
    for name, row in rows.items():
        print(f"{name:28s} {row}")


if __name__ == "__main__":
    main()
