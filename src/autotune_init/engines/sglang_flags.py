"""SGLang's command line, as far as it decides the cache key without any of the engine's own rules. Data.

Only flags that were looked up in `ServerArgs` of the releases stand here. A flag that does not is refused: it may
touch the key (a2a backends rewrite ep, hooks rewrite the MoE backend, speculative decoding brings a second key, ...).
Sources: SGLang 0.5.12 srt/server_args.py `add_cli_args`; 0.5.23 srt/arg_groups/fields/*.py.
"""

from __future__ import annotations

# flag -> field of the key or of the replica's shape; aliases as argparse knows them, unambiguous prefixes included
KEY_FLAGS = {
    "--model-path": "model_path",
    "--model": "model_path",
    "--dtype": "dtype",
    "--quantization": "quantization",
    "--moe-runner-backend": "moe_runner_backend",
    "--tp": "tp_size",
    "--tp-size": "tp_size",
    "--tensor-parallel-size": "tp_size",
    "--pp-size": "pp_size",
    "--pipeline-parallel-size": "pp_size",
    "--dp": "dp_size",
    "--dp-size": "dp_size",
    "--data-parallel-size": "dp_size",
    "--ep": "moe_ep_size",
    "--ep-size": "moe_ep_size",
    "--expert-parallel-size": "moe_ep_size",
    "--nnodes": "nnodes",
    "--node-rank": "node_rank",
}

# --pp is a prefix of --pp-size, --pp-max-micro-batch-size and --pp-async-batch-depth: every release fails on it
AMBIGUOUS = {"--pp": "--pp-size"}

# switches and flags with one value that no rule of any release lets near the key
HARMLESS_SWITCHES = frozenset({
    "--disable-cuda-graph", "--disable-custom-all-reduce", "--disable-overlap-schedule", "--disable-radix-cache",
    "--enable-cache-report", "--enable-metrics", "--enable-metrics-for-all-schedulers", "--enable-mixed-chunk",
    "--enable-p2p-check", "--log-requests", "--show-time-cost", "--skip-server-warmup", "--skip-tokenizer-init",
    "--trust-remote-code",  # matters only with auto_map in config.json, which is refused by itself
})  # fmt: skip

HARMLESS_VALUES = frozenset({
    "--admin-api-key", "--api-key", "--base-gpu-id", "--chat-template", "--chunked-prefill-size", "--context-length",
    "--decode-log-interval", "--dist-init-addr", "--dist-timeout", "--download-dir", "--gpu-id-step",
    "--grammar-backend", "--host", "--kv-cache-dtype", "--log-level", "--log-level-http", "--log-requests-level",
    "--max-prefill-tokens", "--max-queued-requests", "--max-running-requests", "--max-total-tokens",
    "--mem-fraction-static", "--nccl-port", "--port", "--random-seed", "--reasoning-parser", "--revision",
    "--sampling-backend", "--schedule-conservativeness", "--schedule-policy", "--served-model-name",
    "--stream-interval", "--tokenizer-mode", "--tokenizer-path", "--tool-call-parser", "--watchdog-timeout",
})  # fmt: skip

# a value that no rule reads; any other value of these flags is refused
HARMLESS_WITH = {"--load-format": frozenset({"auto", "safetensors", "dummy"})}

DTYPES = {
    "bfloat16": "torch.bfloat16",
    "float16": "torch.float16",
    "half": "torch.float16",
    "float32": "torch.float32",
    "float": "torch.float32",
}

# model_type of config.json -> the class that AutoConfig returns, for architectures without a hook of their own when
# the backend is stated: transformers 5.6 to 5.19 CONFIG_MAPPING_NAMES, SGLang's own registry has none of them
CONFIG_CLASSES = {
    "llama": "LlamaConfig",
    "mistral": "MistralConfig",
    "mixtral": "MixtralConfig",
    "qwen2": "Qwen2Config",
    "qwen2_moe": "Qwen2MoeConfig",
    "qwen3": "Qwen3Config",
    "qwen3_moe": "Qwen3MoeConfig",
}

# --quantization values that are used as they are typed -> the checkpoint methods (config.json quant_method) they go with
QUANTIZATIONS = {
    "fp8": frozenset({None, "fp8"}),
    "modelopt_fp8": frozenset({None, "modelopt", "modelopt_fp8"}),
    "modelopt_fp4": frozenset({None, "modelopt", "modelopt_fp4"}),
}

# --moe-runner-backend values that are used as they are typed
BACKENDS = frozenset({
    "flashinfer_cutlass", "flashinfer_cutedsl", "flashinfer_mxfp4", "flashinfer_trtllm", "flashinfer_trtllm_routed",
    "triton",
})  # fmt: skip

# variables of the engine's container that change the path behind the command line's back
TOUCHY_VARIABLES = {
    "SGLANG_USE_MODELSCOPE": "replaces the model path by a local directory",
    "SGLANG_DP_RANK": "sets the dp rank in the file name",
}
