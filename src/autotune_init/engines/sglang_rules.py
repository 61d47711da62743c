"""What becomes of --quantization, --moe-runner-backend and --ep where they are not stated: rules as data. Pure.

Each row is a hook of SGLang: up to 0.5.17 srt/server_args.py `_handle_model_specific_adjustments`, `_handle_a2a_moe`,
`_handle_moe_kernel_config`; from 0.5.18 srt/arg_groups/overrides.py and srt/arg_groups/model_overrides/<family>.py.
Every row is held against what the releases themselves answer (tests/data/sglang_matrix_golden.json).
"""

from __future__ import annotations

from collections.abc import Mapping

from autotune_init.engines.sglang_models import NotKnown
from autotune_init.engines.sglang_versions import FIRST, LAST, Release, is_from
from cache_store.dataclass import dataclass, field

BLACKWELL = frozenset({"sm100", "sm103"})
KNOWN_ARCHES = frozenset({"sm90", "sm120"}) | BLACKWELL
TRTLLM, CUTLASS = "flashinfer_trtllm", "flashinfer_cutlass"


@dataclass(frozen=True)
class Rule:
    """What one release does with a family on sm100 and sm103; elsewhere nothing is written back and auto stays auto.

    `writes_back`: the checkpoint's method becomes the resolved quantization. `auto`: resolved quantization -> what
    auto becomes without an a2a backend. `by_checkpoint`: the checkpoint's method -> what auto becomes, whatever the
    resolved quantization and the a2a backend are.
    """

    auto: Mapping[str | None, str] = field(default_factory=dict)
    writes_back: bool = True
    by_checkpoint: Mapping[str, str] = field(default_factory=dict)
    since: str = FIRST
    until: str = LAST

    def holds_in(self, release: Release) -> bool:
        return is_from(release, self.since) and (
            release.version == self.until or not is_from(release, self.until)
        )


_QWEN3 = (Rule({None: TRTLLM, "fp8": TRTLLM, "modelopt_fp4": TRTLLM}),)
_DEEPSEEK = (Rule({None: TRTLLM, "fp8": TRTLLM, "modelopt_fp8": TRTLLM, "modelopt_fp4": TRTLLM}),)

RULES: Mapping[str, tuple[Rule, ...]] = {
    "qwen3_moe": _QWEN3,
    "qwen3_next": _QWEN3,
    "qwen3_vl_moe": _QWEN3,
    "glm4_moe": (
        Rule({"modelopt_fp4": TRTLLM}, until="0.5.14"),
        Rule({None: TRTLLM, "modelopt_fp4": TRTLLM}, since="0.5.15"),
    ),
    "deepseek_v3": _DEEPSEEK,
    "deepseek_v32": _DEEPSEEK,
    "kimi_k2": _DEEPSEEK,
    "llama4": (Rule({"fp8": TRTLLM, "modelopt_fp8": TRTLLM}, writes_back=False),),
    "minimax_m2": (
        Rule(writes_back=False, by_checkpoint={"modelopt_fp4": "flashinfer_trtllm_routed"}, since="0.5.18"),
    ),
}

# 0.5.23 srt/arg_groups/overrides.py `has_fp8_weights_in_checkpoint`: DeepSeek-V3 and what shares its class
_READS_WEIGHTS = "DeepseekV3ForCausalLM"

# GPT-OSS in MXFP4 on sm120: srt/server_args.py, from 0.5.15 arg_groups/overrides.py `_gpt_oss_overrides`
_GPT_OSS_SM120 = (("0.5.17", "flashinfer_mxfp4"), ("0.5.14", "marlin"), (FIRST, "triton_kernel"))
_DRIVER_WITHOUT_TRITON_KERNELS = (
    595  # from it on triton_kernels segfaults on Blackwell, and the release avoids it
)
# auto with modelopt_fp4 on sm120: srt/server_args.py `_handle_moe_kernel_config`, later overrides.py
# `_moe_runner_backend_quant_constraints`
_SM120_FP4_SINCE = "0.5.13"

# --quantization -> the checkpoint methods that it was checked with
TYPED_QUANTIZATIONS: Mapping[str, frozenset[str | None]] = {
    "awq": frozenset({"awq"}),
    "fp8": frozenset({None, "fp8"}),
    "modelopt": frozenset({"modelopt_fp4"}),
    "modelopt_fp4": frozenset({"modelopt_fp4", None}),
    "modelopt_fp8": frozenset({"modelopt_fp8", None}),
    "mxfp4": frozenset({"mxfp4"}),
    "mxfp8": frozenset({None}),
    "nvfp4_online": frozenset({None}),
    "unquant": frozenset({None}),
}

# --moe-runner-backend -> the resolved quantizations that every release takes with it; others end its start
BACKENDS: Mapping[str, frozenset[str | None]] = {
    "deep_gemm": frozenset({None, "fp8"}),
    "flashinfer_cutedsl": frozenset({"modelopt_fp4"}),
    CUTLASS: frozenset({None, "modelopt_fp4", "modelopt_fp8"}),
    "flashinfer_mxfp4": frozenset({None, "fp8", "modelopt_fp4", "modelopt_fp8"}),
    TRTLLM: frozenset({None, "fp8", "modelopt_fp4", "modelopt_fp8"}),
    "flashinfer_trtllm_routed": frozenset({None, "fp8", "modelopt_fp4"}),
    "triton": frozenset({None, "fp8", "modelopt_fp4", "modelopt_fp8"}),
    "triton_kernel": frozenset({None}),
}

# a2a backends that make ep as large as tp and keep auto from becoming something else
A2A_BACKENDS = frozenset({"deepep", "mooncake", "nixl"})


def rule_of(model_type: str, arch: str, release: Release) -> Rule:
    """The hook that touches this family here; one that does nothing where there is none. Raises `NotKnown`."""
    if arch not in KNOWN_ARCHES:
        raise NotKnown(f"{arch} was not checked")
    if arch in BLACKWELL:
        for rule in RULES.get(model_type, ()):
            if rule.holds_in(release):
                return rule
    return Rule(writes_back=False)


@dataclass(frozen=True)
class Asked:
    """What the command line and the node say, as far as these rules read it.

    `typed_quantization` and `typed_backend` as typed (None and "auto" where they are not), `saved` the checkpoint's
    method, `driver` like "580.95" or None.
    """

    model_type: str
    architecture: str
    arch: str
    release: Release
    typed_quantization: str | None
    saved: str | None
    typed_backend: str
    a2a: str
    tp_size: int
    ep_size: int
    driver: str | None


def quantization_of(asked: Asked) -> str | None:
    """The resolved `quantization`. Raises `NotKnown`."""
    rule = rule_of(asked.model_type, asked.arch, asked.release)
    typed = asked.typed_quantization
    if typed is not None:
        if asked.saved not in TYPED_QUANTIZATIONS.get(typed, frozenset()):
            raise NotKnown(
                f"--quantization {typed[:40]} with a checkpoint that says {asked.saved!r} was not checked"
            )
        if typed == "nvfp4_online" and asked.arch not in BLACKWELL:
            raise NotKnown(f"--quantization nvfp4_online does not start on {asked.arch}")
        return None if typed == "unquant" else typed
    if rule.writes_back and asked.saved is None and asked.architecture == _READS_WEIGHTS:
        raise NotKnown("no quantization_config: the release looks for FP8 weights in the safetensors headers")
    if rule.writes_back and asked.saved in ("gptq", "mxfp4"):
        raise NotKnown(
            f"{asked.model_type} checkpoints in {asked.saved} do not start on {asked.arch} everywhere"
        )
    return asked.saved if rule.writes_back else None


def backend_of(asked: Asked, quantization: str | None) -> str:
    """The resolved `moe_runner_backend` for the resolved `quantization`. Raises `NotKnown`."""
    rule = rule_of(asked.model_type, asked.arch, asked.release)
    typed = asked.typed_backend
    if quantization in ("mxfp8", "nvfp4_online"):
        return _of_online_format(asked, quantization)
    if typed != "auto":
        if quantization not in BACKENDS.get(typed, frozenset()):
            raise NotKnown(
                f"--moe-runner-backend {typed[:40]} with quantization {quantization!r} was not checked"
            )
        if typed in (CUTLASS, "flashinfer_cutedsl") and asked.ep_size not in (1, asked.tp_size):
            raise NotKnown(
                f"{typed} starts only with an expert parallel size of 1 or of the tensor parallel size"
            )
        return typed
    if asked.model_type == "gpt_oss":
        return _of_gpt_oss(asked, quantization)
    if asked.saved in rule.by_checkpoint:
        if quantization not in (None, asked.saved):
            raise NotKnown(
                f"--quantization {quantization} does not start with {rule.by_checkpoint[asked.saved or '']}"
            )
        return rule.by_checkpoint[asked.saved or ""]
    if asked.a2a == "none" and quantization in rule.auto:
        return rule.auto[quantization]
    if asked.arch == "sm120" and quantization == "modelopt_fp4" and is_from(asked.release, _SM120_FP4_SINCE):
        return CUTLASS
    return "auto"


def _of_online_format(asked: Asked, quantization: str) -> str:
    """Formats that are quantized at start replace auto themselves: `_moe_runner_backend_quant_constraints`."""
    if asked.typed_backend not in ("auto", TRTLLM) or asked.a2a != "none":
        raise NotKnown(f"--quantization {quantization} with other backends was not checked")
    return TRTLLM


def _of_gpt_oss(asked: Asked, quantization: str | None) -> str:
    is_mxfp4 = asked.saved == "mxfp4"
    if is_mxfp4 and asked.arch in BLACKWELL:
        return "flashinfer_mxfp4"
    if asked.a2a != "none":
        raise NotKnown("GPT-OSS behind an a2a backend: the rule reads ep before and after that rewrites it")
    if is_mxfp4 and asked.arch == "sm120":
        value = next(value for since, value in _GPT_OSS_SM120 if is_from(asked.release, since))
        if value == "triton_kernel" and asked.ep_size != 1:
            raise NotKnown("triton_kernel with expert parallelism does not start")
        return value
    if asked.ep_size != 1 or quantization is not None:
        return "auto"
    if asked.arch == "sm90":
        return "triton_kernel"
    major = (asked.driver or "").partition(".")[0]
    if not major.isdecimal():
        raise NotKnown(
            "the NVIDIA driver's version decides between triton_kernel and triton, and is not known"
        )
    return "triton" if int(major) >= _DRIVER_WITHOUT_TRITON_KERNELS else "triton_kernel"
