"""Stands where `python -m sglang.launch_server` would: the same flags, log lines, processes and files, no model.

Behaviour comes from --stub-* flags, one of --stub-mode:
    tune            every rank tunes and writes its file, then the server is ready
    nothing         ready at once, no autotune line
    writes-nothing  autotune lines, ready, no file         half       files that end in the middle, then ready
    differ          rank files that differ                 hang       stops logging in the middle of a tune
    crash           a rank dies of an exception            hang-dead  the same, but the launcher stays
    oom             a rank is killed as the kernel does it, and the counter in --stub-cgroup grows
    managed         vLLM's line about FlashInfer's own store
"""

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--model-path", required=True)
parser.add_argument("--quantization")
parser.add_argument("--tp", "--tp-size", dest="tp", type=int, default=1)
parser.add_argument("--load-format", default="auto")
parser.add_argument("--host", default="0.0.0.0")
parser.add_argument("--port", type=int, default=30000)
parser.add_argument("--log-level", default="info")
parser.add_argument("--skip-server-warmup", action="store_true")
parser.add_argument("--enable-metrics", action="store_true")
parser.add_argument("--api-key")
parser.add_argument("--speculative-algorithm")
parser.add_argument("--stub-mode", default="tune")
parser.add_argument(
    "--stub-folder", action="append", default=[], help="below SGLANG_CACHE_DIR; target, then draft"
)
parser.add_argument("--stub-metadata", default="{}")
parser.add_argument("--stub-record", type=Path, required=True)
parser.add_argument("--stub-cgroup", type=Path)
parser.add_argument("--stub-delay", type=float, default=0.05)
parser.add_argument("--stub-stubborn", action="store_true", help="ignore SIGTERM")
parser.add_argument("--stub-never-ready", action="store_true")
parser.add_argument("--stub-rank", type=int, help="be a rank process")
arguments = parser.parse_args()

KEY = "('fp8_gemm', 'CublasFp8GemmRunner', ((1, 512, 64), (1, 64, 128), (1,)), (torch.bfloat16,))"


def log(message, rank=None):
    place = "" if rank is None or arguments.tp == 1 else f" TP{rank}"
    sys.stderr.write(f"[{time.strftime('%Y-%m-%d %H:%M:%S')}{place}] {message}\n")
    sys.stderr.flush()


def bar(done, total):
    sys.stderr.write(
        f"\r[AutoTuner]: Tuning fp8_gemm: {done * 100 // total:3d}%|████      | {done}/{total} "
        f"[00:{done:02d}<00:09,  1.02s/profile]"
    )
    sys.stderr.flush()


def record(**fact):
    with arguments.stub_record.open("a") as file:
        file.write(json.dumps(fact) + "\n")


def tune(rank, folder):
    mode = arguments.stub_mode
    path = Path(os.environ["SGLANG_CACHE_DIR"]) / folder / f"rank_tp{rank}_pp0_dp0.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    log(f"Running FlashInfer autotune with cache: {path}", rank)
    for done in range(4):
        bar(done, 4)
        time.sleep(arguments.stub_delay)
        if mode == "hang" and done == 2:
            time.sleep(600)
        if mode in ("crash", "hang-dead") and done == 2 and rank == arguments.tp - 1:
            log(
                "Scheduler hit an exception: Traceback (most recent call last):\n"
                '  File "scheduler.py", line 1, in run\n'
                "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.\n",
                rank,
            )
            sys.exit(1)
        if mode == "oom" and done == 2 and rank == arguments.tp - 1:
            arguments.stub_cgroup.write_text("low 0\noom 1\noom_kill 3\noom_group_kill 0\n")
            os.kill(os.getpid(), signal.SIGKILL)
    bar(4, 4)
    if mode != "writes-nothing":
        entries = {KEY: ["CublasFp8GemmRunner", rank if mode == "differ" else 2]}
        text = json.dumps({"_metadata": json.loads(arguments.stub_metadata), **entries})
        path.write_text(text[: len(text) // 2])
        if mode != "half":
            time.sleep(arguments.stub_delay)
            path.write_text(text)
    log("FlashInfer autotune completed.", rank)


def be_rank(rank):
    record(pid=os.getpid(), rank=rank)
    if arguments.stub_mode not in ("nothing", "managed"):
        for folder in arguments.stub_folder:
            tune(rank, folder)
    print("ready", flush=True)
    time.sleep(600)


def listen(host, port):
    server = socket.socket()
    server.bind((host, port))
    server.listen()
    record(bound=server.getsockname())
    return server


def launch():
    record(
        pid=os.getpid(),
        argv=sys.argv[1:],
        environ=dict(os.environ),
        load_format=arguments.load_format,
        cwd=os.getcwd(),
    )
    log(f"server_args=ServerArgs(model_path={arguments.model_path!r}, tp_size={arguments.tp})")
    metrics = listen(arguments.host, 0) if arguments.enable_metrics else None
    again = [sys.executable, "-S", __file__, *sys.argv[1:], "--stub-rank"]
    ranks = [subprocess.Popen([*again, str(rank)], stdout=subprocess.PIPE) for rank in range(arguments.tp)]
    for process in ranks:
        if process.stdout.readline() != b"ready\n":
            log("Received sigquit from a child process. It usually means the child failed.")
            if arguments.stub_mode == "hang-dead":
                time.sleep(600)
            for other in ranks:
                other.kill()
            sys.exit(1)
    if arguments.stub_mode == "managed":
        log(
            "Using FlashInfer managed autotune cache (root=/x). Pass --disable-flashinfer-autotune to skip autotuning."
        )
    if arguments.stub_never_ready:
        time.sleep(600)
    server = listen(arguments.host, arguments.port)
    sys.stderr.write("INFO:     Application startup complete.\n")
    log("The server is fired up and ready to roll!")
    time.sleep(600)
    del server, metrics


if arguments.stub_stubborn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
with contextlib.suppress(KeyboardInterrupt):
    if arguments.stub_rank is None:
        launch()
    else:
        be_rank(arguments.stub_rank)
