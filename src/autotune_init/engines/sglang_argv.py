"""An SGLang command line, config.json and GPU -> resolved fields, or exactly what is missing. Pure.

Answers only where the rules decide a field; everything else is refused, and `--field name=value` states it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from autotune_init.engines import FieldValue, Input, NotCached, Question
from autotune_init.engines.sglang import Refused, arch_of
from autotune_init.engines.sglang_fields import KEY_FIELDS, MAX_SIZE, joined, parse_fields, shown
from autotune_init.engines.sglang_flags import (
    A2A,
    ATTENTION_DESTS,
    ATTENTION_OF_BLACKWELL,
    DISABLE_AUTOTUNE,
    DP_ATTENTION,
    DP_RANK_VARIABLE,
    HARMLESS_DESTS,
    HARMLESS_WITH,
    KEY_DESTS,
    MISTRAL_FORMAT_NAMES,
    OVERRIDES,
    RULED_DESTS,
    SHAPE_DESTS,
    SHAPE_PREFIXES,
    SKIP_OPS,
    TRUST,
    is_harmless_override,
    may_change_the_key,
)
from autotune_init.engines.sglang_models import (
    NotKnown,
    checkpoint_method,
    config_class_of,
    dtype_of,
    model_of,
)
from autotune_init.engines.sglang_rules import A2A_BACKENDS, BLACKWELL, Asked, backend_of, quantization_of
from autotune_init.engines.sglang_versions import Release
from autotune_init.engines.sglang_words import NotUnderstood, Typed, read_argv
from cache_store.dataclass import dataclass

Found = tuple[FieldValue, str]


@dataclass(frozen=True)
class Resolution:
    """The target's fields, where each comes from, and what was typed."""

    fields: Mapping[str, object]
    inputs: tuple[Input, ...]
    typed: Typed


def resolve(question: Question, release: Release) -> Resolution | NotCached:
    """Raises `Refused` naming every field that is not decided."""
    stated = parse_fields(question.fields)
    typed = read_argv(question.argv, release)
    if typed.is_on(DISABLE_AUTOTUNE):
        return NotCached("engine-does-not-tune", "--disable-flashinfer-autotune")
    inputs: dict[str, Input] = {}
    problems: list[str] = []

    def decide(name: str, find: Callable[[], Found]) -> None:
        if name in stated:
            inputs[name] = Input(name, shown(stated[name]), "--field")
            return
        try:
            value, source = find()
        except (NotKnown, KeyError) as unknown:
            # a KeyError is an input of this one that was reported already
            problems.extend([f"{name}: {unknown}"] if isinstance(unknown, NotKnown) else [])
        else:
            inputs[name] = Input(name, value, source)

    decide("model_path", lambda: _model_path(typed))
    decide("config_class", lambda: _config_class(question, typed))
    decide("dtype", lambda: _dtype(question, typed))
    for name in ("tp_size", "pp_size", "nnodes"):
        decide(name, partial(_size, typed, name))
    decide("dp_size", lambda: _dp_size(typed))
    decide("moe_ep_size", lambda: _ep_size(typed, inputs))
    decide("node_rank", lambda: _node_rank(typed, question))
    decide("enable_dp_attention", lambda: (_has_dp_attention(typed), "argv"))
    decide("attn_dp_size", lambda: _attn_dp_size(inputs))
    decide("quantization", lambda: _quantization(_asked(question, typed, release, inputs)))
    decide(
        "moe_runner_backend",
        lambda: _backend(_asked(question, typed, release, inputs), inputs["quantization"].value),
    )
    skip_ops = _skip_ops(typed)
    decide("skip_ops", lambda: (joined(skip_ops), "argv" if skip_ops else "default"))
    decide("is_draft", lambda: (False, "target model"))
    if stated.get("is_draft"):
        decide("draft_quantization", _not_stated)
    is_key_stated = all(name in stated for name in KEY_FIELDS)
    problems += _outside(question, typed, is_key_stated=is_key_stated)
    problems += _misfits(inputs)
    if problems:
        raise Refused(
            "undecidable", "; ".join(problems) + ". State what it resolves to with --field NAME=VALUE"
        )
    fields: dict[str, object] = {name: one.value for name, one in inputs.items()}
    fields["skip_ops"] = stated.get("skip_ops", skip_ops)
    return Resolution(fields, tuple(inputs.values()), typed)


def _asked(question: Question, typed: Typed, release: Release, inputs: Mapping[str, Input]) -> Asked:
    config = given(question.model_config)
    ep_size, tp_size = inputs["moe_ep_size"].value, inputs["tp_size"].value
    model_type, model = model_of(config)
    return Asked(
        model_type=model_type,
        architecture=model.architecture,
        arch=arch_of(question.capability),
        release=release,
        typed_quantization=typed.text("quantization"),
        saved=checkpoint_method(config),
        typed_backend=typed.text("moe_runner_backend") or "auto",
        a2a=a2a_of(typed),
        tp_size=tp_size if isinstance(tp_size, int) else 1,
        ep_size=ep_size if isinstance(ep_size, int) else 1,
        driver=question.driver,
    )


def a2a_of(typed: Typed) -> str:
    """Raises `NotKnown` for a backend whose rules are not in the table."""
    a2a = typed.text(A2A) or "none"
    if a2a != "none" and a2a not in A2A_BACKENDS:
        raise NotKnown(f"--moe-a2a-backend {a2a[:40]} was not checked")
    return a2a


def _outside(question: Question, typed: Typed, *, is_key_stated: bool) -> list[str]:
    """What of argv and the environment may change the answer in ways that we do not follow.

    With every field of the key stated, only what decides the rank files still matters.
    """
    words = [*typed.not_understood, *_not_followed(typed, arch_of(question.capability))]
    found = [f"{word.word} {word.why}" for word in words if not is_key_stated or _decides_shape(word, typed)]
    if question.environ.get(DP_RANK_VARIABLE):
        found.append(f"{DP_RANK_VARIABLE} sets the dp rank in the file name")
    if not is_key_stated:
        found += [
            f"{name} may change what argv means"
            for name, value in question.environ.items()
            if value and name != DP_RANK_VARIABLE and may_change_the_key(name)
        ]
    return found


def _not_followed(typed: Typed, arch: str) -> list[NotUnderstood]:
    found = []
    for dest, value in typed.values.items():
        if (
            dest in ATTENTION_DESTS
            and str(value).startswith(ATTENTION_OF_BLACKWELL)
            and arch not in BLACKWELL
        ):
            found.append(
                NotUnderstood(typed.flags[dest], f"{value} does not start on {arch} in every release")
            )
            continue
        if dest in KEY_DESTS or dest in RULED_DESTS or dest in HARMLESS_DESTS:
            continue
        if dest in HARMLESS_WITH and value in HARMLESS_WITH[dest]:
            continue
        if dest == OVERRIDES and is_harmless_override(str(value)):
            continue
        why = f"{str(value)[:40]!r} may touch the key" if dest in HARMLESS_WITH else "may touch the key"
        found.append(NotUnderstood(typed.flags[dest], why))
    return found


def _decides_shape(word: NotUnderstood, typed: Typed) -> bool:
    if not word.is_flag:
        return True
    if any(typed.flags.get(dest) == word.word for dest in SHAPE_DESTS):
        return True
    name = word.word.partition("=")[0]
    # argparse takes every unambiguous beginning of a flag for the flag
    return any(name.startswith(prefix) or prefix.startswith(name) for prefix in SHAPE_PREFIXES)


def _misfits(inputs: Mapping[str, Input]) -> list[str]:
    """Sizes that the engine would not start with, or that contradict each other: then a statement is wrong."""
    value = {name: one.value for name, one in inputs.items()}
    tp, ep, attention = value.get("tp_size"), value.get("moe_ep_size"), value.get("attn_dp_size")
    misfits = []
    if isinstance(tp, int) and isinstance(ep, int) and (ep < 1 or tp % ep):
        misfits.append(f"moe_ep_size {ep} does not divide tp_size {tp}")
    if isinstance(tp, int) and isinstance(attention, int) and (attention < 1 or tp % attention):
        misfits.append(f"attn_dp_size {attention} does not divide tp_size {tp}")
    if {"attn_dp_size", "dp_size", "enable_dp_attention"} <= value.keys():
        implied = value["dp_size"] if value["enable_dp_attention"] else 1
        if attention != implied:
            misfits.append(
                f"attn_dp_size {attention} with dp_size {value['dp_size']} and enable_dp_attention "
                f"{value['enable_dp_attention']}: state all three"
            )
    return misfits


def given(config: Mapping[str, object] | None) -> Mapping[str, object]:
    if config is None:
        raise NotKnown("config.json was not found (--model-config)")
    return config


def _model_path(typed: Typed) -> Found:
    path = typed.text("model_path")
    if not path:
        raise NotKnown("no --model-path")
    lowered = path.lower()
    # "none" and "dummy" end the resolution early; a URL, a .gguf file and "repository:file" are replaced
    if ":" in path or "gguf" in lowered or path != path.strip() or lowered in ("none", "dummy"):
        raise NotKnown(f"the engine may rewrite {path[:80]!r}")
    if any(name in lowered for name in MISTRAL_FORMAT_NAMES):
        raise NotKnown(f"the engine may read {path[:80]!r} as Mistral's own format, not by config.json")
    return path, "argv"


def _config_class(question: Question, typed: Typed) -> Found:
    return config_class_of(given(question.model_config), trusts_remote_code=typed.is_on(TRUST))


def _dtype(question: Question, typed: Typed) -> Found:
    config = given(question.model_config)
    if model_of(config)[0] == "gpt_oss" and checkpoint_method(config) == "mxfp4":
        return "torch.bfloat16", "GPT-OSS in MXFP4 is bfloat16 whatever --dtype says"
    return dtype_of(config, typed.text("dtype") or "auto")


def _quantization(asked: Asked) -> Found:
    value = quantization_of(asked)
    if asked.typed_quantization is not None:
        return value, "argv"
    return (
        value,
        "no --quantization" if value is None else f"config.json, which {asked.arch} code writes back",
    )


def _backend(asked: Asked, quantization: FieldValue) -> Found:
    if quantization is not None and not isinstance(quantization, str):
        raise NotKnown(f"quantization is {quantization!r}")
    value = backend_of(asked, quantization)
    return value, "argv" if asked.typed_backend != "auto" else f"auto, for {asked.model_type} on {asked.arch}"


def _size(typed: Typed, name: str) -> Found:
    texts = [typed.text(dest) for dest, field in KEY_DESTS.items() if field == name and dest in typed.values]
    if not texts:
        return 1, "default"
    return _whole(texts[0] or "", "size", 1), "argv"


def _whole(text: str, what: str, least: int) -> int:
    """Raises `NotKnown`. `int()` takes more spellings, which nobody types."""
    if not (text.isascii() and text.isdecimal() and len(text) < 8 and least <= int(text) <= MAX_SIZE):
        raise NotKnown(f"{text[:40]!r} is no {what}")
    return int(text)


def _ep_size(typed: Typed, inputs: Mapping[str, Input]) -> Found:
    stated = _size(typed, "moe_ep_size")
    a2a = a2a_of(typed)
    if a2a == "none":
        return stated
    return inputs["tp_size"].value, f"tp_size, because of --moe-a2a-backend {a2a}"


def _node_rank(typed: Typed, question: Question) -> Found:
    text = typed.text("node_rank")
    if text is None:
        return question.node_rank or 0, "the controller" if question.node_rank is not None else "default"
    return _whole(text, "rank", 0), "argv"


def _dp_size(typed: Typed) -> Found:
    text = typed.text("attn_dp_size")
    if text is None:
        return _size(typed, "dp_size")
    if typed.text("dp_size") is not None or typed.is_on(DP_ATTENTION):
        raise NotKnown("--attn-dp-size together with --dp-size or --enable-dp-attention was not checked")
    return _whole(text, "size", 1), "argv"


def _has_dp_attention(typed: Typed) -> bool:
    return typed.is_on(DP_ATTENTION) or (typed.text("attn_dp_size") or "1") != "1"


def _attn_dp_size(inputs: Mapping[str, Input]) -> Found:
    """`dp_size if enable_dp_attention else 1`; --attn-dp-size N (0.5.23) says the same as --dp N --enable-dp-attention."""
    if not inputs["enable_dp_attention"].value:
        return 1, "no DP attention"
    return inputs["dp_size"].value, "dp_size, with DP attention"


def _skip_ops(typed: Typed) -> tuple[str, ...]:
    value = typed.values.get(SKIP_OPS, ())
    return value if isinstance(value, tuple) else ()


def _not_stated() -> Found:
    raise NotKnown("a draft's own quantization is only known by stating it")
