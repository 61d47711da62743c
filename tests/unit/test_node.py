"""What a pod learns of itself before it asks for the key."""

import json
from dataclasses import replace

import pytest
from tests.bundles import H100
from tests.pods import FACTS

from autotune_init.facts import Facts, Gpu
from autotune_init.model_config import ConfigNotFound, find_model_config, read_model_config, with_side_file
from autotune_init.node import NodeUnknown, learn_facts, learn_group
from autotune_init.settings import Settings
from autotune_init.workload import flag_value, learn_files, learn_workload
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
    options = Settings(engine="sglang")
    with pytest.raises(NodeUnknown, match="state --engine-version"):
        learn_workload(options, {}, bare, learn_group(options, {}))


BOTH = replace(KNOWN, packages={"sglang": "0.5.23", "vllm": "0.33.0"})


def asked(*words, facts=KNOWN, environ=None, **settings):
    options = Settings(engine_argv=words, **settings)
    return learn_workload(options, {"HOME": "/root", **(environ or {})}, facts, learn_group(options, {}))


def test_the_engine_is_the_stated_one_then_the_command_lines_then_the_only_installed_one():
    assert asked("vllm", "serve", "m", facts=BOTH).question.engine == "vllm"
    assert asked("--tp", "2", facts=BOTH, engine="sglang").question.engine == "sglang"
    assert asked("--tp", "2").question.engine == "sglang"


@pytest.mark.parametrize(
    ("facts", "words"),
    [(BOTH, ("--tp", "2")), (BOTH, ()), (replace(KNOWN, packages={}), ("--tp", "2"))],
    ids=["two installed", "two and no command", "none installed"],
)
def test_an_engine_that_nothing_names_is_refused_by_name(facts, words):
    with pytest.raises(NodeUnknown, match="sglang and vllm") as unknown:
        asked(*words, facts=facts)

    assert unknown.value.reason == "unknown-engine"


def test_a_shell_line_is_read_as_the_shell_would_and_its_variables_are_the_engines():
    line = "export SGLANG_CACHE_DIR=/c && cd /models && exec python3 -m sglang.launch_server --model-path $M --tp 2"
    found = asked("sh", "-c", line, environ={"M": "llama"})

    assert found.question.argv == ("--model-path", "llama", "--tp", "2")
    assert found.question.environ["SGLANG_CACHE_DIR"] == "/c"
    assert found.command.directory == "/models"


def test_a_relative_model_path_begins_where_the_line_goes_to(tmp_path):
    (tmp_path / "llama").mkdir()
    (tmp_path / "llama" / "config.json").write_text('{"model_type": "llama"}')

    found = asked("sh", "-c", f"cd {tmp_path} && sglang serve --model-path llama")

    assert found.question.model_config == {"model_type": "llama"}


@pytest.mark.parametrize(
    ("words", "reason", "said"),
    [
        (("/entrypoint.sh",), "key-argv", "entrypoint-script"),
        (("sh", "-c", "sglang serve --tp $(nproc)"), "key-argv", "shell-"),
        (("vllm", "serve", "m"), "unknown-engine-version", "vllm is not installed"),
        (("sglang", "serve", "--config", "/nowhere.yaml"), "key-config-file", "nowhere"),
    ],
    ids=["script", "substitution", "engine that is not here", "config file"],
)
def test_a_command_that_cannot_be_read_is_refused_by_name(words, reason, said):
    with pytest.raises(NodeUnknown, match=said) as unknown:
        asked(*words)

    assert unknown.value.reason == reason


def test_the_engines_own_config_file_is_part_of_the_command_line(tmp_path):
    (tmp_path / "serve.yaml").write_text("tp-size: 4\ntrust-remote-code: true\n")

    found = asked("sglang", "serve", "--config", str(tmp_path / "serve.yaml"), "--tp-size", "2")

    assert found.question.argv == ("--tp-size", "4", "--trust-remote-code", "--tp-size", "2")


def test_any_program_may_use_flashinfers_own_store():
    assert asked("vllm", "serve", "m", engine="flashinfer").question.argv == ("m",)
    assert asked("/app/serve.py", "m", engine="flashinfer").question.argv == ("/app/serve.py", "m")
    with pytest.raises(NodeUnknown, match="shell-"):
        asked("sh", "-c", "A=$(x) vllm serve m", engine="flashinfer")


def draft_model(folder):
    for name in ("target", "draft"):
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(json.dumps({"model_type": name}))
        (folder / name / "hf_quant_config.json").write_text(
            json.dumps({"quantization": {"quant_algo": name}})
        )
    return asked(
        "--model-path", str(folder / "target"), "--speculative-draft-model-path", str(folder / "draft")
    )


def test_the_draft_models_files_are_read_as_the_targets_are(tmp_path):
    found = draft_model(tmp_path)

    assert found.question.draft_config == {"model_type": "draft"}
    assert found.question.draft_quant_config == {"quantization": {"quant_algo": "draft"}}
    assert found.question.quant_config == {"quantization": {"quant_algo": "target"}}
    assert found.draft_config["quantization_config"] == {"quant_algo": "draft"}


@pytest.mark.parametrize("name", ["config.json", "hf_quant_config.json", "generation_config.json", "code.py"])
@pytest.mark.parametrize("role", ["target", "draft"])
def test_a_small_file_that_changes_changes_what_a_memo_is_keyed_by(tmp_path, role, name):
    found = draft_model(tmp_path)
    before = learn_files(found)
    (tmp_path / role / name).write_text('{"changed": true}')

    assert learn_files(found) != before


def test_another_layout_of_the_same_config_is_the_same(tmp_path):
    found = draft_model(tmp_path)
    before = learn_files(found)
    (tmp_path / "target" / "config.json").write_text('{\n  "model_type":   "target"\n}\n')

    assert learn_files(found) == before
    assert str(tmp_path) not in json.dumps(before)


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
