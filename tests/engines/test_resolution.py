"""What the engine's own program answers is text from outside: believed only where it agrees with itself and the question."""

import copy

import pytest
from tests.engines.command_lines import question

from autotune_init.engines import EngineCache
from autotune_init.engines.registry import ask
from autotune_init.engines.resolution import BadResolution, workers_of
from autotune_init.engines.sglang import Refused
from autotune_init.engines.sglang_cache import from_workers

ARGV = ("--model-path", "m/x", "--tp", "2", "--nnodes", "2", "--node-rank", "1")
FIELDS = {
    "model_path": "m/x",
    "dtype": "torch.bfloat16",
    "quantization": None,
    "moe_runner_backend": "auto",
    "config_class": "LlamaConfig",
    "skip_ops": "",
    "is_draft": False,
    "model_quantization": None,
    "tp_size": 2,
    "pp_size": 1,
    "dp_size": 1,
    "enable_dp_attention": False,
    "attn_dp_size": 1,
    "ep_size": 1,
    "nnodes": 2,
    "node_rank": 1,
}


def own_answer():
    recipe = ask(question(*ARGV))
    assert isinstance(recipe, EngineCache)
    return {
        "schema": "autotune-cache/resolution/v1",
        "engine": "sglang",
        "engine_version": "0.5.23",
        "flashinfer_version": "0.7.2",
        "capability": [9, 0],
        "argv": list(ARGV),
        "workers": [
            {
                "role": "target",
                "key": recipe.key,
                "folder": f"flashinfer/autotune/0.7.2/sm90/{recipe.key}",
                "files": list(recipe.all_rank_files),
                "fields": dict(FIELDS),
                "tunes": False,
                "tunes_why": "the release's own rule",
            }
        ],
    }


def caches(answer):
    asked = question(*ARGV)
    return from_workers(asked, workers_of(answer, asked), "resolver")


def test_the_engines_own_answer_is_the_recipes():
    recipe, resolved = ask(question(*ARGV)), caches(own_answer())

    for name in (
        "key",
        "key_text",
        "directory",
        "rank_files",
        "all_rank_files",
        "nnodes",
        "ranks_must_agree",
        "tunes",
    ):
        assert getattr(resolved, name) == getattr(recipe, name), name
    assert resolved.source == "resolver"
    assert resolved.resolved == {name: recipe.resolved.get(name) for name in resolved.resolved}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("schema", "autotune-cache/resolution/v2"),
        ("engine", "vllm"),
        ("engine_version", "0.5.22"),
        ("flashinfer_version", "0.7.1"),
        ("capability", [10, 0]),
        ("argv", ["--model-path", "m/y"]),
        ("argv", "--model-path m/x"),
        ("workers", []),
        ("workers", {}),
        ("workers", ["target"]),
        ("workers", [{"role": "draft"}]),
    ],
)
def test_an_answer_to_another_question_is_refused(name, value):
    with pytest.raises(BadResolution):
        caches({**own_answer(), name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("role", "draft"),
        ("role", 1),
        ("key", "0123456789abcdef"),
        ("key", "../../etc"),
        ("key", None),
        ("folder", "flashinfer/autotune/0.7.2/sm100/0123456789abcdef"),
        ("folder", ""),
        ("files", ["rank_tp0_pp0_dp0.json"]),
        ("files", ["../x.json", "rank_tp0_pp0_dp0.json"]),
        ("files", [1]),
        ("files", "rank_tp0_pp0_dp0.json"),
        ("fields", []),
        ("fields", {"tp_size": [2]}),
        ("tunes", "yes"),
    ],
)
def test_a_worker_that_makes_no_sense_is_refused(name, value):
    answer = own_answer()
    answer["workers"][0][name] = value

    with pytest.raises(BadResolution):
        caches(answer)


@pytest.mark.parametrize("name", ["model_path", "dtype", "tp_size", "config_class", "ep_size"])
def test_a_field_that_is_missing_or_another_one_is_refused(name):
    missing, other = own_answer(), own_answer()
    del missing["workers"][0]["fields"][name]
    other["workers"][0]["fields"][name] = 4 if isinstance(FIELDS[name], int) else "other"

    for answer in (missing, other):
        with pytest.raises((BadResolution, Refused)):
            caches(answer)


def test_a_draft_that_may_tune_is_there_and_one_that_does_not_is_not():
    answer = own_answer()
    draft = copy.deepcopy(answer["workers"][0])
    draft["role"] = "draft"
    stated = {**{name: str(value) for name, value in FIELDS.items() if name in ("dtype", "config_class", "model_path")},
              "quantization": "None", "moe_runner_backend": "auto", "tp_size": "2", "pp_size": "1", "attn_dp_size": "1",
              "moe_ep_size": "1", "is_draft": "true", "draft_quantization": "None"}  # fmt: skip
    draft["key"] = ask(question(*ARGV, fields=stated)).key
    draft["fields"]["is_draft"] = True
    answer["workers"].append(draft)

    draft["folder"] = f"flashinfer/autotune/0.7.2/sm90/{draft['key']}"

    assert caches(answer).draft is None  # "tunes" is False
    draft["tunes"] = None
    assert caches(answer).draft.key == draft["key"]
    draft["key"] = answer["workers"][0]["key"]
    with pytest.raises(BadResolution):
        caches(answer)


def of_release(version, **change):
    answer = {**own_answer(), "engine_version": version}
    answer["workers"][0].update(change)
    answer["workers"][0]["fields"]["nnodes"] = 1
    asked = question(*ARGV, version=version)
    return from_workers(asked, workers_of(answer, asked), "resolver")


def test_a_release_that_no_table_knows_is_believed_about_its_own_folder_only():
    recipe, cache = ask(question(*ARGV)), of_release("0.5.24")

    assert (cache.key, cache.directory) == (recipe.key, recipe.directory)
    assert cache.all_rank_files == ("rank_tp0_pp0_dp0.json", "rank_tp1_pp0_dp0.json")
    assert cache.ranks_must_agree


@pytest.mark.parametrize(
    "change",
    [
        {"folder": "../../etc/0.7.2/sm90/0123456789abcdef", "key": "0123456789abcdef"},
        {"folder": "/etc/0.7.2/sm90/0123456789abcdef", "key": "0123456789abcdef"},
        {"folder": "flashinfer/autotune/0.7.1/sm90/0123456789abcdef", "key": "0123456789abcdef"},
        {"folder": "flashinfer/autotune/0.7.2/sm90/0123456789abcdef", "key": "0123456789abcdee"},
        {"files": []},
        {"files": ["a/b.json"]},
        {"files": ["..json"]},
        {"files": ["rank_tp0_pp0_dp0_gpu0.json"]},
    ],
    ids=str,
)
def test_a_release_that_no_table_knows_cannot_name_just_any_place(change):
    with pytest.raises(BadResolution):
        of_release("0.5.24", **change)


def test_a_release_from_before_the_cache_has_none_whatever_is_answered():
    with pytest.raises(Refused, match="keeps no autotune cache"):
        of_release("0.5.11")
