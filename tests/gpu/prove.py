"""The main job on a real GPU, with FlashInfer's own autotuner. Exits non-zero if anything is not as promised.

    python tests/gpu/prove.py --out DIR                       # on the first machine: tune, publish, hit
    python tests/gpu/prove.py --out DIR --store-tar FIRST.tar # on another kind of GPU, with the first one's store

Needs torch with CUDA, nvcc, FlashInfer and pydantic on the path. Writes DIR/<gpu>.json and DIR/<gpu>-store.tar.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ENGINE = [
    "python3", "-m", "sglang.launch_server", "--model-path", "examples/model", "--dtype", "bfloat16",
    "--quantization", "modelopt_fp8", "--moe-runner-backend", "flashinfer_cutlass", "--tp", "1",
]  # fmt: skip
# qkv, o, gate_up and down of examples/model (hidden 4096, 32 + 2 * 8 heads of 128, intermediate 12288) at TP 1
SHAPES = ["6144,4096", "4096,4096", "24576,4096", "4096,12288"]
MAX_TOKENS = "4096"


class Proof:
    """Collects checks; every one is printed and kept."""

    def __init__(self, work):
        self.work, self.checks, self.runs = work, [], {}

    def check(self, name, is_so, detail=""):
        self.checks.append({"check": name, "passed": bool(is_so), "detail": detail})
        print(("PASS " if is_so else "FAIL ") + name, detail, flush=True)

    def child(self, name, command, marker=None):
        began = time.perf_counter()
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
        seconds = round(time.perf_counter() - began, 2)
        if done.returncode:
            print(done.stdout[-2000:], flush=True)
            sys.exit(f"{name} ended with {done.returncode}")
        text = done.stdout if marker is None else next(
            line[len(marker):] for line in done.stdout.splitlines() if line.startswith(marker)
        )  # fmt: skip
        self.runs[name] = {"seconds": seconds, "answer": json.loads(text)}
        print(name, seconds, "s", flush=True)
        return self.runs[name]["answer"]

    def pod(self, name, store, engine_version, *flags):
        return self.child(
            name,
            [
                sys.executable, "-m", "autotune_init", "run", "--store", store.as_uri(), "--cache-dir",
                str(self.work / name), "--engine-version", engine_version, "--holder", name, "--max-tokens", MAX_TOKENS,
                "--deadline", "500", *flags, "--", *ENGINE,
            ],
        )  # fmt: skip

    def engine(self, name, file):
        program = [
            sys.executable,
            "tests/gpu/engine_start.py",
            str(file),
            *SHAPES,
            "--max-tokens",
            MAX_TOKENS,
        ]
        return self.child(name, program, "ENGINE ")


def rank_file_of(cache):
    [file] = cache.rglob("rank_*.json")
    return file


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--store-tar", type=Path)
    parser.add_argument("--engine-version", default="0.5.21")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="gpu-proof-"))
    os.environ.setdefault("FLASHINFER_WORKSPACE_BASE", str(work / "workspace"))
    Path(os.environ["FLASHINFER_WORKSPACE_BASE"]).mkdir(parents=True, exist_ok=True)
    store = work / "store"
    store.mkdir()
    foreign = None
    if arguments.store_tar:
        with tarfile.open(arguments.store_tar) as archive:
            archive.extractall(store, filter="data")
        foreign = json.loads(next(store.rglob("bundle.json")).read_text())
    proof = Proof(work)

    facts = proof.child("facts without torch", [sys.executable, "-m", "autotune_init", "facts"])
    tuned = proof.pod("pod-a", store, arguments.engine_version, "--tuner", "flashinfer-ops")
    proof.check(
        "pod A tuned and published",
        (tuned["outcome"], tuned["reason"]) == ("tuned", "published"),
        tuned["detail"],
    )
    proof.check("a fresh process profiled nothing before the publish", tuned["verified"] == "profiles-zero")
    proof.check("entries were made", tuned["coverage"]["entries"] > 0, str(tuned["coverage"]))
    hit = proof.pod("pod-b", store, arguments.engine_version, "--tuner", "flashinfer-ops")
    proof.check(
        "pod B hit with one request", (hit["outcome"], hit["requests"]) == ("hit", 1), str(hit["outcome"])
    )
    proof.check(
        "pod B has pod A's bytes",
        rank_file_of(work / "pod-a").read_bytes() == rank_file_of(work / "pod-b").read_bytes(),
    )
    engine = proof.engine("engine start after pod B", rank_file_of(work / "pod-b"))
    proof.check(
        "the engine profiles 0 tactics", engine["profiled_tactics"] == 0, str(engine["profiled_tactics"])
    )
    proof.check("the engine leaves the file as it is", not engine["file_changed"])
    cold = proof.engine("engine start without a file", work / "cold" / "rank.json")
    proof.check("without a file it profiles", cold["profiled_tactics"] > 0, str(cold["profiled_tactics"]))
    for name, value in engine["collected"].items():
        mine = facts["metadata"].get(name)
        proof.check(f"metadata.{name} is FlashInfer's own", mine == value, f"{mine!r} / {value!r}")
    proof.check("no metadata field too many", set(facts["metadata"]) == set(engine["collected"]))
    proof.check(
        "torch's UUID is NVML's without GPU-",
        facts["gpu"]["uuid"][0] == f"GPU-{engine['torch_uuid']}",
        engine["torch_uuid"],
    )
    bundles = [json.loads(path.read_text()) for path in sorted(store.rglob("bundle.json"))]
    if foreign is not None:
        mine = next(one for one in bundles if one["nonce"] == tuned["nonce"])
        proof.check("same engine key", foreign["identity"]["key"] == tuned["key"], tuned["key"])
        proof.check("same arch", foreign["identity"]["arch"] == tuned["arch"], tuned["arch"])
        proof.check("the other GPU's bundle was not installed", tuned["outcome"] == "tuned")
        proof.check(
            "two environments under one key",
            len(bundles) == 2,
            str([b["identity"]["environment"] for b in bundles]),
        )
        proof.check("and they differ", foreign["identity"]["environment"] != mine["identity"]["environment"])
        by_hand = work / "by-hand" / "rank.json"
        by_hand.parent.mkdir()
        by_hand.write_text(next(iter(foreign["files"].values())))
        for number in (1, 2):
            harm = proof.engine(f"engine start {number} on the other GPU's file", by_hand)
            proof.check(
                f"start {number}: it tunes again", harm["profiled_tactics"] > 0, str(harm["profiled_tactics"])
            )
            proof.check(f"start {number}: and never overwrites the file", not harm["file_changed"])
    slug = tuned["environment"].rsplit("-", 1)[0]
    with tarfile.open(arguments.out / f"{slug}-store.tar", "w") as archive:
        archive.add(store, arcname=".")
    result = {
        "command": "python tests/gpu/prove.py " + " ".join(sys.argv[1:]).replace(str(arguments.out), "DIR"),
        "machine": subprocess.run(
            ["nvidia-smi", "--query-gpu=name,driver_version,power.limit,clocks.max.sm", "--format=csv,noheader"],
            capture_output=True, text=True, check=False,
        ).stdout.strip(),
        "checks": proof.checks,
        "runs": proof.runs,
    }  # fmt: skip
    (arguments.out / f"{slug}.json").write_text(json.dumps(result, indent=1) + "\n")
    shutil.rmtree(work, ignore_errors=True)
    failed = [one["check"] for one in proof.checks if not one["passed"]]
    print(f"{len(proof.checks) - len(failed)} passed, {len(failed)} failed", failed, flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
