"""Where a bundle would do harm: one row a hazard, with its source. Pure.

Asked twice: before the store is asked (the configuration alone is enough, so neither install nor tune), and before
files become visible to the engine (what is in them is known by then). A false alarm costs a cold start; a miss costs
a hung replica.
"""

from __future__ import annotations

from collections.abc import Callable

from autotune_init.engines import EngineCache
from autotune_init.engines.rank_keys import (
    EXTRAS_JOINED_THE_KEYS,
    RANKS_LEFT_THE_KEYS,
    RankFiles,
    cover_differently,
    rank_count,
    ranks_named,
    share_a_rank,
    size_in,
    tunes_in_lockstep,
    version_of,
)
from cache_store.dataclass import dataclass


@dataclass(frozen=True)
class KnownBad:
    """One row. `configured` judges the configuration alone, `contains` also what the files say; None: does not apply.

    `where` names the affected releases for a person, `hazard` what would happen, `source` where that is written.
    """

    id: str
    where: str
    hazard: str
    source: str
    configured: Callable[[EngineCache], bool] | None = None
    contains: Callable[[EngineCache, RankFiles], bool] | None = None

    @property
    def reason(self) -> str:
        return f"known-bad-{self.id}"

    @property
    def detail(self) -> str:
        return f"{self.hazard} ({self.where}; {self.source})"


def before_lookup(cache: EngineCache, allowed: frozenset[str] = frozenset()) -> KnownBad | None:
    """The first row that this configuration falls under, `allowed` ones left out. Then never install nor tune."""
    return first_not_allowed(matching(cache, None), allowed)


def first_not_allowed(met: tuple[KnownBad, ...], allowed: frozenset[str]) -> KnownBad | None:
    """Of the rows that apply, the one that speaks against it; None where there is none, or all are taken."""
    return next((row for row in met if row.id not in allowed), None)


def matching(cache: EngineCache, rank_files: RankFiles | None) -> tuple[KnownBad, ...]:
    """Every row that applies, allowed or not; without files only what the configuration tells."""
    return tuple(
        row
        for row in ROWS
        if (row.configured is not None and row.configured(cache))
        or (rank_files is not None and row.contains is not None and row.contains(cache, rank_files))
    )


def ids() -> frozenset[str]:
    """What --allow-known-bad may name."""
    return frozenset(row.id for row in ROWS)


def as_table() -> list[tuple[str, ...]]:
    """(id, where, hazard, when it is known, source), a row a hazard, as the docs show it."""
    return [
        (
            row.id,
            row.where,
            row.hazard,
            "before the store is asked" if row.configured else "from the files",
            row.source,
        )
        for row in ROWS
    ]


def _vllm_shares_one_file(cache: EngineCache) -> bool:
    is_affected = (0, 27, 0) <= version_of(cache.engine_version) < (0, 32, 0)
    return cache.engine == "vllm" and is_affected and rank_count(cache) > 1


def _keys_will_name_ranks(cache: EngineCache) -> bool:
    """Certain where experts are spread over ranks, or where the config class says that there are experts."""
    has_experts = (
        size_in(cache, "moe_ep_size") > 1 or "moe" in str(cache.resolved.get("config_class")).lower()
    )
    return (
        cache.engine == "sglang"
        and cache.ranks_must_agree
        and size_in(cache, "tp_size") > 1
        and cache.resolved.get("moe_runner_backend") == "flashinfer_cutlass"
        and has_experts
        and EXTRAS_JOINED_THE_KEYS <= version_of(cache.flashinfer_version) < RANKS_LEFT_THE_KEYS
    )


def _keys_name_ranks(cache: EngineCache, files: RankFiles) -> bool:
    has_peers = cache.ranks_must_agree and size_in(cache, "tp_size") > 1
    return has_peers and any(map(ranks_named, files.values()))


def _draft_clears_target(cache: EngineCache) -> bool:
    is_affected = (0, 5, 15) <= version_of(cache.engine_version) < (0, 5, 21)
    draft_tunes = cache.draft is not None and cache.draft.tunes is not False
    return cache.engine == "sglang" and is_affected and draft_tunes


def _has_op(files: RankFiles, op: str) -> bool:
    return any(text.startswith(f"('{op}'") for file in files.values() for text in file.entries)


def _has_cublaslt_bf16(_: EngineCache, files: RankFiles) -> bool:
    ours, named = "('bf16_gemm'", "('bf16_gemm', 'Cublaslt"
    return any(
        text.startswith(ours) and (text.startswith(named) or str(value[0]).startswith("Cublaslt"))
        for file in files.values()
        for text, value in file.entries.items()
    )


def _lacks_environment(_: EngineCache, files: RankFiles) -> bool:
    return any(not {"gpu", "flashinfer_version"} <= file.metadata.keys() for file in files.values())


def _fits_any_environment(_: EngineCache, files: RankFiles) -> bool:
    return any("*" in file.metadata.values() for file in files.values())


ROWS: tuple[KnownBad, ...] = (
    KnownBad(
        "vllm-warm-start-deadlock",
        "vLLM 0.27 to 0.31, several ranks",
        "one rank's file is given to all, the keys of the MoE entries name that rank, and the ranks that miss wait in "
        "the timing all-reduce for the one that hits: the start hangs",
        "vLLM issues 57423 and 54618, seen in 0.29 to 0.31; 0.27 and 0.28 read and share the file in the same way",
        configured=_vllm_shares_one_file,
    ),
    KnownBad(
        "sglang-rank-keyed-experts",
        "SGLang from 0.5.19 with FlashInfer before 0.7.2 (the pins of 0.5.19 to 0.5.22), tensor parallelism",
        "the keys of the MoE entries name the rank, so the ranks' files differ and the engine deletes them at every "
        "start; copies of one rank's file pass its check and then hang the start",
        "SGLang 0.5.19, srt/model_executor/runner/flashinfer_autotune.py _drop_diverged_autotune_cache; SGLang issue "
        "40320; FlashInfer 0.7.1, fused_moe/core.py MoERunner.get_cache_key_extras",
        configured=_keys_will_name_ranks,
        contains=_keys_name_ranks,
    ),
    KnownBad(
        "copied-rank-keys",
        "engines that tune in lockstep (SGLang from 0.5.19, vLLM from 0.27), several ranks",
        "a rank has a file whose MoE entries name another rank: it misses where that one hits, and waits for it in the "
        "timing all-reduce until the process group times out",
        "FlashInfer 0.7.1, fused_moe/core.py MoERunner.get_cache_key_extras; vLLM issue 57635",
        contains=lambda cache, files: tunes_in_lockstep(cache) and share_a_rank(cache, files),
    ),
    KnownBad(
        "ranks-cover-differently",
        "engines that tune in lockstep (SGLang from 0.5.19, vLLM from 0.27), several ranks",
        "the ranks' files hold entries for different work, as with expert parallelism where ranks differ: a rank that "
        "misses waits in the timing all-reduce for those that hit",
        "FlashInfer 0.6.16, autotuner.py set_autotune_process_group; SGLang issue 40320",
        contains=lambda cache, files: tunes_in_lockstep(cache) and cover_differently(files),
    ),
    KnownBad(
        "sglang-draft-clears-target",
        "SGLang 0.5.15 to 0.5.20 with a draft worker that tunes",
        "the draft worker's load drops every tactic that the target had from a file, while tactics that the target tuned "
        "itself stay: with a bundle the target serves on heuristics, without one it does not",
        "SGLang #39678; SGLang 0.5.20, srt/model_executor/runner/flashinfer_autotune.py "
        "flashinfer_autotune_context; FlashInfer 0.6.18, autotuner/autotuner.py autotune",
        configured=_draft_clears_target,
    ),
    KnownBad(
        "megamoe-bound-to-gpu",
        "SGLang from 0.5.22, flashinfer_megamoe",
        "the file names carry one physical GPU's UUID: no other GPU would look for them",
        "SGLang 0.5.23, srt/model_executor/runner/flashinfer_autotune.py flashinfer_autotune_cache_path",
        configured=lambda cache: cache.bound_to_gpu,
    ),
    KnownBad(
        "namespaced-records",
        "FlashInfer from 0.6.18",
        "the file has records of a kernel's own besides entries (MegaMoE, distribution-aware MoE); they belong to the "
        "one process that wrote them and are kept by one writer a file",
        "SGLang 0.5.23, srt/model_executor/runner/flashinfer_autotune.py (comment on rank_key)",
        contains=lambda _, files: any(file.has_records for file in files.values()),
    ),
    KnownBad(
        "metadata-missing",
        "every FlashInfer release",
        "FlashInfer loads a file without its environment unchecked, whatever GPU and libraries it was made with",
        "FlashInfer 0.7.2, autotuner/autotuner.py load_configs",
        contains=_lacks_environment,
    ),
    KnownBad(
        "metadata-wildcard",
        "every FlashInfer release",
        'a field of the environment is "*", which fits any pod: tactics of another GPU would be replayed',
        "FlashInfer 0.7.2, autotuner/autotuner.py load_configs",
        contains=_fits_any_environment,
    ),
    KnownBad(
        "bf16-gemm-cublaslt",
        "FlashInfer 0.6.18 to 0.7.2",
        "a tactic of mm_bf16's cuBLASLt runner is an index into a list that the library makes anew for each token "
        "count; where the list is shorter, the engine fails with ValueError while serving",
        "FlashInfer 0.6.18 and 0.7.2, gemm/gemm_base.py CublasltBf16GemmRunner.forward",
        contains=_has_cublaslt_bf16,
    ),
    KnownBad(
        "bf16-gemm-in-lockstep",
        "engines that tune in lockstep (SGLang from 0.5.19, vLLM from 0.27), several ranks",
        "mm_bf16's keys hold the size of a workspace that depends on what the process ran before: a rank whose size "
        "differs profiles alone and waits for the others",
        "FlashInfer pull request 3868",
        contains=lambda cache, files: tunes_in_lockstep(cache) and _has_op(files, "bf16_gemm"),
    ),
    KnownBad(
        "keys-without-extras",
        "FlashInfer before 0.6.13",
        "keys leave out the scale layout of FP4 GEMMs, so an entry is replayed for a layout that it was not tuned "
        'for, and the engine fails with "Invalid sf layout in run"',
        "vLLM issue 43119; FlashInfer pull request 3367",
        contains=lambda cache, files: (
            version_of(cache.flashinfer_version) < EXTRAS_JOINED_THE_KEYS and _has_op(files, "fp4_gemm")
        ),
    ),
)
