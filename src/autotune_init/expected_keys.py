"""Which keys an engine will look up, from the model's config.json and the engine's own fields: what a tune should cover.

Derived only where every part of the key's text is known, and said to be undecided everywhere else: "complete" is a
promise. Key texts are FlashInfer's own (0.6.18 and 0.7.2, autotuner/autotuner.py `ProfilingCacheKey.file_key`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from autotune_init.engines import EngineCache
from autotune_init.engines.rank_keys import Version, version_of
from autotune_init.expected_moe_keys import (
    EngineWords,
    moe_ladder_top,
    moe_layer,
    moe_ranks,
    moe_texts,
)
from autotune_init.tuners.gemm_shapes import (
    BMM_FP8,
    TUNED_MOE_BACKENDS,
    GemmPlan,
    NotUnderstood,
    has_dense_layers,
    has_experts,
    plan_gemms,
    text_config,
)
from cache_store.dataclass import dataclass, field
from cache_store.rank_file import RankFile, bucket_of, op_of, parse_key, shape_of

FIRST_PROVEN: Version = (0, 6, 18)
LAST_PROVEN: Version = (0, 7, 2)

_GEMM1, _GEMM2 = "trtllm::fused_moe::gemm1", "trtllm::fused_moe::gemm2"
# linears that plan_gemms leaves out because config.json does not decide them, in contrast to those that never tune
_UNDECIDED_LINEARS = ("vision", "lm_head")


@dataclass(frozen=True)
class Expected:
    """Key texts that each rank will look up, by rank file name, and what could not be derived, with the reason."""

    by_rank: Mapping[str, frozenset[str]] = field(default_factory=dict)
    undecided: Mapping[str, str] = field(default_factory=dict)

    @property
    def count(self) -> int | None:
        """Keys of the rank that needs most, or None where nothing at all could be derived."""
        if not self.by_rank:
            return None
        return max(len(texts) for texts in self.by_rank.values())


@dataclass(frozen=True, order=True)
class Gap:
    """Buckets (tokens) of one op and shape that some rank lacks. `shape` is spelled as in the coverage table."""

    op: str
    shape: str
    buckets: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.op} {self.shape}: {' '.join(map(str, self.buckets))}"


def nothing_known(why: str) -> Expected:
    return Expected(undecided={"everything": why})


def expected_keys(
    cache: EngineCache,
    model_config: Mapping[str, object] | None,
    max_tokens: int,
    environ: Mapping[str, str] | None = None,
) -> Expected:
    """Raises nothing. `max_tokens` is the largest token count to be covered, `environ` the engine's environment."""
    version = version_of(cache.flashinfer_version)
    if not FIRST_PROVEN <= version <= LAST_PROVEN:
        return nothing_known(f"the keys of FlashInfer {cache.flashinfer_version[:40]} are not known here")
    if cache.engine != "sglang":
        return nothing_known(f"which ops {cache.engine} calls for a model is not known here")
    if model_config is None:
        return nothing_known("the model's config.json could not be had")
    if cache.resolved.get("is_draft"):
        return nothing_known("a draft worker's model is another one")
    if cache.tunes is False:
        return Expected({name: frozenset() for name in cache.all_rank_files})
    undecided: dict[str, str] = {}
    texts: set[str] = set()
    try:
        plan = _linears(cache, model_config)
        texts |= {
            text for gemm in plan.gemms for text in _gemm_texts(gemm.n, gemm.k, plan.out_dtype, max_tokens)
        }
        undecided |= {
            name: plan.excluded[name] for name in _UNDECIDED_LINEARS if name in plan.excluded and plan.gemms
        }
    except NotUnderstood as problem:
        undecided[BMM_FP8] = str(problem)
    by_rank = {name: frozenset(texts) for name in cache.all_rank_files}
    if _tunes_experts(cache, model_config):
        try:
            layer = moe_layer(model_config, EngineWords(cache.engine_version, cache.resolved, environ or {}))
            ranks = moe_ranks(cache.all_rank_files, layer)
        except NotUnderstood as problem:
            undecided["trtllm::fused_moe"] = str(problem)
        else:
            ladder = hybrid_buckets(moe_ladder_top(cache.engine_version, max_tokens))
            for name, rank in ranks.items():
                by_rank[name] |= moe_texts(layer, version, rank, ladder)
    if undecided and not any(by_rank.values()):
        return Expected(undecided=undecided)
    return Expected(by_rank, undecided)


def missing(expected: Expected, rank_files: Mapping[str, RankFile]) -> tuple[Gap, ...]:
    """What some rank lacks: keys that it will look up, and halves of pairs that one call always makes together.

    `rank_files` of this pod or of the whole replica; a rank that is not among them is not judged. No files at all, as
    of a tune that tuned nothing, lack everything.
    """
    lacking: set[str] = set() if rank_files else set().union(*expected.by_rank.values())
    for name, file in rank_files.items():
        lacking |= expected.by_rank.get(name, frozenset()) - file.entries.keys()
        lacking |= _lost_halves(file)
    return gaps_of(lacking)


def gaps_of(texts: Iterable[str]) -> tuple[Gap, ...]:
    rows: dict[tuple[str, str], set[int]] = {}
    for text in texts:
        rows.setdefault((op_of(text), shape_of(parse_key(text))), set()).add(bucket_of(text))
    return tuple(Gap(op, shape, tuple(sorted(buckets))) for (op, shape), buckets in sorted(rows.items()))


def hybrid_buckets(max_tokens: int) -> tuple[int, ...]:
    """FlashInfer 0.6.18 to 0.7.2, fused_moe/utils.py `get_hybrid_num_tokens_buckets`: 21 of them for 8192."""
    steps = (
        *(1 << power for power in range(9)),
        *range(512, 2049, 256),
        *range(2560, 4097, 512),
        *(4096 << power for power in range(1, 32)),
    )
    below = tuple(bucket for bucket in steps if bucket <= max_tokens)
    return below if max_tokens in below else (*below, max_tokens)


def top_bucket(max_tokens: int) -> int:
    """The bucket that `max_tokens` is served from: a GEMM's ladder ends in the tokens of the call itself."""
    ladder = hybrid_buckets(1 << 32)
    return next(bucket for bucket in ladder if bucket >= max_tokens)


def _linears(cache: EngineCache, model_config: Mapping[str, object]) -> GemmPlan:
    fields = dict(cache.resolved)
    if _tunes_experts(cache, model_config):
        # the experts are judged apart; here they would hide what is to be said of the linears
        fields["moe_runner_backend"] = None
    plan = plan_gemms(model_config, fields, _capability(cache.arch))
    stages = fields.get("pp_size")
    text = text_config(model_config)
    if plan.gemms and stages not in (None, 1) and has_experts(text) and has_dense_layers(text):
        raise NotUnderstood("pp_size", "which pipeline stage holds the dense layers is not derived")
    return plan


def _tunes_experts(cache: EngineCache, model_config: Mapping[str, object]) -> bool:
    backend = cache.resolved.get("moe_runner_backend")
    return backend in TUNED_MOE_BACKENDS and has_experts(text_config(model_config))


def _capability(arch: str) -> tuple[int, int] | None:
    digits = arch.removeprefix("sm").rstrip("af")
    return (int(digits[:-1]), int(digits[-1])) if digits.isdecimal() and len(digits) > 1 else None


def _gemm_texts(n: int, k: int, out_dtype: str, max_tokens: int) -> set[str]:
    return {
        f"('{BMM_FP8}', 'CublasFp8GemmRunner', ((1, {m}, {k}), (1, {k}, {n}), (1,), (1,), (1, -1, {n}), (-1,)), "
        f"(torch.float8_e4m3fn, torch.float8_e4m3fn, torch.{out_dtype}))"
        for m in hybrid_buckets(top_bucket(max_tokens))
    }


def _lost_halves(file: RankFile) -> set[str]:
    """`cutlass_fused_moe` asks for gemm1 and gemm2 of one profile, always; one alone is a tune that broke off."""
    lost = set()
    for own, other in ((_GEMM1, _GEMM2), (_GEMM2, _GEMM1)):
        start = f"('{own}', "
        halves = (f"('{other}', {text[len(start) :]}" for text in file.entries if text.startswith(start))
        lost |= {half for half in halves if half not in file.entries}
    return lost
