"""Every hazard of the table: that it is refused with its reason, that its neighbours are not, and that it can be overridden."""

from __future__ import annotations

import pytest
from tests.bundles import H100

from autotune_init.engines import EngineCache
from autotune_init.engines.known_bad import ROWS, as_table, before_lookup, first_not_allowed, ids, matching
from cache_store.rank_file import RankFile, parse_key

GEMM = (
    "('fp8_gemm', 'CublasFp8GemmRunner', ((1, {m}, 4096), (1, 4096, 4096), (1,), (1,), (1, -1, 4096), (-1,)), "
    "(torch.float8_e4m3fn, torch.float8_e4m3fn, torch.bfloat16))"
)
PROFILE = "((16, 2048), (64, 1536, 2048), (0,), (64, 2048, 768), (0,))"
DTYPES = "torch.bfloat16, torch.bfloat16, torch.bfloat16, 8"
SWITCHES = "False, False, False, False, False, False, True, 3, False, True"
CUBLASLT = "('bf16_gemm', 'CublasltBf16GemmRunner', ((16, 64), (64, 64), (0,), (0,), (-1, 64), (33554432,)), (16, 64))"
CUDNN = "('bf16_gemm', 'CudnnBf16GemmRunner', ((16, 64), (64, 64), (0,), (0,), (-1, 64), (33554432,)), ())"
FP4 = "('fp4_gemm', 'TrtllmFp4GemmRunner', ((16, 64), (64, 64)))"


def moe(tp_rank=0, ep_rank=0, *, tp=2, ep=1, op="gemm1"):
    """A key of FlashInfer 0.6.13 to 0.7.1."""
    return (
        f"('trtllm::fused_moe::{op}', 'MoERunner', {PROFILE}, "
        f"({DTYPES}, {tp}, {tp_rank}, {ep}, {ep_rank}, 1, 0, {SWITCHES}))"
    )


def moe_without_ranks(*, tp=2, ep=1):
    """A key of FlashInfer 0.7.2."""
    return f"('trtllm::fused_moe::gemm1', 'MoERunner', {PROFILE}, ({DTYPES}, {tp}, {ep}, 1, {SWITCHES}))"


def file(*keys, metadata=H100, records=False):
    return RankFile(metadata, {key: ["Runner", 1] for key in keys}, records)


def sglang(version="0.5.22", flashinfer="0.7.1", *, tp=2, pp=1, ep=1, **changes):
    names = tuple(f"rank_tp{t}_pp{p}_dp0.json" for p in range(pp) for t in range(tp))
    resolved = {
        "tp_size": tp,
        "pp_size": pp,
        "moe_ep_size": ep,
        "moe_runner_backend": changes.pop("backend", "auto"),
        "config_class": changes.pop("config_class", "LlamaConfig"),
    }
    changes.setdefault("ranks_must_agree", version >= "0.5.19")
    return EngineCache(
        "sglang", version, flashinfer, "sm90", "0" * 16, "text", (), "/c", names, names, resolved, "recipe", **changes
    )  # fmt: skip


def vllm(version="0.30.0", flashinfer="0.7.0", *, tp=2, pp=1, names=None):
    names = names or ("autotune_configs.json",)
    resolved = {"tensor_parallel_size": tp, "pipeline_parallel_size": pp}
    return EngineCache(
        "vllm", version, flashinfer, "90a", "0" * 64, "text", (), "/c", names, names, resolved, "resolver"
    )


VLLM_NAMES = ("autotune_configs_dp0_rank0.json", "autotune_configs_dp0_rank1.json")


def both(name_of, *files):
    return {name_of(index): one for index, one in enumerate(files)}


def tp_name(index):
    return f"rank_tp{index}_pp0_dp0.json"


def world_name(index):
    return VLLM_NAMES[index]


WHOLE, HALF = file(GEMM.format(m=1), GEMM.format(m=2)), file(GEMM.format(m=1))

CONFIGURED = {
    "vllm-warm-start-deadlock": vllm(),
    "sglang-rank-keyed-experts": sglang(backend="flashinfer_cutlass", ep=2),
    "sglang-draft-clears-target": sglang("0.5.20", "0.6.18", draft=sglang("0.5.20", "0.6.18", tunes=None)),
    "megamoe-bound-to-gpu": sglang("0.5.23", "0.7.2", tp=1, bound_to_gpu=True),
}
CONTAINED = {
    "sglang-rank-keyed-experts": (sglang(), both(tp_name, file(moe(0)), file(moe(1)))),
    "copied-rank-keys": (vllm("0.32.0", names=VLLM_NAMES), both(world_name, file(moe(0)), file(moe(0)))),
    "ranks-cover-differently": (sglang("0.5.23", "0.7.2"), both(tp_name, WHOLE, HALF)),
    "namespaced-records": (sglang("0.5.23", "0.7.2", tp=1), both(tp_name, file(GEMM, records=True))),
    "metadata-missing": (sglang(tp=1), both(tp_name, file(GEMM, metadata={}))),
    "metadata-wildcard": (sglang(tp=1), both(tp_name, file(GEMM, metadata={**H100, "gpu": "*"}))),
    "bf16-gemm-cublaslt": (sglang(tp=1), both(tp_name, file(CUBLASLT))),
    "bf16-gemm-in-lockstep": (sglang(), both(tp_name, file(CUDNN), file(CUDNN))),
    "keys-without-extras": (sglang("0.5.12", "0.6.11.post1", tp=1), both(tp_name, file(FP4))),
}


def before_install(cache, files, allowed=frozenset()):
    return first_not_allowed(matching(cache, files), allowed)


def test_every_row_has_a_case():
    assert set(CONFIGURED) | set(CONTAINED) == ids()
    assert {row.id for row in ROWS if row.configured} == set(CONFIGURED)
    assert {row.id for row in ROWS if row.contains} == set(CONTAINED)


@pytest.mark.parametrize("row_id", CONFIGURED)
def test_what_the_configuration_tells_is_refused_before_the_store_is_asked(row_id):
    cache = CONFIGURED[row_id]

    row = before_lookup(cache)

    assert row is not None
    assert (row.id, row.reason) == (row_id, f"known-bad-{row_id}")
    assert row.source in row.detail
    assert before_lookup(cache, frozenset({row_id})) is None
    assert row in matching(cache, None), "an override that is in use must be seen, to be warned about"


@pytest.mark.parametrize("row_id", CONTAINED)
def test_what_the_files_tell_is_refused_before_they_are_installed(row_id):
    cache, files = CONTAINED[row_id]

    assert before_lookup(cache) is None, "nothing in the configuration tells"
    row = before_install(cache, files)

    assert row is not None
    assert row.id == row_id
    others = {one.id for one in matching(cache, files)} - {row_id}
    assert before_install(cache, files, frozenset({row_id, *others})) is None
    if others:
        assert before_install(cache, files, frozenset({row_id})).id in others


def test_a_caller_that_did_not_ask_before_the_lookup_is_told_before_the_install():
    assert (
        before_install(CONFIGURED["vllm-warm-start-deadlock"], both(tp_name, WHOLE)).id
        == "vllm-warm-start-deadlock"
    )


@pytest.mark.parametrize(
    "cache",
    [
        vllm(tp=1),
        vllm("0.26.0", "0.6.14"),
        sglang("0.5.20", "0.6.18", draft=sglang("0.5.20", "0.6.18", tunes=False)),
        sglang("0.5.21", "0.6.18", draft=sglang("0.5.21", "0.6.18", tunes=True)),
        vllm("0.32.0", names=VLLM_NAMES),
        vllm("0.33.0", "0.7.2.post1", names=VLLM_NAMES),
        sglang("0.5.23", "0.7.2", backend="flashinfer_cutlass", ep=2),
        sglang("0.5.18", "0.6.17", backend="flashinfer_cutlass", ep=2),
        sglang(backend="flashinfer_cutlass", tp=1, config_class="Qwen3MoeConfig"),
        sglang(backend="flashinfer_cutlass", config_class="LlamaConfig"),
        sglang(backend="triton", config_class="Qwen3MoeConfig", ep=2),
    ],
    ids=[
        "vllm with one rank",
        "vllm before files were shared by ranks",
        "a draft that does not tune",
        "a draft where loads are kept apart",
        "vllm with a file a rank",
        "vllm 0.33",
        "sglang with flashinfer 0.7.2",
        "sglang before ranks had to agree",
        "one rank",
        "a dense model that names an expert backend",
        "experts that are not autotuned",
    ],
)
def test_neighbours_of_what_is_configured_badly_are_left_alone(cache):
    assert before_lookup(cache) is None


@pytest.mark.parametrize("pp", [1, 2])
def test_vllms_ranks_are_counted_from_its_fields_where_there_is_one_file(pp):
    assert (before_lookup(vllm(tp=1, pp=pp)) is None) is (pp == 1)


def test_experts_in_the_config_class_are_enough():
    row = before_lookup(sglang(backend="flashinfer_cutlass", config_class="Qwen3MoeConfig"))
    assert row.id == "sglang-rank-keyed-experts"


@pytest.mark.parametrize(
    ("cache", "files"),
    [
        (sglang("0.5.23", "0.7.2"), both(tp_name, file(moe_without_ranks()), file(moe_without_ranks()))),
        (sglang("0.5.18", "0.6.17"), both(tp_name, file(moe(0)), file(moe(1)))),
        (sglang("0.5.18", "0.6.17"), both(tp_name, file(moe(0)), file(moe(0)))),
        (sglang(tp=1), both(tp_name, file(moe(0, tp=1)))),
        (sglang(), both(tp_name, WHOLE, WHOLE)),
        (vllm("0.32.0", names=VLLM_NAMES), both(world_name, file(moe(0)), file(moe(1)))),
        (vllm("0.32.0", names=VLLM_NAMES), both(world_name, file(moe(0, 0, tp=1, ep=2)), file(moe(0, 1, tp=1, ep=2)))),
        (vllm("0.32.0", names=VLLM_NAMES, tp=1, pp=2), both(world_name, file(moe(0, tp=1)), file(moe(0, tp=1)))),
        (sglang("0.5.23", "0.7.2", tp=1), both(tp_name, file(CUDNN))),
        (sglang("0.5.18", "0.6.17"), both(tp_name, WHOLE, HALF)),
        (sglang("0.5.14", "0.6.13", tp=1), both(tp_name, file(FP4))),
        (sglang("0.5.12", "0.6.11.post1", tp=1), both(tp_name, file("('fp8_gemm', 'CublasFp8GemmRunner', ((1, 16, 64),))"))),
        (
            sglang("0.5.23", "0.7.2", tp=1, pp=2),
            {"rank_tp0_pp0_dp0.json": WHOLE, "rank_tp0_pp1_dp0.json": HALF},
        ),
        (
            sglang("0.5.23", "0.7.2", tp=2, pp=2),
            {f"rank_tp{t}_pp{p}_dp0.json": (WHOLE, HALF)[p] for t in (0, 1) for p in (0, 1)},
        ),
    ],
    ids=[
        "rank-free keys",
        "a file a rank, before ranks had to agree",
        "copies, where nobody waits for anybody",
        "one rank with ranks in its keys",
        "gemms carry no rank",
        "vllm with a file a rank",
        "vllm with a file an expert-parallel rank",
        "vllm's two stages have tensor-parallel rank 0 each",
        "cudnn's bf16 on one rank only re-tunes",
        "partial files, where nobody waits for anybody",
        "fp4 with extras in the keys",
        "fp8 without extras in the keys",
        "stages hold other layers",
        "stages hold other layers, ranks of a stage the same",
    ],
)  # fmt: skip
def test_neighbours_of_bad_files_are_installed(cache, files):
    assert matching(cache, files) == ()


@pytest.mark.parametrize(
    "files",
    [
        both(tp_name, file(moe(0), moe(0, op="gemm2")), file(moe(1))),
        both(tp_name, file(GEMM, "('CuteDslFusedMoE::x', 'R', ((1,),), (0,))"), file(GEMM)),
    ],
    ids=["one op is missing beside ranks in the keys", "fewer offset-keyed entries"],
)
def test_coverage_is_compared_apart_from_the_ranks_in_the_keys(files):
    assert "ranks-cover-differently" in {row.id for row in matching(sglang(), files)}


def test_offset_keyed_entries_may_differ_in_their_offsets():
    files = both(
        tp_name, *(file(f"('CuteDslFusedMoE::x', 'R', ((1,),), (64, {offset}))") for offset in (0, 32))
    )
    assert before_install(sglang(), files) is None


def test_the_keys_of_the_cases_are_understood():
    for key in (GEMM.format(m=1), moe(1), moe_without_ranks(), CUBLASLT, CUDNN, FP4):
        assert parse_key(key) is not None, key
    assert len(parse_key(moe(1)).extras) == 20
    assert len(parse_key(moe_without_ranks()).extras) == 17


def test_the_table_has_a_line_a_row_and_no_hole():
    table = as_table()

    assert [line[0] for line in table] == [row.id for row in ROWS]
    assert len(ids()) == len(ROWS)
    assert all(len(line) == 5 and all(line) and "\n" not in "".join(line) for line in table)
    assert all(set(line[0]) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") for line in table)
