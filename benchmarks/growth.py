"""What a hit costs as things grow: ranks of a node, bytes of a bundle, objects in the bucket.

    make bench-growth          # writes docs/evidence/growth.json and growth.svg; some minutes, most of them filling

A hit must not depend on what else lies in the bucket. rclone, which copies the same files from a prefix of their own, stands
beside it: its ratio is of the same run.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src"), str(ROOT / "benchmarks")]

import evidence  # noqa: E402 -- found by the line above
import pulls  # noqa: E402 -- as above
from tests.processes import minio  # noqa: E402 -- as above

from cache_store.objects.open_url import open_store  # noqa: E402 -- as above

RANKS = (1, 8, 64)
BUNDLE_BYTES = (20_000, 200_000, 2_000_000, 20_000_000)  # of 8 ranks together
# a model has 27 KB of entries a rank and a check for each: the smallest bundle is of one that is asked for few tokens
FEW_TOKENS = ("--max-tokens", "1")
OBJECTS = (10, 1_000, 100_000)
THREADS = 32


def measure(scratch, bucket, start, turns, ranks=pulls.RANKS, flags=()):
    """Medians of a hit and of rclone on the files that `pulls.seed` laid last."""
    rows = pulls.rows_of(bucket.name)
    commands = {
        pulls.IN_IMAGE: pulls.in_image(bucket.name, start, ranks, flags),
        "rclone copy": rows["rclone copy"],
    }
    samples = {name: [] for name in commands}
    for turn in range(turns + 1):
        for name, command in commands.items():
            out = scratch / "out"
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir()
            sample = pulls.timed(command(out))
            if len(pulls.placed(out)) != ranks:
                raise SystemExit(f"{name} placed {len(pulls.placed(out))} of {ranks} files")
            if turn:
                samples[name].append(sample)
    found = {
        name: {
            "wall_ms": round(statistics.median(one[0] for one in taken) * 1e3),
            "cpu_ms": round(statistics.median(one[1] for one in taken) * 1e3),
            "peak_rss_mib": round(max(one[2] for one in taken), 1),
        }
        for name, taken in samples.items()
    }
    direct = os.environ["AWS_ENDPOINT_URL"]
    for name, command in commands.items():
        counter = pulls.Counter(bucket.port)
        pulls.point_at(counter.endpoint)
        shutil.rmtree(scratch / "out", ignore_errors=True)
        (scratch / "out").mkdir()
        pulls.timed([str(word).replace(direct, counter.endpoint) for word in command(scratch / "out")])
        found[name]["requests"] = counter.requests
        pulls.point_at(direct)
    found["our_wall_ratio"] = round(found[pulls.IN_IMAGE]["wall_ms"] / found["rclone copy"]["wall_ms"], 2)
    return found


def fresh(endpoint, name):
    return minio.Bucket(endpoint, name, keeps_versions=False).create()


def fill(bucket, count):
    """Other workloads' bundles beside ours, as objects of no meaning: a hit never opens them."""
    store = open_store(f"s3://{bucket.name}/fleet", environ=dict(os.environ))

    def put(number):
        store.put_if_absent(f"0.7.2/sm90/{number:016x}/nvidia-h100-{number:012x}/bundle.json", b"{}")

    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(put, range(count)))
    store.close()


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--objects", type=int, nargs="*", default=OBJECTS)
    parser.add_argument("--out", type=Path, default=evidence.FOLDER)
    options = parser.parse_args()
    found = {"ranks": {}, "bundle_bytes": {}, "objects": {}}
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        with minio.serve(scratch / "minio") as endpoint:
            os.environ.update(minio.KEYS)
            os.environ.update(AWS_DEFAULT_REGION="us-east-1", AWS_REGION="us-east-1")
            pulls.point_at(endpoint)
            pulls.compile_all()
            start = pulls.image_tree(scratch / "tree")
            for ranks in RANKS:
                bucket = fresh(endpoint, f"ranks-{ranks}")
                pulls.seed(scratch, bucket, ranks)
                found["ranks"][ranks] = measure(scratch, bucket, start, options.turns, ranks)
                print("ranks", ranks, found["ranks"][ranks], flush=True)
            for size in BUNDLE_BYTES:
                bucket = fresh(endpoint, f"bytes-{size}")
                flags = FEW_TOKENS if size < pulls.RANKS * pulls.RANK_BYTES // 2 else ()
                sizes = pulls.seed(scratch, bucket, rank_bytes=size // pulls.RANKS, flags=flags)
                found["bundle_bytes"][sum(sizes)] = measure(
                    scratch, bucket, start, options.turns, flags=flags
                )
                print("bytes", sum(sizes), found["bundle_bytes"][sum(sizes)], flush=True)
            bucket = fresh(endpoint, "objects")
            pulls.seed(scratch, bucket)
            for count in options.objects:
                fill(bucket, count)
                found["objects"][count] = measure(scratch, bucket, start, options.turns)
                print("objects", count, found["objects"][count], flush=True)
    evidence.keep("growth", "make bench-growth", {"turns": options.turns, **found}, options.out)


if __name__ == "__main__":
    main()
