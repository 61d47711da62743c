"""What a pod learns of itself before it asks for the key."""

import json

import pytest
from tests.bundles import H100
from tests.pods import FACTS

from autotune_init.facts import Facts, Gpu
from autotune_init.model_config import ConfigNotFound, find_model_config, read_model_config, with_side_file
from autotune_init.node import NodeUnknown, flag_value, learn_facts, learn_group, learn_workload
from autotune_init.settings import Settings
from cache_store.clock import SystemClock

KNOWN = Facts(Gpu("NVIDIA H100 80GB HBM3", (9, 0)), {"sglang": "0.5.23"}, H100)


def workload(**settings):
    options = Settings(**settings)
    return learn_workload(options, {"HOME": "/root"}, KNOWN, learn_group(options, {}))


def test_the_engines_version_is_the_installed_one_unless_stated():
    assert workload().question.engine_version == "0.5.23"
    assert workload(engine_version="0.5.12").question.engine_version == "0.5.12"


def test_without_any_version_it_is_unknown():
    bare = Facts(KNOWN.gpu, {}, KNOWN.metadata)
    with pytest.raises(NodeUnknown, match="state --engine-version"):
        learn_workload(Settings(), {}, bare, learn_group(Settings(), {}))


def test_the_flashinfer_version_is_the_one_in_its_metadata():
    assert workload().question.flashinfer_version == H100["flashinfer_version"]


def test_a_relative_cache_dir_is_made_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert workload(cache_dir="x").question.cache_dir == str(tmp_path / "x")


@pytest.mark.parametrize(
    ("argv", "value"),
    [
        (("--model-path", "a"), "a"),
        (("--model-path=a",), "a"),
        (("--model", "a", "--model-path", "b"), "b"),
        (("--model-path",), None),
        ((), None),
    ],
)
def test_the_last_value_of_a_flag_counts(argv, value):
    assert flag_value(argv, "--model-path", "--model") == value


def test_the_config_is_found_through_the_model_path(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')

    assert workload(engine_argv=("--model-path", str(tmp_path))).question.model_config == {
        "model_type": "llama"
    }
    assert workload(model_config=str(tmp_path)).question.model_config == {"model_type": "llama"}
    assert workload(model_config=str(tmp_path / "config.json")).model_config == {"model_type": "llama"}


def test_a_config_that_is_not_there_is_a_warning_and_the_recipe_decides():
    found = workload(engine_argv=("--model-path", "/nowhere"))

    assert found.question.model_config is None
    assert "config.json" in found.warnings[0]


@pytest.mark.parametrize(
    "body", ["", "[]", "{", "[" * 100_000, "\0"], ids=["empty", "list", "cut", "deep", "nul"]
)
def test_a_config_that_cannot_be_read_is_a_warning(tmp_path, body):
    (tmp_path / "config.json").write_text(body)

    assert workload(model_config=str(tmp_path)).warnings


def test_a_config_of_a_gigabyte_is_not_read(tmp_path):
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(ValueError, match="larger"):
        read_model_config(str(tmp_path))


def test_the_hubs_cache_is_looked_into(tmp_path):
    repository = tmp_path / "hub" / "models--org--name"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    (repository / "snapshots" / "abc").mkdir(parents=True)
    (repository / "snapshots" / "abc" / "config.json").write_text("{}")

    found = find_model_config("org/name", {"HF_HOME": str(tmp_path)})

    assert found == repository / "snapshots" / "abc" / "config.json"
    assert find_model_config("org/name", {"HF_HUB_CACHE": str(tmp_path / "hub")}, "abc") == found
    for model, revision in (("org/other", None), ("org/name", "gone"), ("../x", None), ("/abs/x", None)):
        with pytest.raises(ConfigNotFound):
            find_model_config(model, {"HF_HOME": str(tmp_path)}, revision)


def test_the_quantization_beside_the_config_counts_for_tuners_and_not_for_the_key(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "hf_quant_config.json").write_text(json.dumps({"quantization": {"quant_algo": "FP8"}}))

    found = workload(model_config=str(tmp_path))

    assert found.question.model_config == {"model_type": "llama"}
    assert found.model_config == {"model_type": "llama", "quantization_config": {"quant_algo": "FP8"}}
    (tmp_path / "hf_quant_config.json").write_text("{")
    assert with_side_file({"model_type": "llama"}, tmp_path) == {"model_type": "llama"}


def test_facts_are_read_from_the_file_without_probing(tmp_path):
    facts = learn_facts(Settings(facts=str(FACTS)), {}, 5.0, SystemClock())

    assert facts.metadata["gpu"] == "NVIDIA H100 80GB HBM3"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (None, "facts-unreadable"),
        ("{", "facts-not-json"),
        ('{"x": 1}', "facts-unknown-key"),
        ("[]", "facts-bad-value"),
    ],
)
def test_bad_facts_are_named(tmp_path, body, reason):
    if body is not None:
        (tmp_path / "facts").write_text(body)
    with pytest.raises(NodeUnknown) as caught:
        learn_facts(Settings(facts=str(tmp_path / "facts")), {}, 5.0, SystemClock())

    assert caught.value.reason == reason


def test_a_node_without_a_gpu_is_named(tmp_path):
    with pytest.raises(NodeUnknown) as caught:
        learn_facts(Settings(), {"PATH": "/usr/bin:/bin"}, 5.0, SystemClock())

    assert caught.value.reason.startswith("environment-no-")


def test_contradicting_controllers_are_named():
    with pytest.raises(NodeUnknown) as caught:
        learn_group(Settings(), {"LWS_WORKER_INDEX": "x", "LWS_GROUP_SIZE": "2"})

    assert caught.value.reason == "replica-group"
