"""What tuned kernels are worth at an engine's start, on a real GPU, and what finding them costs.

    python benchmarks/gpu_start.py --out DIR [--turns 5] [--ops bmm_fp8,mm_fp8,mm_bf16]

Needs torch with CUDA, nvcc, FlashInfer and pydantic on the path (mm_fp8 on Hopper: FlashInfer 0.7.2). Each start is a fresh
process that imports, makes a CUDA context, builds or loads its kernels (JIT), and calls the GEMMs of examples/model in
FlashInfer's tune mode: cold without a cache file, warm with one. For bmm_fp8 that is the file which a hit has placed; the
other ops no tuner of ours publishes by itself (mm_bf16 re-tunes however good the file is), so theirs is what FlashInfer
saved at the first start. That first start of each op has nothing built either. An engine's own work (weights, CUDA graphs)
is left out: this is the part that the cache is about.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHAPES = ["6144,4096", "4096,4096", "24576,4096", "4096,12288"]
ENGINE = [
    "python3", "-m", "sglang.launch_server", "--model-path", "examples/model", "--dtype", "bfloat16",
    "--quantization", "modelopt_fp8", "--moe-runner-backend", "flashinfer_cutlass", "--tp", "1",
]  # fmt: skip
# one GEMM of n, k and t tokens, by a backend that Hopper has
OPS = {
    "bmm_fp8": "a, b = fp8(1, t, k), fp8(1, n, k).transpose(-2, -1); "
    "call = lambda: flashinfer.bmm_fp8(a, b, one, one, torch.bfloat16, backend='cublas')",
    "mm_fp8": "a, b = fp8(t, k), fp8(n, k); call = lambda: flashinfer.mm_fp8(a, b, one, backend='cublas')",
    "mm_bf16": "a, b = bf16(t, k), bf16(n, k).t(); call = lambda: flashinfer.mm_bf16(a, b, backend='cublaslt')",
}
START = """
import json, sys, time
began = time.perf_counter()
import torch, flashinfer
imported = time.perf_counter()
torch.zeros(1, device="cuda"); torch.cuda.synchronize()
context = time.perf_counter()
file, make, tokens, *shapes = sys.argv[1:]
one = torch.ones(1, device="cuda", dtype=torch.float32)
bf16 = lambda *shape: torch.randn(*shape, device="cuda", dtype=torch.bfloat16)
fp8 = lambda *shape: bf16(*shape).to(torch.float8_e4m3fn)
calls = []
for n, k in (map(int, shape.split(",")) for shape in shapes):
    given = {**globals(), "n": n, "k": k, "t": int(tokens)}
    exec(make, given)
    calls.append(given["call"])
ready = time.perf_counter()
calls[0](); torch.cuda.synchronize()
built = time.perf_counter()
from flashinfer.autotuner import AutoTuner
profiled, profile = [], AutoTuner._profile_single_kernel
AutoTuner._profile_single_kernel = lambda *args, **more: (profiled.append(1), profile(*args, **more))[1]
began_tuning = time.perf_counter()
with flashinfer.autotune(True, cache=file):
    for call in calls:
        call()
torch.cuda.synchronize()
tuned = time.perf_counter()
print("PARTS " + json.dumps({"import_s": imported - began, "cuda_context_s": context - imported, "inputs_s": ready - context,
    "jit_s": built - ready,
    "autotune_s": tuned - began_tuning, "profiled": len(profiled), "flashinfer": flashinfer.__version__, "torch": torch.__version__}))
"""


def start(op, file, tokens):
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", START, str(file), OPS[op], str(tokens), *SHAPES],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    took = time.perf_counter() - began
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    [line] = [line for line in done.stdout.splitlines() if line.startswith("PARTS ")]
    return {"process_s": took, **json.loads(line[6:])}


def with_program():
    return {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{os.environ.get('PYTHONPATH', '')}"}


def told_facts():
    """What this machine is, for a start that need not ask NVML and the CUDA libraries."""
    command = [sys.executable, "-m", "autotune_init", "facts", "--engine-version", "0.5.22", "--", *ENGINE]
    return subprocess.run(
        command, cwd=ROOT, env=with_program(), capture_output=True, text=True, check=True
    ).stdout


def pod(store, cache, *flags):
    began = time.perf_counter()
    done = subprocess.run(
        [
            sys.executable, "-m", "autotune_init", "run", "--store", store.as_uri(), "--cache-dir", str(cache),
            "--engine-version", "0.5.22", "--max-tokens", "4096", "--deadline", "400", "--strict", *flags, "--", *ENGINE,
        ],
        cwd=ROOT, env=with_program(),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    took = time.perf_counter() - began
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    return took, json.loads(done.stdout)


def medians(rows):
    found = {
        name: round(statistics.median(row[name] for row in rows), 3)
        for name in rows[0]
        if name.endswith("_s")
    }
    return {**found, "profiled": sorted({row["profiled"] for row in rows})}


def cold_and_warm(op, scratch, options, placed=None):
    """Rows of one op. `placed`: the file to be warm with, else what the first start saved."""
    first = scratch / f"{op}-first.json"
    rows = {"nothing built or tuned": [start(op, first, options.max_tokens)], "cold": [], "warm": []}
    for turn in range(options.turns):
        rows["cold"].append(start(op, scratch / f"{op}-cold{turn}.json", options.max_tokens))
        warm = scratch / f"{op}-warm{turn}.json"
        shutil.copy(placed or first, warm)
        rows["warm"].append(start(op, warm, options.max_tokens))
    return {f"{op}, {name}": medians(taken) for name, taken in rows.items()}, rows["cold"][0]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--max-tokens", type=int, default=4096)
    parser.add_argument("--ops", default=",".join(OPS))
    options = parser.parse_args()
    gpu = subprocess.run(
        ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    # as pip leaves it: a pod's Python compiles nothing at its start
    subprocess.run([sys.executable, "-m", "compileall", "-q", "src"], cwd=ROOT, check=True)
    rows, ratios = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        os.environ["FLASHINFER_WORKSPACE_BASE"] = str(scratch / "jit")  # nothing built
        (scratch / "store").mkdir()
        tune_took, tuned = pod(scratch / "store", scratch / "a", "--tuner", "flashinfer-ops")
        facts = scratch / "facts.json"
        facts.write_text(told_facts())
        hits = {"a hit": [], "a hit, facts stated": []}
        for turn in range(5 * options.turns):
            for (name, taken), stated in zip(hits.items(), ([], ["--facts", str(facts)]), strict=True):
                taken.append(pod(scratch / "store", scratch / f"{name}{turn}", *stated))
        [placed] = (scratch / "a hit0").rglob("rank_*.json")
        shutil.rmtree(scratch / "jit")
        for op in options.ops.split(","):
            found, one = cold_and_warm(op, scratch, options, placed if op == "bmm_fp8" else None)
            rows |= found
            cold, warm = found[f"{op}, cold"], found[f"{op}, warm"]
            ratios[op] = {
                "autotune": round(cold["autotune_s"] / warm["autotune_s"], 1),
                "process": round(cold["process_s"] / warm["process_s"], 2),
            }
    result = {
        "command": f"python benchmarks/gpu_start.py --out DIR --turns {options.turns} --ops {options.ops}",
        "gpu": gpu,
        "flashinfer": one["flashinfer"],
        "torch": one["torch"],
        "turns": options.turns,
        **rows,
        "cold_to_warm": ratios,
        "the fleet's one tune": {
            "process_s": round(tune_took, 2),
            "outcome": tuned["outcome"],
            "tune_s": tuned["tune_s"],
        },
        **{
            name: {
                "process_s": round(statistics.median(took for took, _ in taken), 3),
                "seconds": statistics.median(report["seconds"] for _, report in taken),
                "outcomes": sorted({report["outcome"] for _, report in taken}),
            }
            for name, taken in hits.items()
        },
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "gpu-start.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
