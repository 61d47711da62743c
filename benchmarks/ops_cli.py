"""What the reading commands cost on a large bucket: wall time, CPU and peak memory of each, as processes on MinIO.

    python -m benchmarks.ops_cli [--bundles N] [--rounds R] [--foreign N] [--keep NAME]

MinIO runs on the same machine and shares its cores with the command; the medians are of R runs, in which all take turns.
`load_1m` at the end says whether others shared them too: with two cores, more than 2 or 3 is a machine that is not quiet.
`--foreign` puts that many objects of somebody else's into the bucket besides.

Two rows are yardsticks: s5cmd, which prints the same bundles, and our client's requests alone.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from benchmarks import evidence  # noqa: E402 -- found by the line above
from benchmarks.large_bucket import THREADS, fill  # noqa: E402 -- as above
from benchmarks.pulls import S5CMD  # noqa: E402 -- as above
from tests.processes.minio import KEYS, Bucket, serve  # noqa: E402 -- as above

from cache_store.objects.open_url import open_store  # noqa: E402 -- as above

PEER_ROW = "s5cmd cat */bundle.json"
AGAIN = "ls, again"
FIRST_STATE = "verify --state, first run"
AT_LEAST = "obstore, LIST and GETs alone"
# what our client takes for the same requests, before anything is looked at
GETTER = """
import os, sys
from concurrent.futures import ThreadPoolExecutor
import obstore
from obstore.store import S3Store
bucket, _, prefix = sys.argv[1].partition("://")[2].partition("/")
store = S3Store(bucket, prefix=prefix, client_options={"allow_http": True}, region="us-east-1", virtual_hosted_style_request=False,
                endpoint=os.environ["AWS_ENDPOINT_URL_S3"])
keys = [meta["path"] for page in obstore.list(store) for meta in page if meta["path"].endswith("/bundle.json")]
def read(some):
    return [len(bytes(obstore.get(store, key).bytes())) for key in some]
with ThreadPoolExecutor(32) as threads:
    print(sum(map(sum, threads.map(read, (keys[at:at + 8] for at in range(0, len(keys), 8))))))
"""
GOALS = {"ls": {"wall_s": 5.0}, "verify": {"peak_rss_mib": 150.0}}


# a process's peak memory includes what its parent had when it was forked, so a small one starts it
LAUNCHER = """
import json, os, resource, subprocess, sys, time
began = time.monotonic()
ended = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
wall_s = time.monotonic() - began
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([wall_s, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, ended.returncode]))
"""


def launched(command, environ):
    """(wall seconds, CPU seconds of the command, peak MiB, exit status) of one process."""
    words = [sys.executable, "-S", "-c", LAUNCHER, *command]
    return json.loads(subprocess.run(words, env=environ, capture_output=True, check=True).stdout)


def put_foreign(url, environ, count):
    store = open_store(url, environ=environ, request_timeout_s=60)
    with ThreadPoolExecutor(THREADS) as pool:
        keys = (f"datasets/part-{number:07d}.parquet" for number in range(count))
        list(pool.map(lambda key: store.put_if_absent(key, b"PAR1"), keys))


def commands_of(environ, folder):
    """Name -> (words, environment). What a later one needs of an earlier one comes in this order."""
    remembers = {**environ, "XDG_CACHE_HOME": folder}
    state = str(Path(folder) / "state.jsonl")
    ours = {
        "ls": ["ls"],
        AGAIN: ["ls"],
        "ls --json": ["ls", "--json"],
        "ls --names-only": ["ls", "--names-only"],
        "ls --older-than 1d": ["ls", "--older-than", "1d"],
        "verify": ["verify"],
        "verify --json": ["verify", "--json"],
        FIRST_STATE: ["verify", "--state", state],
        "verify --state, second run": ["verify", "--state", state],
        "stats": ["stats"],
    }
    commands = {
        name: ([sys.executable, "-m", "cache_store.cli", *words], remembers if name == AGAIN else environ)
        for name, words in ours.items()
    }
    commands[AT_LEAST] = [sys.executable, "-c", GETTER, environ["AUTOTUNE_STORE"]], environ
    if S5CMD:
        # the same bundles, read and thrown away: what reading them costs a program that looks at none
        url = f"{environ['AUTOTUNE_STORE']}/*/bundle.json"
        options = ["--endpoint-url", environ["AWS_ENDPOINT_URL_S3"], "--numworkers", "32"]
        commands[PEER_ROW] = [str(S5CMD), *options, "cat", url], environ
    return commands


def rows(environ, folder, rounds):
    """(name, its row). The commands take turns: this machine is quicker in one minute than in the next."""
    commands = commands_of(environ, folder)
    taken = {name: [] for name in commands}
    launched(*commands[AGAIN])  # the time before
    for turn in range(rounds):
        for name, command in commands.items():
            if name == FIRST_STATE and turn:
                continue
            taken[name].append(launched(*command))
            print(turn, name, round(taken[name][-1][0], 2), file=sys.stderr, flush=True)
    for name, figures in taken.items():
        yield name, row_of(name, figures)


def row_of(name, taken):
    wall, cpu, peak, codes = zip(*taken, strict=True)
    if set(codes) != {0}:
        raise SystemExit(f"{name} ended with {codes}")
    return {
        "wall_s": round(statistics.median(wall), 2),
        "wall_s_all": [round(one, 2) for one in wall],
        "cpu_s": round(statistics.median(cpu), 2),
        "peak_rss_mib": round(max(peak), 1),
    }


def judge(commands):
    return {
        f"{command} {figure} <= {limit:g}": commands[command][figure] <= limit
        for command, figures in GOALS.items()
        for figure, limit in figures.items()
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bundles", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--foreign", type=int, default=0)
    parser.add_argument("--keep", metavar="NAME", help="as docs/evidence/NAME.json and NAME.svg")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, serve(folder) as endpoint:
        Bucket(endpoint, "models", keeps_versions=False).create()
        url = "s3://models/autotune"
        environ = {
            **KEYS,
            "AWS_ENDPOINT_URL_S3": endpoint,
            "AUTOTUNE_STORE": url,
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT / "src"),
        }
        objects = fill(url, environ, asked.bundles)
        put_foreign(url, environ, asked.foreign)
        commands = {}
        for name, row in rows(environ, folder, asked.rounds):
            commands[name] = row
            print(f"{name:<28} {row}", flush=True)
    figures = {
        "bundles": asked.bundles,
        "objects": objects + asked.foreign,
        "rounds": asked.rounds,
        "commands": commands,
        "goals": judge(commands),
    }
    print(json.dumps(figures["goals"]))
    if asked.keep:
        evidence.keep(asked.keep, f"python -m benchmarks.ops_cli {' '.join(sys.argv[1:])}", figures)


if __name__ == "__main__":
    main()
