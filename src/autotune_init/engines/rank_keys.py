"""What ranks have to do with entries: who tunes in lockstep, which keys name a rank, which files cover the same. Pure.

Up to FlashInfer 0.7.1 the keys of CUTLASS MoE entries name the rank that tuned them; from 0.6.16 engines all-reduce
every timing over their ranks, and a hit skips the all-reduce. Together: ranks whose files differ can hang a start.
"""

from __future__ import annotations

from collections.abc import Mapping

from autotune_init.engines import EngineCache
from cache_store.pattern import pattern
from cache_store.rank_file import RankFile, parse_key

RankFiles = Mapping[str, RankFile]
Version = tuple[int, int, int]

EXTRAS_JOINED_THE_KEYS: Version = (0, 6, 13)  # FlashInfer pull request 3367
RANKS_LEFT_THE_KEYS: Version = (0, 7, 2)

_CUTLASS_MOE = ("('trtllm::fused_moe::gemm1'", "('trtllm::fused_moe::gemm2'")
_CUTE_DSL_MOE = "('CuteDslFusedMoE::"
# MoERunner.get_cache_key_extras, FlashInfer 0.6.13 to 0.7.1, fused_moe/core.py: 20 values; 17 from 0.7.2
_TP_RANK, _EP_RANK, _RANK_KEYED_EXTRAS = 5, 7, 20
# SGLang 0.5.19 synchronises tactics over TP (pull request 35343); vLLM 0.27 came with FlashInfer 0.6.16
_LOCKSTEP_SINCE: dict[str, Version] = {"sglang": (0, 5, 19), "vllm": (0, 27, 0)}

_NUMBERS = pattern(r"(\d+)(?:\.(\d+))?(?:\.(\d+))?")
_STAGE = pattern(r"_pp(\d+)_")
_INDEX = pattern(r"_(?:tp|rank)(\d+)")


def version_of(text: str) -> Version:
    """(major, minor, patch) of "0.7.2.post1"; zeros where there are none."""
    match = _NUMBERS.match(text)
    major, minor, patch = (int(part or 0) for part in match.groups()) if match else (0, 0, 0)
    return major, minor, patch


def size_in(cache: EngineCache, *names: str) -> int:
    """The first of these fields that the engine resolved, else 1."""
    for name in names:
        value = cache.resolved.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return 1


def rank_count(cache: EngineCache) -> int:
    """Ranks of the whole replica, from the engine's fields where they say more than the file names do.

    vLLM 0.27 to 0.31 has one file for all ranks: its name alone would make one rank of eight.
    """
    product = size_in(cache, "tp_size", "tensor_parallel_size") * pipeline_stages(cache)
    return max(len(cache.all_rank_files), product, size_in(cache, "world_size"))


def pipeline_stages(cache: EngineCache) -> int:
    return size_in(cache, "pp_size", "pipeline_parallel_size")


def tunes_in_lockstep(cache: EngineCache) -> bool:
    """Every timing is all-reduced, so a rank that hits leaves the ones that miss waiting for it."""
    first = _LOCKSTEP_SINCE.get(cache.engine)
    if first is None or version_of(cache.engine_version) < first:
        return False
    # SGLang's group is the tensor-parallel one: pipeline stages and data-parallel replicas are groups of their own
    return (size_in(cache, "tp_size") if cache.engine == "sglang" else rank_count(cache)) > 1


def ranks_named(file: RankFile) -> frozenset[tuple[object, object]]:
    """(tp rank, ep rank) as the file's CUTLASS MoE keys name them; empty where they name none."""
    keys = (parse_key(text) for text in file.entries if text.startswith(_CUTLASS_MOE))
    return frozenset(
        (key.extras[_TP_RANK], key.extras[_EP_RANK])
        for key in keys
        if key is not None and len(key.extras) == _RANK_KEYED_EXTRAS
    )


def share_a_rank(cache: EngineCache, files: RankFiles) -> bool:
    """Whether ranks of different index have entries that name one and the same rank: one has another's file."""
    owners: dict[tuple[object, object], set[int]] = {}
    for name, file in files.items():
        match = _INDEX.search(name)
        index = int(match.group(1)) if match else 0
        if cache.engine == "vllm" and pipeline_stages(cache) > 1:
            # world ranks count through the stages; within a stage they are the tensor-parallel ranks again
            index %= size_in(cache, "tp_size", "tensor_parallel_size")
        for rank in ranks_named(file):
            owners.setdefault(rank, set()).add(index)
    return any(len(indexes) > 1 for indexes in owners.values())


def cover_differently(files: RankFiles) -> bool:
    """Whether two ranks of one pipeline stage have entries for different work. Stages are tuned apart."""
    stages: dict[str, set[frozenset[object]]] = {}
    for name, file in files.items():
        match = _STAGE.search(name)
        stages.setdefault(match.group(1) if match else "", set()).add(_without_ranks(file))
    return any(len(contents) > 1 for contents in stages.values())


def _without_ranks(file: RankFile) -> frozenset[object]:
    """What a file covers, apart from the ranks in its keys.

    CuTe-DSL MoE keys hold the offset of the rank's experts up to FlashInfer 0.7.1, at places that differ by runner: of
    those only the number counts.
    """
    covered: set[object] = set()
    offset_keyed = 0
    for text in file.entries:
        if text.startswith(_CUTE_DSL_MOE):
            offset_keyed += 1
            continue
        key = parse_key(text) if text.startswith(_CUTLASS_MOE) else None
        if key is None or len(key.extras) != _RANK_KEYED_EXTRAS:
            covered.add(text)
            continue
        extras = tuple(value for place, value in enumerate(key.extras) if place not in (_TP_RANK, _EP_RANK))
        covered.add((key.op, key.profile, extras))
    covered.add((_CUTE_DSL_MOE, offset_keyed))
    return frozenset(covered)
