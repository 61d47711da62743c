"""The same 8 rank files of 27 KB from one MinIO into an empty directory: a hit against tools that copy files.

    make bench-peers           # writes docs/evidence/pull-peers.json and pull-peers.svg

Every row is a fresh process, cold but for the page cache and Python's bytecode (pip and our image write it); rows take turns, so that other work on the machine meets all
alike. Wall and CPU are medians of their turns, ratios are within this run. `requests` are counted by a proxy in a run
of their own. What the peers do not do is part of the picture: only a hit derives its key, checks digests, schema and
environment, and places all files or none.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from pulls import (  # noqa: E402 -- found by the line above
    OURS,
    PEERS,
    RANKS,
    Counter,
    compile_all,
    placed,
    point_at,
    rows_of,
    seed,
    timed,
)
from tests.processes import minio  # noqa: E402 -- as above


def measure(scratch, bucket, turns):
    rows = rows_of(bucket)
    samples = {name: [] for name in rows}
    for turn in range(turns + 1):
        for name, command in rows.items():
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


def count_requests(scratch, bucket, port, figures):
    direct = os.environ["AWS_ENDPOINT_URL"]
    for name, command in rows_of(bucket).items():
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
    parser.add_argument("turns", nargs="?", type=int, default=11)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "evidence")
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
            figures = measure(scratch, bucket.name, options.turns)
            count_requests(scratch, bucket.name, bucket.port, figures)
    ours = figures[OURS]
    for row in figures.values():
        row["our_wall_ratio"] = round(ours["wall_ms"] / row["wall_ms"], 2)
    result = {
        "command": "make bench-peers",
        "files": f"{len(sizes)} of {min(sizes)} to {max(sizes)} bytes",
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "turns": options.turns,
        "load_average": os.getloadavg()[0],
        "rows": figures,
    }
    (options.out / "pull-peers.json").write_text(json.dumps(result, indent=1) + "\n")
    subprocess.run(
        [PEERS / "python", ROOT / "benchmarks" / "plot.py", options.out / "pull-peers.json"], check=True
    )
    for name, row in figures.items():
        print(f"{name:28s} {row}")


if __name__ == "__main__":
    main()
