"""The pull of pull_peers.py from a MinIO whose answers are spoiled: who ends with a right directory, and who with a broken one.

    make bench-spoiled         # writes docs/evidence/spoiled-store.json and spoiled-store.svg

`right`: all 8 files, byte for byte. `nothing`: none of them (a pod of ours then starts cold, and its exit code is 0 unless
--strict, as here). `broken`: some are missing or cut, with what the program said of it.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import evidence  # noqa: E402 -- found by the line above
import pulls as peers  # noqa: E402 -- as above
from tests.processes import minio  # noqa: E402
from tests.stores.live.real_servers import Server  # noqa: E402
from tests.stores.live.spoiling_proxy import spoiling  # noqa: E402

LIMIT_S = 120
LATE_S = 0.2


def late(_request):
    time.sleep(LATE_S)
    return ""


def first(effect, count):
    return lambda request: effect if request.method == "GET" and request.number <= count else ""


def always(effect, *, bodies_only=False):
    """`bodies_only`: listings stay whole, so that every tool gets as far as the objects."""
    return lambda request: (
        effect if request.method == "GET" and not (bodies_only and "list-type" in request.path) else ""
    )


STORES = {
    "as it is": lambda _: "",
    "each answer is 200 ms late": late,
    "the first two answers to each GET are 503": first("503", 2),
    "the first body of each GET is cut in the middle": first("cut-body", 1),
    "one object's body is cut in the middle, each time": lambda request: (
        "cut-body"
        if request.method == "GET" and request.path.endswith(("bundle.json", "/rank_tp3_pp0_dp0.json"))
        else ""
    ),
    "every object's body is cut in the middle": always("cut-body", bodies_only=True),
    "every GET is answered 503": always("503"),
}


def pull(command):
    """(seconds, exit code or None where it had to be ended)."""
    began = time.perf_counter()
    try:
        done = subprocess.run(
            [str(word) for word in command], cwd=ROOT, capture_output=True, timeout=LIMIT_S, check=False
        )
        code = done.returncode
    except subprocess.TimeoutExpired:
        code = None
    return round(time.perf_counter() - began, 2), code


def judged(out, wanted):
    found = {path.name: path.read_bytes() for path in peers.placed(out)}
    if found == wanted:
        return "right"
    if not found:
        return "nothing"
    whole = sum(found.get(name) == body for name, body in wanted.items())
    return f"broken: {whole} of {len(wanted)} whole, {len(found) - whole} cut"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=evidence.FOLDER)
    parser.add_argument(
        "--only", default="", help="stores whose name has this; the other rows stay as they are"
    )
    options = parser.parse_args()
    path = options.out / "spoiled-store.json"
    rows = json.loads(path.read_text())["rows"] if options.only else {}
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        with minio.serve(scratch / "minio") as endpoint:
            os.environ.update(minio.KEYS)
            os.environ.update(AWS_DEFAULT_REGION="us-east-1")
            peers.point_at(endpoint)
            bucket = minio.Bucket(endpoint, "bench").create()
            peers.seed(scratch, bucket)
            wanted = {path.name: path.read_bytes() for path in peers.placed(scratch / "seed")}
            server = Server("minio", endpoint, minio.ACCESS, minio.SECRET)
            for store, rule in STORES.items():
                if options.only not in store:
                    continue
                for name in peers.rows_of(bucket.name):
                    out = scratch / "out"
                    shutil.rmtree(out, ignore_errors=True)
                    out.mkdir()
                    with spoiling(server, rule) as proxy:
                        peers.point_at(proxy.endpoint)
                        seconds, code = pull(peers.rows_of(bucket.name)[name](out))
                    row = {
                        "seconds": seconds,
                        "exit_code": code if code is not None else f"ended after {LIMIT_S} s",
                        "directory": judged(out, wanted),
                        "requests": len(proxy.requests),
                    }
                    rows.setdefault(store, {})[name] = row
                    print(f"{store:50s} {name:28s} {row}", flush=True)
    evidence.keep("spoiled-store", "make bench-spoiled", {"limit_s": LIMIT_S, "rows": rows}, options.out)


if __name__ == "__main__":
    main()
