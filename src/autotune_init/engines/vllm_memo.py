"""vLLM: what the resolver's answer depends on, so that a fleet asks once and everybody else reads the memo. Pure."""

from __future__ import annotations

import re

from autotune_init.engines import FieldValue, Question
from autotune_init.engines.vllm import ROOT_VARIABLE

# what vLLM 0.33.0 reads of a model's folder before it hashes: other content, or its absence, may be another key
MODEL_FILES = ("config.json", "generation_config.json", "tokenizer_config.json", "hf_quant_config.json")

# The environment of the hashed configuration: switches of the engine, of the hub's client and of FlashInfer, what
# has_flashinfer() looks at, and which GPUs are seen. Where things are kept is no part of it, nor are secrets.
_PREFIXES = ("VLLM_", "HF_", "TRANSFORMERS_", "FLASHINFER_", "TORCH", "NCCL_", "CUDA_", "MODELSCOPE_")
_NOT_HASHED = frozenset({
    ROOT_VARIABLE, "VLLM_CACHE_ROOT", "VLLM_CONFIG_ROOT", "VLLM_HOST_IP", "VLLM_PORT", "VLLM_LOGGING_LEVEL",
    "VLLM_NO_USAGE_STATS", "VLLM_LOGGING_CONFIG_PATH", "VLLM_DP_MASTER_IP", "VLLM_DP_MASTER_PORT",
})  # fmt: skip
_SECRET = re.compile(r"TOKEN|SECRET|PASSWORD|API_KEY")
# options that name other files which are read before the hash, or that only have the same meaning on this node
_OTHER_FILES = frozenset({
    "--config", "--hf-config-path", "--tokenizer", "--generation-config", "--config-format", "--hf-overrides",
    "--quantization-config", "--limit-mm-per-prompt",
})  # fmt: skip


def may_be_remembered(question: Question) -> bool:
    """Whether `memo_inputs` and the digests of `MODEL_FILES` are all that the answer depends on.

    Not where the command line names files of its own, nor where the model's code is run.
    """
    names = {word.partition("=")[0].replace("_", "-") for word in question.argv}
    return not any(name.partition(".")[0] in _OTHER_FILES or name == "--trust-remote-code" for name in names)


def memo_inputs(
    question: Question, *, gpu_name: str, gpu_memory_mib: int, gpu_count: int
) -> dict[str, FieldValue]:
    """What of this question the answer may depend on; flat, for the memo's key.

    The caller adds engine, versions, capability and the digests of `MODEL_FILES` and of the installed packages (the
    whole config as transformers prints it is hashed), and asks `may_be_remembered` first. Too much here costs a
    resolver's run, too little a wrong path: so whole families of variables are in. The GPU counts by the tier of its
    memory (vLLM 0.33.0, engine/arg_utils.py `get_batch_defaults`), so that H100 and H200 share a memo.
    """
    inputs: dict[str, FieldValue] = {
        "gpu_tier": _tier(question, gpu_name, gpu_memory_mib),
        "gpu_count": gpu_count,
        "has_root_override": bool(question.environ.get(ROOT_VARIABLE)),
    }
    inputs |= {f"argv.{at}": word for at, word in enumerate(question.argv)}
    for name, value in question.environ.items():
        if name.startswith(_PREFIXES) and name not in _NOT_HASHED and not _SECRET.search(name):
            inputs[f"env.{name}"] = value
    return inputs


def _tier(question: Question, gpu_name: str, gpu_memory_mib: int) -> str:
    if gpu_memory_mib >= 160 * 1024:
        return "160GiB"
    is_slow = "a100" in gpu_name.lower() or question.capability == (12, 1)
    return "70GiB" if gpu_memory_mib >= 70 * 1024 and not is_slow else "less"
