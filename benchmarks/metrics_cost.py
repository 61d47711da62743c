"""What `--otlp-endpoint` costs a hit, beside what importing OpenTelemetry's own SDK and exporter would cost.

    make bench-metrics         # writes docs/evidence/metrics-cost.json and metrics-cost.svg

Fresh processes, in turn without and with a collector on loopback that takes everything; medians. `--sdk PYTHON` names a
Python that has opentelemetry-exporter-otlp-proto-http.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import evidence
from hit_path import ROOT, run_pod, seed

REPEAT = 21
SDK = """
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
"""


class TakesEverything(BaseHTTPRequestHandler):
    taken = 0

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        TakesEverything.taken += 1
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")


def wall_ms(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return (time.perf_counter() - began) * 1e3


def alternately(first: list[str], second: list[str], before: object) -> tuple[float, float]:
    walls: tuple[list[float], list[float]] = ([], [])
    for _ in range(REPEAT):
        for command, kept in zip((first, second), walls, strict=True):
            before()
            kept.append(wall_ms(command))
    return statistics.median(walls[0]), statistics.median(walls[1])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--sdk",
        metavar="PYTHON",
        required=True,
        help="a Python that has OpenTelemetry's SDK and HTTP exporter",
    )
    asked = parser.parse_args()
    server = ThreadingHTTPServer(("127.0.0.1", 0), TakesEverything)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as scratch:
        cache = Path(scratch) / "cache"
        (Path(scratch) / "store").mkdir()
        store = (Path(scratch) / "store").as_uri()
        seed(store, cache)
        sends = run_pod(store, cache, "--otlp-endpoint", f"http://127.0.0.1:{server.server_address[1]}")
        plain, sent = alternately(
            run_pod(store, cache), sends, lambda: shutil.rmtree(cache, ignore_errors=True)
        )
    empty, sdk = alternately([asked.sdk, "-c", "pass"], [asked.sdk, "-c", SDK], lambda: None)
    rows = {
        "a hit": {"wall_ms": round(plain)},
        "a hit with --otlp-endpoint": {"wall_ms": round(sent), "more_ms": round(sent - plain)},
        "a hit and the import of OpenTelemetry's SDK": {
            "wall_ms": round(plain + sdk - empty),
            "more_ms": round(sdk - empty),
        },
    }
    for row in rows.values():
        row["ratio_to_a_hit"] = round(row["wall_ms"] / plain, 2)
    for name, row in rows.items():
        print(f"{name:46s} {row}")
    evidence.keep("metrics-cost", "make bench-metrics", {"turns": REPEAT, "rows": rows})
    return 0 if TakesEverything.taken == REPEAT else 1


if __name__ == "__main__":
    sys.exit(main())
