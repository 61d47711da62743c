"""What `sglang serve` does to its words before SGLang's own argument parser gets them. Pure.

Source: SGLang 0.5.12 to 0.5.23 cli/serve.py, `_extract_model_type_override`; since 0.5.16 also
`_normalize_positional_model_path`. `python -m sglang.launch_server` does neither.
"""

from __future__ import annotations

from autotune_init.engines.sglang import Refused
from autotune_init.engines.sglang_versions import BY_VERSION, PLACES

PROGRAM = "sglang serve"
_MODEL_TYPE = "--model-type"
_LANGUAGE_MODELS = ("auto", "llm")
_POSITIONAL_SINCE = "0.5.16"
_SHOWN = 40


def parsers_argv(argv: tuple[str, ...], release_version: str) -> tuple[str, ...]:
    """The words for the parser (and for `sglang_config_file`), of the words behind `sglang serve`.

    Raises `Refused`: undecidable for another kind of model, unknown-engine-version.
    """
    if release_version not in BY_VERSION:
        raise Refused("unknown-engine-version", f"SGLang {release_version[:_SHOWN]}")
    model_type, words = _without_model_type(argv)
    if model_type not in _LANGUAGE_MODELS:
        raise Refused("undecidable", f"{_MODEL_TYPE} {model_type[:_SHOWN]!r} is served by another program")
    takes_model = PLACES[release_version] >= PLACES[_POSITIONAL_SINCE]
    if takes_model and words and not words[0].startswith("-"):
        return ("--model-path", *words)
    return words


def _without_model_type(argv: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """(the last --model-type, the other words)."""
    model_type, words, at = "auto", [], 0
    while at < len(argv):
        word = argv[at]
        at += 1
        if word == _MODEL_TYPE:
            if at == len(argv):
                raise Refused("undecidable", f"{_MODEL_TYPE} without a value")
            model_type, at = argv[at], at + 1
        elif word.startswith(f"{_MODEL_TYPE}="):
            model_type = word.partition("=")[2]
        else:
            words.append(word)
    return model_type, tuple(words)
