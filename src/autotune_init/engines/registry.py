"""Who answers for which engine: a question in, one of the three answers out. Pure."""

from __future__ import annotations

from autotune_init.engines import EngineCache, Input, KeyAnswer, NotCached, Question, Refusal, sglang
from autotune_init.engines.sglang_argv import resolve
from autotune_init.ranks import BadRanks, Sizes, all_ranks, ranks_of_node


def ask(question: Question) -> KeyAnswer:
    """Where the engine will look. Raises nothing."""
    if question.engine != "sglang":
        return Refusal(
            "unknown-engine", f"no recipe for {question.engine!r} in this release; there is one for sglang"
        )
    try:
        return _ask_sglang(question)
    except sglang.Refused as refused:
        return refused.refusal
    except BadRanks as problem:
        return Refusal("key-ranks", str(problem))


def _ask_sglang(question: Question) -> EngineCache | NotCached:
    release = sglang.release_of(question.engine_version)
    switched_off = sglang.is_switched_off(release, question.environ)
    if switched_off is not None:
        return switched_off
    answer = resolve(question, release)
    if isinstance(answer, NotCached):
        return answer
    fields, inputs = answer
    resolved = sglang.resolved_from(fields)
    if resolved.is_draft and not release.drafts_tune:
        return NotCached("engine-does-not-tune", f"draft workers do not tune in {release.version}")
    numbers = {one.name: one.value for one in inputs if isinstance(one.value, int)}
    sizes = Sizes(
        tp=resolved.tp_size,
        pp=resolved.pp_size,
        dp=numbers["dp_size"],
        dp_attention=bool(numbers["enable_dp_attention"]),
        nnodes=numbers["nnodes"],
    )
    text = sglang.key_text(release, resolved)
    key = sglang.key_of(text)
    root = sglang.cache_root(question.cache_dir, question.environ)
    uuid = question.gpu_uuids[0] if question.gpu_uuids else None
    is_bound = sglang.is_bound_to_gpu(release, resolved)
    if is_bound and len(all_ranks(sizes)) > 1:
        # each rank's name carries the UUID of the GPU that the engine will give it
        raise sglang.Refused("key-needs-gpu-uuid", "several ranks whose file names carry GPUs' UUIDs")
    arch = sglang.arch_of(question.capability)
    around = (
        Input("engine_version", release.version, release.source),
        Input("flashinfer_version", question.flashinfer_version, "installed"),
        Input("arch", arch, "compute capability"),
        Input(
            "cache_root",
            root,
            "--cache-dir" if question.cache_dir is not None else "the engine's environment",
        ),
    )
    return EngineCache(
        engine="sglang",
        engine_version=release.version,
        flashinfer_version=question.flashinfer_version,
        arch=arch,
        key=key,
        key_text=text,
        inputs=(*inputs, *around),
        directory=sglang.directory(root, question.flashinfer_version, question.capability, key),
        rank_files=tuple(
            sglang.rank_file(release, resolved, rank, uuid)
            for rank in ranks_of_node(sizes, numbers["node_rank"])
        ),
        all_rank_files=tuple(sglang.rank_file(release, resolved, rank, uuid) for rank in all_ranks(sizes)),
        resolved={one.name: one.value for one in inputs},
        source="override" if question.fields else "recipe",
        ranks_must_agree=release.ranks_must_agree,
        bound_to_gpu=is_bound,
        nnodes=sizes.nnodes,
    )
