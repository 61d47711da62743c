"""Our programs against FlashInfer's own autotuner, two releases of it, on a CPU (see fake_cuda.py for what is faked)."""

from __future__ import annotations

import json
import os
import sys
import threading
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tests.init import fake_cuda

from autotune_init.tuners import TuneRequest, TuneResult, TunerFailed
from autotune_init.tuners.command import CommandTuner
from autotune_init.tuners.flashinfer_ops import FlashinferOpsTuner
from cache_store.clock import SystemClock
from cache_store.rank_file import bucket_of, parse_rank_file

pytestmark = pytest.mark.flashinfer

TOOLS = Path(__file__).parents[2] / ".tools"
STATED = {
    "cuda_version": "13.0",
    "cublas_version": "13.1.0",
    "cudnn_version": "92101",
    "cudnn_frontend_version": "1.31.0",
    "gpu": "NVIDIA H100 80GB HBM3",
}
# fixed per release: which fields FlashInfer collects is part of what is tested
METADATA = {
    "0.6.18": {"flashinfer_version": "0.6.18.post1", **STATED},
    "0.7.2": {"flashinfer_version": "0.7.2.post1", **STATED, "cutlass_dsl_version": "4.7.1"},
}
LLAMA = {
    "model_type": "llama",
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "intermediate_size": 64,
    "torch_dtype": "bfloat16",
    "quantization_config": {"quant_method": "modelopt", "quant_algo": "FP8", "ignore": ["lm_head"]},
}
# (n, k) of one of two ranks: 2 heads and one key/value head of 16; half of the MLP
SHAPES = {(64, 64), (64, 32)}
HYBRID_TO_512 = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]


@dataclass(frozen=True)
class World:
    release: str
    base: TuneRequest
    tmp: Path

    def request(self, name: str, **environ: str) -> TuneRequest:
        scratch = self.tmp / name
        scratch.mkdir()
        return replace(self.base, scratch=scratch, environ={**self.base.environ, **environ})


def world_of(release: str, tmp: Path) -> World:
    python = TOOLS / f"fi-{release}" / "bin" / "python"
    if not python.exists():
        reason = f"{python} is absent: make flashinfer-envs builds it"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    site = tmp / "site"
    site.mkdir()
    fake_cuda.sitecustomize(site)
    facts = tmp / "facts.json"
    facts.write_text(json.dumps({"gpu": {"name": STATED["gpu"], "capability": [9, 0]}}))
    stated = {name: value for name, value in METADATA[release].items() if name != "flashinfer_version"}
    base = TuneRequest(
        scratch=tmp,
        rank_files=("rank_tp0_pp0_dp0.json", "rank_tp1_pp0_dp0.json"),
        facts_path=facts,
        deadline_s=120.0,
        max_tokens=300,
        resolved={"tp_size": 2, "moe_runner_backend": "auto", "quantization": None},
        model_config=LLAMA,
        environ={
            "PATH": os.environ["PATH"],
            "HOME": str(tmp),
            "PYTHONPATH": str(site),
            "FAKE_CUDA_METADATA": json.dumps(stated),
            "CUDA_VISIBLE_DEVICES": "",
        },
        python=str(python),
        metadata=METADATA[release],
    )
    return World(release, base, tmp)


@pytest.fixture
def world(request, tmp_path) -> World:
    return world_of(request.param, tmp_path)


BOTH = pytest.mark.parametrize("world", list(METADATA), indirect=True)
NEWEST = pytest.mark.parametrize("world", ["0.7.2"], indirect=True)


def tune(request: TuneRequest) -> TuneResult:
    return FlashinferOpsTuner(engine="sglang", clock=SystemClock()).tune(request, threading.Event())


def fails(request: TuneRequest) -> TunerFailed:
    with pytest.raises(TunerFailed) as caught:
        tune(request)
    return caught.value


@BOTH
def test_what_one_process_tuned_another_finds_without_profiling(world):
    calls_path = world.tmp / "calls"
    result = tune(world.request("tuned", FAKE_CUDA_CALLS=str(calls_path)))
    assert result.verified == "profiles-zero"
    assert set(result.files) == set(world.base.rank_files)
    (body,) = set(result.files.values())
    assert result.coverage.ops == {"fp8_gemm": len(SHAPES) * len(HYBRID_TO_512)}
    assert result.coverage.max_bucket == 512
    assert_is_what_the_engine_looks_up(world.release, body)
    # both processes make every call at the top bucket; the first one builds the module, outside the tuning context
    calls = [tuple(map(int, line.split())) for line in calls_path.read_text().splitlines()]
    assert calls[0][0] == 16
    assert sorted(calls[1:]) == sorted([(512, n, k) for n, k in SHAPES] * 2)


def assert_is_what_the_engine_looks_up(release: str, body: bytes) -> None:
    rank_file = parse_rank_file(body)
    assert dict(rank_file.metadata) == METADATA[release]
    assert set(rank_file.entries) == {key_of(m, n, k) for m in HYBRID_TO_512 for n, k in SHAPES}
    assert sorted({bucket_of(key) for key in rank_file.entries}) == HYBRID_TO_512
    # from 0.7 an entry counts in tune mode only under the policy it was measured with
    policies = {tuple(map(str, value[2])) for value in rank_file.entries.values() if len(value) > 2}
    hot = ("cuda_graph_profile_replays", "None", "l2_cache_policy", "hot")
    assert policies == ({hot} if release == "0.7.2" else set())


def key_of(m: int, n: int, k: int) -> str:
    return (
        f"('fp8_gemm', 'CublasFp8GemmRunner', ((1, {m}, {k}), (1, {k}, {n}), (1,), (1,), (1, -1, {n}), (-1,)), "
        "(torch.float8_e4m3fn, torch.float8_e4m3fn, torch.bfloat16))"
    )


@BOTH
def test_an_op_that_keys_on_the_callers_tokens_is_found_out(world):
    failure = fails(world.request("raw-m", FAKE_CUDA_OP="raw-m"))
    assert failure.reason == "tuner-retunes"
    assert "fp8_gemm" in failure.detail


def copying(world: World) -> tuple[CommandTuner, TuneRequest]:
    """The command tuner with a command that delivers a file; only FlashInfer's loader is asked about it."""
    source, script = world.tmp / "source.json", world.tmp / "copy.py"
    source.write_text(
        json.dumps({"_metadata": METADATA[world.release], key_of(16, 64, 32): ["CublasFp8GemmRunner", 1]})
    )
    script.write_text(
        "import json, os, shutil\n"
        f"for path in json.loads(os.environ['AUTOTUNE_RANK_FILES']): shutil.copyfile({str(source)!r}, path)"
    )
    return CommandTuner(f"{sys.executable} -S {script}", clock=SystemClock()), world.request("copied")


@BOTH
def test_flashinfer_ignores_a_file_of_another_gpu_and_we_say_so(world):
    command, request = copying(world)
    elsewhere = json.dumps({**json.loads(request.environ["FAKE_CUDA_METADATA"]), "gpu": "NVIDIA H200"})
    with pytest.raises(TunerFailed) as caught:
        command.tune(
            replace(request, environ={**request.environ, "FAKE_CUDA_METADATA": elsewhere}), threading.Event()
        )
    assert caught.value.reason == "tuner-environment"
    assert "NVIDIA H200" in caught.value.detail


@NEWEST
def test_flashinfer_loads_a_commands_file(world):
    command, request = copying(world)
    result = command.tune(request, threading.Event())
    assert result.verified == "loads"


@NEWEST
def test_a_gpu_that_runs_out_of_memory_half_way_is_no_result(world):
    """Given an out-of-memory in some buckets, when FlashInfer returns early and silently, then nothing is published."""
    failure = fails(world.request("oom", FAKE_CUDA_OP="out-of-memory"))
    assert failure.reason == "tuner-crashed"
    assert "buckets could be tuned" in failure.detail


@NEWEST
def test_an_op_that_cannot_be_built_is_unavailable_with_the_builds_words(world):
    failure = fails(world.request("broken", FAKE_CUDA_OP="broken"))
    assert failure.reason == "tuner-unavailable"
    assert "nvcc not found" in failure.detail
    assert "ninja: build stopped" in failure.tail
