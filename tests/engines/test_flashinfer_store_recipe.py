"""Where FlashInfer's own store is, and which register of the bucket belongs to which workload."""

import hashlib
from dataclasses import replace

import pytest
from tests.bundles import H100

from autotune_init.engines import EngineCache, Question, Refusal
from autotune_init.engines.flashinfer_store import BadMetadata, env_hash, hash_of, manifest_of, store_below
from autotune_init.engines.registry import ask

METADATA = {**H100, "flashinfer_version": "0.7.2"}
QUESTION = Question(
    engine="flashinfer",
    engine_version="0.7.2",
    flashinfer_version="0.7.2",
    capability=(9, 0),
    argv=("vllm", "serve", "m"),
    model_config={"model_type": "llama"},
    environ={"HOME": "/root"},
    metadata=METADATA,
)
HASH = env_hash(METADATA)


def answer(**changes):
    return ask(replace(QUESTION, **changes))


def test_the_answer_names_the_environments_directory_and_no_rank():
    cache = answer(fields={"workload": "llama"})

    assert isinstance(cache, EngineCache)
    assert cache.kind == "entries"
    assert cache.directory == f"/root/.cache/flashinfer/autotune/v2/{HASH}"
    assert cache.rank_files == cache.all_rank_files == ()
    assert cache.key_text == f"flashinfer-v2|{HASH}|llama"
    assert cache.key == hashlib.sha256(cache.key_text.encode()).hexdigest()[:16]
    assert cache.resolved == {
        "env_hash": HASH, "workload": "llama", "root": "/root/.cache/flashinfer/autotune",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("environ", "cache_dir", "root"),
    [
        ({"HOME": "/h"}, None, "/h/.cache/flashinfer/autotune"),
        ({"HOME": "/h", "FLASHINFER_WORKSPACE_BASE": "/w"}, None, "/w/.cache/flashinfer/autotune"),
        ({"HOME": "/h", "FLASHINFER_AUTOTUNE_CACHE_DIR": ""}, None, "/h/.cache/flashinfer/autotune"),
        ({"FLASHINFER_WORKSPACE_BASE": "/w", "FLASHINFER_AUTOTUNE_CACHE_DIR": "/a"}, None, "/a"),
        ({"FLASHINFER_AUTOTUNE_CACHE_DIR": "/a", "VLLM_FLASHINFER_AUTOTUNE_CACHE_DIR": "/v"}, None, "/v"),
        ({"VLLM_FLASHINFER_AUTOTUNE_CACHE_DIR": "/v"}, "/c", "/c"),
    ],
)
def test_the_root_is_the_one_that_flashinfer_takes(environ, cache_dir, root):
    assert answer(environ=environ, cache_dir=cache_dir).directory == f"{root}/v2/{HASH}"


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({}, "HOME is set"),
        ({"HOME": ""}, "HOME is set"),
        ({"HOME": "/h", "FLASHINFER_WORKSPACE_BASE": ""}, "FLASHINFER_WORKSPACE_BASE"),
        ({"HOME": "/h", "FLASHINFER_AUTOTUNE_CACHE_DIR": "~/a"}, "relative"),
        ({"HOME": "/h", "VLLM_FLASHINFER_AUTOTUNE_CACHE_DIR": "a"}, "relative"),
    ],
)
def test_a_root_that_is_not_known_is_refused(environ, words):
    refused = answer(environ=environ)

    assert isinstance(refused, Refusal)
    assert refused.reason == "key-inputs"
    assert words in refused.detail


def test_another_command_line_config_or_environment_is_another_register():
    keys = [
        answer().key,
        answer(argv=("vllm", "serve", "n")).key,
        answer(model_config={"model_type": "qwen3"}).key,
        answer(model_config=None).key,
        answer(metadata={**METADATA, "gpu": "NVIDIA H200"}).key,
        answer(fields={"workload": "llama"}).key,
        answer(fields={"measure_execution_mode": "eager"}).key,
    ]
    assert len(set(keys)) == len(keys)


def test_the_order_of_config_json_and_the_place_on_disk_change_no_register():
    config = {"a": 1, "b": {"c": 2, "d": 3}}
    turned = {"b": {"d": 3, "c": 2}, "a": 1}

    assert answer(model_config=config).key == answer(model_config=turned).key
    assert answer(cache_dir="/c").key == answer(cache_dir="/d").key


def test_a_stated_workload_is_all_that_counts():
    stated = {"workload": "llama-on-b200"}
    assert answer(fields=stated).key == answer(fields=stated, argv=("other",), model_config=None).key


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"argv": (), "model_config": None}, "--field workload=NAME"),
        ({"fields": {"workload": ""}}, "--field workload=NAME"),
        ({"fields": {"workload": "a\nb"}}, "--field workload=NAME"),
        ({"fields": {"workload": "x" * 257}}, "--field workload=NAME"),
        ({"fields": {"worklaod": "llama"}}, "--field worklaod"),
        ({"fields": {"measure_execution_mode": "fast"}}, "cuda_graph, eager"),
        ({"metadata": {**METADATA, "flashinfer_version": "0.6.18"}}, "0.6.18"),
        ({"metadata": {}}, "missing or unknown metadata fields"),
    ],
)
def test_what_would_name_a_wrong_place_is_refused(changes, words):
    refused = answer(**changes)

    assert isinstance(refused, Refusal)
    assert refused.reason == "key-inputs"
    assert words in refused.detail


def test_another_engine_that_uses_the_store_keeps_its_name():
    cache = store_below(replace(QUESTION, engine="vllm", engine_version="0.33.0"), "/v", "vLLM's answer")

    assert isinstance(cache, EngineCache)
    assert (cache.engine, cache.engine_version) == ("vllm", "0.33.0")
    assert cache.directory == f"/v/v2/{HASH}"
    assert cache.key == answer().key


def test_a_manifest_hashes_to_its_directory():
    cache = answer(fields={"measure_cold_l2": "True"})

    assert hash_of(manifest_of(METADATA, cache.resolved)) == cache.resolved["env_hash"]
    assert hash_of(manifest_of(METADATA, {})) == HASH
    with pytest.raises(BadMetadata, match="cache_schema"):
        hash_of({**METADATA, "cache_schema": "v3"})
