"""SGLang's command line, as far as it decides the cache key without any of the engine's own rules. Data.

Only flags that were looked up in every release's own parser stand here, and whose values moved no key when the release
resolved them (tests/data/sglang_argv_golden.json). Any other flag is refused: it may touch the key (a2a backends
rewrite ep, hooks rewrite the MoE backend, speculative decoding brings a second key, ...).
Sources: SGLang 0.5.12 srt/server_args.py `add_cli_args`; 0.5.23 srt/arg_groups/fields/*.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

# flag -> field of the key or of the replica's shape; aliases as argparse knows them, unambiguous prefixes included
KEY_FLAGS: Mapping[str, str] = {
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
SKIP_OPS = "--flashinfer-autotune-skip-ops"  # since 0.5.17, where it came into the key's text
DISABLE_AUTOTUNE = "--disable-flashinfer-autotune"
DP_ATTENTION = "--enable-dp-attention"

# a prefix of several flags, so that argparse ends the start, in every release
AMBIGUOUS: Mapping[str, str] = {"--pp": "--pp-size"}

# harmless, but not in every release: flag -> the first release that takes it, the first that does not any more
HARMLESS_FROM_TO: Mapping[str, tuple[str, str | None]] = {
    "--cuda-graph-max-bs": ("0.5.12", "0.5.20"),  # from then on a prefix of -decode and -prefill
    "--cuda-graph-max-bs-decode": ("0.5.14", None),
}

HARMLESS_SWITCHES = frozenset({
    "--allow-auto-truncate", "--disable-cuda-graph", "--disable-cuda-graph-padding", "--disable-custom-all-reduce",
    "--disable-chunked-prefix-cache", "--disable-outlines-disk-cache", "--disable-overlap-schedule", "--disable-radix-cache",
    "--disable-shared-experts-fusion", "--disable-tokenizer-batch-decode", "--enable-cache-report", "--enable-dp-lm-head",
    "--enable-flashinfer-allreduce-fusion", "--enable-memory-saver", "--enable-metrics",
    "--enable-metrics-for-all-schedulers", "--enable-mixed-chunk", "--enable-nccl-nvls", "--enable-p2p-check",
    "--enable-priority-scheduling", "--enable-request-time-stats-logging", "--enable-symm-mem",
    "--enable-tokenizer-batch-encode", "--enable-torch-compile", "--incremental-streaming-output", "--log-requests", "--show-time-cost",
    "--skip-server-warmup", "--skip-tokenizer-init", "--sleep-on-idle",
    "--trust-remote-code",  # matters only with auto_map in config.json, which is refused by itself
    "--weight-loader-disable-mmap",
})  # fmt: skip

HARMLESS_VALUES = frozenset({
    "--admin-api-key", "--api-key", "--attention-backend", "--base-gpu-id", "--chat-template", "--chunked-prefill-size",
    "--completion-template", "--constrained-json-whitespace-pattern", "--context-length", "--crash-dump-folder",
    "--decode-attention-backend", "--decode-log-interval", "--dist-init-addr", "--dist-timeout", "--download-dir",
    "--fastapi-root-path", "--file-storage-path", "--fp4-gemm-backend", "--fp8-gemm-backend", "--gpu-id-step",
    "--grammar-backend", "--hf-chat-template-name", "--host", "--kv-cache-dtype", "--load-balance-method", "--log-level",
    "--log-level-http", "--log-requests-level", "--max-prefill-tokens", "--max-queued-requests",
    "--max-running-requests", "--max-total-tokens", "--mem-fraction-static", "--moe-dense-tp-size", "--nccl-port",
    "--num-continuous-decode-steps", "--page-size", "--port", "--prefill-attention-backend", "--prefill-max-requests",
    "--preferred-sampling-params", "--radix-eviction-policy", "--random-seed", "--reasoning-parser", "--revision",
    "--sampling-backend", "--sampling-defaults", "--schedule-conservativeness", "--schedule-policy",
    "--served-model-name", "--soft-watchdog-timeout", "--stream-interval", "--swa-full-tokens-ratio",
    "--tokenizer-mode", "--tokenizer-path", "--tokenizer-worker-num", "--tool-call-parser", "--torch-compile-max-bs",
    "--triton-attention-num-kv-splits", "--watchdog-timeout", "--weight-version",
})  # fmt: skip

# values that no rule reads; any other value of these flags is refused
HARMLESS_WITH: Mapping[str, frozenset[str]] = {
    "--device": frozenset({"cuda"}),
    "--load-format": frozenset({"auto", "safetensors", "dummy"}),
    "--model-impl": frozenset({"auto"}),
    "--moe-a2a-backend": frozenset({"none"}),
}

# Flags, and abbreviations of them, that decide the rank files, skip_ops or whether there is a cache at all. One that is
# not understood is refused even where every field of the key is stated.
SHAPE_PREFIXES = ("--attn-dp", "--config", "--da", "--disable-flashinfer", "--dp", "--dw", "--enable-dp-a",
                  "--flashinfer-a", "--nn", "--nod")  # fmt: skip

# names of model paths for which SGLang reads another config than config.json: 0.5.12 to 0.5.23
# srt/utils/hf_transformers/mistral_utils.py `is_mistral_model`
MISTRAL_FORMAT_NAMES = ("mistral-large-3", "mistral-small-4", "leanstral", "eagle")

DTYPES: Mapping[str, str] = {
    "bfloat16": "torch.bfloat16",
    "float16": "torch.float16",
    "half": "torch.float16",
    "float32": "torch.float32",
    "float": "torch.float32",
}

# SGLANG_* variables that no argument rule reads, or whose effect is handled where they are read here. Any other one
# that is set is refused: there are hundreds, and some replace the MoE backend (SGLANG_CUTLASS_MOE), the a2a backend
# (SGLANG_OPT_USE_DEEPGEMM_MEGA_MOE) or the model path (SGLANG_USE_MODELSCOPE).
_HARMLESS_VARIABLES = frozenset({
    "SGLANG_ALLOW_OVERWRITE_LONGER_CONTEXT_LEN", "SGLANG_BLOCK_NONZERO_RANK_CHILDREN", "SGLANG_CACHE_DIR",
    "SGLANG_CLIP_MAX_NEW_TOKENS_ESTIMATION", "SGLANG_DISABLE_CUDNN_CHECK", "SGLANG_ENABLE_JIT_DEEPGEMM",
    "SGLANG_FLASHINFER_AUTOTUNE_CACHE", "SGLANG_FLASHINFER_AUTOTUNE_EXTEND", "SGLANG_FLASHINFER_WORKSPACE_SIZE",
    "SGLANG_GRPC_PORT", "SGLANG_HEALTH_CHECK_TIMEOUT", "SGLANG_HOST_IP", "SGLANG_RECORD_STEP_TIME",
    "SGLANG_SET_CPU_AFFINITY", "SGLANG_VLM_CACHE_SIZE_MB", "SGLANG_WARMUP_TIMEOUT",
})  # fmt: skip
_HARMLESS_BEGINNINGS = (
    "SGLANG_JIT_DEEPGEMM_",
    "SGLANG_LOG",
    "SGLANG_PROFILE_",
    "SGLANG_REQ_",
    "SGLANG_TORCH_PROFILER",
)
# what Kubernetes puts into every pod of a namespace that has a Service named sglang or sglang-...
_SERVICE_LINK = re.compile(
    r"SGLANG_(?:[A-Z0-9_]+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?|PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_[A-Z]+)?)?)\Z"
)
DP_RANK_VARIABLE = "SGLANG_DP_RANK"  # sets the dp rank in the file name: srt/managers/scheduler.py


def may_change_the_key(variable: str) -> bool:
    """Whether an environment variable may change what a command line resolves to."""
    return (
        variable.startswith("SGLANG_")
        and variable not in _HARMLESS_VARIABLES
        and not variable.startswith(_HARMLESS_BEGINNINGS)
        and not _SERVICE_LINK.match(variable)
    )
