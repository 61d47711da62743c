"""`--config FILE.yaml`: the command line is the release's own merged one, or it is refused."""

import json

import pytest
from tests.pods import ROOT

from autotune_init.engines.sglang import Refused
from autotune_init.engines.sglang_config_file import (
    MAX_NODES,
    MAX_YAML_CHARACTERS,
    REASON,
    config_path,
    merge,
)
from autotune_init.engines.sglang_versions import RELEASES

GOLDEN = json.loads((ROOT / "tests" / "data" / "sglang_config_file_golden.json").read_text())
VERSIONS = [release.version for release in RELEASES]
FROM_FILE = ("--config", "engine.yaml")


def merged(yaml_text, *argv, version="0.5.23"):
    return merge((*FROM_FILE, *argv), yaml_text, version)


def refused(yaml_text, argv=FROM_FILE, version="0.5.23"):
    with pytest.raises(Refused) as refusal:
        merge(tuple(argv), yaml_text, version)
    assert refusal.value.refusal.reason == REASON
    return refusal.value.refusal.detail


def own_answers(version):
    """(case, the release's own words or None)"""
    at = VERSIONS.index(version)
    for case in GOLDEN["cases"]:
        yield case, [words for since, words in case["since"] if VERSIONS.index(since) <= at][-1]


def test_every_release_was_asked_every_file():
    assert GOLDEN["releases"] == VERSIONS
    assert all(case["since"][0][0] == VERSIONS[0] for case in GOLDEN["cases"])


@pytest.mark.parametrize("version", VERSIONS)
def test_a_file_makes_the_releases_own_command_line_or_a_refusal(version):
    wrong, right, careful = [], 0, []
    for case, own in own_answers(version):
        try:
            words = merge(tuple(case["argv"]), case["yaml"], version)
        except Refused:
            careful += [case["yaml"]] * (own is not None)
            continue
        if own is None or list(words) != own:
            wrong.append((case, own, words))
        right += 1

    assert not wrong
    assert right >= 1000
    # the merger lets these through, and argparse rejects them
    assert len(careful) <= 20, careful


def test_the_command_line_wins_over_the_file_because_it_comes_last():
    assert merged("tp-size: 8\ndtype: auto", "--tp", "2") == (
        "--tp-size",
        "8",
        "--dtype",
        "auto",
        "--tp",
        "2",
    )
    assert merge(("--tp", "2", *FROM_FILE), "tp: 8", "0.5.12") == ("--tp", "8", "--tp", "2")


def test_without_the_word_nothing_is_read():
    assert merge(("--model-path", "m"), "'not: yaml", "0.5.23") == ("--model-path", "m")
    assert config_path(("--model-path", "m")) is None
    assert config_path(("--tp", "2", *FROM_FILE)) == "engine.yaml"


def test_a_dictionary_is_json_since_one_release():
    text = "preferred-sampling-params: {a: true}"

    assert merged(text, version="0.5.13.post1") == ("--preferred-sampling-params", "{'a': True}")
    assert merged(text, version="0.5.14") == ("--preferred-sampling-params", '{"a": true}')


def test_a_switch_that_was_deprecated_cannot_be_switched_on_by_a_file():
    assert merged("enable-dp-attention: true", version="0.5.21") == ("--enable-dp-attention",)
    assert "takes no" in refused("enable-dp-attention: true", version="0.5.22")


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--config=engine.yaml"], "two words"),
        ([*FROM_FILE, "--config", "b.yaml"], "several"),
        (["--config"], "without a file"),
        (["--config", "engine.json"], ".yaml or .yml"),
        (["--config", ""], ".yaml or .yml"),
    ],
    ids=["attached", "twice", "nothing", "json", "empty"],
)
def test_a_config_flag_that_the_engine_rejects(argv, says):
    assert says in refused("tp-size: 8", argv)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("tp_size: 8", "as on the command line"),
        ("enable_metrics: true", "as on the command line"),
        ("TP-size: 8", "as on the command line"),
        ("'a b': 1", "as on the command line"),
        ("config: other.yaml", "inside of the file"),
        ("'': x", "as on the command line"),
        ("lora-paths: [a]", "takes no"),
        ("1: 2", "is no text"),
        ("- tp-size", "no mapping"),
        ("tp-size: 'open", "not YAML"),
        ("tp-size: !!python/object:os.system {}", "not YAML"),
        ("tp-size: !!bool x", "not YAML"),
        ("tp-size: !!int ''", "not YAML"),
        ("tp-size: !!timestamp x", "not YAML"),
        ("random-seed: !!set {a, b}", "a set"),
        ("log-level: [{a: !!set {a, b}}]", "a set"),
        ("preferred-sampling-params: {a: 2020-01-01}", "cannot be written"),
        ("random-seed: 0x" + "f" * 8000, "cannot be written"),
        ("a: " + "x" * MAX_YAML_CHARACTERS, "longer than"),
        ("a: " + "[" * 3000, "not YAML"),
        ("a: &a [*a]", f"more than {MAX_NODES}"),
        ("a: &a [1, 2, 3]\n" + "\n".join(f"{new}: &{new} [{', '.join(['*' + old] * 9)}]" for old, new in zip("abcdef", "bcdefg", strict=True)),
         f"more than {MAX_NODES}"),
    ],
    ids=["underscore", "underscore-switch", "case", "blank", "config", "empty", "lora", "number", "list", "quote", "tag", "bool", "int", "timestamp", "set", "nested-set", "date",
         "digits", "long", "deep", "endless", "exploding"],
)  # fmt: skip
def test_a_file_that_is_refused_says_why(text, says):
    assert says in refused(text)


def test_an_unknown_release_is_never_guessed():
    with pytest.raises(Refused) as refusal:
        merged("tp: 8", version="0.5.99")
    assert refusal.value.refusal.reason == "unknown-engine-version"
