"""What tuned kernels are worth at an engine's start, on a real GPU, and what finding them costs.

    python benchmarks/gpu_start.py --out DIR [--turns 5]

Needs torch with CUDA, nvcc, FlashInfer and pydantic on the path. Each start is a fresh process that imports, makes a CUDA
context, builds or loads its kernels (JIT), and calls the GEMMs of examples/model in FlashInfer's tune mode: cold without
a cache file, warm with the one that a hit has placed. The first start of all has nothing built either. An engine's own
work (weights, CUDA graphs) is left out: this is the part that the cache is about.
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
START = """
import json, sys, time
began = time.perf_counter()
import torch, flashinfer
imported = time.perf_counter()
torch.zeros(1, device="cuda"); torch.cuda.synchronize()
context = time.perf_counter()
file, tokens, *shapes = sys.argv[1:]
one = torch.ones(1, device="cuda", dtype=torch.float32)
pairs = []
for n, k in (map(int, shape.split(",")) for shape in shapes):
    a = torch.randn(1, int(tokens), k, device="cuda", dtype=torch.bfloat16).to(torch.float8_e4m3fn)
    b = torch.randn(1, n, k, device="cuda", dtype=torch.bfloat16).to(torch.float8_e4m3fn).transpose(-2, -1)
    pairs.append((a, b))
ready = time.perf_counter()
flashinfer.bmm_fp8(*pairs[0], one, one, torch.bfloat16, backend="cublas"); torch.cuda.synchronize()
built = time.perf_counter()
with flashinfer.autotune(True, cache=file):
    for a, b in pairs:
        flashinfer.bmm_fp8(a, b, one, one, torch.bfloat16, backend="cublas")
torch.cuda.synchronize()
tuned = time.perf_counter()
print("PARTS " + json.dumps({"import_s": imported - began, "cuda_context_s": context - imported, "inputs_s": ready - context,
    "jit_s": built - ready, "autotune_s": tuned - built, "flashinfer": flashinfer.__version__, "torch": torch.__version__}))
"""


def start(file, tokens):
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", START, str(file), str(tokens), *SHAPES],
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


def pod(store, cache, *flags):
    began = time.perf_counter()
    done = subprocess.run(
        [
            sys.executable, "-m", "autotune_init", "run", "--store", store.as_uri(), "--cache-dir", str(cache),
            "--engine-version", "0.5.22", "--max-tokens", "4096", "--deadline", "400", "--strict", *flags, "--", *ENGINE,
        ],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{os.environ.get('PYTHONPATH', '')}"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    took = time.perf_counter() - began
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    return took, json.loads(done.stdout)


def medians(rows):
    return {
        name: round(statistics.median(row[name] for row in rows), 3)
        for name in rows[0]
        if name.endswith("_s")
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--max-tokens", type=int, default=4096)
    options = parser.parse_args()
    gpu = subprocess.run(
        ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        os.environ["FLASHINFER_WORKSPACE_BASE"] = str(scratch / "jit")  # nothing built
        (scratch / "store").mkdir()
        first = start(scratch / "first.json", options.max_tokens)
        tune_took, tuned = pod(scratch / "store", scratch / "a", "--tuner", "flashinfer-ops")
        hits = [pod(scratch / "store", scratch / f"hit{turn}") for turn in range(options.turns)]
        [placed] = (scratch / "hit0").rglob("rank_*.json")
        cold, warm = [], []
        for turn in range(options.turns):
            cold.append(start(scratch / f"cold{turn}.json", options.max_tokens))
            shutil.copy(placed, scratch / f"warm{turn}.json")
            warm.append(start(scratch / f"warm{turn}.json", options.max_tokens))
    cold_row, warm_row = medians(cold), medians(warm)
    result = {
        "command": f"python benchmarks/gpu_start.py --out DIR --turns {options.turns}",
        "gpu": gpu,
        "flashinfer": first["flashinfer"],
        "torch": first["torch"],
        "turns": options.turns,
        "first start, nothing built or tuned": medians([first]),
        "cold": cold_row,
        "warm": warm_row,
        "cold_to_warm_autotune": round(cold_row["autotune_s"] / warm_row["autotune_s"], 1),
        "cold_to_warm_process": round(cold_row["process_s"] / warm_row["process_s"], 2),
        "the fleet's one tune": {
            "process_s": round(tune_took, 2),
            "outcome": tuned["outcome"],
            "tune_s": tuned["tune_s"],
        },
        "a hit": {
            "process_s": round(statistics.median(took for took, _ in hits), 3),
            "seconds": statistics.median(report["seconds"] for _, report in hits),
            "outcomes": sorted({report["outcome"] for _, report in hits}),
        },
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "gpu-start.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
