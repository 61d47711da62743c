"""Who answers for which engine: a question in, one of the three answers out. Pure."""

from __future__ import annotations

from autotune_init.engines import (
    EngineCache,
    KeyAnswer,
    NotCached,
    Question,
    Refusal,
    flashinfer_store,
    sglang,
)
from autotune_init.engines.sglang_argv import resolve
from autotune_init.engines.sglang_cache import Shape, Tunes, compose
from autotune_init.engines.sglang_draft import Worker, draft_of, target_of
from autotune_init.engines.sglang_versions import Release
from autotune_init.ranks import BadRanks
from cache_store.dataclass import replace


def ask(question: Question) -> KeyAnswer:
    """Where the engine will look, by the recipe. Raises nothing."""
    if question.engine == "flashinfer":
        return flashinfer_store.store_of(question)
    if question.engine == "vllm":
        return _ask_vllm(question)
    if question.engine != "sglang":
        return Refusal("unknown-engine", f"{question.engine!r}: there are sglang, vllm and flashinfer")
    try:
        return _ask_sglang(question)
    except sglang.Refused as refused:
        return refused.refusal
    except BadRanks as problem:
        return Refusal("key-ranks", str(problem))


def _ask_vllm(question: Question) -> KeyAnswer:
    """No recipe can: the directory's name is a hash over the whole configuration, after the model was built."""
    from autotune_init.engines import vllm
    from autotune_init.engines.vllm_versions import Release as VllmRelease

    release = vllm.release_of(question.engine_version)
    if not isinstance(release, VllmRelease):
        return release
    return vllm.switched_off(question) or Refusal(
        "undecidable", "vLLM hashes its whole configuration, and only vLLM itself can say (--resolver auto)"
    )


def _ask_sglang(question: Question) -> EngineCache | NotCached:
    release = sglang.release_of(question.engine_version)
    switched_off = sglang.is_switched_off(release, question.environ)
    if switched_off is not None:
        return switched_off
    resolution = resolve(question, release)
    if isinstance(resolution, NotCached):
        return resolution
    numbers = {one.name: one.value for one in resolution.inputs if isinstance(one.value, int)}
    shape = Shape(
        dp_size=numbers["dp_size"],
        enable_dp_attention=bool(numbers["enable_dp_attention"]),
        nnodes=numbers["nnodes"],
        node_rank=numbers["node_rank"],
    )
    target = target_of(question, release, resolution)
    if target.resolved.is_draft and not release.drafts_tune:
        return NotCached("engine-does-not-tune", f"draft workers do not tune in {release.version}")
    cache = _cache(question, release, target, shape)
    draft = draft_of(question, release, resolution, target)
    return cache if draft is None else replace(cache, draft=_cache(question, release, draft, shape))


def _cache(question: Question, release: Release, worker: Worker, shape: Shape) -> EngineCache:
    return compose(
        question,
        release,
        worker.resolved,
        shape,
        worker.inputs,
        source="override" if question.fields else "recipe",
        tunes=Tunes(worker.tunes, worker.tunes_why),
    )
