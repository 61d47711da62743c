"""config.json as transformers and SGLang read it: config class, dtype, the checkpoint's quantization. Pure.

What stands here is what every release of the table did with such files (tests/engines/sglang_matrix.py,
tests/data/sglang_matrix_golden.json): transformers 5.6 to 5.19, SGLang srt/configs/model_config.py and
srt/utils/hf_transformers/.
"""

from __future__ import annotations

from collections.abc import Mapping

from cache_store.dataclass import dataclass


class NotKnown(ValueError):  # noqa: N818 -- reads as what it is
    """The table does not say; the message is for a person."""


@dataclass(frozen=True)
class Model:
    """`config_class` is what AutoConfig and SGLang's own registry return, `architecture` what the hooks go by.

    `is_nested`: the text model is in `text_config` (and the dtype may be there).
    """

    config_class: str
    architecture: str
    is_nested: bool = False
    is_moe: bool = False


# by model_type of config.json
MODELS: Mapping[str, Model] = {
    "deepseek_v2": Model("DeepseekV2Config", "DeepseekV2ForCausalLM", is_moe=True),
    "deepseek_v3": Model("DeepseekV3Config", "DeepseekV3ForCausalLM", is_moe=True),
    "deepseek_v32": Model("_DeepseekV32ConfigAlias", "DeepseekV32ForCausalLM", is_moe=True),
    "gemma2": Model("Gemma2Config", "Gemma2ForCausalLM"),
    "gemma3": Model("Gemma3Config", "Gemma3ForConditionalGeneration", is_nested=True),
    "gemma3_text": Model("Gemma3TextConfig", "Gemma3ForCausalLM"),
    "glm4_moe": Model("Glm4MoeConfig", "Glm4MoeForCausalLM", is_moe=True),
    "gpt_oss": Model("GptOssConfig", "GptOssForCausalLM", is_moe=True),
    "kimi_k2": Model("_KimiK2ConfigAlias", "DeepseekV3ForCausalLM", is_moe=True),
    "llama": Model("LlamaConfig", "LlamaForCausalLM"),
    "llama4": Model("Llama4Config", "Llama4ForConditionalGeneration", is_nested=True, is_moe=True),
    "minimax_m2": Model("MiniMaxM2Config", "MiniMaxM2ForCausalLM", is_moe=True),
    "mistral": Model("MistralConfig", "MistralForCausalLM"),
    "mixtral": Model("MixtralConfig", "MixtralForCausalLM", is_moe=True),
    "olmoe": Model("OlmoeConfig", "OlmoeForCausalLM", is_moe=True),
    "phi3": Model("Phi3Config", "Phi3ForCausalLM"),
    "qwen2": Model("Qwen2Config", "Qwen2ForCausalLM"),
    "qwen2_5_vl": Model("Qwen2_5_VLConfig", "Qwen2_5_VLForConditionalGeneration", is_nested=True),
    "qwen2_moe": Model("Qwen2MoeConfig", "Qwen2MoeForCausalLM", is_moe=True),
    "qwen3": Model("Qwen3Config", "Qwen3ForCausalLM"),
    "qwen3_moe": Model("Qwen3MoeConfig", "Qwen3MoeForCausalLM", is_moe=True),
    "qwen3_next": Model("Qwen3NextConfig", "Qwen3NextForCausalLM", is_moe=True),
    "qwen3_vl": Model("Qwen3VLConfig", "Qwen3VLForConditionalGeneration", is_nested=True),
    "qwen3_vl_moe": Model("Qwen3VLMoeConfig", "Qwen3VLMoeForConditionalGeneration", is_nested=True, is_moe=True),
}  # fmt: skip

# architectures that only a draft worker has
DRAFT_ARCHITECTURES = frozenset({"LlamaForCausalLMEagle", "LlamaForCausalLMEagle3"})

# what of config.json makes it another model than its model_type says
_FOREIGN_KEYS = frozenset({"compression_config", "speculators_config", "speculators_model_type"})
_NESTED_KEYS = frozenset({"text_config", "vision_config", "llm_config", "language_config", "thinker_config"})

DTYPES: Mapping[str, str] = {
    "bfloat16": "torch.bfloat16",
    "float16": "torch.float16",
    "half": "torch.float16",
    "float32": "torch.float32",
    "float": "torch.float32",
}

# quant_method of a checkpoint that stands for itself; ModelOpt's say their algorithm
_METHODS = frozenset({"awq", "compressed-tensors", "fp8", "gptq", "mxfp4"})
_MODELOPT_ALGORITHMS = {"FP8": "modelopt_fp8", "NVFP4": "modelopt_fp4"}


def model_of(config: Mapping[str, object], *, is_draft: bool = False) -> tuple[str, Model]:
    """(model_type, model). Raises `NotKnown`."""
    foreign = sorted(_FOREIGN_KEYS & config.keys())
    if foreign:
        raise NotKnown(
            f"config.json has {', '.join(foreign)}, so model_type does not decide the config class"
        )
    model_type = config.get("model_type")
    model = MODELS.get(model_type) if isinstance(model_type, str) else None
    if model is None or not isinstance(model_type, str):
        raise NotKnown(f"model_type {model_type!r} of config.json is not in the table"[:200])
    nested = sorted(_NESTED_KEYS & config.keys())
    if nested and not model.is_nested:
        raise NotKnown(f"config.json of a {model_type} has {', '.join(nested)}")
    architectures = config.get("architectures")
    known = {model.architecture} | (DRAFT_ARCHITECTURES if is_draft and model_type == "llama" else set())
    if not isinstance(architectures, list) or len(architectures) != 1 or architectures[0] not in known:
        raise NotKnown(f"architectures {architectures!r} is not [{model.architecture!r}]"[:200])
    return model_type, model


def config_class_of(
    config: Mapping[str, object], *, trusts_remote_code: bool, is_draft: bool = False
) -> tuple[str, str]:
    """(class name, where it comes from). Raises `NotKnown`.

    With --trust-remote-code the class that `auto_map` names wins over transformers' own, but not over one of SGLang's
    registry (DeepSeek-V3.2, Kimi-K2); without it `auto_map` is ignored where transformers knows the model_type.
    """
    _, model = model_of(config, is_draft=is_draft)
    mapped = config.get("auto_map")
    if mapped is None or model.config_class.startswith("_") or not trusts_remote_code:
        return model.config_class, "config.json"
    name = mapped.get("AutoConfig") if isinstance(mapped, Mapping) else None
    if name is None and isinstance(mapped, Mapping):
        return model.config_class, "config.json"  # its auto_map names a model, not a config
    if not isinstance(name, str) or "--" in name or "." not in name:
        raise NotKnown(f"auto_map {name!r} of config.json with --trust-remote-code"[:200])
    return name.rsplit(".", 1)[1], "auto_map of config.json, with --trust-remote-code"


def dtype_of(config: Mapping[str, object], asked: str) -> tuple[str, str]:
    """(torch's name, where it comes from) for --dtype `asked`. Raises `NotKnown`.

    `auto` is the checkpoint's, and float16 for a float32 one or one that does not say (bfloat16 for gemma): SGLang
    0.5.12 to 0.5.23 srt/configs/model_config.py `_get_and_verify_dtype`; transformers 5 reads "dtype" first.
    """
    if asked in DTYPES:
        return DTYPES[asked], "argv"
    if asked != "auto":
        raise NotKnown(f"--dtype {asked[:40]!r}")
    model_type, model = model_of(config, is_draft=True)
    saved = config.get("dtype") or config.get("torch_dtype")
    nested = config.get("text_config")
    if model.is_nested and isinstance(nested, Mapping):
        inner = nested.get("dtype") or nested.get("torch_dtype")
        if inner is not None and saved is not None and inner != saved:
            raise NotKnown(f"config.json says dtype {saved!r} and its text_config {inner!r}"[:200])
        saved = inner or saved
    if saved in ("bfloat16", "float16"):
        return DTYPES[str(saved)], "config.json"
    if saved in (None, "float32"):
        value = "bfloat16" if model_type.startswith("gemma") else "float16"
        return DTYPES[value], f"auto: config.json says {saved or 'nothing'}"
    raise NotKnown(f"auto, and config.json says {saved!r}"[:200])


def checkpoint_method(config: Mapping[str, object]) -> str | None:
    """The checkpoint's quantization as SGLang would name it, None for an unquantized one. Raises `NotKnown`."""
    saved = config.get("quantization_config")
    if saved is None:
        nested = config.get("text_config")
        if isinstance(nested, Mapping) and nested.get("quantization_config") is not None:
            raise NotKnown("quantization_config is in text_config")
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


def side_method(side: Mapping[str, object] | None) -> str | None:
    """What hf_quant_config.json beside config.json says, None where there is none. Raises `NotKnown`."""
    if side is None:
        return None
    found = side.get("quantization")
    algorithm = found.get("quant_algo") if isinstance(found, Mapping) else None
    if isinstance(algorithm, str) and algorithm in _MODELOPT_ALGORITHMS:
        return _MODELOPT_ALGORITHMS[algorithm]
    raise NotKnown(f"hf_quant_config.json: quant_algo {algorithm!r}"[:200])
