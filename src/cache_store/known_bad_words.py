"""The rows of docs/known-bad.md in a few words each, for readers of pods' records. Pure.

`autotune_init` has the rows themselves, which the store's side does not know; tests/unit/test_known_bad_words.py compares.
"""

from __future__ import annotations

from typing import Final

PREFIX: Final = "known-bad-"
WORDS: Final = {
    "vllm-warm-start-deadlock": "vLLM 0.27 to 0.31 with several ranks hangs at the start when it loads tuned files",
    "sglang-rank-keyed-experts": "SGLang 0.5.19 to 0.5.22 with tensor parallelism: keys of MoE entries name the rank",
    "copied-rank-keys": "a file whose MoE entries name another rank: the start would hang",
    "ranks-cover-differently": "the ranks' files hold entries for different work: the start would hang",
    "sglang-draft-clears-target": "SGLang 0.5.15 to 0.5.20: a draft model's load drops the target's tuning",
    "megamoe-bound-to-gpu": "MegaMoE files are for one physical GPU only",
    "namespaced-records": "a file has records that belong to the process that wrote it",
    "metadata-missing": "a file does not say which GPU and libraries it is for",
    "metadata-wildcard": "a file says that it fits every GPU",
    "bf16-gemm-cublaslt": "mm_bf16 with cuBLASLt may fail while serving",
    "bf16-gemm-in-lockstep": "mm_bf16's keys differ between ranks: the start would hang",
    "keys-without-extras": "FlashInfer before 0.6.13 confuses layouts of FP4 GEMMs",
}


def words_for(reason: str) -> str:
    """What `reason` (known-bad-<id>) stands for; a row of another release is only named."""
    return WORDS.get(reason.removeprefix(PREFIX), "a release or a file that is known to go wrong")
