"""The keys of FlashInfer's CUTLASS mixture of experts: pure, from config.json and the engine's own fields.

FlashInfer 0.6.18 and 0.7.2, fused_moe/core.py `cutlass_fused_moe`: inputs [x, w13, b13, w2, b2], of which only x's
token count is bucketed, and `MoERunner.get_cache_key_extras`. What the engine passes in: SGLang 0.5.19 to
0.5.23, srt/layers/moe/moe_runner/flashinfer_cutlass.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from autotune_init.engines import FieldValue
from autotune_init.engines.rank_keys import RANKS_LEFT_THE_KEYS, Version
from autotune_init.tuners.gemm_shapes import (
    NotUnderstood,
    activations_dtype,
    quantization_of,
    shard,
    text_config,
    whole,
)
from cache_store.dataclass import dataclass
from cache_store.pattern import pattern

_MAX_MOE_TOKENS = 8192  # SGLang 0.5.23, flashinfer_cutlass.py _cutlass_moe_tune_max_num_tokens
SWIGLU = 3  # flashinfer/tllm_enums.py ActivationType

_EXPERTS = frozenset({"mixtral", "qwen3_moe"})
_FUSED_FINALIZE = "SGLANG_FLASHINFER_MOE_FUSED_FINALIZE"
_TP_RANK = pattern(r"_tp(\d+)_")
_YES, _NO = frozenset({"true", "1", "yes", "y"}), frozenset({"false", "0", "no", "n"})


@dataclass(frozen=True)
class Caller:
    """What one SGLang release passes, beside the tensors.

    `fuses_finalize` is its default of SGLANG_FLASHINFER_MOE_FUSED_FINALIZE (FlashInfer's own is True). `has_one_ladder`:
    every start tunes the buckets of a whole prefill chunk; else those of the power of two above the dummy batch.
    """

    fuses_finalize: bool
    has_one_ladder: bool = False


# srt/environ.py and srt/layers/moe/moe_runner/flashinfer_cutlass.py of each release
_CALLERS: Mapping[str, Caller] = {
    "0.5.19": Caller(fuses_finalize=True),
    "0.5.20": Caller(fuses_finalize=True),
    "0.5.21": Caller(fuses_finalize=False),
    "0.5.22": Caller(fuses_finalize=False),
    "0.5.23": Caller(fuses_finalize=False, has_one_ladder=True),
}


@dataclass(frozen=True)
class Precision:
    """How one quantization spells its tensors: dtypes, and how many values share an element of the packed ones.

    `x_pack`: activations in an element of x. `w_pack`: weights in an element along the contracted dimension.
    """

    x_dtype: str | None
    w_dtype: str | None
    x_pack: int = 1
    w_pack: int = 1
    is_block_fp8: bool = False
    is_w4_group: bool = False


# None: the model's own dtype. Packing as the kernels' views have it: nvfp4 weights are seen as int64, 16 a piece
PRECISIONS: Mapping[str, Precision] = {
    "bf16": Precision(None, None),
    "fp8": Precision("float8_e4m3fn", "float8_e4m3fn"),
    "block-fp8": Precision(None, "float8_e4m3fn", is_block_fp8=True),
    "mxfp4": Precision(None, "uint8", w_pack=2, is_w4_group=True),
    "nvfp4": Precision("uint8", "int64", x_pack=2, w_pack=16),
}


@dataclass(frozen=True)
class MoeLayer:
    """One rank's experts. `experts` and `intermediate` are this rank's share, `tp_size` and `ep_size` the experts' own."""

    precision: Precision
    hidden: int
    intermediate: int
    experts: int
    top_k: int
    tp_size: int
    ep_size: int
    dtype: str = "bfloat16"
    has_bias: bool = False
    activation: int = SWIGLU
    fused_finalize: bool = True


@dataclass(frozen=True)
class MoeRank:
    """Where one rank stands among the experts' own ranks."""

    tp: int = 0
    ep: int = 0


@dataclass(frozen=True)
class EngineWords:
    """What SGLang says: its release, the fields that it resolved, and its environment."""

    version: str
    resolved: Mapping[str, FieldValue]
    environ: Mapping[str, str]


def moe_layer(model_config: Mapping[str, object], engine: EngineWords) -> MoeLayer:
    """The experts of an SGLang model. Raises `NotUnderstood`."""
    fields = engine.resolved
    caller = _caller(engine.version)
    backend = fields.get("moe_runner_backend")
    if backend != "flashinfer_cutlass":
        raise NotUnderstood("moe_runner_backend", f"{backend}: the keys of its experts are not derived")
    text = text_config(model_config)
    kind = str(text.get("model_type"))
    if kind not in _EXPERTS:
        raise NotUnderstood("model_type", f"{kind[:60]} is not one of {', '.join(sorted(_EXPERTS))}")
    if text.get("hidden_act") not in (None, "silu"):
        raise NotUnderstood("hidden_act", f"{text.get('hidden_act')!r} is not silu"[:120])
    if whole(fields.get("attn_dp_size"), "attn_dp_size", default=1) != 1:
        raise NotUnderstood("attn_dp_size", "data-parallel attention gathers other token counts")
    if whole(fields.get("pp_size"), "pp_size", default=1) != 1 and text.get("mlp_only_layers"):
        raise NotUnderstood("pp_size", "which pipeline stage holds the experts is not derived")
    tp, ep = (whole(fields.get(name), name, default=1) for name in ("tp_size", "moe_ep_size"))
    experts_tp = shard(tp, ep, "tp_size over moe_ep_size")
    names = (
        ("intermediate_size", "num_local_experts")
        if kind == "mixtral"
        else ("moe_intermediate_size", "num_experts")
    )
    intermediate, experts = (whole(text.get(name), name) for name in names)
    precision = PRECISIONS[_precision(model_config, fields)]
    own = shard(intermediate, experts_tp, names[0])
    if precision.w_dtype is not None and own % 16:
        raise NotUnderstood(names[0], f"{own} is no multiple of 16, and SGLang pads such weights")
    return MoeLayer(
        precision,
        hidden=whole(text.get("hidden_size"), "hidden_size"),
        intermediate=own,
        experts=shard(experts, ep, names[1]),
        top_k=whole(text.get("num_experts_per_tok"), "num_experts_per_tok"),
        tp_size=experts_tp,
        ep_size=ep,
        dtype=activations_dtype(text, model_config, fields),
        fused_finalize=_is_fused(engine.environ, caller),
    )


def moe_ranks(names: Iterable[str], layer: MoeLayer) -> dict[str, MoeRank]:
    """By rank file name. SGLang 0.5.23, srt/runtime_context.py: the experts' tensor-parallel ranks are neighbours."""
    ranks: dict[str, MoeRank] = {}
    for name in names:
        match = _TP_RANK.search(name)
        if match is None:
            raise NotUnderstood("rank_files", f"{name[:80]!r} names no tensor-parallel rank")
        index = int(match.group(1))
        ranks[name] = MoeRank(tp=index % layer.tp_size, ep=index // layer.tp_size)
    return ranks


def moe_texts(layer: MoeLayer, flashinfer: Version, rank: MoeRank, buckets: Iterable[int]) -> set[str]:
    """Key texts of gemm1 and gemm2 for every bucket."""
    extras = _extras(layer, flashinfer, rank)
    return {
        f"('trtllm::fused_moe::{stage}', 'MoERunner', {_profile(layer, bucket)!r}, {extras})"
        for bucket in buckets
        for stage in ("gemm1", "gemm2")
    }


def _profile(layer: MoeLayer, bucket: int) -> tuple[tuple[int, ...], ...]:
    precision, experts = layer.precision, layer.experts
    no_tensor = (0,)
    return (
        (bucket, layer.hidden // precision.x_pack),
        (experts, 2 * layer.intermediate, layer.hidden // precision.w_pack),
        (experts, 2 * layer.intermediate) if layer.has_bias else no_tensor,
        (experts, layer.hidden, layer.intermediate // precision.w_pack),
        (experts, layer.hidden) if layer.has_bias else no_tensor,
    )


def _extras(layer: MoeLayer, flashinfer: Version, rank: MoeRank) -> str:
    """SM90 and later (`enable_pdl` is what the device supports); no all-to-all, no minimal latency, no packed weights."""
    precision = layer.precision
    has_ranks = flashinfer < RANKS_LEFT_THE_KEYS
    parts: list[object] = [
        *(f"torch.{dtype or layer.dtype}" for dtype in (precision.x_dtype, precision.w_dtype, None)),
        layer.top_k,
        layer.tp_size,
        *([rank.tp] if has_ranks else []),
        layer.ep_size,
        *([rank.ep] if has_ranks else []),
        1,
        *([0] if has_ranks else []),
        False,
        precision.is_block_fp8,
        precision.is_w4_group,
        False,
        False,
        False,
        True,
        layer.activation,
        False,
        layer.fused_finalize,
    ]
    return f"({', '.join(map(str, parts))})"


def _precision(model_config: Mapping[str, object], fields: Mapping[str, FieldValue]) -> str:
    quantization = quantization_of(model_config, fields)
    if quantization is None:
        return "bf16"
    if quantization in ("modelopt", "modelopt_fp8"):
        return "fp8"
    raise NotUnderstood("quantization", f"{quantization[:60]}: its experts' tensors are not derived")


def _is_fused(environ: Mapping[str, str], caller: Caller) -> bool:
    """EnvBool warns of any other text and takes its default."""
    value = environ.get(_FUSED_FINALIZE, "").lower()
    return value in _YES or (caller.fuses_finalize and value not in _NO)


def _caller(version: str) -> Caller:
    if version not in _CALLERS:
        raise NotUnderstood(
            "engine_version", f"what SGLang {version[:40]} passes to its experts is not known"
        )
    return _CALLERS[version]


def moe_ladder_top(version: str, max_tokens: int) -> int:
    """The largest bucket of the experts when `max_tokens` are to be covered. Raises `NotUnderstood`."""
    has_one_ladder = _caller(version).has_one_ladder
    return min(max_tokens, _MAX_MOE_TOKENS) if has_one_ladder else 1 << (max_tokens - 1).bit_length()
