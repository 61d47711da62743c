"""A plain SGLang command line and config.json -> resolved fields, or exactly what is missing.

Answers only where argv, config.json and the checked families decide a field; everything else is refused, and
`--field name=value` states it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from autotune_init.engines import FieldValue, Input, NotCached, Question
from autotune_init.engines.sglang import Refused, arch_of
from autotune_init.engines.sglang_families import (
    NotKnown,
    backend_on,
    checkpoint_method,
    family_of,
    quantization_on,
)
from autotune_init.engines.sglang_flags import (
    DISABLE_AUTOTUNE,
    DP_ATTENTION,
    DP_RANK_VARIABLE,
    DTYPES,
    MISTRAL_FORMAT_NAMES,
    SHAPE_PREFIXES,
    may_change_the_key,
)
from autotune_init.engines.sglang_versions import Release
from autotune_init.engines.sglang_words import NotUnderstood, Typed, read_argv

KEY_FIELDS = (
    "model_path", "dtype", "quantization", "moe_runner_backend", "tp_size", "pp_size", "attn_dp_size", "moe_ep_size",
    "config_class",
)  # fmt: skip
OTHER_FIELDS = (
    "skip_ops",
    "dp_size",
    "is_draft",
    "draft_quantization",
    "enable_dp_attention",
    "nnodes",
    "node_rank",
)
SIZES = frozenset({"tp_size", "pp_size", "dp_size", "attn_dp_size", "moe_ep_size", "nnodes", "node_rank"})
TRUTHS = frozenset({"is_draft", "enable_dp_attention"})
TRUE_TEXTS, FALSE_TEXTS = frozenset({"1", "true", "yes"}), frozenset({"0", "false", "no"})
NULLABLE = frozenset({"quantization", "draft_quantization"})
NONE_TEXTS = frozenset({"None", "null"})
MAX_SIZE = 65536

Found = tuple[FieldValue, str]


def resolve(question: Question, release: Release) -> tuple[dict[str, object], tuple[Input, ...]] | NotCached:
    """(fields, where each comes from). Raises `Refused` naming every field that is not decided."""
    stated = parse_fields(question.fields)
    typed = read_argv(question.argv, release)
    if DISABLE_AUTOTUNE in typed.switches:
        return NotCached("engine-does-not-tune", DISABLE_AUTOTUNE)
    inputs: dict[str, Input] = {}
    problems: list[str] = []

    def decide(name: str, find: Callable[[], Found]) -> None:
        if name in stated:
            inputs[name] = Input(name, _shown(stated[name]), "--field")
            return
        try:
            value, source = find()
        except (NotKnown, KeyError) as unknown:
            # a KeyError is an input of this one that was reported already
            problems.extend([f"{name}: {unknown}"] if isinstance(unknown, NotKnown) else [])
        else:
            inputs[name] = Input(name, value, source)

    config = question.model_config
    arch = arch_of(question.capability)
    decide("model_path", lambda: _model_path(typed))
    decide("config_class", lambda: (family_of(_given(config))[1].config_class, "config.json"))
    decide("dtype", lambda: _dtype(typed, config))
    decide("quantization", lambda: _quantization(typed, config, arch))
    decide("moe_runner_backend", lambda: _backend(typed, config, arch, inputs["quantization"].value))
    for name in ("tp_size", "pp_size", "dp_size", "moe_ep_size", "nnodes"):
        decide(name, partial(_size, typed, name))
    decide("node_rank", lambda: _node_rank(typed, question))
    decide("enable_dp_attention", lambda: (DP_ATTENTION in typed.switches, "argv"))
    decide("attn_dp_size", lambda: _attn_dp_size(inputs))
    decide("skip_ops", lambda: (_joined(typed.skip_ops), "argv" if typed.skip_ops else "default"))
    decide("is_draft", lambda: (False, "target model"))
    if stated.get("is_draft"):
        decide("draft_quantization", _not_stated)
    is_key_stated = all(name in stated for name in KEY_FIELDS)
    problems += _outside(question, typed.not_understood, is_key_stated=is_key_stated)
    problems += _misfits(inputs)
    if problems:
        raise Refused(
            "undecidable", "; ".join(problems) + ". State what it resolves to with --field NAME=VALUE"
        )
    fields: dict[str, object] = {name: one.value for name, one in inputs.items()}
    fields["skip_ops"] = stated.get("skip_ops", typed.skip_ops)
    return fields, tuple(inputs.values())


def parse_fields(given: Mapping[str, FieldValue]) -> dict[str, object]:
    """--field texts as values. Raises `Refused` for an unknown name or a value of the wrong kind."""
    return {name: _parse_field(name, value) for name, value in given.items()}


def _parse_field(name: str, value: FieldValue) -> object:
    if name not in KEY_FIELDS and name not in OTHER_FIELDS:
        known = ", ".join((*KEY_FIELDS, *OTHER_FIELDS))
        raise Refused("key-inputs", f"--field {name}: no such field; there are {known}")
    text = str(value)
    if name in SIZES:
        if isinstance(value, bool) or not (text.isascii() and text.isdecimal()) or int(text) > MAX_SIZE:
            raise Refused("key-inputs", f"{name} is {value!r}; a whole number is needed")
        return int(text)
    if name in TRUTHS:
        if text.lower() not in TRUE_TEXTS | FALSE_TEXTS:
            raise Refused("key-inputs", f"{name} is {value!r}; true or false is needed")
        return text.lower() in TRUE_TEXTS
    if name == "skip_ops":
        return tuple(op for op in str(value or "").split(",") if op)
    if name in NULLABLE and (value is None or text in NONE_TEXTS):
        return None
    if value is None or not text:
        raise Refused("key-inputs", f"{name} is {value!r}; a text is needed")
    return text


def _outside(question: Question, words: tuple[NotUnderstood, ...], *, is_key_stated: bool) -> list[str]:
    """What of argv and the environment may change the answer in ways that we do not follow.

    With every field of the key stated, only what decides the rank files still matters.
    """
    found = [f"{word.word} {word.why}" for word in words if not is_key_stated or _decides_shape(word)]
    if question.environ.get(DP_RANK_VARIABLE):
        found.append(f"{DP_RANK_VARIABLE} sets the dp rank in the file name")
    if not is_key_stated:
        found += [
            f"{name} may change what argv means"
            for name, value in question.environ.items()
            if value and name != DP_RANK_VARIABLE and may_change_the_key(name)
        ]
    return found


def _decides_shape(word: NotUnderstood) -> bool:
    # argparse takes every unambiguous beginning of a flag for the flag
    return not word.is_flag or any(
        word.word.startswith(prefix) or prefix.startswith(word.word.partition("=")[0])
        for prefix in SHAPE_PREFIXES
    )


def _misfits(inputs: Mapping[str, Input]) -> list[str]:
    """Sizes that the engine would not start with, or that contradict each other: then a statement is wrong."""
    value = {name: one.value for name, one in inputs.items()}
    tp, ep = value.get("tp_size"), value.get("moe_ep_size")
    misfits = []
    if isinstance(tp, int) and isinstance(ep, int) and (ep < 1 or tp % ep):
        misfits.append(f"moe_ep_size {ep} does not divide tp_size {tp}")
    if {"attn_dp_size", "dp_size", "enable_dp_attention"} <= value.keys():
        implied = value["dp_size"] if value["enable_dp_attention"] else 1
        if value["attn_dp_size"] != implied:
            misfits.append(
                f"attn_dp_size {value['attn_dp_size']} with dp_size {value['dp_size']} and enable_dp_attention "
                f"{value['enable_dp_attention']}: state all three"
            )
    return misfits


def _given(config: Mapping[str, object] | None) -> Mapping[str, object]:
    if config is None:
        raise NotKnown("config.json was not found (--model-config)")
    return config


def _model_path(typed: Typed) -> Found:
    path = typed.values.get("model_path")
    if not path:
        raise NotKnown("no --model-path")
    lowered = path.lower()
    # "none" and "dummy" end the resolution early; a URL, a .gguf file and "repository:file" are replaced
    if ":" in path or "gguf" in lowered or path != path.strip() or lowered in ("none", "dummy"):
        raise NotKnown(f"the engine may rewrite {path[:80]!r}")
    if any(name in lowered for name in MISTRAL_FORMAT_NAMES):
        raise NotKnown(f"the engine may read {path[:80]!r} as Mistral's own format, not by config.json")
    return path, "argv"


def _dtype(typed: Typed, config: Mapping[str, object] | None) -> Found:
    """`auto` is the checkpoint's, and float16 for a float32 one or one that does not say (but not for gemma).

    SGLang 0.5.12 to 0.5.23 srt/configs/model_config.py `_get_and_verify_dtype`; transformers 5 reads "dtype" first.
    """
    asked = typed.values.get("dtype", "auto")
    if asked in DTYPES:
        return DTYPES[asked], "argv"
    if asked != "auto":
        raise NotKnown(f"--dtype {asked[:40]!r}")
    model_type, _ = family_of(_given(config))
    saved = _given(config).get("dtype") or _given(config).get("torch_dtype")
    if saved in ("bfloat16", "float16"):
        return DTYPES[str(saved)], "config.json"
    if saved in (None, "float32") and not model_type.startswith("gemma"):
        return DTYPES["float16"], f"auto: config.json says {saved or 'nothing'}"
    raise NotKnown(f"auto, and config.json says {saved!r}"[:200])


def _quantization(typed: Typed, config: Mapping[str, object] | None, arch: str) -> Found:
    model_type, _ = family_of(_given(config))
    asked = typed.values.get("quantization")
    saved = checkpoint_method(_given(config))
    value = quantization_on(model_type, arch, asked, saved)
    if asked is not None:
        return value, "argv"
    return value, "no --quantization" if value is None else f"config.json, which {arch} code writes back"


def _backend(typed: Typed, config: Mapping[str, object] | None, arch: str, quantization: FieldValue) -> Found:
    asked = typed.values.get("moe_runner_backend", "auto")
    model_type, _ = family_of(_given(config))
    if quantization is not None and not isinstance(quantization, str):
        raise NotKnown(f"quantization is {quantization!r}")
    value = backend_on(model_type, arch, asked, quantization)
    return value, "argv" if asked != "auto" else f"auto, for {model_type} on {arch}"


def _size(typed: Typed, name: str) -> Found:
    text = typed.values.get(name)
    if text is None:
        return 1, "default"
    if not (text.isascii() and text.isdecimal() and len(text) < 8 and 1 <= int(text) <= MAX_SIZE):
        raise NotKnown(f"{text[:40]!r} is no size")
    return int(text), "argv"


def _node_rank(typed: Typed, question: Question) -> Found:
    text = typed.values.get("node_rank")
    if text is None:
        return question.node_rank or 0, "the controller" if question.node_rank is not None else "default"
    if not (text.isascii() and text.isdecimal() and len(text) < 8):
        raise NotKnown(f"{text[:40]!r} is no rank")
    return int(text), "argv"


def _attn_dp_size(inputs: Mapping[str, Input]) -> Found:
    """`dp_size if enable_dp_attention else 1` (0.5.22 and later resolve it to attn_dp_size with the same value)."""
    if not inputs["enable_dp_attention"].value:
        return 1, "no DP attention"
    return inputs["dp_size"].value, "dp_size, with DP attention"


def _not_stated() -> Found:
    raise NotKnown("a draft's own quantization is only known by stating it")


def _joined(ops: tuple[str, ...]) -> str:
    return ",".join(sorted(set(ops)))


def _shown(value: object) -> FieldValue:
    if isinstance(value, tuple):
        return _joined(value)
    return value if value is None or isinstance(value, str | int | bool) else str(value)
