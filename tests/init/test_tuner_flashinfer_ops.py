"""--tuner flashinfer-ops, seen from our side: the job that goes in, and what every answer becomes."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from autotune_init.tuners import TuneRequest, TunerFailed
from autotune_init.tuners.flashinfer_ops import FlashinferOpsTuner
from cache_store.clock import SystemClock

METADATA = {"flashinfer_version": "0.7.2.post1", "gpu": "NVIDIA H100 80GB HBM3"}
LLAMA = {
    "model_type": "llama",
    "hidden_size": 256,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 512,
    "torch_dtype": "bfloat16",
    "quantization_config": {"quant_method": "modelopt", "quant_algo": "FP8", "ignore": ["lm_head"]},
}

# stands where the engine's Python would, and plays both of our programs
ENGINE_PYTHON = """
import json, os, sys, time
job = json.load(sys.stdin)
program = os.path.basename(sys.argv[1])
play = json.loads(os.environ["PLAY"])[program]
with open(os.environ["LOG"], "a") as log:
    log.write(json.dumps([program, job]) + "\\n")
if "document" in play:
    open(job["cache"], "w").write(json.dumps(play["document"]))
time.sleep(play.get("sleep", 0))
print(play.get("says", ""), file=sys.stderr)
print("noise of a build")
if "answer" in play:
    print("AUTOTUNE-ANSWER " + json.dumps(play["answer"]))
sys.exit(play.get("exit", 0))
"""
KEY = "('fp8_gemm', 'CublasFp8GemmRunner', ((1, 512, 256), (1, 256, 512), (1,)), (torch.bfloat16,))"
GOOD_FILE = {"_metadata": METADATA, KEY: ["CublasFp8GemmRunner", 1]}
TUNED = {"document": GOOD_FILE, "answer": {"missing": {}, "excluded": {}}}
REPLAYED = {"answer": {"loaded": True, "profiled": {}, "looked_up": {"fp8_gemm": 1}, "unchanged": True}}


@pytest.fixture
def request_(tmp_path) -> TuneRequest:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    python = tmp_path / "engine-python"
    python.write_text(f"#!{sys.executable} -S\n{ENGINE_PYTHON}")
    python.chmod(0o755)
    facts = tmp_path / "facts.json"
    facts.write_text(json.dumps({"gpu": {"name": METADATA["gpu"], "capability": [9, 0]}}))
    return TuneRequest(
        scratch=scratch,
        rank_files=("rank_tp0_pp0_dp0.json", "rank_tp1_pp0_dp0.json"),
        facts_path=facts,
        deadline_s=30.0,
        max_tokens=512,
        resolved={"tp_size": 2, "quantization": "modelopt_fp8", "moe_runner_backend": "auto"},
        model_config=LLAMA,
        environ={"PATH": os.environ["PATH"], "LOG": str(tmp_path / "log")},
        python=str(python),
        metadata=METADATA,
    )


def playing(request: TuneRequest, tune: object, verify: object = None) -> TuneRequest:
    play = json.dumps({"tune_ops.py": tune, "verify.py": verify})
    return replace(request, environ={**request.environ, "PLAY": play})


def tune(request: TuneRequest, *, engine: str = "sglang", stop: threading.Event | None = None, progress=None):
    made = FlashinferOpsTuner(engine=engine, clock=SystemClock(), progress=progress)
    return made.tune(request, stop or threading.Event())


def fails(request: TuneRequest, **how) -> TunerFailed:
    with pytest.raises(TunerFailed) as caught:
        tune(request, **how)
    return caught.value


def log_of(request: TuneRequest) -> list[tuple[str, dict]]:
    path = Path(request.environ["LOG"])
    return [tuple(json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []


def test_one_file_is_tuned_checked_and_given_to_every_rank(request_):
    result = tune(playing(request_, TUNED, REPLAYED))
    bodies = {name: json.loads(body) for name, body in result.files.items()}
    assert bodies == dict.fromkeys(request_.rank_files, GOOD_FILE)
    assert result.verified == "profiles-zero"
    assert (result.coverage.ops, result.coverage.max_bucket) == ({"fp8_gemm": 1}, 512)
    assert "bf16_gemm" in result.coverage.excluded
    assert [program for program, _ in log_of(request_)] == ["tune_ops.py", "verify.py"]


def test_the_job_is_what_this_rank_calls_and_both_programs_get_the_same(request_):
    tune(playing(request_, TUNED, REPLAYED))
    (_, job), (_, check) = log_of(request_)
    calls = {(call["op"], call["n"], call["k"], call["out_dtype"]) for call in job["calls"]}
    # 2 of 4 heads and 1 of 2 key/value heads of 64; half of the MLP
    expected = {("bmm_fp8", n, k, "bfloat16") for n, k in [(256, 256), (256, 128), (512, 256)]}
    assert calls == expected
    assert job["max_tokens"] == 512
    assert check == {**job, "mode": "replay"}


def test_a_model_that_tunes_nothing_starts_no_child(request_):
    config = {**LLAMA, "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}
    result = tune(replace(request_, model_config=config, resolved={}))
    assert dict(result.files) == {}
    assert "fp8" in result.coverage.excluded["fp8_gemm"]
    assert log_of(request_) == []


@pytest.mark.parametrize(
    ("tuned", "verify", "reason", "word"),
    [
        ({"answer": {"unavailable": "torch sees no GPU"}}, None, "tuner-unavailable", "no GPU"),
        ({"exit": 1, "says": "CUDA error: misaligned address"}, None, "tuner-crashed", "exit code 1"),
        ({}, None, "tuner-crashed", "without an answer"),
        ({"answer": {"missing": {"fp8_gemm": [3, 10]}}}, None, "tuner-crashed", "3 of 10"),
        ({"answer": {"missing": {}}}, None, "tuner-wrote-nothing", "tuned.json"),
        ({**TUNED, "document": {KEY: ["R", 1]}}, None, "tuner-bad-file", "no-metadata"),
        ({**TUNED, "document": {**GOOD_FILE, "_metadata": {**METADATA, "gpu": "NVIDIA H200"}}}, None,
         "tuner-environment", "NVIDIA H200"),
        (TUNED, {"answer": {**REPLAYED["answer"], "profiled": {"fp8_gemm": 27}}}, "tuner-retunes", "fp8_gemm (27 tactics)"),
        (TUNED, {"answer": {**REPLAYED["answer"], "unchanged": False}}, "tuner-retunes", "rewrote"),
        (TUNED, {"answer": {**REPLAYED["answer"], "loaded": False}}, "tuner-environment", "does not load"),
        (TUNED, {"answer": {**REPLAYED["answer"], "looked_up": {}}}, "tuner-crashed", "look anything up"),
        (TUNED, {"answer": {"loaded": True, "looked_up": {"fp8_gemm": 1}, "unchanged": True}}, "tuner-crashed", "check"),
        (TUNED, {"exit": -1}, "tuner-crashed", "verify.py"),
    ],
)  # fmt: skip
def test_every_failure_has_its_name(request_, tuned, verify, reason, word):
    failure = fails(playing(request_, tuned, verify))
    assert failure.reason == reason
    assert word in failure.detail


def test_the_last_lines_of_a_crash_are_kept(request_):
    failure = fails(playing(request_, {"exit": 1, "says": "CUDA error: misaligned address"}))
    assert failure.tail == ("CUDA error: misaligned address",)


def test_the_deadline_is_for_both_children_together(request_):
    late = playing(replace(request_, deadline_s=2.5), {**TUNED, "sleep": 2}, {"sleep": 60})
    began = time.monotonic()
    failure = fails(late)
    assert failure.reason == "tuner-timeout"
    assert failure.detail.startswith("verify.py")
    assert time.monotonic() - began < 4


def test_stop_ends_the_child(request_):
    stop = threading.Event()
    threading.Timer(0.5, stop.set).start()
    assert fails(playing(request_, {"sleep": 60}), stop=stop).reason == "tuner-cancelled"


@pytest.mark.parametrize(
    "change",
    [
        {"model_config": None},
        {"model_config": {**LLAMA, "kv_lora_rank": 512}},
        {"python": "/nonexistent/python"},
        {"facts_path": Path("/nonexistent/facts.json")},
    ],
    ids=["no config.json", "not understood", "no Python", "no facts"],
)
def test_what_cannot_be_tuned_here_is_unavailable(request_, change):
    assert fails(playing(replace(request_, **change), TUNED, REPLAYED)).reason == "tuner-unavailable"


def test_another_engine_is_refused(request_):
    failure = fails(request_, engine="vllm")
    assert failure.reason == "tuner-unavailable"
    assert "vllm" in failure.detail


@pytest.mark.parametrize("gpu", [{"name": "NVIDIA B200", "capability": [10, 0]}, {"name": "x"}, None])
def test_a_gpu_whose_ops_are_not_known_is_refused(request_, gpu):
    request_.facts_path.write_text(json.dumps({"gpu": gpu}))
    assert fails(playing(request_, TUNED, REPLAYED)).reason == "tuner-unavailable"
