"""The workers of one SGLang command line: the target, and the draft worker of speculative decoding. Pure.

A draft's key holds the *target's* model path, quantization, backend and sizes, and the draft's dtype, config class and
quantization (SGLang 0.5.15 to 0.5.23 srt/model_executor/runner/flashinfer_autotune.py): two drafts may share one key.
Which model is the draft: srt/managers/tp_worker.py `_init_model_config`.
"""

from __future__ import annotations

from collections.abc import Mapping

from autotune_init.engines import Input, Question, sglang
from autotune_init.engines.sglang_argv import Resolution, a2a_of, given
from autotune_init.engines.sglang_fields import KEY_FIELDS
from autotune_init.engines.sglang_flags import DETERMINISTIC, FP4_GEMM, FP8_GEMM, TRUST
from autotune_init.engines.sglang_models import (
    NotKnown,
    checkpoint_method,
    config_class_of,
    dtype_of,
    model_of,
    side_method,
)
from autotune_init.engines.sglang_tunes import Configuration, tunes
from autotune_init.engines.sglang_versions import Release, is_from
from cache_store.dataclass import dataclass, replace

_WITHOUT_DRAFT = frozenset({"NGRAM"})
_WITH_DRAFT = frozenset({"EAGLE", "EAGLE3", "NEXTN", "STANDALONE"})
# model types whose own extra layer is the draft where no path is stated
_SPECULATES_SINCE = {"qwen3_next": "0.5.14"}
# from here on a draft's own --speculative-moe-runner-backend decides whether it tunes
_OWN_BACKEND_SINCE = "0.5.17"
_OWN_LAYER = frozenset({"deepseek_v3", "deepseek_v32", "glm4_moe", "qwen3_next"})
# methods that a release may turn into another one for the draft (awq into awq_marlin)
_CONVERTED = frozenset({"awq", "gptq", "compressed-tensors"})


@dataclass(frozen=True)
class Worker:
    """One worker: the inputs of its key, whether it tunes (None: not known), and why."""

    resolved: sglang.Resolved
    inputs: tuple[Input, ...]
    tunes: bool | None
    tunes_why: str


def target_of(question: Question, release: Release, resolution: Resolution) -> Worker:
    """Raises `sglang.Refused`."""
    resolved = sglang.resolved_from(resolution.fields)
    try:
        quantization = _own_quantization(resolution, question.model_config, question.quant_config)
        answer: tuple[bool | None, str] = _judge(question, release, resolution, resolved, quantization)
    except NotKnown as unknown:
        answer = None, str(unknown)
    return Worker(resolved, resolution.inputs, *answer)


def draft_of(question: Question, release: Release, resolution: Resolution, target: Worker) -> Worker | None:
    """The draft worker, None where there is none that tunes. Raises `sglang.Refused` where its key is not decided.

    Where the operator states every field of the key, that is one worker, and the other one is not asked for.
    """
    algorithm = resolution.typed.text("speculative_algorithm")
    if algorithm is None or algorithm in _WITHOUT_DRAFT or question.fields.keys() >= set(KEY_FIELDS):
        return None
    try:
        if algorithm not in _WITH_DRAFT:
            raise NotKnown(f"--speculative-algorithm {algorithm[:40]} was not checked")
        since = _SPECULATES_SINCE.get(model_of(given(question.model_config))[0])
        if since is not None and not is_from(release, since):
            raise NotKnown(f"this family speculates from {since} on")
        return _draft_of(question, release, resolution, target) if release.drafts_tune else None
    except NotKnown as unknown:
        raise sglang.Refused(
            "undecidable",
            f"the draft worker's key: {unknown}. --field NAME=VALUE for every input states the target's alone",
        ) from None


def _draft_of(question: Question, release: Release, resolution: Resolution, target: Worker) -> Worker | None:
    typed = resolution.typed
    path = typed.text("speculative_draft_model_path")
    if path is None and model_of(given(question.model_config))[0] not in _OWN_LAYER:
        raise NotKnown("no --speculative-draft-model-path")
    if path is None or path == target.resolved.model_path:
        config, side = question.model_config, question.quant_config
    else:
        config, side = question.draft_config, question.draft_quant_config
        if config is None:
            raise NotKnown(f"config.json of {path[:80]} was not found")
    config = given(config)
    quantization = _own_quantization(resolution, config, side, is_draft=True)
    asked = "bfloat16" if _is_forced_to_bfloat16(question) else typed.text("dtype") or "auto"
    name, source = config_class_of(config, trusts_remote_code=typed.is_on(TRUST), is_draft=True)
    dtype, dtype_source = dtype_of(config, asked)
    resolved = replace(
        target.resolved,
        dtype=dtype,
        config_class=name,
        is_draft=True,
        draft_quantization=quantization,
    )
    own_backend = typed.text("speculative_moe_runner_backend")
    backend = own_backend if is_from(release, _OWN_BACKEND_SINCE) else None
    seen = replace(resolved, moe_runner_backend=backend or resolved.moe_runner_backend)
    is_tuned, why = _judge(question, release, resolution, seen, quantization)
    if not is_tuned:
        return None
    own = {
        "dtype": Input("dtype", dtype, f"the draft's: {dtype_source}"),
        "config_class": Input("config_class", name, f"the draft's: {source}"),
        "is_draft": Input("is_draft", True, "draft worker"),
    }
    inputs = tuple(own.get(one.name, one) for one in target.inputs)
    draft = Input("draft_quantization", quantization, "the draft's checkpoint")
    return Worker(resolved, (*inputs, draft), is_tuned, why)


def _judge(
    question: Question,
    release: Release,
    resolution: Resolution,
    resolved: sglang.Resolved,
    quantization: str | None,
) -> tuple[bool, str]:
    typed = resolution.typed
    return tunes(
        Configuration(
            release=release,
            arch=sglang.arch_of(question.capability),
            backend=resolved.moe_runner_backend or "auto",
            a2a=a2a_of(typed),
            quantization=quantization,
            fp4_gemm=typed.text(FP4_GEMM) or "auto",
            fp8_gemm=typed.text(FP8_GEMM) or "auto",
            is_deterministic=typed.is_on(DETERMINISTIC),
        )
    )


def _own_quantization(
    resolution: Resolution,
    config: Mapping[str, object] | None,
    side: Mapping[str, object] | None,
    *,
    is_draft: bool = False,
) -> str | None:
    """The model's own quantization. Raises `NotKnown`.

    The target's is what --quantization says, else the checkpoint's. A draft's is its own checkpoint's, and only an
    unquantized one takes the target's --quantization (0.5.15 to 0.5.23 `handle_missing_default_values`).
    """
    typed = resolution.typed.text("quantization")
    if typed in ("unquant", "modelopt"):  # the second means what the checkpoint says
        typed = None
    if not is_draft:
        return typed or checkpoint_method(given(config)) or side_method(side)
    if "speculative_draft_model_quantization" in resolution.typed.values:
        raise NotKnown("--speculative-draft-model-quantization was not checked")
    saved = checkpoint_method(given(config)) or side_method(side)
    if saved in _CONVERTED:
        raise NotKnown(f"a draft in {saved} may be converted")
    return saved or typed


def _is_forced_to_bfloat16(question: Question) -> bool:
    config = given(question.model_config)
    return model_of(config)[0] == "gpt_oss" and checkpoint_method(config) == "mxfp4"
