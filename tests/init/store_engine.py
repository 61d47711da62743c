"""An engine that keeps its tactics in FlashInfer's own store: what vLLM 0.33 does on one GPU, reduced to bmm_fp8.

Runs on the engine's Python with a fake CUDA (fake_cuda.py): `store_engine.py INSIDE N,K [N,K ...]` opens
`autotune_v2(mode="tune")` on the root that the environment names, calls the op for each shape, and prints a line of
"PROFILED " and the number of tactics it profiled. STORE_ENGINE: "policy" (under a measurement policy of its own),
"half" (leaves a torn entry behind), "foreign" (measures on another GPU), "nothing" (opens the store and tunes nothing).
"""

import os
import sys


def main():
    inside, *shapes = sys.argv[1:]
    sys.path.insert(0, inside)
    import flashinfer
    import flashinfer.autotuner as package
    import op_calls

    behaviour = os.environ.get("STORE_ENGINE", "")
    collect = sys.modules["flashinfer.autotuner.autotuner"]._collect_metadata
    # autotune_v2 takes it from the package, which has its own name for the same function
    package._collect_metadata = lambda: {
        **collect(),
        **({"gpu": "NVIDIA H200"} if behaviour == "foreign" else {}),
    }
    policy = flashinfer.MeasurementPolicy(execution_mode="eager") if behaviour == "policy" else None
    counts = op_calls.Counts()
    op_calls.watch_autotuner(counts)
    with flashinfer.autotune_v2(mode="tune", measurement_policy=policy):
        for shape in shapes if behaviour != "nothing" else []:
            n, k = map(int, shape.split(","))
            op_calls._OPS["bmm_fp8"]({"n": n, "k": k, "out_dtype": "bfloat16"})(64)
        store = package.AutoTuner.get()._managed_cache
        store._ensure_dirs()
    if behaviour == "half":
        next(store.entries_dir.glob("*.json")).write_text('{"key": "(')
    print("PROFILED", sum(counts.profiled.values()))


if __name__ == "__main__":
    main()
