"""vLLM: when the answer depends on the command line, the environment and a few files alone, so that a memo may keep it. Pure."""

from __future__ import annotations

from autotune_init.engines import Question

# what vLLM 0.33.0 reads of a model's folder before it hashes: other content, or its absence, may be another key
MODEL_FILES = ("config.json", "generation_config.json", "tokenizer_config.json", "hf_quant_config.json")

# options that name other files which are read before the hash, or that only have the same meaning on this node
_OTHER_FILES = frozenset({
    "--config", "--hf-config-path", "--tokenizer", "--generation-config", "--config-format", "--hf-overrides",
    "--quantization-config", "--limit-mm-per-prompt",
})  # fmt: skip


def may_be_remembered(question: Question) -> bool:
    """Whether the memo's inputs and the digests of `MODEL_FILES` are all that the answer depends on.

    Not where the command line names files of its own, nor where the model's code is run.
    """
    names = {word.partition("=")[0].replace("_", "-") for word in question.argv}
    return not any(name.partition(".")[0] in _OTHER_FILES or name == "--trust-remote-code" for name in names)
