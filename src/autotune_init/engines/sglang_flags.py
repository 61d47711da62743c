"""SGLang's command line, as far as it decides the cache key without any of the engine's own rules. Data.

Only flags that were looked up in every release's own parser stand here, and whose values moved no key when the release
resolved them (tests/data/sglang_argv_golden.json). Any other flag is refused: it may touch the key (a2a backends
rewrite ep, hooks rewrite the MoE backend, speculative decoding brings a second key, ...).
Sources: SGLang 0.5.12 srt/server_args.py `add_cli_args`; 0.5.23 srt/arg_groups/fields/*.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from cache_store.pattern import pattern

# the parser's name of a setting -> ours, for settings that are inputs of the key or of the replica's shape
KEY_DESTS: Mapping[str, str] = {
    "model_path": "model_path",
    "dtype": "dtype",
    "quantization": "quantization",
    "moe_runner_backend": "moe_runner_backend",
    "tp_size": "tp_size",
    "pp_size": "pp_size",
    "dp_size": "dp_size",
    "attn_dp_size": "attn_dp_size",
    "ep_size": "moe_ep_size",
    "nnodes": "nnodes",
    "node_rank": "node_rank",
    # the same in releases whose parser calls them by their first flag
    "tensor_parallel_size": "tp_size",
    "pipeline_parallel_size": "pp_size",
    "data_parallel_size": "dp_size",
    "expert_parallel_size": "moe_ep_size",
}
SKIP_OPS = "flashinfer_autotune_skip_ops"  # since 0.5.17, where it came into the key's text
DISABLE_AUTOTUNE = "disable_flashinfer_autotune"
DP_ATTENTION = "enable_dp_attention"
A2A = "moe_a2a_backend"
TRUST = "trust_remote_code"
OVERRIDES = "json_model_override_args"
DETERMINISTIC = "enable_deterministic_inference"
FP4_GEMM, FP8_GEMM = "fp4_gemm_runner_backend", "fp8_gemm_runner_backend"

# read by the rules of sglang_argv.py, sglang_draft.py and sglang_tunes.py
RULED_DESTS = frozenset({
    SKIP_OPS, DISABLE_AUTOTUNE, DP_ATTENTION, A2A, TRUST, DETERMINISTIC, FP4_GEMM, FP8_GEMM, "speculative_algorithm",
    "speculative_draft_model_path", "speculative_draft_model_quantization", "speculative_eagle_topk",
    "speculative_moe_runner_backend", "speculative_num_draft_tokens", "speculative_num_steps",
})  # fmt: skip

# settings whose values moved no key when the releases resolved them
HARMLESS_DESTS = frozenset({
    "admin_api_key", "allow_auto_truncate", "api_key", "attention_backend", "base_gpu_id",
    "bucket_time_to_first_token", "chat_template", "chunked_prefill_size", "collect_tokens_histogram",
    "completion_template", "constrained_json_whitespace_pattern", "context_length", "cpu_offload_gb",
    "crash_dump_folder", "cuda_graph_backend_prefill", "cuda_graph_bs", "cuda_graph_bs_decode", "cuda_graph_max_bs",
    "cuda_graph_max_bs_decode", "decode_attention_backend", "decode_log_interval", "delete_ckpt_after_loading",
    "disable_chunked_prefix_cache", "disable_cuda_graph", "disable_cuda_graph_padding", "disable_custom_all_reduce",
    "disable_outlines_disk_cache", "disable_overlap_schedule", "disable_piecewise_cuda_graph", "disable_radix_cache",
    "disable_shared_experts_fusion", "disable_tokenizer_batch_decode", "disaggregation_bootstrap_port",
    "disaggregation_ib_device", "disaggregation_mode", "disaggregation_transfer_backend", "dist_init_addr",
    "dist_timeout", "download_dir", "enable_cache_report", "enable_custom_logit_processor", "enable_dp_lm_head",
    "enable_dynamic_chunking", "enable_flashinfer_allreduce_fusion", "enable_fused_qk_norm_rope",
    "enable_hierarchical_cache", "enable_lora", "enable_memory_saver", "enable_metrics",
    "enable_metrics_for_all_schedulers", "enable_mixed_chunk", "enable_multimodal", "enable_nccl_nvls",
    "enable_p2p_check", "enable_priority_scheduling", "enable_request_time_stats_logging",
    "enable_return_hidden_states", "enable_return_routed_experts", "enable_single_batch_overlap", "enable_symm_mem",
    "enable_tokenizer_batch_encode", "enable_torch_compile", "enable_trace", "enable_two_batch_overlap",
    "enable_weights_cpu_backup", "ep_dispatch_algorithm", "ep_num_redundant_experts",
    "expert_distribution_recorder_mode", "fastapi_root_path", "file_storage_path", "flashinfer_mla_disable_ragged",
    "gc_warning_threshold_secs", "gpu_id_step", "grammar_backend", "hf_chat_template_name", "hicache_io_backend",
    "hicache_mem_layout", "hicache_ratio", "hicache_size", "hicache_storage_backend", "hicache_write_policy", "host",
    "incremental_streaming_output", "init_expert_location", "is_embedding", "keep_mm_feature_on_device",
    "kv_cache_dtype", "kv_events_config", "linear_attn_backend", "load_balance_method", "log_level", "log_level_http",
    "log_requests", "log_requests_format", "log_requests_level", "lora_backend", "lora_target_modules",
    "mamba_full_memory_ratio", "mamba_radix_cache_strategy", "mamba_scheduler_strategy", "mamba_ssm_dtype",
    "max_lora_rank", "max_loras_per_batch", "max_mamba_cache_size", "max_prefill_tokens", "max_queued_requests",
    "max_running_requests", "max_total_tokens", "mem_fraction_static", "mm_attention_backend",
    "model_loader_extra_config", "moe_dense_tp_size", "nccl_port", "num_continuous_decode_steps", "numa_node",
    "otlp_traces_endpoint", "page_size", "port", "pp_max_micro_batch_size", "preferred_sampling_params",
    "prefill_attention_backend", "prefill_max_requests", "priority_scheduling_preemption_threshold",
    "quantization_param_path", "radix_eviction_policy", "random_seed", "reasoning_parser", "revision",
    "sampling_backend", "sampling_defaults", "schedule_conservativeness", "schedule_low_priority_values_first",
    "schedule_policy", "served_model_name", "show_time_cost", "skip_server_warmup", "skip_tokenizer_init",
    "sleep_on_idle", "soft_watchdog_timeout", "speculative_attention_mode", "stream_interval",
    "swa_full_tokens_ratio", "tokenizer_backend", "tokenizer_metrics_allowed_custom_labels", "tokenizer_mode",
    "tokenizer_path", "tokenizer_worker_num", "tool_call_parser", "torch_compile_max_bs",
    "triton_attention_num_kv_splits", "triton_attention_reduce_in_fp32", "warmups", "watchdog_timeout",
    "weight_loader_disable_mmap", "weight_version",
})  # fmt: skip

# attention kernels that only Blackwell has: on other GPUs a release may end its start
ATTENTION_DESTS = frozenset({"attention_backend", "decode_attention_backend", "prefill_attention_backend"})
ATTENTION_OF_BLACKWELL = ("trtllm", "cutlass_mla", "cutedsl", "tokenspeed")

# values that no rule reads; any other value of these is refused
HARMLESS_WITH: Mapping[str, frozenset[str]] = {
    "deepep_mode": frozenset({"auto", "low_latency", "normal"}),
    "device": frozenset({"cuda"}),
    "load_format": frozenset({"auto", "safetensors", "dummy"}),
    "model_impl": frozenset({"auto", "sglang"}),
}

# settings that decide the rank files, skip_ops or whether there is a cache at all: one that is not understood is
# refused even where every field of the key is stated
SHAPE_DESTS = frozenset({
    "attn_dp_size", "nnodes", "node_rank", DP_ATTENTION, SKIP_OPS, DISABLE_AUTOTUNE, "config", "attn_cp_size",
    "moe_dp_size", *(dest for dest in KEY_DESTS if dest.endswith(("p_size", "parallel_size"))),
})  # fmt: skip
# the same for words that are no flag of the release, which a fork may have
SHAPE_PREFIXES = ("--attn-", "--config", "--da", "--disable-flashinfer", "--dp", "--dw", "--enable-dp-a",
                  "--flashinfer-a", "--nn", "--nod")  # fmt: skip

# names of model paths for which SGLang reads another config than config.json: 0.5.12 to 0.5.23
# srt/utils/hf_transformers/mistral_utils.py `is_mistral_model`
MISTRAL_FORMAT_NAMES = ("mistral-large-3", "mistral-small-4", "leanstral", "eagle")

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
_SERVICE_LINK = pattern(
    r"SGLANG_(?:[A-Z0-9_]+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?|PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_[A-Z]+)?)?)\Z"
)
DP_RANK_VARIABLE = "SGLANG_DP_RANK"  # sets the dp rank in the file name: srt/managers/scheduler.py


# what --json-model-override-args may replace without touching the key: numbers that no rule reads
_HARMLESS_OVERRIDES = frozenset({
    "max_position_embeddings", "num_experts_per_tok", "num_hidden_layers", "rope_scaling", "rope_theta",
    "sliding_window", "index_topk",
})  # fmt: skip


def is_harmless_override(text: str) -> bool:
    """Whether --json-model-override-args replaces only what no rule reads."""
    try:
        replaced = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(replaced, dict) and replaced.keys() <= _HARMLESS_OVERRIDES


def may_change_the_key(variable: str) -> bool:
    """Whether an environment variable may change what a command line resolves to."""
    return (
        variable.startswith("SGLANG_")
        and variable not in _HARMLESS_VARIABLES
        and not variable.startswith(_HARMLESS_BEGINNINGS)
        and not _SERVICE_LINK.match(variable)
    )
