"""Two ranks on two GPUs of one host, tuning in lockstep: what a warm pair does, and what half a warm pair does.

    python tests/gpu/prove_pair.py --out DIR

Needs two GPUs, torch with CUDA, nvcc and FlashInfer. The ranks tune as SGLang 0.5.19 and later do: FlashInfer reduces
every timing over a gloo group (`set_autotune_process_group`), so that all ranks pick the same tactic. Both ranks
seeded: no tactic is profiled and nothing is reduced. One of two seeded, which we refuse to do: the other waits for a
peer that never comes, and every timing that it takes afterwards is thrown away. Writes DIR/pair.json.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

INSIDE = Path(__file__).resolve().parents[2] / "src" / "autotune_init" / "inside"
# qkv, o, gate_up and down of examples/model on one of two ranks
SHAPES = [(3072, 4096), (4096, 2048), (12288, 4096), (4096, 6144)]
MAX_TOKENS = 1024
HANG_S = 45.0  # how long the group waits for a peer before it gives up
MARK = "RANK "


def be_rank(arguments):
    sys.path.insert(0, str(INSIDE))
    import datetime

    import cuda_build_env

    os.environ.update(cuda_build_env.prepare(os.environ, Path(tempfile.mkdtemp())).variables)
    import op_calls
    import torch
    import torch.distributed as dist
    from flashinfer.autotuner import set_autotune_process_group

    counts = op_calls.Counts()
    op_calls.watch_autotuner(counts)
    calls = tuple({"op": "bmm_fp8", "n": n, "k": k, "out_dtype": "bfloat16"} for n, k in SHAPES)
    job = op_calls.Job(
        calls, arguments.file, arguments.file.parent, MAX_TOKENS, torch.cuda.get_device_capability()
    )
    op_calls.make_calls(job, only_first=True)  # the build, outside of the measuring
    dist.init_process_group(
        "gloo",
        init_method=f"tcp://127.0.0.1:{arguments.port}",
        rank=arguments.rank,
        world_size=2,
        timeout=datetime.timedelta(seconds=HANG_S),
    )
    reductions, failures = 0, []
    reduce = dist.all_reduce

    def counting(*args, **kwargs):
        nonlocal reductions
        reductions += 1
        try:
            return reduce(*args, **kwargs)
        except Exception as error:  # FlashInfer takes it for a failed tactic and goes on
            failures.append(f"{type(error).__name__}: {error}"[:300])
            raise

    dist.all_reduce = counting
    set_autotune_process_group(dist.group.WORLD)
    dist.barrier()
    counts.profiled.clear()
    began, problem = time.monotonic(), None
    try:
        with op_calls.tuning_context(arguments.file):
            op_calls.make_calls(job)
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"[:300]
    found = {
        "rank": arguments.rank,
        "gpu": torch.cuda.get_device_name(),
        "seconds": round(time.monotonic() - began, 2),
        "profiled_tactics": sum(counts.profiled.values()),
        "reductions": reductions,
        "failed_reductions": len(failures),
        "first_failure": failures[0] if failures else None,
        "problem": problem,
    }
    print(MARK + json.dumps(found), flush=True)
    sys.stdin.read()  # an engine's warm rank lives on, too: a peer that is gone would end the wait early
    os._exit(0)  # a group that lost its peer would be waited for


def run_pair(name, files):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ranks = [
        subprocess.Popen(
            [sys.executable, __file__, "--rank", str(rank), "--port", str(port), "--file", str(file)],
            env={**os.environ, "CUDA_VISIBLE_DEVICES": str(rank)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank, file in enumerate(files)
    ]
    found = []
    for process in ranks:
        lines = (line for line in process.stdout if line.startswith(MARK))
        found.append(json.loads(next(lines, MARK + '{"problem": "ended without an answer"}')[len(MARK) :]))
    for process in ranks:
        process.kill()
        process.wait()
    print(name, json.dumps(found), flush=True)
    return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rank", type=int)
    parser.add_argument("--port", type=int)
    parser.add_argument("--file", type=Path)
    arguments = parser.parse_args()
    if arguments.rank is not None:
        return be_rank(arguments)
    arguments.out.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="pair-"))
    os.environ.setdefault("FLASHINFER_WORKSPACE_BASE", str(work))
    cold = [work / "cold" / f"rank_tp{rank}_pp0_dp0.json" for rank in range(2)]
    half = [work / "half" / f"rank_tp{rank}_pp0_dp0.json" for rank in range(2)]
    for file in (*cold, *half):
        file.parent.mkdir(parents=True, exist_ok=True)
    runs = {"cold pair": run_pair("cold pair", cold)}
    bodies = [json.loads(file.read_text()) for file in cold]
    entries = [{key: value for key, value in body.items() if key.startswith("(")} for body in bodies]
    runs["warm pair"] = run_pair("warm pair", cold)
    half[0].write_bytes(cold[0].read_bytes())
    runs["half warm pair"] = run_pair("half warm pair", half)
    warm, cold_run, half_run = runs["warm pair"], runs["cold pair"], runs["half warm pair"]
    checks = {
        "a cold pair profiles and reduces": all(
            one["profiled_tactics"] and one["reductions"] for one in cold_run
        ),
        "both ranks of a cold pair keep the same tactics": entries[0] == entries[1] and bool(entries[0]),
        "a warm pair profiles 0 tactics": all(one["profiled_tactics"] == 0 for one in warm),
        "a warm pair reduces nothing": all(one["reductions"] == 0 for one in warm),
        "of half a warm pair the cold rank waits until its timeout": half_run[1].get("seconds", 0)
        >= HANG_S * 0.9
        and half_run[1].get("failed_reductions", 0) > 0,
        "and keeps nothing, so that it tunes at its next start again": not half[1].exists()
        or not any(key.startswith("(") for key in json.loads(half[1].read_text())),
    }
    for name, is_so in checks.items():
        print("PASS" if is_so else "FAIL", name, flush=True)
    document = {
        "shapes": SHAPES,
        "max_tokens": MAX_TOKENS,
        "group_timeout_s": HANG_S,
        "runs": runs,
        "checks": checks,
    }
    (arguments.out / "pair.json").write_text(json.dumps(document, indent=1) + "\n")
    return 0 if all(checks.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
