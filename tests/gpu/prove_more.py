"""On a real GPU: two dense FP8 shapes of one model, the engine as its own tuner, FlashInfer's own store.

    python tests/gpu/prove_more.py --out DIR

Needs torch with CUDA, nvcc, FlashInfer 0.7.0 or later and pydantic on the path. `python -m sglang.launch_server` is
played by launcher_that_tunes.py, which really autotunes. Writes DIR/<gpu>-more.json; exits 1 if a promise is not kept.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from prove import ROOT, Proof, rank_file_of

LAUNCHER = ROOT / "tests" / "gpu" / "launcher_that_tunes.py"
STORE_USER = ROOT / "tests" / "gpu" / "store_user.py"
MODEL = ["--model-path", "examples/model", "--dtype", "bfloat16", "--quantization", "modelopt_fp8",
         "--moe-runner-backend", "flashinfer_cutlass"]  # fmt: skip
RELEASE = "0.5.23"
MAX_TOKENS = "1024"
# qkv, o, gate_up and down of examples/model: of the whole model, and of one of four ranks
SHAPES = {
    1: ["6144,4096", "4096,4096", "24576,4096", "4096,12288"],
    4: ["1536,4096", "4096,1024", "6144,4096", "4096,3072"],
}


def engine_package(folder):
    """An `sglang` whose launch_server is the launcher that tunes."""
    package = folder / "sglang"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "launch_server.py").write_text(
        f"import runpy, sys\nsys.argv[0] = {str(LAUNCHER)!r}\nrunpy.run_path({str(LAUNCHER)!r}, run_name='__main__')\n"
    )
    return folder


def run_pod(proof, name, cache, store, *flags, command):
    return proof.child(
        name,
        [sys.executable, "-m", "autotune_init", "run", "--store", store.as_uri(), "--cache-dir", str(cache),
         "--holder", name, "--max-tokens", MAX_TOKENS, "--deadline", "400", *flags, "--", *command],
    )  # fmt: skip


def two_shapes(proof, store):
    """TP1 and TP4 of one model are two keys, each tuned on this one GPU, and each found."""
    keys = set()
    for tp, shapes in SHAPES.items():
        command = ["python3", "-m", "sglang.launch_server", *MODEL, "--tp", str(tp)]
        flags = ("--engine-version", RELEASE, "--tuner", "flashinfer-ops")
        tuned = run_pod(proof, f"tp{tp}-a", proof.work / f"tp{tp}-a", store, *flags, command=command)
        hit = run_pod(proof, f"tp{tp}-b", proof.work / f"tp{tp}-b", store, *flags, command=command)
        keys.add(tuned["key"])
        proof.check(f"tp{tp}: tuned and published", tuned["reason"] == "published", tuned["detail"])
        proof.check(f"tp{tp}: found with one request", (hit["outcome"], hit["requests"]) == ("hit", 1))
        files = sorted((proof.work / f"tp{tp}-b").rglob("rank_*.json"))
        proof.check(f"tp{tp}: {tp} rank files", len(files) == tp)
        engine = proof.child(
            f"engine start with tp{tp}",
            [
                sys.executable,
                "tests/gpu/engine_start.py",
                str(files[-1]),
                *shapes,
                "--max-tokens",
                MAX_TOKENS,
            ],
            "ENGINE ",
        )
        proof.check(
            f"tp{tp}: 0 tactics profiled", engine["profiled_tactics"] == 0, str(engine["profiled_tactics"])
        )
    proof.check("the two shapes have two keys", len(keys) == 2)


def own_engine(proof, store):
    """`--tuner engine`: what the engine tunes at its start is what it finds at the next one."""
    command = ["python3", "-m", "sglang.launch_server", *MODEL, "--tp", "1", "--enable-metrics", "--max-running-requests",
               MAX_TOKENS]  # fmt: skip
    flags = ("--engine-version", RELEASE, "--tuner", "engine")
    tuned = run_pod(proof, "own-a", proof.work / "own-a", store, *flags, command=command)
    hit = run_pod(proof, "own-b", proof.work / "own-b", store, *flags, command=command)
    proof.check("the engine tuned and it was published", tuned["reason"] == "published", str(tuned["detail"]))
    proof.check("entries of the engine's own making", (tuned.get("coverage") or {}).get("entries", 0) > 0)
    proof.check("another pod finds them with one request", (hit["outcome"], hit["requests"]) == ("hit", 1))
    engine = proof.child(
        "engine start after its own tune",
        [sys.executable, "tests/gpu/engine_start.py", str(rank_file_of(proof.work / "own-b")), *SHAPES[1],
         "--max-tokens", MAX_TOKENS],
        "ENGINE ",
    )  # fmt: skip
    proof.check("0 tactics profiled", engine["profiled_tactics"] == 0, str(engine["profiled_tactics"]))
    left = subprocess.run(
        ["pgrep", "-f", "launcher_that_tunes"], capture_output=True, text=True, check=False
    ).stdout.split()
    proof.check("no process of the engine is left", not left, str(left))


def own_store(proof, store):
    """FlashInfer's own store: tuned here, installed into a fresh root, replayed."""
    use = [sys.executable, str(STORE_USER), *SHAPES[1], "--max-tokens", MAX_TOKENS]
    flags = ("--engine", "flashinfer", "--field", "workload=example")
    tuned = run_pod(
        proof, "store-a", proof.work / "store-a", store, *flags, "--tuner", "command", "--tuner-command", shlex.join(use),
        command=["vllm", "serve", "examples/model"],
    )  # fmt: skip
    hit = run_pod(
        proof, "store-b", proof.work / "store-b", store, *flags, command=["vllm", "serve", "examples/model"]
    )
    proof.check("entries tuned and published", tuned["reason"] == "published", str(tuned["detail"]))
    proof.check("a fresh root is filled with one request", (hit["outcome"], hit["requests"]) == ("hit", 1))
    for name, root, is_warm in (
        ("fresh root", proof.work / "store-b", True),
        ("empty root", proof.work / "none", False),
    ):
        os.environ["FLASHINFER_AUTOTUNE_CACHE_DIR"] = str(root)
        found = proof.child(f"FlashInfer on the {name}", use, "STORE ")
        proof.check(
            f"{name}: {'0' if is_warm else 'some'} tactics profiled",
            (found["profiled_tactics"] == 0) is is_warm,
            str(found),
        )
    del os.environ["FLASHINFER_AUTOTUNE_CACHE_DIR"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="gpu-more-"))
    os.environ.setdefault("FLASHINFER_WORKSPACE_BASE", str(work / "workspace"))
    Path(os.environ["FLASHINFER_WORKSPACE_BASE"]).mkdir(parents=True, exist_ok=True)
    os.environ["PYTHONPATH"] = f"{os.environ.get('PYTHONPATH', '')}:{engine_package(work / 'site')}"
    proof = Proof(work)
    facts = proof.child("facts without torch", [sys.executable, "-m", "autotune_init", "facts"])
    for step in (two_shapes, own_engine, own_store):
        # one store each: the engine's own tune has the key of the first step's
        store = work / f"store-{step.__name__}"
        store.mkdir()
        step(proof, store)
    document = {"facts": facts, "checks": proof.checks, "runs": proof.runs}
    name = facts["gpu"]["name"].lower().replace(" ", "-")
    (arguments.out / f"{name}-more.json").write_text(json.dumps(document, indent=1) + "\n")
    return 0 if all(check["passed"] for check in proof.checks) else 1


if __name__ == "__main__":
    sys.exit(main())
