"""Command lines that every SGLang release in the table is asked about, with the config.json files they serve.

Two kinds: `auto_cases` is a product (family x checkpoint x GPU), from which tools/make_sglang_tables.py makes the table
of what `auto` and an unstated --quantization become; `line_cases` are command lines as people write them, on configs
with other sizes, which the recipe must then answer without having been made from them.
Configs are cut down to what resolution reads; weights are not needed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ARCHES: dict[str, dict[str, Any]] = {
    "sm90": {"name": "NVIDIA H100 80GB HBM3", "capability": [9, 0], "memory_mib": 81559},
    "sm100": {"name": "NVIDIA B200", "capability": [10, 0], "memory_mib": 183359},
    "sm103": {"name": "NVIDIA B300 SXM6 AC", "capability": [10, 3], "memory_mib": 275040},
    "sm120": {
        "name": "NVIDIA RTX PRO 6000 Blackwell Server Edition",
        "capability": [12, 0],
        "memory_mib": 97887,
    },
}
DRIVER = "580.95.05"


def gpu_of(arch: str) -> dict[str, Any]:
    return {**ARCHES[arch], "count": 8, "driver": DRIVER, "uuid": None}


class Case(NamedTuple):
    arch: str
    model: str
    argv: tuple[str, ...]
    draft: str = ""


_TEXT = {
    "vocab_size": 32000, "hidden_size": 512, "intermediate_size": 1024, "num_hidden_layers": 4,
    "num_attention_heads": 8, "num_key_value_heads": 8, "max_position_embeddings": 8192, "rms_norm_eps": 1e-6,
    "hidden_act": "silu", "tie_word_embeddings": False,
}  # fmt: skip
# the same model, other numbers: nothing of the key may depend on them
_OTHER_TEXT = {
    **_TEXT, "vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 8,
    "num_attention_heads": 64, "max_position_embeddings": 131072, "rope_theta": 1000000.0, "use_cache": True,
    "initializer_range": 0.02, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
_MLA = {
    "kv_lora_rank": 512, "q_lora_rank": 1536, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
    "n_routed_experts": 64, "n_shared_experts": 1, "num_experts_per_tok": 8, "moe_intermediate_size": 512,
    "first_k_dense_replace": 1, "n_group": 8, "topk_group": 4, "topk_method": "noaux_tc", "scoring_func": "sigmoid",
    "norm_topk_prob": True, "routed_scaling_factor": 2.5, "num_nextn_predict_layers": 1, "moe_layer_freq": 1,
    "num_key_value_heads": 8,
}  # fmt: skip
_EXPERTS = {"num_experts": 64, "num_experts_per_tok": 8, "moe_intermediate_size": 512, "norm_topk_prob": True}
_VISION = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}

# family -> (architecture, what it adds; text_config stands for "the text model is nested")
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaForCausalLM", {"model_type": "llama"}),
    "mistral": ("MistralForCausalLM", {"model_type": "mistral"}),
    "qwen2": ("Qwen2ForCausalLM", {"model_type": "qwen2"}),
    "qwen3": ("Qwen3ForCausalLM", {"model_type": "qwen3", "head_dim": 64}),
    "phi3": ("Phi3ForCausalLM", {"model_type": "phi3", "pad_token_id": 0}),
    "gemma2": ("Gemma2ForCausalLM", {"model_type": "gemma2", "head_dim": 64}),
    "gemma3_text": ("Gemma3ForCausalLM", {"model_type": "gemma3_text", "head_dim": 64}),
    "gemma3": (
        "Gemma3ForConditionalGeneration",
        {"model_type": "gemma3", "text_config": {"model_type": "gemma3_text", "head_dim": 64},
         "vision_config": {**_VISION, "model_type": "siglip_vision_model", "image_size": 224, "patch_size": 14},
         "mm_tokens_per_image": 256},
    ),
    "qwen2_5_vl": (
        "Qwen2_5_VLForConditionalGeneration",
        {"model_type": "qwen2_5_vl", "vision_config": {**_VISION, "model_type": "qwen2_5_vl", "depth": 2},
         "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]}},
    ),
    "qwen3_vl": (
        "Qwen3VLForConditionalGeneration",
        {"model_type": "qwen3_vl", "text_config": {"model_type": "qwen3_vl_text", "head_dim": 64},
         "vision_config": {**_VISION, "model_type": "qwen3_vl", "depth": 2}},
    ),
    "qwen3_vl_moe": (
        "Qwen3VLMoeForConditionalGeneration",
        {"model_type": "qwen3_vl_moe",
         "text_config": {"model_type": "qwen3_vl_moe_text", "head_dim": 64, **_EXPERTS},
         "vision_config": {**_VISION, "model_type": "qwen3_vl_moe", "depth": 2}},
    ),
    "mixtral": ("MixtralForCausalLM", {"model_type": "mixtral", "num_local_experts": 8, "num_experts_per_tok": 2}),
    "olmoe": ("OlmoeForCausalLM", {"model_type": "olmoe", "num_experts": 64, "num_experts_per_tok": 8}),
    "qwen2_moe": (
        "Qwen2MoeForCausalLM",
        {"model_type": "qwen2_moe", **_EXPERTS, "shared_expert_intermediate_size": 1024, "decoder_sparse_step": 1},
    ),
    "qwen3_moe": ("Qwen3MoeForCausalLM", {"model_type": "qwen3_moe", "head_dim": 64, **_EXPERTS}),
    "qwen3_next": (
        "Qwen3NextForCausalLM",
        {"model_type": "qwen3_next", "head_dim": 64, **_EXPERTS, "shared_expert_intermediate_size": 512,
         "linear_num_key_heads": 8, "linear_num_value_heads": 16, "linear_key_head_dim": 64,
         "linear_value_head_dim": 64, "linear_conv_kernel_dim": 4, "full_attention_interval": 4,
         "decoder_sparse_step": 1},
    ),
    "glm4_moe": (
        "Glm4MoeForCausalLM",
        {"model_type": "glm4_moe", "n_routed_experts": 64, "n_shared_experts": 1, "num_experts_per_tok": 8,
         "moe_intermediate_size": 512, "first_k_dense_replace": 1, "n_group": 1, "topk_group": 1,
         "routed_scaling_factor": 1.0, "norm_topk_prob": True, "num_nextn_predict_layers": 1, "head_dim": 64,
         "partial_rotary_factor": 0.5},
    ),
    "deepseek_v2": ("DeepseekV2ForCausalLM", {"model_type": "deepseek_v2", **_MLA, "topk_method": "greedy",
                                              "scoring_func": "softmax"}),
    "deepseek_v3": ("DeepseekV3ForCausalLM", {"model_type": "deepseek_v3", **_MLA}),
    "deepseek_v32": ("DeepseekV32ForCausalLM", {"model_type": "deepseek_v32", **_MLA, "index_head_dim": 128,
                                                "index_n_heads": 64, "index_topk": 2048}),
    "kimi_k2": ("DeepseekV3ForCausalLM", {"model_type": "kimi_k2", **_MLA}),
    "gpt_oss": (
        "GptOssForCausalLM",
        {"model_type": "gpt_oss", "num_hidden_layers": 8, "head_dim": 64, "num_local_experts": 32, "num_experts_per_tok": 4,
         "experts_per_token": 4, "sliding_window": 128, "swiglu_limit": 7.0,
         "layer_types": ["sliding_attention", "full_attention"] * 4},
    ),
    "llama4": (
        "Llama4ForConditionalGeneration",
        {"model_type": "llama4",
         "text_config": {"model_type": "llama4_text", "head_dim": 64, "num_local_experts": 16,
                         "num_experts_per_tok": 1, "intermediate_size_mlp": 1024, "interleave_moe_layer_step": 1},
         "vision_config": {**_VISION, "model_type": "llama4_vision_model"}},
    ),
    "minimax_m2": (
        "MiniMaxM2ForCausalLM",
        {"model_type": "minimax_m2", "head_dim": 64, "num_local_experts": 64, "num_experts_per_tok": 8,
         "attn_type_list": [1] * 8, "rotary_dim": 32, "use_qk_norm": True, "scoring_func": "sigmoid",
         "use_routing_bias": True, "num_mtp_modules": 0},
    ),
}  # fmt: skip
MOE_FAMILIES = tuple(list(FAMILIES)[list(FAMILIES).index("qwen3_vl_moe") :])

CHECKPOINTS: dict[str, dict[str, Any] | None] = {
    "none": None,
    "fp8": {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128], "fmt": "e4m3"},
    "fp8t": {"quant_method": "fp8", "activation_scheme": "static"},
    "ct": {
        "quant_method": "compressed-tensors", "format": "float-quantized", "ignore": ["lm_head"],
        "config_groups": {"group_0": {
            "targets": ["Linear"],
            "weights": {"num_bits": 8, "type": "float", "strategy": "channel", "symmetric": True, "dynamic": False},
            "input_activations": {"num_bits": 8, "type": "float", "strategy": "token", "symmetric": True, "dynamic": True},
        }},
    },
    "awq": {"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm", "zero_point": True},
    "gptq": {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True},
    "mofp8": {"quant_method": "modelopt", "quant_algo": "FP8", "ignore": ["lm_head"],
              "producer": {"name": "modelopt", "version": "0.33"}},
    "mofp4": {"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["lm_head"], "group_size": 16,
              "producer": {"name": "modelopt", "version": "0.33"}},
    "mxfp4": {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn"]},
}  # fmt: skip


def config_of(name: str) -> dict[str, Any]:
    """`family-checkpoint[-variant]` -> config.json. Variants: `big` (other numbers), `fp16`, `nodt`, `remote`, ..."""
    family, checkpoint, *variants = name.split("-")
    architecture, extra = FAMILIES[family]
    text = _OTHER_TEXT if "big" in variants else _TEXT
    nested = extra.get("text_config")
    config: dict[str, Any] = {"architectures": [architecture], "transformers_version": "4.57.0"}
    dtype: dict[str, Any] = {"torch_dtype": "bfloat16"}
    if "fp16" in variants:
        dtype = {"torch_dtype": "float16"}
    elif "fp32" in variants:
        dtype = {"torch_dtype": "float32"}
    elif "nodt" in variants:
        dtype = {}
    elif "newdt" in variants:
        dtype = {"dtype": "bfloat16"}
    if isinstance(nested, dict):
        config.update(extra)
        config["text_config"] = {**text, **nested, **(dtype if "nesteddt" in variants else {})}
        config.update({} if "nesteddt" in variants else dtype)
    else:
        config.update({**text, **extra, **dtype})
    if CHECKPOINTS[checkpoint] is not None:
        config["quantization_config"] = CHECKPOINTS[checkpoint]
    if "remote" in variants:
        config["auto_map"] = {"AutoConfig": "configuration_remote.RemoteConfig"}
    return config


REMOTE_CODE = (
    "from transformers import LlamaConfig\n\n\nclass RemoteConfig(LlamaConfig):\n    model_type = 'llama'\n"
)
SIDE_FILES = {
    "hfq": {"hf_quant_config.json": {"quantization": {"quant_algo": "NVFP4", "group_size": 16}}},
}
DRAFTS = {
    "eagle3-llama": {**_TEXT, "architectures": ["LlamaForCausalLMEagle3"], "model_type": "llama",
                     "draft_vocab_size": 1024, "torch_dtype": "float16", "num_hidden_layers": 1},
    "eagle-llama": {**_TEXT, "architectures": ["LlamaForCausalLMEagle"], "model_type": "llama",
                    "torch_dtype": "bfloat16", "num_hidden_layers": 1},
    "eagle-llama-fp8": {**_TEXT, "architectures": ["LlamaForCausalLMEagle"], "model_type": "llama",
                        "torch_dtype": "bfloat16", "num_hidden_layers": 1,
                        "quantization_config": CHECKPOINTS["fp8"]},
}  # fmt: skip


def write_models(root: Path, cases: list[Case]) -> None:
    """models/<name>/config.json (and what lies beside it) for every case."""
    served = {case.model for case in cases}
    served |= {
        word.removeprefix("models/") for case in cases for word in case.argv if word.startswith("models/")
    }
    for name in sorted(served):
        folder = root / "models" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(config_of(name), indent=1))
        for variant in name.split("-")[2:]:
            for file, content in SIDE_FILES.get(variant, {}).items():
                (folder / file).write_text(json.dumps(content))
        if "remote" in name:
            (folder / "configuration_remote.py").write_text(REMOTE_CODE)
    for name, config in DRAFTS.items():
        folder = root / "drafts" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(config, indent=1))


def _line(model: str, *words: str) -> tuple[str, ...]:
    return ("--model-path", f"models/{model}", *words)


# what a family's checkpoints may be; the rest does not start or does not exist
_AUTO_CHECKPOINTS = ("none", "fp8", "ct", "awq", "gptq", "mofp8", "mofp4")
_TYPED = (("none", "fp8"), ("fp8", "fp8"), ("mofp8", "modelopt_fp8"), ("mofp4", "modelopt_fp4"), ("mofp4", "modelopt"),
          ("none", "unquant"))  # fmt: skip


def auto_cases() -> Iterator[Case]:
    """Nothing stated, then --quantization, then an a2a backend: for every family, checkpoint and GPU."""
    for family in FAMILIES:
        is_moe = family in MOE_FAMILIES
        checkpoints = ("none", "mxfp4", "mofp4") if family == "gpt_oss" else _AUTO_CHECKPOINTS
        size = ("--tp", "4") if is_moe else ()
        for arch in ARCHES:
            for checkpoint in checkpoints:
                yield Case(arch, f"{family}-{checkpoint}", _line(f"{family}-{checkpoint}", *size))
            for checkpoint, typed in _TYPED if family != "gpt_oss" else (("mxfp4", "mxfp4"),):
                name = f"{family}-{checkpoint}"
                yield Case(arch, name, _line(name, *size, "--quantization", typed))
            if not is_moe:
                continue
            for checkpoint in ("none", "fp8", "mofp4") if family != "gpt_oss" else ("none", "mxfp4"):
                name = f"{family}-{checkpoint}"
                yield Case(arch, name, _line(name, *size, "--moe-a2a-backend", "deepep"))


_LINES = """
llama-none-big|--tp 2 --host 0.0.0.0 --port 30000
llama-none-big|--tp-size=8 --mem-fraction-static 0.85 --context-length 32768
llama-none-big|--tensor-parallel-size 4 --dp-size 2 --served-model-name llama
llama-none-fp16|--tp 1 --dtype auto
llama-none-fp32|--enable-metrics
llama-none-nodt|--disable-radix-cache
llama-none-newdt|--dtype bfloat16
llama-none-big|--dtype half --tp 2
llama-none-big|--dtype float32
llama-none-remote|--tp 2
llama-none-remote|--tp 2 --trust-remote-code
llama-fp8-big|--tp 4 --kv-cache-dtype fp8_e4m3
llama-fp8t-big|--tp 4 --quantization fp8
llama-mofp8-big|--tp 4 --quantization modelopt_fp8
llama-mofp8-big|--tp 1
llama-mofp4-big|--tp 4 --quantization modelopt_fp4
llama-mofp4-big|--tp 8
llama-none-hfq|--tp 8
llama-none-big|--tp 4 --quantization fp8 --fp8-gemm-backend flashinfer_cutlass
llama-mofp8-big|--tp 4 --fp8-gemm-backend cutlass
llama-none-big|--tp 4 --pp-size 2
llama-none-big|--tp 16 --nnodes 2 --node-rank 1 --dist-init-addr 10.0.0.1:5000
llama-none-big|--tp 4 --disable-flashinfer-autotune
llama-none-big|--tp 4 --enable-deterministic-inference
llama-none-big|--tp 2 --speculative-algorithm EAGLE3 --speculative-draft-model-path drafts/eagle3-llama --speculative-num-steps 3 --speculative-eagle-topk 1 --speculative-num-draft-tokens 4
llama-none-big|--tp 2 --speculative-algorithm EAGLE --speculative-draft-model-path drafts/eagle-llama
llama-mofp8-big|--tp 2 --speculative-algorithm EAGLE --speculative-draft-model-path drafts/eagle-llama
llama-mofp8-big|--tp 2 --speculative-algorithm EAGLE --speculative-draft-model-path drafts/eagle-llama-fp8
llama-none-big|--tp 2 --speculative-algorithm NGRAM --speculative-num-draft-tokens 4
llama-none-big|--tp 2 --speculative-algorithm STANDALONE --speculative-draft-model-path models/qwen2-none --speculative-num-steps 2 --speculative-eagle-topk 1 --speculative-num-draft-tokens 3
llama-none-big|--model models/llama-none-big --tp 2
llama-none-big|--tp 2 --tp 4
llama-none-big|--tensor-parallel 4
llama-none-big|--tp 4 --chunked-prefill-size 8192 --max-running-requests 256 --cuda-graph-max-bs 256
llama-none-big|--tp 4 --cuda-graph-max-bs-decode 64
llama-none-big|--tp 4 --schedule-conservativeness 0.3 --schedule-policy lpm --log-level info --enable-cache-report
llama-none-big|--tp 4 --attention-backend fa3 --sampling-backend pytorch
llama-none-big|--tp 4 --attention-backend flashinfer --page-size 64 --tool-call-parser llama3 --reasoning-parser qwen3
llama-none-big|--tp 4 --enable-torch-compile --torch-compile-max-bs 8 --watchdog-timeout 1800 --random-seed 7
llama-none-big|--tp 2 --json-model-override-args {"max_position_embeddings":65536}
llama-none-big|--tp 2 --revision main --tokenizer-path models/llama-none-big --download-dir /tmp/x --load-format dummy
llama-none-big|--tp 2 --enable-lora --max-lora-rank 64 --lora-target-modules all
llama-none-big|--tp 2 --disaggregation-mode prefill --disaggregation-transfer-backend nixl
llama-none-big|--tp 2 --disaggregation-mode decode
llama-none-big|--tp 2 --enable-hierarchical-cache --hicache-ratio 2
llama-none-big|--tp 2 --is-embedding
llama-none-big|--tp 2 --api-key secret --chat-template chatml --enable-p2p-check --base-gpu-id 2
llama-none-big|--tp 2 --unknown-flag-of-nobody 3
qwen2-awq-big|--tp 2
qwen2-gptq-big|--tp 2 --quantization gptq
qwen2-awq-big|--tp 2 --quantization awq
qwen2-none-big|--tp 2 --quantization unquant
qwen3-none-big|--tp 2
qwen3-fp8-big|--tp 4 --reasoning-parser qwen3
qwen3-mofp4-big|--tp 2
qwen3-mofp8-big|--tp 2
gemma2-none-big|--tp 2
gemma2-none-fp32|--tp 2
gemma3_text-none-big|--tp 2
gemma3-none-big|--tp 2
gemma3-none-fp16|--tp 4
gemma3-none-nesteddt|--tp 4
gemma3-mofp4-big|--tp 4
qwen2_5_vl-none-big|--tp 2 --enable-multimodal
qwen2_5_vl-awq-big|--tp 2
qwen3_vl-none-big|--tp 4
qwen3_vl-fp8-big|--tp 4
qwen3_vl_moe-none-big|--tp 8
qwen3_vl_moe-fp8-big|--tp 8 --ep 8
qwen3_vl_moe-none-nesteddt|--tp 8
mixtral-none-big|--tp 2
mixtral-none-big|--tp 2 --moe-runner-backend triton
mixtral-none-big|--tp 2 --moe-runner-backend flashinfer_cutlass
mixtral-fp8-big|--tp 2 --moe-runner-backend flashinfer_trtllm
mixtral-mofp8-big|--tp 2 --moe-runner-backend flashinfer_cutlass
mixtral-mofp4-big|--tp 4 --moe-runner-backend flashinfer_cutlass --quantization modelopt_fp4
qwen3_moe-none-big|--tp 8
qwen3_moe-none-big|--tp 8 --ep 8
qwen3_moe-none-big|--tp 8 --ep-size 2
qwen3_moe-none-big|--tp 8 --expert-parallel-size=4 --moe-runner-backend=flashinfer_cutlass
qwen3_moe-none-big|--tp 8 --ep 8 --moe-runner-backend flashinfer_cutlass
qwen3_moe-none-big|--tp 4 --moe-runner flashinfer_trtllm
qwen3_moe-none-big|--tp 4 --moe-runner-backend flashinfer_trtllm --flashinfer-autotune-skip-ops fp4_gemm bf16_gemm
qwen3_moe-none-big|--tp 4 --flashinfer-autotune-skip-ops b a b
qwen3_moe-none-big|--tp 4 --flashinfer-autotune-skip-ops a,b
qwen3_moe-none-big|--tp 4 --flashinfer-autotune-skip-ops a --flashinfer-autotune-skip-ops b
qwen3_moe-fp8-big|--tp 8
qwen3_moe-fp8-big|--tp 8 --moe-a2a-backend deepep --deepep-mode auto
qwen3_moe-fp8-big|--tp 8 --moe-a2a-backend mooncake
qwen3_moe-fp8-big|--tp 8 --moe-a2a-backend nixl
qwen3_moe-fp8-big|--tp 8 --enable-deepep-moe
qwen3_moe-fp8-big|--tp 8 --dp 8 --enable-dp-attention
qwen3_moe-fp8-big|--tp 8 --dp 2 --enable-dp-attention --enable-dp-lm-head
qwen3_moe-fp8-big|--tp 8 --dp 4 --enable-dp-attention --moe-a2a-backend deepep
qwen3_moe-fp8-big|--tp 8 --attn-dp-size 4
qwen3_moe-fp8-big|--tp 8 --dp 8 --enable-dp-attention --moe-runner-backend flashinfer_cutlass --quantization modelopt_fp4
qwen3_moe-fp8-big|--tp 8 --quantization fp8 --moe-runner-backend deep_gemm
qwen3_moe-fp8-big|--tp 4 --moe-runner-backend flashinfer_mxfp4
qwen3_moe-mofp4-big|--tp 4
qwen3_moe-mofp4-big|--tp 4 --quantization modelopt_fp4
qwen3_moe-mofp4-big|--tp 4 --quantization modelopt_fp4 --moe-runner-backend flashinfer_cutlass
qwen3_moe-mofp4-big|--tp 4 --quantization modelopt_fp4 --moe-runner-backend flashinfer_cutedsl
qwen3_moe-mofp4-big|--tp 4 --quantization modelopt_fp4 --moe-runner-backend flashinfer_trtllm
qwen3_moe-mofp4-big|--tp 4 --fp4-gemm-backend flashinfer_cutlass
qwen3_moe-mofp8-big|--tp 4 --moe-runner-backend flashinfer_cutlass
qwen3_moe-ct-big|--tp 4
qwen3_moe-awq-big|--tp 4
qwen3_moe-none-big|--tp 4 --quantization nvfp4_online
qwen3_moe-none-big|--tp 4 --quantization mxfp8
qwen3_moe-none-big|--tp 4 --quantization fp8
qwen3_moe-none-hfq|--tp 4
qwen3_moe-none-big|--tp 4 --disable-shared-experts-fusion --enable-eplb
qwen3_moe-none-big|--tp 4 --enable-two-batch-overlap
qwen3_moe-none-big|--tp 4 --json-model-override-args {"num_experts_per_tok":4}
qwen3_moe-fp8-big|--tp 4 --speculative-algorithm EAGLE3 --speculative-draft-model-path drafts/eagle3-llama
qwen3_moe-mofp4-big|--tp 4 --speculative-algorithm EAGLE3 --speculative-draft-model-path drafts/eagle3-llama --speculative-moe-runner-backend triton
qwen3_next-none-big|--tp 4
qwen3_next-fp8-big|--tp 4
qwen3_next-none-big|--tp 4 --speculative-algorithm NEXTN
qwen3_next-mofp4-big|--tp 4 --speculative-algorithm NEXTN --speculative-num-steps 3 --speculative-eagle-topk 1 --speculative-num-draft-tokens 4
qwen3_next-none-big|--tp 4 --mamba-scheduler-strategy extra_buffer
glm4_moe-none-big|--tp 8
glm4_moe-fp8-big|--tp 8
glm4_moe-mofp4-big|--tp 8
glm4_moe-none-big|--tp 8 --speculative-algorithm EAGLE --speculative-num-steps 3 --speculative-eagle-topk 1 --speculative-num-draft-tokens 4
glm4_moe-fp8-big|--tp 8 --speculative-algorithm NEXTN
glm4_moe-none-big|--tp 8 --tool-call-parser glm45 --reasoning-parser glm45
deepseek_v2-none-big|--tp 8 --trust-remote-code
deepseek_v3-fp8-big|--tp 8 --trust-remote-code
deepseek_v3-fp8-big|--tp 8
deepseek_v3-fp8-big|--tp 16 --nnodes 2 --node-rank 0 --dist-init-addr 10.0.0.1:5000
deepseek_v3-fp8-big|--tp 8 --dp 8 --enable-dp-attention --moe-a2a-backend deepep
deepseek_v3-fp8-big|--tp 8 --ep 8
deepseek_v3-fp8-big|--tp 8 --moe-runner-backend flashinfer_trtllm
deepseek_v3-fp8-big|--tp 8 --moe-runner-backend deep_gemm
deepseek_v3-fp8-big|--tp 8 --speculative-algorithm EAGLE
deepseek_v3-fp8-big|--tp 8 --speculative-algorithm NEXTN --speculative-num-steps 1 --speculative-eagle-topk 1 --speculative-num-draft-tokens 2
deepseek_v3-mofp4-big|--tp 4
deepseek_v3-mofp4-big|--tp 4 --quantization modelopt_fp4 --moe-runner-backend flashinfer_trtllm
deepseek_v3-mofp4-big|--tp 4 --ep 4 --dp 4 --enable-dp-attention --moe-runner-backend flashinfer_cutedsl --quantization modelopt_fp4
deepseek_v3-mofp4-big|--tp 4 --speculative-algorithm EAGLE --speculative-num-steps 3 --speculative-eagle-topk 1 --speculative-num-draft-tokens 4
deepseek_v3-none-big|--tp 8
deepseek_v3-awq-big|--tp 8
deepseek_v32-fp8-big|--tp 8
deepseek_v32-fp8-big|--tp 8 --dp 8 --enable-dp-attention
deepseek_v32-mofp4-big|--tp 8
kimi_k2-fp8-big|--tp 16 --nnodes 2 --node-rank 1 --dist-init-addr 10.0.0.1:5000 --trust-remote-code
kimi_k2-fp8-big|--tp 8
gpt_oss-mxfp4-big|--tp 1
gpt_oss-mxfp4-big|--tp 4 --dtype float16
gpt_oss-mxfp4-big|--tp 4 --moe-runner-backend triton_kernel
gpt_oss-mxfp4-big|--tp 4 --ep 4
gpt_oss-mxfp4-big|--tp 4 --speculative-algorithm EAGLE3 --speculative-draft-model-path drafts/eagle3-llama
gpt_oss-none-big|--tp 4
gpt_oss-none-big|--tp 4 --moe-runner-backend triton
llama4-none-big|--tp 8
llama4-fp8-big|--tp 8 --enable-multimodal
llama4-mofp4-big|--tp 8
llama4-ct-big|--tp 8
llama-none-big|--tp 2 --quantization fp8 --speculative-algorithm EAGLE3 --speculative-draft-model-path drafts/eagle3-llama
llama-mofp8-big|--tp 2 --quantization modelopt_fp8 --speculative-algorithm EAGLE --speculative-draft-model-path drafts/eagle-llama-fp8
llama-none-big|--tp 2 --dtype float16 --speculative-algorithm EAGLE --speculative-draft-model-path drafts/eagle-llama
llama-none-big|--tp 2 --speculative-algorithm EAGLE --speculative-draft-model-path drafts/eagle-llama-fp8 --speculative-draft-model-quantization unquant
llama-none-big|--tp 2 --speculative-algorithm EAGLE3
qwen3_moe-mofp4-big|--tp 4 --quantization modelopt_fp4 --speculative-algorithm EAGLE3 --speculative-draft-model-path drafts/eagle3-llama
qwen3_moe-mofp8-big|--tp 4 --speculative-algorithm EAGLE3 --speculative-draft-model-path drafts/eagle3-llama --dp 2 --enable-dp-attention
qwen3_moe-fp8-big|--tp 4 --moe-a2a-backend deepep --speculative-algorithm EAGLE3 --speculative-draft-model-path drafts/eagle3-llama
deepseek_v3-mofp4-big|--tp 4 --quantization modelopt_fp4 --speculative-algorithm EAGLE
deepseek_v3-fp8-big|--tp 8 --quantization fp8 --speculative-algorithm NEXTN
deepseek_v32-fp8-big|--tp 8 --speculative-algorithm EAGLE
glm4_moe-mofp4-big|--tp 8 --speculative-algorithm EAGLE
minimax_m2-fp8-big|--tp 4 --trust-remote-code
minimax_m2-none-big|--tp 4
minimax_m2-mofp4-big|--tp 4
olmoe-none-big|--tp 1
qwen2_moe-none-big|--tp 4
qwen2_moe-none-big|--tp 4 --moe-runner-backend flashinfer_cutlass
phi3-none-big|--tp 2
mistral-none-big|--tp 2
mistral-fp8t-big|--tp 2
"""


def line_cases() -> Iterator[Case]:
    """Every line on every GPU. The last word of a JSON value keeps its quotes: the lines are split at blanks."""
    for line in filter(None, _LINES.splitlines()):
        model, _, words = line.partition("|")
        argv = tuple(words.split())
        own = () if "--model" in argv else ("--model-path", f"models/{model}")
        for arch in ARCHES:
            yield Case(arch, model, (*own, *argv))


# flags that people add and that no rule of ours reads: each is put to every release on two models with many rules
_FLAG_LINES = """
--enable-lora --max-lora-rank 64 --lora-target-modules all
--enable-lora --max-lora-rank 16 --lora-target-modules q_proj k_proj --max-loras-per-batch 4 --lora-backend csgmv
--disaggregation-mode prefill --disaggregation-transfer-backend mooncake
--disaggregation-mode decode --disaggregation-transfer-backend nixl --disaggregation-bootstrap-port 8998
--enable-hierarchical-cache
--enable-hierarchical-cache --hicache-ratio 2 --hicache-write-policy write_through --hicache-io-backend kernel --hicache-mem-layout layer_first
--enable-hierarchical-cache --hicache-size 100 --hicache-storage-backend file
--is-embedding
--enable-multimodal
--enable-two-batch-overlap
--enable-single-batch-overlap
--enable-eplb --ep-num-redundant-experts 4
--ep-num-redundant-experts 4 --ep-dispatch-algorithm dynamic --init-expert-location trivial
--expert-distribution-recorder-mode stat
--deepep-mode low_latency
--deepep-mode normal
--mm-attention-backend fa3
--keep-mm-feature-on-device
--cuda-graph-bs 1 2 4 8
--cuda-graph-bs-decode 1 2 4 8
--disable-piecewise-cuda-graph
--enable-piecewise-cuda-graph
--cuda-graph-backend-prefill disabled
--mamba-ssm-dtype bfloat16
--mamba-full-memory-ratio 0.5
--max-mamba-cache-size 64
--linear-attn-backend triton
--flashinfer-mla-disable-ragged
--enable-fused-qk-norm-rope
--kv-events-config {}
--enable-trace --otlp-traces-endpoint localhost:4317
--bucket-time-to-first-token 0.1 1
--cpu-offload-gb 4
--model-loader-extra-config {}
--preferred-sampling-params {}
--speculative-attention-mode decode
--ssl-keyfile /k --ssl-certfile /c
--enable-custom-logit-processor
--enable-return-hidden-states
--enable-return-routed-experts
--enable-weights-cpu-backup
--schedule-low-priority-values-first --enable-priority-scheduling
--priority-scheduling-preemption-threshold 5 --enable-priority-scheduling
--enable-dynamic-chunking
--pp-max-micro-batch-size 4
--triton-attention-reduce-in-fp32
--log-requests-format json
--custom-pipeline none
--enable-nan-detection
--rl-on-policy-target fsdp
--prefill-attention-backend fa3 --decode-attention-backend flashinfer
--attention-backend trtllm_mha
--attention-backend triton
--attention-backend flashmla
--kv-cache-dtype fp8_e5m2
--kv-cache-dtype bf16
--max-prefill-tokens 4096 --max-total-tokens 100000 --prefill-max-requests 4
--enable-mixed-chunk --num-continuous-decode-steps 2
--disable-overlap-schedule --disable-cuda-graph --disable-radix-cache --disable-custom-all-reduce
--enable-dp-lm-head
--enable-flashinfer-allreduce-fusion
--enable-symm-mem --enable-nccl-nvls
--fp8-gemm-backend deep_gemm
--fp8-gemm-backend flashinfer_trtllm
--fp4-gemm-backend flashinfer_cutlass
--moe-dense-tp-size 1
--disable-shared-experts-fusion
--load-format auto --weight-loader-disable-mmap --delete-ckpt-after-loading
--tokenizer-backend huggingface
--tokenizer-mode slow --tokenizer-worker-num 2 --skip-tokenizer-init
--allow-auto-truncate --sleep-on-idle --stream-interval 4 --incremental-streaming-output
--gc-warning-threshold-secs 5
--warmups voice_chat
--dist-timeout 3600 --nccl-port 23456 --gpu-id-step 1
--numa-node 0 0 0 0
--enable-memory-saver
--quantization-param-path /x
--crash-dump-folder /tmp/x --decode-log-interval 40
--enable-metrics --enable-metrics-for-all-schedulers --collect-tokens-histogram --tokenizer-metrics-allowed-custom-labels a
--radix-eviction-policy lfu
--page-size 1
--page-size 128
--swa-full-tokens-ratio 0.5
--hf-chat-template-name x
--tool-call-parser qwen25 --reasoning-parser deepseek-r1
--grammar-backend outlines
--sampling-backend flashinfer --sampling-defaults openai
--mem-fraction-static 0.5 --context-length 4096
--max-queued-requests 100
--enable-cache-report --show-time-cost --log-level debug
--served-model-name a --weight-version v2 --revision main
--model-impl sglang
--model-impl transformers
--device cuda
--config x.yaml
--nnodes 1 --node-rank 0
"""


def flag_cases() -> Iterator[Case]:
    for line in filter(None, _FLAG_LINES.splitlines()):
        for arch, model, base in FLAG_BASES:
            yield Case(arch, model, (*base, *line.split()))


# a family with many rules on Blackwell, and one with none and two models' worth of attention code on Hopper
FLAG_BASES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("sm100", "qwen3_moe-fp8-big", _line("qwen3_moe-fp8-big", "--tp", "4")),
    ("sm90", "deepseek_v3-fp8-big", _line("deepseek_v3-fp8-big", "--tp", "8")),
)


def all_cases(*, with_product: bool = True) -> list[Case]:
    return [*line_cases(), *flag_cases(), *(auto_cases() if with_product else ())]
