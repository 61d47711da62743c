"""key --batch: one answer a line, in order, whatever the lines are."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune_init.key_batch import MAX_LINE_BYTES, Reader, answer_line, answer_lines
from autotune_init.model_config import read_model_config

RESOLVED = {
    "engine": "sglang",
    "engine_version": "0.5.23",
    "flashinfer_version": "0.7.2",
    "capability": [9, 0],
    "cache_dir": "/c",
    "gpu_uuid": "GPU-b1ec2a0e-9b3f-4a5c-8d7e-0123456789ab",
    "resolved": {
        "model_path": "Qwen/Qwen3-30B-A3B",
        "dtype": "torch.bfloat16",
        "quantization": None,
        "moe_runner_backend": "auto",
        "tp_size": 4,
        "pp_size": 1,
        "attn_dp_size": 1,
        "moe_ep_size": 1,
        "config_class": "Qwen3MoeConfig",
        "skip_ops": None,
        "is_draft": False,
        "draft_quantization": None,
    },
    "rank": {"tp": 3, "pp": 0, "dp": None},
}
STORE = {
    "engine": "flashinfer",
    "flashinfer_version": "0.7.2",
    "capability": [9, 0],
    "cache_dir": "/c",
    "metadata": {
        "flashinfer_version": "0.7.2",
        "cuda_version": "13.0",
        "cublas_version": "13.1.0",
        "cudnn_version": "91002",
        "cudnn_frontend_version": "1.14.1",
        "cutlass_dsl_version": "4.3.0",
        "gpu": "NVIDIA H100 80GB HBM3",
    },
}
FILES = Reader(read_model_config, lambda path: Path(path).read_text())
CONFIG = {"model_type": "qwen3_moe", "architectures": ["Qwen3MoeForCausalLM"], "torch_dtype": "bfloat16"}
ARGV = {
    **{
        name: RESOLVED[name]
        for name in ("engine", "engine_version", "flashinfer_version", "capability", "cache_dir")
    },
    "argv": ["python3", "-m", "sglang.launch_server", "--model-path", "Qwen/Qwen3-30B-A3B", "--tp", "4"],
    "model_config": "config.json",
    "rank": {"tp": 3, "pp": 0, "dp": 0},
}


def config_alone(path):
    if path.endswith("hf_quant_config.json"):
        raise FileNotFoundError(path)
    return CONFIG


CONFIG_ALONE = Reader(config_alone, FILES.text)


def answer(line, read=CONFIG_ALONE):
    return answer_line(line if isinstance(line, str) else json.dumps(line), read)


def without(line, *names):
    return {name: value for name, value in line.items() if name not in names}


def test_resolved_fields_and_a_command_line_agree():
    resolved, typed = answer(RESOLVED), answer({**ARGV, "driver": "580.95"})

    assert resolved == typed
    assert resolved["source"] == "recipe"
    assert resolved["path"] == f"/c/flashinfer/autotune/0.7.2/sm90/{resolved['key']}/rank_tp3_pp0_dp0.json"


def test_flashinfers_store():
    found = answer(STORE)

    assert found["path"] == f"/c/v2/{found['key']}"
    assert len(found["key"]) == 16


def test_a_draft_has_its_own_key():
    draft = {**RESOLVED, "resolved": {**RESOLVED["resolved"], "is_draft": True}}

    assert answer(draft)["key"] != answer(RESOLVED)["key"]
    assert answer({**draft, "engine_version": "0.5.14"})["refused"] == "engine-does-not-tune"


def test_a_rank_of_a_megamoe_target_is_named_after_its_gpu():
    line = {**RESOLVED, "resolved": {**RESOLVED["resolved"], "moe_runner_backend": "flashinfer_megamoe"}}

    assert answer(line)["path"].endswith("/rank_tp3_pp0_dp0_gpub1ec2a0e-9b3f-4a5c-8d7e-0123456789ab.json")
    assert answer(without(line, "gpu_uuid"))["refused"] == "key-needs-gpu-uuid"


def test_plain_data_parallel_ranks_are_in_the_file_name_only():
    line = {**ARGV, "argv": [*ARGV["argv"], "--dp", "2"]}

    assert answer({**line, "rank": {"tp": 0, "pp": 0, "dp": 1}})["path"].endswith("rank_tp0_pp0_dp1.json")
    assert answer(line)["key"] == answer(ARGV)["key"]


@pytest.mark.parametrize("rank", [{"tp": 4}, {"pp": 1}, {"tp": 0, "pp": 0, "dp": 1}])
def test_a_rank_that_the_replica_does_not_have_is_refused(rank):
    assert answer({**ARGV, "rank": rank})["refused"] == "key-ranks"


def test_the_engines_environment_counts():
    switched_off = {**ARGV, "env": {"SGLANG_FLASHINFER_AUTOTUNE_CACHE": "0"}}
    elsewhere = {**without(ARGV, "cache_dir"), "env": {"SGLANG_CACHE_DIR": "/x"}}

    assert answer(switched_off)["refused"] == "engine-cache-off"
    assert answer(elsewhere)["path"].startswith("/x/flashinfer/")
    assert answer({**ARGV, "argv": [*ARGV["argv"], "--disable-flashinfer-autotune"]})["refused"] == (
        "engine-does-not-tune"
    )


def test_a_config_that_cannot_be_read_is_refused(tmp_path):
    line = {**ARGV, "model_config": str(tmp_path / "nowhere")}

    assert answer(line, FILES)["refused"] == "undecidable"


def test_without_model_config_a_local_models_own_is_read(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    line = {**without(ARGV, "model_config"), "argv": ["--model-path", str(tmp_path)], "rank": None}

    assert "path" in answer(line, FILES)
    missing = answer({**line, "argv": ["--model-path", str(tmp_path / "x")]}, FILES)
    assert missing["refused"] == "undecidable"


def test_a_shell_line_is_read_with_the_engines_environment():
    line = "exec python3 -m sglang.launch_server --model-path $MODEL --tp ${TP:-4}"
    spelled = {**ARGV, "argv": ["sh", "-c", line], "env": {"MODEL": "Qwen/Qwen3-30B-A3B"}}

    assert answer(spelled)["path"] == answer(ARGV)["path"]


def test_a_config_file_is_merged_as_the_engine_does(tmp_path):
    (tmp_path / "serve.yaml").write_text("tensor-parallel-size: 2\nmodel-path: Qwen/Qwen3-30B-A3B\n")
    line = {**ARGV, "argv": ["sglang", "serve", "--config", str(tmp_path / "serve.yaml"), "--tp", "4"]}

    assert answer(line, Reader(config_alone, FILES.text))["path"] == answer(ARGV)["path"]


def test_a_draft_worker_that_tunes_has_its_own_path(tmp_path):
    draft = {"model_type": "llama", "architectures": ["LlamaForCausalLMEagle3"], "torch_dtype": "float16"}
    (tmp_path / "config.json").write_text(json.dumps(draft))
    eagle = ["--speculative-algorithm", "EAGLE3", "--speculative-draft-model-path", str(tmp_path)]
    reader = Reader(
        lambda path: FILES.config(path) if str(tmp_path) in path else config_alone(path), FILES.text
    )
    line = {**ARGV, "capability": [10, 0], "argv": [*ARGV["argv"], *eagle]}
    found = answer(line, reader)

    assert found["draft_path"].endswith("/rank_tp3_pp0_dp0.json")
    assert found["draft_path"] != found["path"]
    assert found["path"] == answer({**ARGV, "capability": [10, 0]})["path"]
    # on Hopper this backend stays auto, and neither worker tunes
    assert "draft_path" not in answer({**line, "capability": [9, 0]}, reader)


BAD = {
    "half a JSON": ("{", "bad-line"),
    "a list": ("[]", "bad-line"),
    "null": ("null", "bad-line"),
    "a huge number": ("1" * 5000, "bad-line"),
    "nested too deep": ("[" * 100_000, "bad-line"),
    "a huge line": ("x" * (MAX_LINE_BYTES + 1), "bad-line"),
    "no engine": ({}, "unknown-engine"),
    "another engine": ({"engine": "vllm"}, "unknown-engine"),
    "engine is a list": ({"engine": ["sglang"]}, "unknown-engine"),
    "engine alone": ({"engine": "sglang"}, "bad-line"),
    "no engine version": (without(RESOLVED, "engine_version"), "bad-line"),
    "no flashinfer version": (without(RESOLVED, "flashinfer_version"), "bad-line"),
    "no capability": (without(RESOLVED, "capability"), "bad-line"),
    "no cache dir": (without(RESOLVED, "cache_dir"), "bad-line"),
    "capability too short": ({**RESOLVED, "capability": [9]}, "bad-line"),
    "capability of texts": ({**RESOLVED, "capability": ["9", "0"]}, "bad-line"),
    "resolved is a list": ({**RESOLVED, "resolved": []}, "bad-line"),
    "negative rank": ({**RESOLVED, "rank": {"tp": -1}}, "bad-line"),
    "rank is a text": ({**RESOLVED, "rank": {"tp": "0"}}, "bad-line"),
    "rank outside": ({**RESOLVED, "rank": {"tp": 4}}, "key-ranks"),
    "field missing": ({**RESOLVED, "resolved": without(RESOLVED["resolved"], "quantization")}, "key-inputs"),
    "size is a text": ({**RESOLVED, "resolved": {**RESOLVED["resolved"], "tp_size": "4"}}, "key-inputs"),
    "half a character in a field": (
        {**RESOLVED, "resolved": {**RESOLVED["resolved"], "model_path": "\ud800"}},
        "bad-line",
    ),
    "half a character in cache_dir": ({**RESOLVED, "cache_dir": "/\udfff"}, "bad-line"),
    "future version": ({**RESOLVED, "engine_version": "0.5.24"}, "unknown-engine-version"),
    "version before the cache": ({**RESOLVED, "engine_version": "0.5.11"}, "engine-has-no-cache"),
    "a branch": ({**ARGV, "engine_version": "main"}, "unknown-engine-version"),
    "argv is a text": ({**ARGV, "argv": "--model-path x"}, "bad-line"),
    "argv of numbers": ({**ARGV, "argv": [1]}, "bad-line"),
    "env of numbers": ({**ARGV, "env": {"A": 1}}, "bad-line"),
    "env is a list": ({**ARGV, "env": [1]}, "bad-line"),
    "model_config is a number": ({**ARGV, "model_config": 5}, "bad-line"),
    "empty argv": ({**ARGV, "argv": []}, "undecidable"),
    "another engine's command line": ({**ARGV, "argv": ["vllm", "serve", "m/x"]}, "key-argv"),
    "a script": ({**ARGV, "argv": ["/entrypoint.sh"]}, "key-argv"),
    "a pipeline": ({**ARGV, "argv": ["sh", "-c", "sglang serve --model-path m/x | tee log"]}, "key-argv"),
    "a config file that is not there": (
        {**ARGV, "argv": [*ARGV["argv"], "--config", "no.yaml"]},
        "key-config-file",
    ),
    "speculative decoding": (
        {**ARGV, "argv": [*ARGV["argv"], "--speculative-algorithm", "EAGLE3"]},
        "undecidable",
    ),
    "no metadata": (without(STORE, "metadata"), "bad-line"),
    "metadata of null": ({**STORE, "metadata": {**STORE["metadata"], "gpu": None}}, "key-inputs"),
    "metadata field missing": ({**STORE, "metadata": without(STORE["metadata"], "gpu")}, "key-inputs"),
    "versions differ": ({**STORE, "flashinfer_version": "0.7.1"}, "bad-line"),
    "flashinfer without the store": (
        {
            **STORE,
            "flashinfer_version": "0.6.18",
            "metadata": {**STORE["metadata"], "flashinfer_version": "0.6.18"},
        },
        "key-inputs",
    ),
}


@pytest.mark.parametrize(
    ("line", "reason"),
    list(BAD.values()),
    ids=list(BAD),
)
def test_a_line_that_cannot_be_answered_is_refused_by_name(line, reason):
    refused = answer(line)

    assert refused["refused"] == reason
    assert refused["detail"]
    assert refused.keys() == {"refused", "detail"}
    json.dumps(refused, ensure_ascii=False).encode()


def test_a_bad_line_in_the_middle_stops_nothing():
    lines = [json.dumps(RESOLVED), "{", "\n", json.dumps(STORE), '{"engine": "x"}', json.dumps(ARGV)]
    answers = list(answer_lines(lines, CONFIG_ALONE))

    assert ["path" in one for one in answers] == [True, False, True, False, True]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(sorted({*RESOLVED, *ARGV, *STORE})), inner, max_size=5),
        max_leaves=12,
    ),
    st.sampled_from([RESOLVED, ARGV, STORE]),
)
def test_whatever_is_asked_there_is_one_answer(odd, line):
    merged = {**line, **odd} if isinstance(odd, dict) else odd
    found = answer(merged)

    assert ("path" in found) != ("refused" in found)
    json.dumps(found, ensure_ascii=False).encode()
