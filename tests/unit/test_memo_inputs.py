"""What a memo is keyed by: all that an engine's answer may depend on, nothing of one pod, nothing secret."""

import json
from dataclasses import replace

import pytest

from autotune_init.engines import Question
from autotune_init.memo_inputs import (
    AskedGpu,
    EngineCode,
    digest_of_json,
    memo_inputs,
    relevant_environ,
    shown_argv,
)
from cache_store.memo import memo_key

GPU = AskedGpu("NVIDIA H100 80GB HBM3", 81559, "580.95")
CODE = EngineCode("d" * 64, "2.14.1", "5.19.0")
FILES = {"config.json": "c" * 64, "generation_config.json": None}
QUESTION = Question(
    "sglang", "0.5.23", "0.7.2", (9, 0), ("--model-path", "/m", "--tp", "2"), {"model_type": "x"}
)


def key(question=QUESTION, gpu=GPU, code=CODE, files=FILES):
    return memo_key(memo_inputs(question, gpu, code, files))


@pytest.mark.parametrize(
    "other",
    [
        {"question": replace(QUESTION, engine_version="0.5.22")},
        {"question": replace(QUESTION, flashinfer_version="0.7.1")},
        {"question": replace(QUESTION, capability=(10, 0))},
        {"question": replace(QUESTION, argv=("--model-path", "/m", "--tp", "4"))},
        {"question": replace(QUESTION, environ={"SGLANG_CUTLASS_MOE": "1"})},
        {"gpu": replace(GPU, count=4)},
        {"question": replace(QUESTION, environ={"VLLM_FLASHINFER_AUTOTUNE_CACHE_DIR": "/x"})},
        {"gpu": replace(GPU, name="NVIDIA H200")},
        {"gpu": replace(GPU, memory_mib=143771)},
        {"gpu": replace(GPU, driver="595.10")},
        {"code": replace(CODE, digest="e" * 64)},
        {"code": replace(CODE, transformers="5.19.1")},
        {"code": replace(CODE, torch="2.14.0")},
        {"files": {**FILES, "config.json": "e" * 64}},
        {"files": {**FILES, "generation_config.json": "e" * 64}},
    ],
    ids=str,
)
def test_whatever_the_answer_may_depend_on_gives_another_memo(other):
    assert key(**other) != key()


@pytest.mark.parametrize(
    "environ",
    [
        {"HOSTNAME": "pod-7f9", "POD_IP": "10.0.0.7", "SGLANG_HOST_IP": "10.0.0.7"},
        {"SGLANG_CACHE_DIR": "/node-7/cache", "HF_HOME": "/node-7/hf"},
        {"SGLANG_SERVICE_HOST": "10.1.2.3", "SGLANG_ROUTER_PORT_30000_TCP_ADDR": "10.1.2.3"},
        {"HF_TOKEN": "hf_secret", "VLLM_API_KEY": "s"},
        {"PATH": "/x", "AUTOTUNE_STORE": "s3://b"},
    ],
    ids=lambda environ: " ".join(environ),
)
def test_what_only_one_pod_is_called_gives_the_same_memo(environ):
    assert key(replace(QUESTION, environ=environ)) == key()


def test_a_newer_driver_of_the_same_branch_is_the_same_memo():
    assert key(gpu=replace(GPU, driver="580.105.08")) == key()


def test_a_pods_own_name_inside_of_a_variable_is_the_same_memo():
    def named(name):
        return {"HOSTNAME": name, "SGLANG_TRACE_DIR": f"/traces/{name}"}

    assert key(replace(QUESTION, environ=named("pod-aa"))) == key(replace(QUESTION, environ=named("pod-bb")))


def test_a_pods_own_name_inside_of_a_model_path_stays_since_it_is_part_of_the_key():
    argv = ("--model-path", "/models/llama", "--tp", "2")
    one = replace(QUESTION, argv=argv, environ={"HOSTNAME": "llama"})

    assert memo_inputs(one, GPU, CODE, FILES)["argv"] == list(argv)


@pytest.mark.parametrize(
    "argv",
    [
        ("--api-key", "hunter2"),
        ("--api-key=hunter2",),
        ("--api-k", "hunter2"),
        ("--api_key", "hunter2"),
        ("--api-key", "x", "hunter2"),
        ("--admin-api-key", "hunter2"),
        ("--hf-token", "hunter2"),
        ("--ssl-keyfile-password=hunter2",),
        ("--our-forks-secret", "hunter2"),
        ("--hicache-storage-backend-extra-config", '{"password":"hunter2"}'),
        ("--model-loader-extra-config", '{"secret":"hunter2"}'),
    ],
    ids=" ".join,
)
def test_no_secret_of_the_command_line_is_shown(argv):
    shown = shown_argv(("--tp", "2", *argv, "--port", "1"))

    assert "hunter2" not in json.dumps(shown)
    assert (shown[:2], shown[-2:]) == (("--tp", "2"), ("--port", "1"))
    assert len(shown) == len(argv) + 4


@pytest.mark.parametrize(
    "words",
    [
        ("--hf-token", "hunter2", "org/model"),
        ("--api-key", "a", "b", "-tp", "2"),
        ("--host", "1.2.3.4", "org/model"),
    ],
    ids=" ".join,
)
def test_what_stands_behind_a_secret_and_is_none_of_it_stays(words):
    shown = shown_argv(words)

    assert shown[-1] == words[-1]
    assert not {"hunter2", "a", "b", "1.2.3.4"} & set(shown)


def test_another_storage_configuration_is_another_memo_although_it_is_not_shown():
    def with_config(text):
        return replace(QUESTION, argv=("--hicache-storage-backend-extra-config", text))

    assert key(with_config('{"a":1}')) != key(with_config('{"a":2}'))


def test_flags_that_look_like_secrets_and_are_none_stay():
    argv = ("--tokenizer-path", "/t", "--speculative-token-map", "/map", "--tokenizer-mode", "auto")

    assert shown_argv(argv) == argv


def test_two_addresses_are_the_same_memo():
    assert shown_argv(("--host", "10.0.0.1")) == shown_argv(("--host", "10.0.0.2"))


def test_a_url_with_credentials_is_told_apart_and_not_shown():
    shown = relevant_environ("sglang", {"HF_ENDPOINT": "https://user:hunter2@mirror"})

    assert "hunter2" not in json.dumps(shown)
    assert shown != relevant_environ("sglang", {"HF_ENDPOINT": "https://user:other@mirror"})


def test_a_file_is_known_by_what_it_says():
    assert digest_of_json({"a": 1, "b": 2}) == digest_of_json({"b": 2, "a": 1})
    assert digest_of_json(None) is None
    assert digest_of_json({}) is not None


def test_vllm_is_asked_again_where_more_of_its_environment_changes():
    environ = {"CUDA_VISIBLE_DEVICES": "0", "TORCHDYNAMO_DISABLE": "1"}

    assert relevant_environ("vllm", environ) == environ
    assert relevant_environ("sglang", environ) == {}
