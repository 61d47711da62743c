"""`--field name=value`: what an operator states about the key, as typed values. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from autotune_init.engines import FieldValue
from autotune_init.engines.sglang import Refused

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


def joined(ops: tuple[str, ...]) -> str:
    return ",".join(sorted(set(ops)))


def shown(value: object) -> FieldValue:
    if isinstance(value, tuple):
        return joined(value)
    return value if value is None or isinstance(value, str | int | bool) else str(value)
