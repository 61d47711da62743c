"""What a set of rank files covers, and who may not be given one with gaps."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.bundles import H100

from autotune_init.coverage import MAX_ROWS, buckets_by_shape, coverage_of, is_incomplete_for, told
from autotune_init.engines import EngineCache
from autotune_init.expected_keys import Expected, Gap
from cache_store.rank_file import RankFile, parse_key, parse_rank_file, shape_of

SAMPLE = Path(__file__).parents[2] / "examples" / "h100-sample" / "bmm_fp8_tuned.json"
SHAPE = "1xMx4096 1x4096x4096 float8_e4m3fn bfloat16"
GAP = Gap("fp8_gemm", SHAPE, (1, 2))


def gemm(m, n=4096):
    return (
        f"('fp8_gemm', 'CublasFp8GemmRunner', ((1, {m}, 4096), (1, 4096, {n}), (1,), (1,), (1, -1, {n}), (-1,)), "
        "(torch.float8_e4m3fn, torch.float8_e4m3fn, torch.bfloat16))"
    )


def file(*texts):
    return RankFile(H100, {text: ["Runner", 1] for text in texts}, has_records=False)


def engine(name, version, *, tp=2, files=2):
    names = tuple(f"autotune_configs_dp0_rank{rank}.json" for rank in range(files))
    resolved = {"tp_size": tp, "pp_size": 1}
    return EngineCache(name, version, "0.7.2", "90a", "k", "t", (), "/c", names, names, resolved, "resolver")


def test_a_real_file_is_one_shape_with_nine_buckets():
    parsed = parse_rank_file(SAMPLE.read_bytes())

    record = coverage_of(
        {"rank_tp0_pp0_dp0.json": parsed, "rank_tp1_pp0_dp0.json": parsed}, {"bf16_gemm": "re-tunes"}
    )

    assert record.buckets == {"fp8_gemm": {SHAPE: (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)}}
    assert (record.ops, record.entries, record.max_bucket) == ({"fp8_gemm": 9}, 9, 4096)
    assert (record.excluded, record.rows_left_out) == ({"bf16_gemm": "re-tunes"}, 0)
    assert (record.expected, record.missing, record.completeness) == (None, None, "unknown")


def test_a_bucket_counts_where_every_rank_has_it_that_has_the_shape():
    table, left_out = buckets_by_shape(
        {"a": file(gemm(1), gemm(2), gemm(8, n=64)), "b": file(gemm(2), gemm(4)), "c": file(gemm(2, n=128))}
    )

    shapes = {shape.split()[1]: buckets for shape, buckets in table["fp8_gemm"].items()}
    assert shapes == {"1x4096x4096": (2,), "1x4096x64": (8,), "1x4096x128": (2,)}
    assert left_out == 0


def test_ranks_that_share_no_bucket_still_show_the_shape():
    table, _ = buckets_by_shape({"a": file(gemm(1)), "b": file(gemm(2))})
    assert table == {"fp8_gemm": {SHAPE: ()}}


def test_the_table_is_bounded_and_the_rest_is_counted():
    table, left_out = buckets_by_shape({"a": file(*(gemm(1, n) for n in range(2, MAX_ROWS + 9)))})

    assert len(table["fp8_gemm"]) == MAX_ROWS
    assert left_out == 7


def test_keys_that_are_not_understood_are_in_the_table_too():
    record = coverage_of({"a": file("(junk", "('op', nonsense")})
    assert record.buckets == {"unknown": {"unknown": (0,)}, "op": {"unknown": (0,)}}


@pytest.mark.parametrize(
    ("expected", "state", "numbers"),
    [
        (Expected({"a": frozenset({gemm(1)})}), "complete", (1, 0)),
        (Expected({"a": frozenset({gemm(1), gemm(2), gemm(4)})}), "incomplete", (3, 2)),
        (Expected({"a": frozenset({gemm(1)})}, {"lm_head": "?"}), "unknown", (1, 0)),
        (Expected({"a": frozenset({gemm(2)})}, {"lm_head": "?"}), "incomplete", (1, 1)),
        (Expected(undecided={"everything": "?"}), "unknown", (None, None)),
        (Expected({"a": frozenset()}), "complete", (0, 0)),
        (None, "unknown", (None, None)),
    ],
    ids=["all there", "two lacking", "a part undecided", "both", "undecided", "nothing tunes", "not asked"],
)
def test_completeness_is_promised_only_where_it_is_known(expected, state, numbers):
    record = coverage_of({"a": file(gemm(1))}, expected=expected)

    assert (record.completeness, (record.expected, record.missing)) == (state, numbers)
    assert bool(record.first_missing) is (state == "incomplete")
    assert record.undecided == (dict(expected.undecided) if expected else {})
    brief = record.brief()
    assert brief["completeness"] == state
    assert "buckets" not in brief


def test_a_tune_that_tuned_nothing_lacks_everything_that_is_expected():
    record = coverage_of({}, expected=Expected({"a": frozenset({gemm(1), gemm(2)})}))

    assert (record.entries, record.missing, record.completeness) == (0, 2, "incomplete")
    assert coverage_of({}, expected=Expected({"a": frozenset()})).completeness == "complete"


def test_half_a_pair_is_incomplete_though_the_model_is_not_understood():
    half = "('trtllm::fused_moe::gemm1', 'MoERunner', ((1, 64), (8, 64, 64)), ())"
    record = coverage_of({"a": file(half)})

    assert (record.completeness, record.expected, record.missing) == ("incomplete", None, 1)


@pytest.mark.parametrize(
    ("cache", "is_refused"),
    [
        (engine("vllm", "0.33.0"), True),
        (engine("vllm", "0.34.1"), True),
        (engine("vllm", "0.33.0", tp=1, files=1), False),
        (engine("vllm", "0.32.0"), False),
        (engine("sglang", "0.5.23"), False),
    ],
    ids=[
        "vllm 0.33",
        "later",
        "one rank has the store that fills its gaps",
        "vllm 0.32 still sweeps",
        "sglang",
    ],
)
def test_only_an_engine_that_would_tune_nothing_more_is_refused_gaps(cache, is_refused):
    assert is_incomplete_for(cache, (GAP,)) is is_refused
    assert is_incomplete_for(cache, ()) is False


def test_gaps_are_told_in_one_line_with_the_rest_counted():
    assert told((GAP,)) == f"2 entries are missing: fp8_gemm {SHAPE}: 1 2"
    assert told((GAP,) * 8).endswith("1 2 and 3 more")
    assert told((GAP,) * 8).startswith("16 entries")


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        ("('op', 'R', ((16, 64), (0,), (64, 32)), (True, None, 'x', torch.float16))", "Mx64 64x32 float16"),
        ("('flashinfer::moe', 'R', ((16, 64), (16, 8), (4, 64)))", "Mx64 Mx8 4x64"),
        ("('op', 'R', ((16,), (3,)))", "M 3"),
        ("('op', 'R', ())", "unknown"),
        ("('op', 'R', (((16, 64),),))", "unknown"),
        ("nonsense", "unknown"),
    ],
)
def test_a_shape_is_told_without_its_bucket(key, shape):
    assert shape_of(parse_key(key)) == shape


@pytest.mark.parametrize(
    "key",
    ["", "(", ")", "()", "('a')", "('a', 'b')", "('a', 'b', 3)", "('a' 'b', ((1,),))", "(,'a', 'b', ((1,),))",
     "('a', 'b', ((1,),)) x", "('a', 'b', (('c',),))", "('a', 'b', ((1,),), 3)", "(" * 9_000, "('a" * 9_000,
     "__import__('os')", "('a', 'b', ((1,),), (), ())"],
)  # fmt: skip
def test_texts_that_are_no_keys_are_told_apart(key):
    assert parse_key(key) is None


def test_what_a_key_holds_comes_back():
    key = parse_key("""('o', "R", ((1, -1), (0,)), (True, None, 3, 'x, (y)', torch.bfloat16, ('n', (2,))))""")

    assert (key.op, key.runner, key.profile) == ("o", "R", ((1, -1), (0,)))
    assert key.extras == (True, None, 3, "x, (y)", "torch.bfloat16", ("n", (2,)))
