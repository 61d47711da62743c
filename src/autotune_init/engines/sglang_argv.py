"""A plain SGLang command line and config.json -> resolved fields, or exactly what is missing.

Answers only where argv and config.json decide a field without any `auto` rule; everything else is refused, and
`--field name=value` states it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from autotune_init.engines import FieldValue, Input, NotCached, Question
from autotune_init.engines.sglang import Refused
from autotune_init.engines.sglang_flags import (
    AMBIGUOUS,
    BACKENDS,
    CONFIG_CLASSES,
    DTYPES,
    HARMLESS_SWITCHES,
    HARMLESS_VALUES,
    HARMLESS_WITH,
    KEY_FLAGS,
    QUANTIZATIONS,
    TOUCHY_VARIABLES,
)
from autotune_init.engines.sglang_versions import Release

PROGRAMS = (("-m", "sglang.launch_server"), ("sglang", "serve"))
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
NULLABLE = frozenset({"quantization", "moe_runner_backend", "draft_quantization"})
NONE_TEXTS = frozenset({"None", "null"})


@dataclass
class Typed:
    """What the command line says, last repeat winning as in argparse; and what it says that we do not understand."""

    values: dict[str, str] = field(default_factory=dict)
    skip_ops: tuple[str, ...] | None = None
    switches: set[str] = field(default_factory=set)
    not_understood: list[str] = field(default_factory=list)


def resolve(question: Question, release: Release) -> tuple[dict[str, object], tuple[Input, ...]] | NotCached:
    """(fields, where each comes from). Raises `Refused` naming every field that is not decided."""
    stated = parse_fields(question.fields)
    typed = read_argv(question.argv, release)
    if "--disable-flashinfer-autotune" in typed.switches:
        return NotCached("engine-does-not-tune", "--disable-flashinfer-autotune")
    inputs: dict[str, Input] = {}
    missing: dict[str, str] = {}

    def decide(name: str, found: tuple[FieldValue, str] | str) -> None:
        if name in stated:
            inputs[name] = Input(name, _shown(stated[name]), "--field")
        elif isinstance(found, str):
            missing[name] = found
        else:
            inputs[name] = Input(name, found[0], found[1])

    config = question.model_config
    decide("model_path", _model_path(typed))
    decide("dtype", _dtype(typed, config))
    decide("quantization", _quantization(typed, config, question.capability))
    decide("moe_runner_backend", _backend(typed))
    for name in ("tp_size", "pp_size", "dp_size", "moe_ep_size", "nnodes"):
        decide(name, _size(typed, name, 1))
    decide("node_rank", _node_rank(typed, question))
    decide("enable_dp_attention", ("--enable-dp-attention" in typed.switches, "argv"))
    decide("attn_dp_size", _attn_dp_size(inputs))
    decide("config_class", _config_class(config))
    decide("skip_ops", (",".join(sorted(set(typed.skip_ops or ()))), "argv" if typed.skip_ops else "default"))
    decide("is_draft", (False, "target model"))
    if not all(name in stated for name in KEY_FIELDS):
        problems = list(typed.not_understood)
        problems += [f"{name} {why}" for name, why in TOUCHY_VARIABLES.items() if question.environ.get(name)]
        problems += [f"{name}: {why}" for name, why in missing.items()]
        if problems:
            raise Refused(
                "undecidable", "; ".join(problems) + ". State what it resolves to with --field NAME=VALUE"
            )
    fields: dict[str, object] = {name: one.value for name, one in inputs.items()}
    fields["skip_ops"] = stated.get("skip_ops", typed.skip_ops or ())
    fields["draft_quantization"] = stated.get("draft_quantization")
    return fields, tuple(inputs.values())


def parse_fields(given: Mapping[str, FieldValue]) -> dict[str, object]:
    """--field texts as values. Raises `Refused` for an unknown name or a value of the wrong kind."""
    values: dict[str, object] = {}
    for name, value in given.items():
        if name not in KEY_FIELDS and name not in OTHER_FIELDS:
            known = ", ".join((*KEY_FIELDS, *OTHER_FIELDS))
            raise Refused("key-inputs", f"--field {name}: no such field; there are {known}")
        if name in SIZES:
            values[name] = _number(name, value)
        elif name in TRUTHS:
            values[name] = str(value).lower() in ("1", "true", "yes")
        elif name == "skip_ops":
            values[name] = tuple(op for op in str(value or "").split(",") if op)
        elif name in NULLABLE and (value is None or value in NONE_TEXTS):
            values[name] = None
        else:
            values[name] = str(value)
    return values


def _number(name: str, value: FieldValue) -> int:
    text = str(value)
    if isinstance(value, bool) or not (text.isascii() and text.isdecimal()):
        raise Refused("key-inputs", f"{name} is {value!r}; a whole number is needed")
    return int(text)


def read_argv(argv: tuple[str, ...], release: Release) -> Typed:
    """Every word accounted for: a key flag, a harmless flag, or something not understood."""
    typed = Typed()
    words = list(_flags_of(argv, typed))
    while words:
        word = words.pop(0)
        name, equals, attached = word.partition("=")
        if name == "--flashinfer-autotune-skip-ops" and not equals and release.skip_ops is not None:
            ops = []
            while words and not words[0].startswith("-"):
                ops.append(words.pop(0))
            typed.skip_ops = tuple(ops)
        elif name in KEY_FLAGS or name in HARMLESS_VALUES or name in HARMLESS_WITH:
            if not equals and (not words or words[0].startswith("--")):
                typed.not_understood.append(f"{name} without a value")
                continue
            value = attached if equals else words.pop(0)
            if name in KEY_FLAGS:
                typed.values[KEY_FLAGS[name]] = value
            elif name in HARMLESS_WITH and value not in HARMLESS_WITH[name]:
                typed.not_understood.append(f"{name} {value}")
        elif name in HARMLESS_SWITCHES and not equals:
            continue
        elif name in ("--disable-flashinfer-autotune", "--enable-dp-attention") and not equals:
            typed.switches.add(name)
        elif name in AMBIGUOUS:
            typed.not_understood.append(f"{name} is ambiguous to the engine itself (write {AMBIGUOUS[name]})")
        else:
            typed.not_understood.append(f"{name[:80]} may touch the key")
    return typed


def _flags_of(argv: tuple[str, ...], typed: Typed) -> tuple[str, ...]:
    """The flags behind the program's name; a line that starts with a flag is one from its beginning."""
    if not argv or argv[0].startswith("--"):
        return argv
    for program in PROGRAMS:
        for at in range(len(argv) - 1):
            if (
                argv[at : at + 2] == program
                and all(not word.startswith("--") for word in argv[:at])
                and at <= 2
            ):
                return argv[at + 2 :]
    typed.not_understood.append(f"{' '.join(argv[:3])[:80]!r} is no SGLang command line that can be read")
    return ()


def _model_path(typed: Typed) -> tuple[FieldValue, str] | str:
    path = typed.values.get("model_path")
    if not path:
        return "no --model-path"
    if "://" in path or path.lower().endswith(".gguf") or path != path.strip():
        return f"the engine rewrites {path[:80]!r}"
    return path, "argv"


def _dtype(typed: Typed, config: Mapping[str, object] | None) -> tuple[FieldValue, str] | str:
    given = typed.values.get("dtype", "auto")
    if given in DTYPES:
        return DTYPES[given], "argv"
    if given != "auto":
        return f"--dtype {given[:40]!r}"
    if config is None:
        return "auto, and config.json was not found (--model-config)"
    saved = config.get("dtype", config.get("torch_dtype"))
    if saved not in ("bfloat16", "float16"):
        return f"auto, and config.json says {saved!r}"
    return DTYPES[str(saved)], "config.json"


def _quantization(
    typed: Typed, config: Mapping[str, object] | None, capability: tuple[int, int]
) -> tuple[FieldValue, str] | str:
    given = typed.values.get("quantization")
    if config is None:
        return "config.json was not found (--model-config)"
    saved = config.get("quantization_config", config.get("compression_config"))
    method = saved.get("quant_method") if isinstance(saved, Mapping) else None
    if given is None:
        if saved is None:
            return None, "neither argv nor config.json name one"
        # SGLang writes the checkpoint's method back on sm100 and later, for some architectures
        return (
            (None, "not written back on sm90")
            if capability == (9, 0)
            else "auto, with a quantized checkpoint"
        )
    if given not in QUANTIZATIONS:
        return f"--quantization {given[:40]}"
    if (method if saved is not None else None) not in QUANTIZATIONS[given]:
        return f"--quantization {given} with a checkpoint that says {method!r}"
    return given, "argv"


def _backend(typed: Typed) -> tuple[FieldValue, str] | str:
    given = typed.values.get("moe_runner_backend", "auto")
    if given == "auto":
        return "auto"
    return (given, "argv") if given in BACKENDS else f"--moe-runner-backend {given[:40]}"


def _size(typed: Typed, name: str, default: int) -> tuple[FieldValue, str] | str:
    text = typed.values.get(name)
    if text is None:
        return default, "default"
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= 65536):
        return f"{text[:40]!r} is no size"
    return int(text), "argv"


def _node_rank(typed: Typed, question: Question) -> tuple[FieldValue, str] | str:
    text = typed.values.get("node_rank")
    if text is None:
        return question.node_rank or 0, "the controller" if question.node_rank is not None else "default"
    return (int(text), "argv") if text.isascii() and text.isdecimal() else f"{text[:40]!r} is no rank"


def _attn_dp_size(inputs: Mapping[str, Input]) -> tuple[FieldValue, str] | str:
    """`dp_size if enable_dp_attention else 1` (0.5.22 and 0.5.23 resolve it to attn_dp_size with the same value)."""
    if "dp_size" not in inputs:
        return "dp_size is not known"
    if not inputs["enable_dp_attention"].value:
        return 1, "no DP attention"
    return inputs["dp_size"].value, "dp_size, with DP attention"


def _config_class(config: Mapping[str, object] | None) -> tuple[FieldValue, str] | str:
    if config is None:
        return "config.json was not found (--model-config)"
    if "auto_map" in config:
        return "config.json has auto_map: the class is code of the model's own"
    name = CONFIG_CLASSES.get(str(config.get("model_type")))
    return (name, "config.json") if name else f"model_type {config.get('model_type')!r} is not in the table"


def _shown(value: object) -> FieldValue:
    if isinstance(value, tuple):
        return ",".join(sorted(set(value)))
    return value if value is None or isinstance(value, str | int | bool) else str(value)
