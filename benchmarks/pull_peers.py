"""The same 8 rank files of 27 KB from one MinIO into an empty directory: a hit against tools that copy files.

    make bench-peers           # writes docs/evidence/pull-peers.json and pull-peers.svg

Every row is a fresh process, cold but for the page cache and Python's bytecode (pip and our image write it); rows take turns, so that other work on the machine meets all
alike. Wall and CPU are medians of their turns, ratios are within this run. `requests` are counted by a proxy in a run
of their own. What the peers do not do is part of the picture: only a hit derives its key, checks digests, schema and
environment, and places all files or none.
"""

import argparse
import asyncio
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.processes import minio  # noqa: E402 -- the repository is no package

PEERS = ROOT / ".tools" / "peers" / "bin"
RANKS, RANK_BYTES = 8, 27_000
TUNER = """
import json, os, sys
document = json.load(open(sys.argv[1]))
key = next(key for key in document if key.startswith("("))
for rank, path in enumerate(json.loads(os.environ["AUTOTUNE_RANK_FILES"])):
    mine, more = dict(document), 0
    while len(json.dumps(mine, indent=1)) < int(sys.argv[2]):
        more += 1
        mine[key.replace("4096", str(8192 + 64 * (1000 * rank + more)))] = [document[key][0], rank + more % 7]
    open(path, "w").write(json.dumps(mine, indent=1))
"""
KSERVE = "import sys; from kserve_storage import Storage; Storage.download(sys.argv[1], sys.argv[2])"
BOTO3 = """
import os, sys, boto3
s3, bucket, prefix, out = boto3.client("s3"), *sys.argv[1:]
for row in s3.list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]:
    s3.download_file(bucket, row["Key"], os.path.join(out, os.path.basename(row["Key"])))
"""


def hit(cache, url):
    return [
        sys.executable, "-m", "autotune_init", "run", "--strict", "--store", url, "--cache-dir", str(cache),
        "--facts", "examples/facts-h100.json", "--engine-version", "0.5.18", "--termination-log", "", "--",
        "python3", "-m", "sglang.launch_server", "--model-path", "examples/model", "--dtype", "bfloat16",
        "--quantization", "modelopt_fp8", "--moe-runner-backend", "flashinfer_cutlass", "--tp", str(RANKS),
    ]  # fmt: skip


def rows_of(bucket):
    """Name -> the command that fills a directory."""
    remote = ":s3,provider=Minio,env_auth=true,no_check_bucket=true"
    return {
        "autotune-init run (a hit)": lambda out: hit(out, f"s3://{bucket}/fleet"),
        "rclone copy": lambda out: [
            PEERS / "rclone", "copy", "--config", "", "--s3-endpoint", os.environ["AWS_ENDPOINT_URL"], f"{remote}:{bucket}/plain", out,
        ],
        "s5cmd cp": lambda out: [
            PEERS / "s5cmd", "--endpoint-url", os.environ["AWS_ENDPOINT_URL"], "cp", f"s3://{bucket}/plain/*", f"{out}/",
        ],
        "boto3 script": lambda out: [PEERS / "python", "-c", BOTO3, bucket, "plain/", out],
        "KServe storage initializer": lambda out: [PEERS / "python", "-c", KSERVE, f"s3://{bucket}/plain", out],
    }  # fmt: skip


# started by a small process: what a child's peak memory begins with is its parent's
LAUNCHER = """
import os, sys, time
began = time.perf_counter()
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)])
_, status, usage = os.wait4(child, 0)
print(time.perf_counter() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, os.waitstatus_to_exitcode(status))
"""


def timed(command):
    """Wall and CPU seconds, peak RSS in MiB."""
    words = [sys.executable, "-I", "-S", "-c", LAUNCHER, *map(str, command)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    wall_s, cpu_s, peak_mib, code = map(float, done.stdout.split())
    if code:
        raise SystemExit(f"{command} ended with {code:g}: {done.stderr[-2000:]}")
    return wall_s, cpu_s, peak_mib


def placed(folder):
    return sorted(path for path in Path(folder).rglob("*.json") if path.name.startswith("rank_"))


class Counter:
    """A proxy that counts requests. One thread, one loop."""

    def __init__(self, upstream_port):
        self.requests, self._upstream = 0, upstream_port
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()
        self._ready.wait(5)

    def _run(self):
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        self._loop.run_forever()

    async def _serve(self, reader, writer):
        there, here = await asyncio.open_connection("127.0.0.1", self._upstream)

        async def pass_on(source, sink, *, counts):
            while part := await source.read(65536):
                if counts:
                    self.requests += part.count(b" HTTP/1.1\r\n")
                sink.write(part)
                await sink.drain()
            sink.close()

        await asyncio.gather(
            pass_on(reader, here, counts=True), pass_on(there, writer, counts=False), return_exceptions=True
        )


def compile_all():
    """What pip, or a build of the image, does once. A tree that uv installed is compiled at every start otherwise."""
    for python, paths in ((sys.executable, ["src"]), (PEERS / "python", [])):
        told = subprocess.run(
            [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            capture_output=True,
            text=True,
            check=True,
        )
        command = [python, "-m", "compileall", "-q", "-j", "2", *paths, told.stdout.strip()]
        # a few files of test suites are for another Python
        subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=False)


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


def point_at(endpoint):
    os.environ.update(AWS_ENDPOINT_URL=endpoint, AWS_ENDPOINT_URL_S3=endpoint)


def seed(scratch, bucket):
    """Tunes once with a made-up tuner, then lays the same files beside the bundle for the peers."""
    tuner = scratch / "tuner.py"
    tuner.write_text(TUNER)
    recording = ROOT / "examples" / "h100-sample" / "bmm_fp8_tuned.json"
    command = hit(scratch / "seed", f"s3://{bucket.name}/fleet")
    at = command.index("--")
    command[at:at] = [
        "--tuner",
        "command",
        "--tuner-command",
        f"{sys.executable} {tuner} {recording} {RANK_BYTES}",
    ]
    timed(command)
    files = placed(scratch / "seed")
    for path in files:
        bucket.client().put_object(Bucket=bucket.name, Key=f"plain/{path.name}", Body=path.read_bytes())
    return [path.stat().st_size for path in files]


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
    ours = figures["autotune-init run (a hit)"]
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
        [PEERS / "python", ROOT / "benchmarks" / "plot_peers.py", options.out / "pull-peers.json"], check=True
    )
    for name, row in figures.items():
        print(f"{name:28s} {row}")


if __name__ == "__main__":
    main()
