"""Fills a store with many plausible, small, valid bundles, some of them claimed, retired or quarantined.

    python -m benchmarks.large_bucket URL [COUNT] [--odd] [--records N]

Credentials and endpoint as for every other program. The same COUNT makes the same bucket. `--odd` adds what a shared
bucket may hold besides: foreign objects, spoiled bundles, names in Unicode and model paths of 4 KB. `--records N`: so many
pods have told how their start ended.
"""

import argparse
import hashlib
import json
import os
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src")]

from cache_store.bundle import (  # noqa: E402 -- found by the line above
    Bundle,
    CoverageRecord,
    IdentityRecord,
    Provenance,
    Tombstone,
    pack,
)
from cache_store.claim import Claim  # noqa: E402 -- as above
from cache_store.identity import Environment, Identity  # noqa: E402 -- as above
from cache_store.objects.open_url import open_store  # noqa: E402 -- as above
from cache_store.use_record import UseRecord, record_key  # noqa: E402 -- as above

THREADS = 32
RELEASES = ("0.6.18", "0.7.0", "0.7.1", "0.7.2")
GPUS = {
    "NVIDIA A100-SXM4-80GB": "sm80",
    "NVIDIA H100 80GB HBM3": "sm90",
    "NVIDIA H200": "sm90",
    "NVIDIA GH200 480GB": "sm90",
    "NVIDIA B200": "sm100",
}
MODELS = (
    "Qwen/Qwen3-30B-A3B", "Qwen/Qwen3-235B-A22B", "deepseek-ai/DeepSeek-V3.2", "meta-llama/Llama-3.3-70B-Instruct",
    "mistralai/Mistral-Large-3", "openai/gpt-oss-120b", "zai-org/GLM-4.6", "moonshotai/Kimi-K2-Instruct",
)  # fmt: skip
ODD_MODELS = (
    "模型/通义千问-३",
    "mod\u00e8le/\u202e\u0639\u0631\u0628\u064a",
    "m" * 4096,
    "/models/[bold]x[/bold]\x1b[31m",
)


@dataclass(frozen=True)
class Made:
    """What one address gets."""

    objects: tuple[tuple[str, bytes], ...]


def _identity(number, rng, models):
    gpu = rng.choice(sorted(GPUS))
    release = rng.choice(RELEASES)
    model, tp = rng.choice(models), rng.choice((1, 2, 4, 8))
    metadata = {
        "flashinfer_version": release,
        "cuda_version": "13.0",
        "cublas_version": "13.1.0",
        "cudnn_version": "91900",
        "cudnn_frontend_version": "unknown",
        "cutlass_dsl_version": "unknown",
        "gpu": gpu,
    }
    key = hashlib.sha256(f"{number}".encode()).hexdigest()[:16]
    return Identity(
        engine="sglang",
        flashinfer_version=release,
        arch=GPUS[gpu],
        key=key,
        key_text=f"{model}|torch.bfloat16|modelopt_fp8|flashinfer_cutlass|{tp}|1|1|1|Qwen3Config|{number}",
        key_inputs={"model_path": model, "tp_size": tp, "quantization": "modelopt_fp8", "skip_ops": None},
        environment=Environment(metadata),
    ), tp


def _rank_file(metadata, rng):
    entries = {
        f"('fp8_gemm', 'CublasFp8GemmRunner', ((1, {1 << bucket}, 4096), (1, 4096, 4096), (1,), (1,)), (-1,))": [
            "CublasFp8GemmRunner",
            rng.randrange(12),
        ]
        for bucket in range(rng.randrange(1, 14))
    }
    return json.dumps({"_metadata": dict(metadata), **entries}, indent=2).encode(), len(entries)


def make(number, *, is_odd=False):
    """The objects of address `number`."""
    rng = random.Random(number)
    who, tp = _identity(number, rng, ODD_MODELS if is_odd else MODELS)
    body, entries = _rank_file(who.environment.metadata, rng)
    ranks, files, _ = pack({f"rank_tp{rank}_pp0_dp0.json": body for rank in range(tp)})
    bundle = Bundle(
        identity=IdentityRecord.of(who),
        ranks=ranks,
        files=files,
        epoch=1,
        nonce=f"{number:032x}",
        provenance=Provenance(
            created_at=f"2026-{rng.randrange(1, 12):02d}-{rng.randrange(1, 28):02d}T12:00:00Z",
            holder=f"{who.environment.name}-{number % 97}-0",
            tuner="flashinfer-ops",
            tune_s=round(rng.uniform(20, 600), 1),
            verified="profiles-zero",
            engine_version="0.5.23",
            driver="580.95",
        ),
        coverage=CoverageRecord(
            ops={"fp8_gemm": entries},
            entries=entries,
            max_bucket=8192,
            expected=entries if number % 3 else None,
            missing=0 if number % 3 else None,
        ),
    )
    address, state = who.address, "done"
    register = bundle.encode()
    if number % 50 == 7:
        tombstone = Tombstone(
            reason="tuned on a throttled GPU",
            retired_by="ann",
            may_retune=number % 100 == 7,
            epoch=1,
            nonce=f"{number:032x}",
            identity=bundle.identity,
            retired_copy=f"retired/{number:032x}.json",
            ranks=bundle.ranks,
        )
        return Made(
            ((address.bundle_key, tombstone.encode()), (f"{address}/{tombstone.retired_copy}", register))
        )
    if number % 41 == 5:
        return Made(((address.claim_key, _left_behind(number).encode()),))
    objects = [(address.bundle_key, register)]
    if is_odd and number % 2:
        objects = [(address.bundle_key, rng.choice((b"{", b"[" * 500, register[:-40], b"\xff\xfe")))]
    if number % 3 == 0:
        state = rng.choice(("done", "done", "held", "failed", "released"))
        claim = Claim(
            state=state, epoch=1, counter=number, nonce=f"{number:x}", holder="pod-0", lease_s=60.0,
            cooldown_s=600.0 if state == "failed" else 0.0,
        )  # fmt: skip
        objects.append((address.claim_key, claim.encode()))
    return Made(tuple(objects))


def _left_behind(number):
    """A tune that never published: its pod is gone, or it failed."""
    common = {
        "epoch": 1,
        "counter": number,
        "nonce": f"{number:x}",
        "holder": f"trainer-{number}",
        "lease_s": 60.0,
    }
    if number % 2:
        return Claim(state="held", **common)
    return Claim(
        state="failed", cooldown_s=600.0, error="tuner-crashed: the engine ended with exit code 1",
        tail=("INFO autotuner: tuning trtllm::fused_moe::gemm1 8192", "torch.OutOfMemoryError: CUDA out of memory."), **common,
    )  # fmt: skip


def record(number):
    """How one pod's start ended; most are warm."""
    rng = random.Random(number)
    outcome, reason = rng.choices(
        (("hit", "found"), ("local", "complete"), ("waited", "found"), ("tuned", "published"), ("cold", "store-timeout"),
         ("skipped", "known-bad-copied-rank-keys")),
        weights=(80, 8, 5, 4, 2, 1),
    )[0]  # fmt: skip
    at = datetime(2026, 11, 1, tzinfo=timezone.utc) + timedelta(minutes=17 * number)
    saved_s = round(rng.uniform(20, 600), 1) if outcome in ("hit", "local", "waited") else 0.0
    tune_s = 90.0 if outcome == "tuned" else None
    one = UseRecord(
        at=at.isoformat(),
        outcome=outcome,
        reason=reason,
        saved_s=saved_s,
        tune_s=tune_s,
        seconds=0.4,
        requests=1,
    )
    return record_key(at, f"{number:032x}"), one.encode()


def foreign():
    """What is none of ours."""
    return (
        ("readme.txt", b"hello"),
        ("0.7.2/sm90/not-a-key/x/bundle.json", b"{}"),
        ("0.7.2/sm90/0123456789abcdef/h200/bundle.json", b"{}"),
        ("Überblick/übung 模型.json", b"{}"),
        ("a b/c+d/%2e%2e/x", b"?"),
        *((f"datasets/part-{number:05d}.parquet", b"PAR1") for number in range(500)),
    )


def fill(url, environ, count, *, is_odd=False, records=0, threads=THREADS):
    """How many objects were written."""
    store = open_store(url, environ=environ, request_timeout_s=60)

    def write(objects):
        for key, body in objects:
            store.put_if_absent(key, body)
        return len(objects)

    def works():
        for number in range(count):
            yield make(number).objects
        if is_odd:
            for number in range(count, count + 40):
                yield make(number, is_odd=True).objects
            yield foreign()
        for number in range(records):
            yield (record(number),)

    with ThreadPoolExecutor(threads) as pool:
        written = sum(pool.map(write, works()))
    store.close()
    return written


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url")
    parser.add_argument("count", nargs="?", type=int, default=10_000)
    parser.add_argument("--odd", action="store_true")
    parser.add_argument("--records", type=int, default=0)
    given = parser.parse_args()
    print(fill(given.url, dict(os.environ), given.count, is_odd=given.odd, records=given.records))
