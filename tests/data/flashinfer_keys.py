"""Runs on a Python that has FlashInfer and no GPU: prints, as JSON, the keys that its own code asks the autotuner for.

stdin: {"moe": [{"x", "w", "out", "w13", "w2", "bias", "top_k", "max_tokens", "call": {..}}], "gemm": [{"n", "k", "m",
"out"}]}. Everything but the compiled modules and `choose_one` is FlashInfer's own: the wrapper, the runner, its extras,
its tuning configuration, its bucket mapping and the text of the key.
"""

import json
import sys

import torch
from flashinfer.autotuner import AutoTuner
from flashinfer.fused_moe import core
from flashinfer.gemm import gemm_base

asked = []


class Built:
    """Stands in for a compiled module: whatever is called does nothing."""

    def build_and_load(self):
        return self

    def __getattr__(self, name):
        return lambda *_, **__: Built()


def choose_one(_self, custom_op, runners, tuning_config, inputs, **_):
    asked.append((custom_op, runners[0], tuning_config, inputs))
    return runners[0], -1


def texts():
    """The key of every bucket of every call that was asked for."""
    found = []
    for op, runner, config, inputs in asked:
        (spec,) = config.dynamic_tensor_specs
        buckets = spec.gen_tuning_buckets
        if callable(buckets):
            buckets = buckets(inputs[spec.input_idx[0]].shape[spec.dim_idx[0]])
        extras = runner.get_cache_key_extras(inputs)
        for bucket in buckets:
            shapes = [list(one.shape) if isinstance(one, torch.Tensor) else [0] for one in inputs]
            shapes[spec.input_idx[0]][spec.dim_idx[0]] = bucket
            shapes = tuple(map(tuple, shapes))
            found.append(AutoTuner._get_cache_key(op, runner, shapes, config, extras).file_key)
    asked.clear()
    return found


def empty(shape, dtype):
    return torch.empty(shape, dtype=getattr(torch, dtype), device="meta")


def moe(case):
    module = core.get_cutlass_fused_moe_module("90")
    experts, doubled, _ = case["w13"]
    x = empty(case["x"][1:], case["x"][0])
    module.cutlass_fused_moe(
        output=empty((1, case["w2"][1]), case["out"]),
        input=x,
        token_selected_experts=empty((1, case["top_k"]), "int32"),
        token_final_scales=empty((1, case["top_k"]), "float32"),
        fc1_expert_weights=empty(case["w13"], case["w"]),
        fc1_expert_biases=empty((experts, doubled), case["out"]) if case["bias"] else None,
        fc2_expert_weights=empty(case["w2"], case["w"]),
        fc2_expert_biases=empty((experts, case["w2"][1]), case["out"]) if case["bias"] else None,
        output_dtype=getattr(torch, case["out"]),
        quant_scales=[],
        tune_max_num_tokens=case["max_tokens"],
        **case["call"],
    )
    return texts()


def gemm(case):
    a = empty((1, case["m"], case["k"]), "float8_e4m3fn")
    b = empty((1, case["n"], case["k"]), "float8_e4m3fn").transpose(-2, -1)
    out = empty((1, case["m"], case["n"]), case["out"])
    scale = empty((1,), "float32")
    runner = gemm_base.get_gemm_module().cublas_fp8_gemm_runner()
    inputs = [a, b, scale, scale, out, empty((1 << 20,), "uint8")]
    choose_one(None, "fp8_gemm", [runner], gemm_base._FP8_GEMM_SM100_TUNING_CONFIG, inputs)
    return texts()


AutoTuner.choose_one = choose_one
core.gen_cutlass_fused_moe_sm90_module = lambda *_: Built()
core.device_support_pdl = lambda _: True  # SM90 and later
gemm_base.gen_gemm_module = lambda *_: Built()
job = json.load(sys.stdin)
print(json.dumps({"moe": [moe(case) for case in job["moe"]], "gemm": [gemm(case) for case in job["gemm"]]}))
