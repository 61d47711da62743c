"""`sglang serve`: the words that reach SGLang's own parser."""

import pytest

from autotune_init.engines.sglang import Refused
from autotune_init.engines.sglang_serve import parsers_argv


@pytest.mark.parametrize(
    ("argv", "version", "expected"),
    [
        (("--model-path", "m"), "0.5.12", ("--model-path", "m")),
        (("m", "--tp", "8"), "0.5.16", ("--model-path", "m", "--tp", "8")),
        (("m", "--tp", "8"), "0.5.23", ("--model-path", "m", "--tp", "8")),
        (("m", "--tp", "8"), "0.5.15.post1", ("m", "--tp", "8")),
        (("--tp", "8", "m"), "0.5.23", ("--tp", "8", "m")),
        (("--model-type", "llm", "m"), "0.5.23", ("--model-path", "m")),
        (("m", "--model-type=auto", "--tp", "8"), "0.5.23", ("--model-path", "m", "--tp", "8")),
        (("--model-type=diffusion", "m", "--model-type", "llm"), "0.5.23", ("--model-path", "m")),
        ((), "0.5.23", ()),
    ],
)
def test_what_the_parser_gets(argv, version, expected):
    assert parsers_argv(argv, version) == expected


@pytest.mark.parametrize(
    "argv", [("--model-type", "diffusion", "m"), ("--model-type=",), ("m", "--model-type")], ids=ascii
)
def test_another_kind_of_model_is_refused(argv):
    with pytest.raises(Refused) as refused:
        parsers_argv(argv, "0.5.23")

    assert refused.value.refusal.reason == "undecidable"


def test_an_unknown_release_is_never_guessed():
    with pytest.raises(Refused) as refused:
        parsers_argv(("m",), "0.5.99")

    assert refused.value.refusal.reason == "unknown-engine-version"
