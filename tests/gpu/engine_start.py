"""What an engine's start does with a cache file, without our code: load it, call the GEMMs in tune mode, count.

    python engine_start.py RANK_FILE N,K [N,K ...] --max-tokens 4096

Prints one JSON line: how many tactics were profiled, whether the file changed, what FlashInfer's own metadata is.
"""

import argparse
import hashlib
import json
import sys
import time
from pathlib import Path


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    parser.add_argument("shapes", nargs="+")
    parser.add_argument("--max-tokens", type=int, default=4096)
    arguments = parser.parse_args()
    import flashinfer
    import torch
    from flashinfer.autotuner import AutoTuner

    module = sys.modules.get("flashinfer.autotuner.autotuner", sys.modules["flashinfer.autotuner"])
    torch.zeros(1, device="cuda")
    profiled = {"tactics": 0}
    original = AutoTuner._profile_single_kernel

    def counted(self, *args, **kwargs):
        profiled["tactics"] += 1
        return original(self, *args, **kwargs)

    AutoTuner._profile_single_kernel = counted
    scale = torch.ones(1, device="cuda", dtype=torch.float32)
    operands = []
    for shape in arguments.shapes:
        n, k = map(int, shape.split(","))
        a = torch.randn(1, arguments.max_tokens, k, device="cuda", dtype=torch.bfloat16).to(
            torch.float8_e4m3fn
        )
        b = (
            torch.randn(1, n, k, device="cuda", dtype=torch.bfloat16)
            .to(torch.float8_e4m3fn)
            .transpose(-2, -1)
        )
        operands.append((a, b))
        flashinfer.bmm_fp8(
            a, b, scale, scale, torch.bfloat16, backend="cublas"
        )  # the JIT build, outside the timing
    torch.cuda.synchronize()
    before, began = digest(arguments.file), time.perf_counter()
    with flashinfer.autotune(True, cache=str(arguments.file)):
        for a, b in operands:
            flashinfer.bmm_fp8(a, b, scale, scale, torch.bfloat16, backend="cublas")
    torch.cuda.synchronize()
    answer = {
        "seconds_in_autotune": round(time.perf_counter() - began, 3),
        "profiled_tactics": profiled["tactics"],
        "file_changed": digest(arguments.file) != before,
        "collected": module._collect_metadata(),
        "torch_uuid": str(torch.cuda.get_device_properties(0).uuid),
        "flashinfer": flashinfer.__version__,
        "torch": torch.__version__,
    }
    print("ENGINE " + json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
