"""The GEMMs that SGLang calls for a model, from config.json. Numbers were worked out by hand from the layer classes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune_init.tuners.gemm_shapes import SM90, Gemm, NotUnderstood, plan_gemms, quantization_of

FP8 = {"quant_method": "modelopt", "quant_algo": "FP8", "ignore": ["lm_head"]}
LLAMA_8B = {
    "model_type": "llama",
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "torch_dtype": "bfloat16",
    "quantization_config": FP8,
}
QWEN3_30B_A3B = {
    "model_type": "qwen3_moe",
    "hidden_size": 2048,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "head_dim": 128,
    "intermediate_size": 6144,
    "moe_intermediate_size": 768,
    "num_experts": 128,
    "mlp_only_layers": [],
    "decoder_sparse_step": 1,
    "torch_dtype": "bfloat16",
    "quantization_config": FP8,
}


def without(config: dict, *names: str) -> dict:
    return {name: value for name, value in config.items() if name not in names}


def shapes(config: dict, **resolved: object) -> dict[str, tuple[int, int]]:
    plan = plan_gemms(config, resolved, SM90)
    return {name: (gemm.n, gemm.k) for gemm, names in plan.layers.items() for name in names}


@pytest.mark.parametrize(
    ("tp", "expected"),
    [
        (1, {"qkv_proj": (6144, 4096), "o_proj": (4096, 4096), "gate_up_proj": (28672, 4096), "down_proj": (4096, 14336)}),
        (2, {"qkv_proj": (3072, 4096), "o_proj": (4096, 2048), "gate_up_proj": (14336, 4096), "down_proj": (4096, 7168)}),
        (8, {"qkv_proj": (768, 4096), "o_proj": (4096, 512), "gate_up_proj": (3584, 4096), "down_proj": (4096, 1792)}),
        # 2 heads of its own and one replicated key/value head: (2 + 1 + 1) * 128
        (16, {"qkv_proj": (512, 4096), "o_proj": (4096, 256), "gate_up_proj": (1792, 4096), "down_proj": (4096, 896)}),
    ],
)  # fmt: skip
def test_a_llama_is_sharded_as_its_linears_are(tp, expected):
    assert shapes(LLAMA_8B, tp_size=tp) == expected


@pytest.mark.parametrize(
    ("config", "qkv"),
    [
        ({**LLAMA_8B, "model_type": "mistral", "head_dim": 160}, (48 * 160, 4096)),
        ({**LLAMA_8B, "model_type": "qwen2"}, (6144, 4096)),
        ({**LLAMA_8B, "model_type": "qwen3", "head_dim": 64}, (48 * 64, 4096)),
        ({**LLAMA_8B, "model_type": "gemma2", "head_dim": 256}, (48 * 256, 4096)),
        (without(LLAMA_8B, "num_key_value_heads"), (96 * 128, 4096)),
    ],
    ids=["mistral with a head_dim", "qwen2", "qwen3", "gemma2", "llama without kv heads is multi-head"],
)
def test_families_differ_in_head_dim_and_defaults(config, qkv):
    assert shapes(config)["qkv_proj"] == qkv


def test_a_nested_text_config_is_found_and_the_vision_part_named():
    config = {
        "model_type": "gemma3",
        "quantization_config": FP8,
        "text_config": {
            **without(LLAMA_8B, "quantization_config"),
            "model_type": "gemma3_text",
            "head_dim": 256,
        },
    }
    plan = plan_gemms(config, {}, SM90)
    assert Gemm(n=48 * 256, k=4096) in plan.gemms
    assert "vision" in plan.excluded


def test_equal_shapes_are_tuned_once_and_the_largest_come_first():
    config = {**LLAMA_8B, "num_key_value_heads": 32, "num_attention_heads": 32, "intermediate_size": 6144}
    plan = plan_gemms(config, {}, SM90)
    assert plan.layers[Gemm(n=12288, k=4096)] == ("qkv_proj", "gate_up_proj")
    sizes = [gemm.n * gemm.k for gemm in plan.gemms]
    assert sizes == sorted(sizes, reverse=True)
    assert len(plan.gemms) == 3


def test_of_a_mixture_of_experts_only_the_attention_is_tuned_and_that_is_said():
    plan = plan_gemms(QWEN3_30B_A3B, {"tp_size": 4}, SM90)
    assert set(plan.gemms) == {Gemm(n=1280, k=2048), Gemm(n=2048, k=1024)}
    assert "experts" in plan.excluded


def test_dense_layers_between_experts_are_tuned_too():
    assert shapes({**QWEN3_30B_A3B, "mlp_only_layers": [0]})["gate_up_proj"] == (12288, 2048)


def test_shapes_that_sglang_keeps_from_bmm_fp8_are_excluded():
    plan = plan_gemms({**LLAMA_8B, "intermediate_size": 14344}, {}, SM90)
    assert "down_proj" in plan.excluded
    assert "gate_up_proj" not in plan.excluded  # 2 * 14344 is a multiple of 16


def test_experts_on_a_tuned_backend_are_left_to_the_engine():
    plan = plan_gemms(QWEN3_30B_A3B, {"moe_runner_backend": "flashinfer_cutlass"}, SM90)
    assert "trtllm::fused_moe" in plan.excluded
    assert plan.gemms


@pytest.mark.parametrize(
    ("config", "resolved", "word"),
    [
        (without(LLAMA_8B, "quantization_config"), {}, "no quantization"),
        (without(LLAMA_8B, "quantization_config"), {"quantization": None}, "no quantization"),
        ({**LLAMA_8B, "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}, {}, "fp8"),
        ({**LLAMA_8B, "quantization_config": {"quant_method": "awq"}}, {}, "awq"),
        ({**without(LLAMA_8B, "quantization_config"), "compression_config": {"format": "x"}}, {}, "compressed-tensors"),
        (without(QWEN3_30B_A3B, "quantization_config"), {"moe_runner_backend": "triton"}, "no quantization"),
        # a dense model never runs the expert backend that its arguments name
        (without(LLAMA_8B, "quantization_config"), {"moe_runner_backend": "flashinfer_cutlass"}, "no quantization"),
    ],
    ids=["bf16", "bf16, resolved", "block fp8", "awq", "compressed-tensors", "bf16 experts", "dense with a backend"],
)  # fmt: skip
def test_where_nothing_is_autotuned_the_plan_is_empty_and_says_why(config, resolved, word):
    plan = plan_gemms(config, resolved, SM90)
    assert plan.gemms == ()
    assert word in plan.excluded["fp8_gemm"]


@pytest.mark.parametrize(
    ("config", "resolved", "field"),
    [
        ({**LLAMA_8B, "model_type": "deepseek_v3", "kv_lora_rank": 512}, {}, "kv_lora_rank"),
        ({**LLAMA_8B, "model_type": "gpt_oss"}, {}, "model_type"),
        ({**LLAMA_8B, "num_local_experts": 8}, {}, "model_type"),
        (without(LLAMA_8B, "hidden_size"), {}, "hidden_size"),
        ({**LLAMA_8B, "hidden_size": "4096"}, {}, "hidden_size"),
        ({**LLAMA_8B, "hidden_size": True}, {}, "hidden_size"),
        ({**LLAMA_8B, "intermediate_size": [1, 2]}, {}, "intermediate_size"),
        ({**LLAMA_8B, "model_type": "qwen3"}, {}, "head_dim"),
        (without({**LLAMA_8B, "model_type": "mistral"}, "num_key_value_heads"), {}, "num_key_value_heads"),
        (LLAMA_8B, {"tp_size": 3}, "num_attention_heads"),
        ({**LLAMA_8B, "num_key_value_heads": 12, "num_attention_heads": 48}, {"tp_size": 16}, "tp_size over num_key_value_heads"),
        (LLAMA_8B, {"attn_dp_size": 2, "tp_size": 4}, "attn_dp_size"),
        (LLAMA_8B, {"dtype": "float32"}, "dtype"),
        (without(LLAMA_8B, "torch_dtype"), {}, "dtype"),
        (LLAMA_8B, {"quantization": "modelopt_mixed"}, "quantization"),
        (LLAMA_8B, {"quantization": "modelopt_fp4"}, "quantization"),
        ({**LLAMA_8B, "quantization_config": {"quant_algo": "W8A8"}}, {}, "quantization_config"),
        ({**LLAMA_8B, "quantization_config": {"bits": 4}}, {}, "quantization_config"),
        (without(QWEN3_30B_A3B, "quantization_config"), {"moe_runner_backend": "flashinfer_cutlass"}, "moe_runner_backend"),
        (None, {}, "model_config"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_refused_by_name(config, resolved, field):
    with pytest.raises(NotUnderstood) as caught:
        plan_gemms(config, resolved, SM90)
    assert caught.value.field == field


@pytest.mark.parametrize("capability", [(10, 0), (12, 0), (8, 9), None])
def test_other_gpus_are_refused(capability):
    with pytest.raises(NotUnderstood, match="capability"):
        plan_gemms(LLAMA_8B, {}, capability)


@pytest.mark.parametrize(
    ("stated", "found", "expected"),
    [
        ("modelopt_fp8", None, "modelopt_fp8"),
        ("MODELOPT_FP8", {"quant_method": "fp8"}, "modelopt_fp8"),
        ("modelopt", {"quant_algo": "FP8"}, "modelopt_fp8"),
        ("modelopt", {"quant_method": "modelopt", "quant_algo": "NVFP4"}, "modelopt_fp4"),
        ("modelopt", None, "modelopt"),
        (None, {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION"}, "modelopt_mixed"),
        (None, {"quant_algo": "MXFP8"}, "mxfp8"),
        (None, None, None),
        ("none", None, None),
    ],
)
def test_the_method_is_the_stated_one_or_the_checkpoints(stated, found, expected):
    config = {"quantization_config": found} if found else {}
    assert quantization_of(config, {"quantization": stated}) == expected


@pytest.mark.parametrize(
    ("resolved", "config", "expected"),
    [
        ({"dtype": "torch.float16"}, LLAMA_8B, "float16"),
        ({"dtype": "half"}, LLAMA_8B, "float16"),
        ({"dtype": "auto"}, LLAMA_8B, "bfloat16"),
        ({}, {**without(LLAMA_8B, "torch_dtype"), "dtype": "float16"}, "float16"),
    ],
)
def test_the_activations_dtype_is_part_of_the_key(resolved, config, expected):
    assert plan_gemms(config, resolved, SM90).out_dtype == expected


def test_a_head_that_may_be_quantized_is_named_as_left_out():
    config = {**LLAMA_8B, "quantization_config": {"quant_algo": "FP8", "ignore": []}}
    assert "lm_head" in plan_gemms(config, {}, SM90).excluded
    assert "lm_head" not in plan_gemms(LLAMA_8B, {}, SM90).excluded


@given(
    heads=st.sampled_from([8, 16, 32, 64]), kv=st.sampled_from([1, 2, 4, 8]), tp=st.sampled_from([1, 2, 4, 8])
)
def test_all_ranks_together_hold_the_whole_attention(heads, kv, tp):
    config = {**LLAMA_8B, "num_attention_heads": heads, "num_key_value_heads": kv, "head_dim": 128}
    n, _ = shapes(config, tp_size=tp)["qkv_proj"]
    assert n * tp == (heads + 2 * max(kv, tp)) * 128
