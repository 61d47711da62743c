"""Which FlashInfer GEMMs SGLang will call for a model on SM90: pure, from config.json and the engine's own fields.

What is tuned (SGLang 0.5.18 and 0.5.23, srt/model_executor/runner/flashinfer_autotune.py
`should_run_flashinfer_autotune`): of the dense linears only those of ModelOpt's static per-tensor FP8, through
`bmm_fp8` (srt/layers/quantization/modelopt_quant.py `ModelOptFp8LinearMethod`, fp8_utils.py `flashinfer_bmm_fp8`).
Block FP8, plain `fp8`, compressed-tensors, AWQ, GPTQ and unquantized linears never enter the autotuner on SM90.
MoE experts do for some runner backends, but only the engine's own warm-up makes those keys.

What is not understood is refused by name: a wrong shape is an entry that nobody looks up.
"""

from __future__ import annotations

from collections.abc import Mapping

from cache_store.dataclass import dataclass, field

SM90 = (9, 0)
BMM_FP8 = "fp8_gemm"  # FlashInfer's name of the op behind `bmm_fp8`, as in the cache file's keys

_DENSE = frozenset({"llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text"})
_EXPERTS = frozenset({"mixtral", "qwen3_moe"})
_MODELOPT_FP8 = frozenset({"modelopt", "modelopt_fp8"})
# kernels of these run on the autotuner on other GPUs, or per layer: not knowable from config.json
_UNDECIDED = frozenset(
    {"modelopt_fp4", "modelopt_mixed", "mxfp8", "minimax_m3_nvfp4", "nvfp4_online", "petit_nvfp4"}
)
TUNED_MOE_BACKENDS = frozenset(
    {
        "flashinfer_trtllm",
        "flashinfer_trtllm_routed",
        "flashinfer_mxfp4",
        "flashinfer_cutedsl",
        "flashinfer_cutlass",
        "flashinfer_megamoe",
    }
)
_RETUNES = (
    "mm_bf16 profiles again however good the file is: the cuBLASLt runner keys its entries on the caller's exact token "
    "count, and every runner on the size of a workspace that depends on what the process ran before (FlashInfer pull "
    "request 3868; seen with cuDNN on an H100)"
)
_MOE = "expert layers are tuned by the engine's own warm-up only"


class NotUnderstood(ValueError):  # noqa: N818 -- reads as what it is
    """A model whose GEMMs cannot be named. `field`: what stood in the way."""

    def __init__(self, field_name: str, detail: str) -> None:
        super().__init__(f"{field_name}: {detail}")
        self.field = field_name
        self.detail = detail


@dataclass(frozen=True, order=True)
class Gemm:
    """One `bmm_fp8` weight of one rank: B is [1, k, n] column-major; A is [1, tokens, k]."""

    n: int
    k: int


@dataclass(frozen=True)
class GemmPlan:
    """The distinct GEMMs of one rank, largest first; `layers` says which linears each one serves.

    `out_dtype` is "bfloat16" or "float16" (the model's activations; part of FlashInfer's key). No gemms: there is
    nothing to tune, and `excluded` says why.
    """

    gemms: tuple[Gemm, ...] = ()
    layers: Mapping[Gemm, tuple[str, ...]] = field(default_factory=dict)
    out_dtype: str = "bfloat16"
    excluded: Mapping[str, str] = field(default_factory=dict)


def plan_gemms(
    model_config: Mapping[str, object] | None,
    resolved: Mapping[str, str | int | bool | None],
    capability: tuple[int, int] | None,
) -> GemmPlan:
    """Raises `NotUnderstood`. `resolved` are the engine's fields, `capability` the GPU's (major, minor)."""
    if capability != SM90:
        raise NotUnderstood("capability", f"{capability}: which GEMMs are tuned is known for (9, 0) only")
    if model_config is None:
        raise NotUnderstood("model_config", "the model's config.json could not be had")
    experts_backend = str(resolved.get("moe_runner_backend") or "")
    has_tuned_experts = experts_backend in TUNED_MOE_BACKENDS and has_experts(text_config(model_config))
    quantization = quantization_of(model_config, resolved)
    if quantization in _UNDECIDED:
        raise NotUnderstood("quantization", f"{quantization}: its kernels differ per layer or per GPU")
    if quantization not in _MODELOPT_FP8:
        if has_tuned_experts:
            raise NotUnderstood("moe_runner_backend", f"{experts_backend}: {_MOE}, and nothing else is here")
        return GemmPlan(excluded={BMM_FP8: _why_nothing(quantization), "bf16_gemm": _RETUNES})
    excluded = {"bf16_gemm": _RETUNES}
    if has_tuned_experts:
        excluded["trtllm::fused_moe"] = f"{experts_backend}: {_MOE}"
    return _dense_plan(model_config, resolved, excluded)


def quantization_of(
    model_config: Mapping[str, object], resolved: Mapping[str, str | int | bool | None]
) -> str | None:
    """The quantization method as SGLang ends up with it, or None for an unquantized model.

    A stated method wins; else config.json's `quantization_config`, whose `quant_algo` decides where the method is
    absent or "modelopt" (SGLang 0.5.23, srt/configs/model_config.py `_parse_quant_hf_config`).
    """
    stated = resolved.get("quantization")
    if isinstance(stated, str) and stated.lower() not in ("", "none", "modelopt"):
        return stated.lower()
    found = model_config.get("quantization_config") or text_config(model_config).get("quantization_config")
    if not isinstance(found, Mapping):
        if isinstance(model_config.get("compression_config"), Mapping):
            return "compressed-tensors"
        return stated.lower() if isinstance(stated, str) and stated.lower() == "modelopt" else None
    method, algorithm = found.get("quant_method"), found.get("quant_algo")
    if method not in (None, "modelopt"):
        return str(method).lower()
    if not isinstance(algorithm, str):
        raise NotUnderstood("quantization_config", "names neither quant_method nor quant_algo")
    if algorithm == "FP8":
        return "modelopt_fp8"
    if algorithm == "MIXED_PRECISION":
        return "modelopt_mixed"
    if algorithm == "MXFP8":
        return "mxfp8"
    if "FP4" in algorithm:
        return "modelopt_fp4"
    raise NotUnderstood("quantization_config", f"quant_algo {algorithm[:40]!r} is not known")


def _why_nothing(quantization: str | None) -> str:
    if quantization is None:
        return (
            "config.json names no quantization, and unquantized linears are not autotuned on SM90 "
            "(state --field quantization=modelopt_fp8 where only hf_quant_config.json names it)"
        )
    return f"{quantization} linears are not autotuned on SM90; only ModelOpt's per-tensor FP8 is"


def _dense_plan(
    model_config: Mapping[str, object],
    resolved: Mapping[str, str | int | bool | None],
    excluded: dict[str, str],
) -> GemmPlan:
    text = text_config(model_config)
    kind = str(text.get("model_type"))
    if text.get("kv_lora_rank") is not None or text.get("q_lora_rank") is not None:
        raise NotUnderstood("kv_lora_rank", "multi-head latent attention is not understood")
    if kind not in _DENSE | _EXPERTS:
        raise NotUnderstood("model_type", f"{kind[:60]} is not one of {', '.join(sorted(_DENSE | _EXPERTS))}")
    if has_experts(text) and kind not in _EXPERTS:
        raise NotUnderstood("model_type", f"{kind} with experts is not understood")
    if whole(resolved.get("attn_dp_size"), "attn_dp_size", default=1) != 1:
        raise NotUnderstood("attn_dp_size", "data-parallel attention shards its linears differently")
    tp = whole(resolved.get("tp_size"), "tp_size", default=1)
    if text is not model_config:
        excluded["vision"] = "linears outside text_config are not tuned"
    if not _names_lm_head(model_config):
        excluded["lm_head"] = "config.json does not say that it is left unquantized; its GEMM is not tuned"
    found: dict[Gemm, tuple[str, ...]] = {}
    for name, gemm in {**_attention(text, kind, tp), **_mlp(text, kind, tp, excluded)}.items():
        if gemm.n % 16 or gemm.k % 16:  # ModelOptFp8LinearMethod._can_use_flashinfer_bmm
            excluded[name] = f"n={gemm.n}, k={gemm.k}: SGLang takes bmm_fp8 only for multiples of 16"
            continue
        found[gemm] = (*found.get(gemm, ()), name)
    gemms = tuple(sorted(found, key=lambda gemm: (gemm.n * gemm.k, gemm), reverse=True))
    return GemmPlan(gemms, found, activations_dtype(text, model_config, resolved), excluded)


def _attention(text: Mapping[str, object], kind: str, tp: int) -> dict[str, Gemm]:
    hidden = whole(text.get("hidden_size"), "hidden_size")
    heads = whole(text.get("num_attention_heads"), "num_attention_heads")
    # LlamaConfig falls back to as many key/value heads as heads; the other classes have numbers of their own
    fallback = heads if kind == "llama" else None
    kv_heads = whole(text.get("num_key_value_heads"), "num_key_value_heads", default=fallback)
    # a missing head_dim means hidden / heads for these; Qwen3's and Gemma's classes have numbers of their own
    plain = hidden // heads if kind in ("llama", "mistral", "qwen2", "mixtral") else None
    head_dim = whole(text.get("head_dim"), "head_dim", default=plain)
    own_heads = shard(heads, tp, "num_attention_heads")
    if kv_heads >= tp:
        own_kv = shard(kv_heads, tp, "num_key_value_heads")
    else:  # replicated: QKVParallelLinear gives each rank one (SGLang 0.5.23, srt/layers/linear.py)
        shard(tp, kv_heads, "tp_size over num_key_value_heads")
        own_kv = 1
    return {
        "qkv_proj": Gemm(n=(own_heads + 2 * own_kv) * head_dim, k=hidden),
        "o_proj": Gemm(n=hidden, k=own_heads * head_dim),
    }


def _mlp(text: Mapping[str, object], kind: str, tp: int, excluded: dict[str, str]) -> dict[str, Gemm]:
    if kind in _EXPERTS:
        excluded["experts"] = _MOE
        if kind == "mixtral" or not has_dense_layers(text):
            return {}
    hidden = whole(text.get("hidden_size"), "hidden_size")
    own = shard(whole(text.get("intermediate_size"), "intermediate_size"), tp, "intermediate_size")
    return {"gate_up_proj": Gemm(n=2 * own, k=hidden), "down_proj": Gemm(n=hidden, k=own)}


def has_dense_layers(text: Mapping[str, object]) -> bool:
    only = text.get("mlp_only_layers")
    return bool(only) or text.get("decoder_sparse_step", 1) != 1


def has_experts(text: Mapping[str, object]) -> bool:
    names = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
    return any(isinstance(text.get(name), int) and bool(text.get(name)) for name in names)


def text_config(model_config: Mapping[str, object]) -> Mapping[str, object]:
    nested = model_config.get("text_config")
    return nested if isinstance(nested, Mapping) else model_config


def _names_lm_head(model_config: Mapping[str, object]) -> bool:
    found = model_config.get("quantization_config")
    if not isinstance(found, Mapping):
        return False
    names = found.get("ignore") or found.get("exclude_modules") or ()
    return isinstance(names, list) and any("lm_head" in str(name) for name in names)


def activations_dtype(
    text: Mapping[str, object],
    model_config: Mapping[str, object],
    resolved: Mapping[str, str | int | bool | None],
) -> str:
    stated = str(resolved.get("dtype") or "auto").removeprefix("torch.")
    if stated == "auto":
        candidates = (text.get("torch_dtype"), text.get("dtype"), model_config.get("torch_dtype"))
        named = next((name for name in candidates if name), model_config.get("dtype"))
        stated = str(named).removeprefix("torch.")
    if stated == "half":
        return "float16"
    if stated in ("bfloat16", "float16"):
        return stated
    raise NotUnderstood("dtype", f"{stated[:40]!r}: the activations' dtype is part of FlashInfer's key")


def shard(total: int, parts: int, name: str) -> int:
    if total % parts:
        raise NotUnderstood(name, f"{total} does not divide by {parts}")
    return total // parts


def whole(value: object, name: str, default: int | None = None) -> int:
    if value is None and default is not None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise NotUnderstood(name, f"{value!r} is not a positive whole number"[:120])
    return value
