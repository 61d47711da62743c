"""Uses FlashInfer's own store as vLLM 0.33 does on one GPU: autotune_v2 over bmm_fp8 of the given shapes.

    FLASHINFER_AUTOTUNE_CACHE_DIR=ROOT python tests/gpu/store_user.py N,K [N,K ...] --max-tokens 1024

Prints one line, "STORE " and JSON: how many tactics were profiled and how many entries the store has afterwards.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

INSIDE = Path(__file__).resolve().parents[2] / "src" / "autotune_init" / "inside"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("shapes", nargs="+")
    parser.add_argument("--max-tokens", type=int, default=1024)
    arguments = parser.parse_args()
    sys.path.insert(0, str(INSIDE))
    import cuda_build_env

    os.environ.update(cuda_build_env.prepare(os.environ, Path(tempfile.mkdtemp())).variables)
    import flashinfer
    import op_calls
    import torch

    counts = op_calls.Counts()
    op_calls.watch_autotuner(counts)
    shapes = [tuple(map(int, shape.split(","))) for shape in arguments.shapes]
    calls = tuple({"op": "bmm_fp8", "n": n, "k": k, "out_dtype": "bfloat16"} for n, k in shapes)
    job = op_calls.Job(calls, Path(), Path(), arguments.max_tokens, torch.cuda.get_device_capability())
    op_calls.make_calls(job, only_first=True)
    counts.profiled.clear()
    with flashinfer.autotune_v2(mode="tune"):
        op_calls.make_calls(job)
    root = Path(os.environ["FLASHINFER_AUTOTUNE_CACHE_DIR"])
    entries = sum(1 for _ in root.glob("v2/*/entries/*.json"))
    print(
        "STORE " + json.dumps({"profiled_tactics": sum(counts.profiled.values()), "entries": entries}),
        flush=True,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
