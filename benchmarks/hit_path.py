"""What a hit costs: wall, CPU, peak RSS, requests, and the modules it did not import.

    make bench-hit             # writes docs/evidence/hit-path.json and hit-path.svg

Each row is a fresh process, with bytecode on disk as pip and the image leave it. Ratios are against `python -c pass` in
the same run: these are start-up costs. `imports_ms` is what `-X importtime` says of the hit through obstore: self times,
the least of several runs, which are some half above what the same imports cost unwatched.
"""

import contextlib
import os
import re
import resource
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import evidence

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
REPEAT = 9
OWN = ("autotune_init", "cache_store", "obstore")
ENGINE = [
    "--model-path", "examples/model", "--dtype", "bfloat16", "--quantization", "modelopt_fp8",
    "--moe-runner-backend", "flashinfer_cutlass", "--tp", "1",
]  # fmt: skip


def measure(command: list[str], before: object = None) -> dict[str, float]:
    walls, cpus, peaks = [], [], []
    for _ in range(REPEAT):
        if callable(before):
            before()
        began, process = time.perf_counter(), subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL,
                                                               stderr=subprocess.DEVNULL)  # fmt: skip
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"failed: {command}")
        walls.append(time.perf_counter() - began)
        cpus.append(usage.ru_utime + usage.ru_stime)
        peaks.append(usage.ru_maxrss / 1024)
    return {
        "wall_ms": round(min(walls) * 1e3),
        "cpu_ms": round(min(cpus) * 1e3),
        "peak_rss_mib": round(max(peaks), 1),
    }


def run_pod(store: str, cache: Path, *flags: str) -> list[str]:
    return [
        sys.executable, "-m", "autotune_init", "run", "--strict", "--store", store, "--cache-dir", str(cache),
        "--facts", "examples/facts-h100.json", *flags, "--", *ENGINE,
    ]  # fmt: skip


def seed(store: str, cache: Path) -> None:
    recording = EXAMPLES / "h100-sample" / "bmm_fp8_tuned.json"
    replay = f"{sys.executable} {EXAMPLES / 'replay_tuner.py'} {recording}"
    command = run_pod(store, cache, "--tuner", "command", "--tuner-command", replay)
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def imports_of(command: list[str], before: object) -> dict[str, object]:
    """Milliseconds by package, and the ten modules that cost most."""
    least: dict[str, int] = {}
    for _ in range(REPEAT):
        before()
        watched = [command[0], "-X", "importtime", *command[1:]]
        told = subprocess.run(watched, cwd=ROOT, capture_output=True, text=True, check=True).stderr
        for self_us, name in re.findall(r"^import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)$", told, re.MULTILINE):
            least[name] = min(least.get(name, sys.maxsize), int(self_us))
    packages: dict[str, list[int]] = {}
    for name, cost in least.items():
        top = name.partition(".")[0]
        packages.setdefault(top if top in OWN else "Python's own", []).append(cost)
    largest = sorted(least.items(), key=lambda item: -item[1])[:10]
    return {
        "by_package": {
            top: {"modules": len(costs), "ms": round(sum(costs) / 1e3, 1)} for top, costs in packages.items()
        },
        "largest": {name: round(cost / 1e3, 1) for name, cost in largest},
    }


@contextlib.contextmanager
def s3_server(scratch: Path) -> Iterator[str]:
    """MiniStack with one bucket, on a free loopback port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environ = {**os.environ, "BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "HOME": str(scratch)}
    program = ROOT / ".tools" / "ministack" / "bin" / "ministack"
    server = subprocess.Popen([program], env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            try:
                bucket = urllib.request.Request(f"http://127.0.0.1:{port}/bench", method="PUT")
                urllib.request.urlopen(bucket, timeout=2).close()
                break
            except OSError:
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def main() -> int:
    rows: dict[str, dict[str, float]] = {}
    site = sysconfig.get_path("purelib")
    subprocess.run(
        [sys.executable, "-m", "compileall", "-q", "src", site],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        check=False,
    )
    with tempfile.TemporaryDirectory() as scratch:
        cache = Path(scratch) / "cache"
        (Path(scratch) / "store").mkdir()
        store = (Path(scratch) / "store").as_uri()
        seed(store, cache)
        rows["python -c pass"] = measure([sys.executable, "-c", "pass"])
        rows["import autotune_init.main"] = measure([sys.executable, "-c", "import autotune_init.main"])
        rows["local (no request)"] = measure(run_pod(store, cache))
        rows["hit, directory store"] = measure(run_pod(store, cache), lambda: shutil.rmtree(cache))
        with s3_server(Path(scratch)) as endpoint:
            os.environ.update(AWS_ENDPOINT_URL_S3=endpoint, AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test",
                              AWS_REGION="us-east-1")  # fmt: skip
            shutil.rmtree(cache)
            seed("s3://bench/fleet", cache)
            for adapter in ("obstore", "fsspec"):
                hit = run_pod("s3://bench/fleet", cache, "--store-adapter", adapter)
                rows[f"hit, S3 through {adapter}"] = measure(hit, lambda: shutil.rmtree(cache))
                if adapter == "obstore":
                    imports = imports_of(hit, lambda: shutil.rmtree(cache))
    floor = rows["python -c pass"]["cpu_ms"]
    for row in rows.values():
        row["cpu_ratio_to_pass"] = round(row["cpu_ms"] / floor, 1)
    result = {
        "repeat": REPEAT,
        "statistic": "minimum of wall and CPU, maximum of peak RSS",
        "rows": rows,
        "imports_ms": imports,
        "own_peak_rss_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }
    evidence.keep("hit-path", "make bench-hit", result)
    for name, row in rows.items():
        print(f"{name:28s} {row}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
