"""The keys that an engine will look up: texts against FlashInfer's own code, and what is not known is said to be so."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from tests.bundles import H100

from autotune_init.engines import EngineCache
from autotune_init.expected_keys import (
    Expected,
    Gap,
    expected_keys,
    gaps_of,
    hybrid_buckets,
    missing,
    top_bucket,
)
from autotune_init.expected_moe_keys import PRECISIONS, MoeLayer, MoeRank, moe_ranks, moe_texts
from cache_store.rank_file import RankFile, parse_key

ROOT = Path(__file__).parents[2]
RELEASES = {"0.6.18": (0, 6, 18), "0.7.2": (0, 7, 2)}
FP8 = {"quant_method": "modelopt", "quant_algo": "FP8", "ignore": ["lm_head"]}
LLAMA_8B = {
    "model_type": "llama",
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "torch_dtype": "bfloat16",
    "quantization_config": FP8,
}
QWEN3_30B_A3B = {
    "model_type": "qwen3_moe",
    "hidden_size": 2048,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "head_dim": 128,
    "intermediate_size": 6144,
    "moe_intermediate_size": 768,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "hidden_act": "silu",
    "mlp_only_layers": [],
    "decoder_sparse_step": 1,
    "torch_dtype": "bfloat16",
}
WHOLE_LAYER = MoeLayer(PRECISIONS["bf16"], 2048, 768, 128, top_k=8, tp_size=1, ep_size=1)
FIRST_OF_QWEN3 = (
    "('trtllm::fused_moe::gemm1', 'MoERunner', ((1, 2048), (128, 1536, 2048), (0,), (128, 2048, 768), (0,)), "
    "(torch.bfloat16, torch.bfloat16, torch.bfloat16, 8, 1, 1, 1, "
    "False, False, False, False, False, False, True, 3, False, True))"
)


def cache(
    *, tp=1, ep=1, version="0.5.23", flashinfer="0.7.2", arch="sm90", engine="sglang", pp=1, **resolved
):
    names = tuple(f"rank_tp{t}_pp{p}_dp0.json" for p in range(pp) for t in range(tp))
    fields = {
        "tp_size": tp,
        "pp_size": pp,
        "attn_dp_size": 1,
        "moe_ep_size": ep,
        "moe_runner_backend": "auto",
    }
    return EngineCache(
        engine, version, flashinfer, arch, "0" * 16, "text", (), "/c", names, names, {**fields, **resolved}, "recipe"
    )  # fmt: skip


def moe_cache(**changes):
    return cache(**{"moe_runner_backend": "flashinfer_cutlass", **changes})


def file(*texts):
    return RankFile(H100, {text: ["Runner", 1] for text in texts}, has_records=False)


def asked_of_flashinfer(release: str, job: dict) -> dict:
    python = ROOT / ".tools" / f"fi-{release}" / "bin" / "python"
    if not python.exists():
        reason = f"{python} is absent: make flashinfer-envs builds it"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    done = subprocess.run(
        [str(python), str(ROOT / "tests" / "data" / "flashinfer_keys.py")],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )
    return json.loads(done.stdout.splitlines()[-1])


# as the engines pass them: (layer, rank), the shapes and dtypes of the tensors, the wrapper's own arguments
EP4, TP2_EP4 = MoeRank(ep=3), MoeRank(tp=1, ep=2)
GPT_OSS = MoeLayer(PRECISIONS["mxfp4"], 3072, 2880, 32, top_k=4, tp_size=1, ep_size=4, has_bias=True)
MOE_CASES = {
    "bf16": (
        (WHOLE_LAYER, MoeRank()),
        {"x": ["bfloat16", 1, 2048], "w": "bfloat16", "w13": [128, 1536, 2048], "w2": [128, 2048, 768]},
        {},
    ),
    "bf16-tp2-ep4": (
        (replace(WHOLE_LAYER, experts=32, intermediate=384, tp_size=2, ep_size=4, fused_finalize=False), TP2_EP4),
        {"x": ["bfloat16", 1, 2048], "w": "bfloat16", "w13": [32, 768, 2048], "w2": [32, 2048, 384]},
        {"tp_size": 2, "tp_rank": 1, "ep_size": 4, "ep_rank": 2, "use_fused_finalize": False},
    ),
    "fp8": (
        (replace(WHOLE_LAYER, precision=PRECISIONS["fp8"]), MoeRank()),
        {"x": ["float8_e4m3fn", 1, 2048], "w": "float8_e4m3fn", "w13": [128, 1536, 2048], "w2": [128, 2048, 768]},
        {},
    ),
    "block-fp8": (
        (replace(WHOLE_LAYER, precision=PRECISIONS["block-fp8"]), MoeRank()),
        {"x": ["bfloat16", 1, 2048], "w": "float8_e4m3fn", "w13": [128, 1536, 2048], "w2": [128, 2048, 768]},
        {"use_deepseek_fp8_block_scale": True},
    ),
    "mxfp4": (
        (GPT_OSS, EP4),
        {"x": ["bfloat16", 1, 3072], "w": "uint8", "w13": [32, 5760, 1536], "w2": [32, 3072, 1440], "bias": True},
        {"use_w4_group_scaling": True, "ep_size": 4, "ep_rank": 3},
    ),
    "nvfp4": (
        (replace(WHOLE_LAYER, precision=PRECISIONS["nvfp4"]), MoeRank()),
        {"x": ["uint8", 1, 1024], "w": "int64", "w13": [128, 1536, 128], "w2": [128, 2048, 48]},
        {},
    ),
}  # fmt: skip


@pytest.mark.flashinfer
@pytest.mark.parametrize("release", RELEASES)
def test_the_texts_are_those_of_flashinfers_own_code(release):
    job = {
        "moe": [
            {
                "bias": False,
                "out": "bfloat16",
                "top_k": layer.top_k,
                "max_tokens": 8192,
                **tensors,
                "call": call,
            }
            for (layer, _), tensors, call in MOE_CASES.values()
        ],
        "gemm": [{"n": 6144, "k": 4096, "m": 512, "out": "float16"}],
    }

    theirs = asked_of_flashinfer(release, job)

    for (name, ((layer, rank), _, _)), texts in zip(MOE_CASES.items(), theirs["moe"], strict=True):
        assert moe_texts(layer, RELEASES[release], rank, hybrid_buckets(8192)) == set(texts), name
        assert len(texts) == len(set(texts)) == 42
    (gemm,) = theirs["gemm"]
    config = {**LLAMA_8B, "torch_dtype": "float16"}
    (ours,) = expected_keys(cache(flashinfer=release), config, 300).by_rank.values()
    assert {text for text in ours if "(1, 4096, 6144)" in text} == set(gemm)


def test_qwen3_has_the_42_keys_of_the_worked_example():
    texts = moe_texts(WHOLE_LAYER, (0, 7, 2), MoeRank(), hybrid_buckets(8192))

    assert len(texts) == 42
    assert FIRST_OF_QWEN3 in texts


def test_a_models_experts_are_derived_from_its_config():
    expected = expected_keys(moe_cache(), QWEN3_30B_A3B, 8192)

    (texts,) = expected.by_rank.values()
    # SGLang's own default for the last value is False
    assert texts == moe_texts(
        replace(WHOLE_LAYER, fused_finalize=False), (0, 7, 2), MoeRank(), hybrid_buckets(8192)
    )
    assert (expected.count, expected.undecided) == (42, {})


@pytest.mark.parametrize(("value", "is_fused"), [("1", True), ("TRUE", True), ("0", False), ("junk", False)])
def test_sglangs_variable_decides_the_fused_finalize(value, is_fused):
    expected = expected_keys(
        moe_cache(), QWEN3_30B_A3B, 8192, {"SGLANG_FLASHINFER_MOE_FUSED_FINALIZE": value}
    )

    assert (FIRST_OF_QWEN3 in expected.by_rank["rank_tp0_pp0_dp0.json"]) is is_fused


@pytest.mark.parametrize(
    ("version", "is_fused", "top"),
    [("0.5.19", True, 512), ("0.5.20", True, 512), ("0.5.21", False, 512), ("0.5.22", False, 512), ("0.5.23", False, 300)],
)  # fmt: skip
def test_releases_differ_in_a_default_and_in_how_far_they_tune(version, is_fused, top):
    (texts,) = expected_keys(moe_cache(version=version), QWEN3_30B_A3B, 300).by_rank.values()

    keys = [parse_key(text) for text in texts]
    assert {key.extras[-1] for key in keys} == {is_fused}
    assert max(key.profile[0][0] for key in keys) == top


def test_before_0_7_2_each_rank_has_keys_of_its_own_and_then_all_have_the_same():
    for flashinfer, distinct in (("0.7.1", 4), ("0.7.2", 1)):
        expected = expected_keys(moe_cache(tp=4, ep=2, flashinfer=flashinfer), QWEN3_30B_A3B, 16)

        assert len(expected.by_rank) == 4
        assert len(set(expected.by_rank.values())) == distinct
    keys = {name: parse_key(min(texts)) for name, texts in
            expected_keys(moe_cache(tp=4, ep=2, flashinfer="0.7.1"), QWEN3_30B_A3B, 1).by_rank.items()}  # fmt: skip
    assert {name: (key.extras[4:8], key.profile[1]) for name, key in keys.items()} == {
        f"rank_tp{rank}_pp0_dp0.json": ((2, rank % 2, 2, rank // 2), (64, 768, 2048)) for rank in range(4)
    }


def test_mixtral_names_its_experts_differently():
    config = {"model_type": "mixtral", "hidden_size": 4096, "intermediate_size": 14336, "num_local_experts": 8,
              "num_experts_per_tok": 2, "num_attention_heads": 32, "num_key_value_heads": 8,
              "torch_dtype": "bfloat16"}  # fmt: skip
    (texts,) = set(expected_keys(moe_cache(tp=2), config, 1).by_rank.values())

    assert {parse_key(text).profile[1] for text in texts} == {(8, 14336, 4096)}


def test_a_dense_model_needs_its_linears_up_to_the_bucket_of_the_most_tokens():
    expected = expected_keys(cache(tp=2), LLAMA_8B, 300)

    assert expected.undecided == {}
    assert expected.count == 4 * len(hybrid_buckets(512))
    assert len(set(expected.by_rank.values())) == 1


def test_linears_and_experts_of_one_model_are_both_needed():
    expected = expected_keys(moe_cache(), {**QWEN3_30B_A3B, "quantization_config": FP8}, 1)
    (texts,) = expected.by_rank.values()

    assert {parse_key(text).op for text in texts} == {
        "fp8_gemm", "trtllm::fused_moe::gemm1", "trtllm::fused_moe::gemm2",
    }  # fmt: skip
    assert "torch.float8_e4m3fn" in parse_key(max(texts)).extras


def test_where_nothing_is_tuned_nothing_is_missing():
    expected = expected_keys(cache(), {**LLAMA_8B, "quantization_config": None}, 8192)

    assert (expected.count, expected.undecided, missing(expected, {})) == (0, {}, ())


def test_an_engine_that_does_not_tune_asks_for_nothing():
    expected = expected_keys(replace(cache(), tunes=False), LLAMA_8B, 8192)
    assert (expected.count, expected.undecided) == (0, {})


@pytest.mark.parametrize(
    ("asked", "config", "what"),
    [
        (cache(flashinfer="0.6.17"), LLAMA_8B, "everything"),
        (cache(flashinfer="0.7.3"), LLAMA_8B, "everything"),
        (cache(flashinfer="unknown"), LLAMA_8B, "everything"),
        (cache(engine="vllm", version="0.33.0"), LLAMA_8B, "everything"),
        (cache(), None, "everything"),
        (cache(is_draft=True), LLAMA_8B, "everything"),
        (cache(arch="sm100"), LLAMA_8B, "fp8_gemm"),
        (cache(arch="nonsense"), LLAMA_8B, "fp8_gemm"),
        (cache(), {**LLAMA_8B, "model_type": "new"}, "fp8_gemm"),
        (cache(quantization="modelopt_fp4"), LLAMA_8B, "fp8_gemm"),
        (cache(), {**LLAMA_8B, "quantization_config": {**FP8, "ignore": []}}, "lm_head"),
        (cache(pp=2), {**QWEN3_30B_A3B, "quantization_config": FP8, "mlp_only_layers": [0]}, "fp8_gemm"),
        (moe_cache(version="0.5.18"), QWEN3_30B_A3B, "trtllm::fused_moe"),
        (moe_cache(moe_runner_backend="flashinfer_trtllm"), QWEN3_30B_A3B, "trtllm::fused_moe"),
        (moe_cache(quantization="fp8"), QWEN3_30B_A3B, "trtllm::fused_moe"),
        (moe_cache(tp=4), {**QWEN3_30B_A3B, "quantization_config": FP8, "moe_intermediate_size": 96}, "trtllm::fused_moe"),
        (moe_cache(attn_dp_size=2), QWEN3_30B_A3B, "trtllm::fused_moe"),
        (moe_cache(tp=4, ep=3), QWEN3_30B_A3B, "trtllm::fused_moe"),
        (moe_cache(), {**QWEN3_30B_A3B, "hidden_act": "gelu"}, "trtllm::fused_moe"),
        (moe_cache(), {**QWEN3_30B_A3B, "num_experts_per_tok": "8"}, "trtllm::fused_moe"),
        (moe_cache(), {**QWEN3_30B_A3B, "model_type": "deepseek_v3", "n_routed_experts": 256}, "trtllm::fused_moe"),
    ],
)  # fmt: skip
def test_what_cannot_be_derived_is_undecided(asked, config, what):
    expected = expected_keys(asked, config, 8192)

    assert what in expected.undecided
    assert expected.undecided[what]


def test_rank_files_that_name_no_rank_are_not_guessed():
    asked = replace(moe_cache(), all_rank_files=("configs.json",))
    assert "trtllm::fused_moe" in expected_keys(asked, QWEN3_30B_A3B, 8192).undecided


def test_ranks_of_pipeline_stages_are_counted_anew():
    layer = replace(WHOLE_LAYER, tp_size=1, ep_size=2)
    names = [f"rank_tp{t}_pp{p}_dp0.json" for p in (0, 1) for t in (0, 1)]
    assert [moe_ranks(names, layer)[name].ep for name in names] == [0, 1, 0, 1]


def test_what_some_rank_lacks_is_named_by_op_shape_and_buckets():
    expected = expected_keys(cache(tp=2), LLAMA_8B, 4)
    (texts,) = set(expected.by_rank.values())
    dropped = {text for text in texts if "(1, 4096, 3072)" in text and "(1, 2, 4096)" not in text}
    files = {"rank_tp0_pp0_dp0.json": file(*texts), "rank_tp1_pp0_dp0.json": file(*(texts - dropped))}

    (gap,) = missing(expected, files)

    assert gap == Gap("fp8_gemm", "1xMx4096 1x4096x3072 float8_e4m3fn bfloat16", (1, 4))
    assert str(gap).endswith("bfloat16: 1 4")
    assert missing(expected, dict.fromkeys(files, file(*texts, "('more', 'R', ((1, 2),))"))) == ()
    assert sum(len(one.buckets) for one in missing(expected, {})) == len(texts)


def test_a_rank_with_another_ranks_keys_lacks_its_own():
    expected = expected_keys(moe_cache(tp=2, flashinfer="0.7.1"), QWEN3_30B_A3B, 1)
    first = file(*expected.by_rank["rank_tp0_pp0_dp0.json"])

    assert missing(expected, {"rank_tp0_pp0_dp0.json": first}) == ()
    gaps = missing(expected, dict.fromkeys(expected.by_rank, first))
    assert [gap.op for gap in gaps] == ["trtllm::fused_moe::gemm1", "trtllm::fused_moe::gemm2"]


def test_half_of_a_pair_is_a_tune_that_broke_off_whatever_the_model_is():
    other = FIRST_OF_QWEN3.replace("gemm1", "gemm2").replace("((1, 2048)", "((2, 2048)")
    gaps = missing(
        Expected(), {"any.json": file(FIRST_OF_QWEN3, FIRST_OF_QWEN3.replace("gemm1", "gemm2"), other)}
    )

    assert gaps == (
        Gap("trtllm::fused_moe::gemm1", "Mx2048 128x1536x2048 128x2048x768 bfloat16", (2,)),
    )  # fmt: skip


def test_keys_that_are_not_understood_are_still_counted():
    assert gaps_of(["junk"]) == (Gap("unknown", "unknown", (0,)),)


@pytest.mark.parametrize(
    ("tokens", "ladder", "top"),
    [
        (1, [1], 1),
        (3, [1, 2, 3], 4),
        (256, [1, 2, 4, 8, 16, 32, 64, 128, 256], 256),
        (300, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300], 512),
        (2049, [1, 2, 4, 8, 16, 32, 64, 128, 256, *range(512, 2049, 256), 2049], 2560),
        (5000, [1, 2, 4, 8, 16, 32, 64, 128, 256, *range(512, 2049, 256), 2560, 3072, 3584, 4096, 5000], 8192),
    ],
)  # fmt: skip
def test_buckets_are_flashinfers_ladder(tokens, ladder, top):
    assert list(hybrid_buckets(tokens)) == ladder
    assert top_bucket(tokens) == top
    assert len(hybrid_buckets(8192)) == 21
