"""The same 8 rank files of 27 KB from one MinIO into an empty directory: a hit against tools that copy files.

    make bench-peers           # writes docs/evidence/pull-peers.json and pull-peers.svg

Every row is a fresh process, cold but for the page cache and Python's bytecode (pip and our image write it); rows take
turns, so that other work on the machine meets all alike. Wall and CPU are medians of their turns, ratios are within this
run. `requests` are counted by a proxy in a run of their own. What the peers do not do is part of the picture: only a hit
derives its key, checks digests, schema and environment, and places all files or none.

A hit is there twice: the wheel in this checkout's environment, and what pods run, the image's tree on the
distribution's Python. The last row is the least that a Python program with our client can take.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import evidence  # noqa: E402 -- found by the line above
from pulls import (  # noqa: E402 -- as above
    IN_IMAGE,
    OURS,
    RANKS,
    Counter,
    compile_all,
    engine_python,
    floors_of,
    image_tree,
    placed,
    point_at,
    rows_of,
    seed,
    timed,
)
from tests.processes import minio  # noqa: E402 -- as above


def measure(scratch, rows, turns):
    samples = {name: [] for name in rows}
    names = list(rows)
    for turn in range(turns + 1):
        # whoever follows KServe's 0.9 s finds other caches than whoever follows rclone
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            command = rows[name]
            out = scratch / "out"
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir()
            sample = timed(command(out))
            if len(placed(out)) != RANKS:
                raise SystemExit(f"{name} placed {len(placed(out))} of {RANKS} files")
            if turn:  # the first warms the page cache
                samples[name].append(sample)
    return {
        name: {
            "wall_ms": round(statistics.median(one[0] for one in taken) * 1e3),
            "wall_ms_min": round(min(one[0] for one in taken) * 1e3),
            "cpu_ms": round(statistics.median(one[1] for one in taken) * 1e3),
            "peak_rss_mib": round(max(one[2] for one in taken), 1),
        }
        for name, taken in samples.items()
    }


def version_of(python):
    told = subprocess.run([python, "--version"], capture_output=True, text=True, check=True).stdout
    return f"{told.split()[-1]} ({python})"


def count_requests(scratch, rows, port, figures):
    direct = os.environ["AWS_ENDPOINT_URL"]
    for name, command in rows.items():
        counter = Counter(port)
        point_at(counter.endpoint)
        out = scratch / "counted"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        timed([str(word).replace(direct, counter.endpoint) for word in command(out)])
        figures[name]["requests"] = counter.requests
    point_at(direct)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("turns", nargs="?", type=int, default=21)
    parser.add_argument("--out", type=Path, default=evidence.FOLDER)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        with minio.serve(scratch / "minio") as endpoint:
            os.environ.update(minio.KEYS)
            os.environ.update(AWS_DEFAULT_REGION="us-east-1")
            point_at(endpoint)
            bucket = minio.Bucket(endpoint, "bench").create()
            sizes = seed(scratch, bucket)
            compile_all()
            found = bucket.client().list_objects_v2(Bucket=bucket.name, Prefix="fleet/")["Contents"]
            (key,) = (row["Key"] for row in found if row["Key"].endswith("/bundle.json"))
            start = image_tree(scratch / "tree")
            rows = {**floors_of(bucket.name, start, key), **rows_of(bucket.name)}
            figures = measure(scratch, rows, options.turns)
            count_requests(scratch, rows, bucket.port, figures)
    for row in figures.values():
        row["our_wall_ratio"] = round(figures[OURS]["wall_ms"] / row["wall_ms"], 3)
        row["pods_wall_ratio"] = round(figures[IN_IMAGE]["wall_ms"] / row["wall_ms"], 3)
    result = {
        "files": f"{len(sizes)} of {min(sizes)} to {max(sizes)} bytes",
        "python_of_pods": version_of(engine_python()),
        "turns": options.turns,
        "rows": figures,
    }
    evidence.keep("pull-peers", "make bench-peers", result, options.out)
    for name, row in figures.items():
        print(f"{name:28s} {row}")


if __name__ == "__main__":
    main()
