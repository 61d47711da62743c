"""Model families whose quantization and MoE backend every release leaves alone, or changes by one known rule. Data.

For each family and arch, command lines were resolved by the releases' own `ServerArgs` and `ModelConfig`, all of 0.5.12
to 0.5.23, on a pretended GPU; tests/data/sglang_argv_golden.json holds the keys that their own path function gave. What
stands here is what those runs showed to be the same in every release. A family that is missing is refused: hooks go by
architecture and change nearly every release (srt/server_args.py, from 0.5.18 srt/arg_groups/).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

HOPPER = frozenset({"sm90"})
BLACKWELL = frozenset({"sm100", "sm103"})
KNOWN_ARCHES = HOPPER | BLACKWELL | {"sm120"}


@dataclass(frozen=True)
class Family:
    """`config_class` is what AutoConfig returns (transformers 5.6 to 5.19), `architecture` what the hooks go by.

    `plain_on`: arches on which nothing is written back, so that `--quantization` stays as typed and `auto` stays auto.
    """

    config_class: str
    architecture: str
    plain_on: frozenset[str] = KNOWN_ARCHES


# by model_type of config.json
FAMILIES: Mapping[str, Family] = {
    "gemma2": Family("Gemma2Config", "Gemma2ForCausalLM"),
    "glm4_moe": Family("Glm4MoeConfig", "Glm4MoeForCausalLM", HOPPER),
    "llama": Family("LlamaConfig", "LlamaForCausalLM"),
    "mistral": Family("MistralConfig", "MistralForCausalLM"),
    "mixtral": Family("MixtralConfig", "MixtralForCausalLM"),
    "olmoe": Family("OlmoeConfig", "OlmoeForCausalLM"),
    "phi3": Family("Phi3Config", "Phi3ForCausalLM"),
    "qwen2": Family("Qwen2Config", "Qwen2ForCausalLM"),
    "qwen2_moe": Family("Qwen2MoeConfig", "Qwen2MoeForCausalLM"),
    "qwen3": Family("Qwen3Config", "Qwen3ForCausalLM"),
    "qwen3_moe": Family("Qwen3MoeConfig", "Qwen3MoeForCausalLM", KNOWN_ARCHES - BLACKWELL),
}

# Families whose checkpoint's method is written back on sm100 and sm103, and whose auto backend becomes
# flashinfer_trtllm there: 0.5.12 srt/server_args.py `_handle_model_specific_adjustments`, 0.5.23
# srt/arg_groups/model_overrides/qwen3_moe.py. Written back -> the backend that auto becomes.
WRITTEN_BACK_ON_BLACKWELL = frozenset({"qwen3_moe"})
BLACKWELL_AUTO_BACKEND: Mapping[str | None, str] = {
    None: "flashinfer_trtllm",
    "fp8": "flashinfer_trtllm",
    "modelopt_fp4": "flashinfer_trtllm",
    "modelopt_fp8": "auto",
}

# what of config.json makes it another model than its model_type says
FOREIGN_KEYS = frozenset({
    "auto_map", "compression_config", "speculators_config", "speculators_model_type", "text_config", "vision_config",
})  # fmt: skip

# `quant_method` of a checkpoint whose key was checked, apart from ModelOpt's -> where
_METHODS: Mapping[str, frozenset[str]] = {
    "fp8": KNOWN_ARCHES,
    "compressed-tensors": HOPPER | {"sm100"},
    "awq": HOPPER,
    "gptq": HOPPER,
}
_MODELOPT_ALGORITHMS = {"FP8": "modelopt_fp8", "NVFP4": "modelopt_fp4"}

# --quantization -> the checkpoint methods it was checked with
TYPED_QUANTIZATIONS: Mapping[str, frozenset[str | None]] = {
    "fp8": frozenset({None, "fp8"}),
    "modelopt_fp8": frozenset({None, "modelopt_fp8"}),
    "modelopt_fp4": frozenset({None, "modelopt_fp4"}),
}

# --moe-runner-backend -> the resolved quantizations that every release takes with it; other pairs end its start
BACKENDS: Mapping[str, frozenset[str | None]] = {
    "flashinfer_cutlass": frozenset({None, "modelopt_fp8", "modelopt_fp4"}),
    "flashinfer_cutedsl": frozenset({"modelopt_fp4"}),
    "flashinfer_mxfp4": frozenset({None, "fp8", "modelopt_fp8", "modelopt_fp4"}),
    "flashinfer_trtllm": frozenset({None, "fp8", "modelopt_fp8", "modelopt_fp4"}),
    "flashinfer_trtllm_routed": frozenset({None, "fp8", "modelopt_fp4"}),
    "triton": frozenset({None, "fp8", "modelopt_fp8", "modelopt_fp4"}),
}


class NotKnown(ValueError):  # noqa: N818 -- reads as what it is
    """The table does not say; the message is for a person."""


def family_of(config: Mapping[str, object]) -> tuple[str, Family]:
    """(model_type, family). Raises `NotKnown`."""
    foreign = sorted(FOREIGN_KEYS & config.keys())
    if foreign:
        raise NotKnown(
            f"config.json has {', '.join(foreign)}, so model_type does not decide the config class"
        )
    model_type = config.get("model_type")
    family = FAMILIES.get(model_type) if isinstance(model_type, str) else None
    if family is None or not isinstance(model_type, str):
        raise NotKnown(f"model_type {model_type!r} of config.json is not in the table"[:200])
    if config.get("architectures") != [family.architecture]:
        raise NotKnown(
            f"architectures {config.get('architectures')!r} is not [{family.architecture!r}]"[:200]
        )
    return model_type, family


def checkpoint_method(config: Mapping[str, object]) -> str | None:
    """The checkpoint's quantization as SGLang would name it, None for an unquantized one. Raises `NotKnown`."""
    saved = config.get("quantization_config")
    if saved is None:
        return None
    if not isinstance(saved, Mapping):
        raise NotKnown("quantization_config of config.json is no object")
    method, algorithm = saved.get("quant_method"), saved.get("quant_algo")
    if method == "modelopt" and isinstance(algorithm, str) and algorithm in _MODELOPT_ALGORITHMS:
        return _MODELOPT_ALGORITHMS[algorithm]
    if isinstance(method, str) and method in _METHODS and algorithm is None:
        return method
    raise NotKnown(
        f"quantization_config of config.json: quant_method {method!r}, quant_algo {algorithm!r}"[:200]
    )


def quantization_on(model_type: str, arch: str, typed: str | None, saved: str | None) -> str | None:
    """The resolved `quantization` field. `typed` is --quantization, `saved` the checkpoint's. Raises `NotKnown`."""
    if arch not in KNOWN_ARCHES:
        raise NotKnown(f"{arch} was not checked")
    if typed is not None:
        if saved not in TYPED_QUANTIZATIONS.get(typed, frozenset()):
            raise NotKnown(
                f"--quantization {typed[:40]} with a checkpoint that says {saved!r} was not checked"
            )
        return typed
    if arch in FAMILIES[model_type].plain_on and arch in _METHODS.get(saved or "", KNOWN_ARCHES):
        return None
    if model_type in WRITTEN_BACK_ON_BLACKWELL and arch in BLACKWELL and saved in BLACKWELL_AUTO_BACKEND:
        return saved
    raise NotKnown(f"{model_type} checkpoints that say {saved!r} were not checked on {arch}")


def backend_on(model_type: str, arch: str, typed: str, quantization: str | None) -> str:
    """The resolved `moe_runner_backend` for the resolved `quantization`. Raises `NotKnown`."""
    if typed != "auto":
        if quantization not in BACKENDS.get(typed, frozenset()):
            raise NotKnown(
                f"--moe-runner-backend {typed[:40]} with quantization {quantization!r} was not checked"
            )
        return typed
    if arch == "sm120" and quantization == "modelopt_fp4":
        # flashinfer_cutlass in later releases only: 0.5.23 arg_groups/overrides.py
        raise NotKnown("auto with modelopt_fp4 on sm120 differs between releases")
    if arch in FAMILIES[model_type].plain_on:
        return "auto"
    if (
        model_type in WRITTEN_BACK_ON_BLACKWELL
        and arch in BLACKWELL
        and quantization in BLACKWELL_AUTO_BACKEND
    ):
        return BLACKWELL_AUTO_BACKEND[quantization]
    raise NotKnown(f"auto was not checked for {model_type} on {arch}")
