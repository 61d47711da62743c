# ruff: noqa: INP001 -- a program beside what it makes, no package
"""values.schema.json and README.md from values.yaml, src/autotune_init/options.py and README.tmpl.md.

    python helm/autotune-cache/generate.py            # writes both
    python helm/autotune-cache/generate.py --check    # exit 1 and the names of those that differ

Needs PyYAML and the project's own package. Every mapping gets additionalProperties: false unless its "@" line says
otherwise; types come from the defaults.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from autotune_init.options import OPTIONS

HERE = Path(__file__).resolve().parent
# These have a value of their own in values.yaml; naming them twice would leave it open who wins.
_HAVE_VALUES = frozenset({
    "store", "tuner", "tuner-command", "deadline", "wait", "resolver", "engine", "engine-version", "cache-dir", "facts",
    "gpu-name", "event", "otlp-endpoint", "report-to-store", "strict",
})  # fmt: skip
_TYPES = {str: "string", bool: "boolean", int: "integer", list: "array", dict: "object"}

_OBJECT_NAME = {"type": "string", "maxLength": 253, "pattern": "^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$"}
_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
_ENV = {
    "type": "array",
    "items": {
        "type": "object",
        "additionalProperties": False,
        "required": ["name"],
        "properties": {"name": {"type": "string", "minLength": 1}, "value": {"type": "string"}, "valueFrom": {"type": "object"}},
    },
}  # fmt: skip
_NAMED = {"type": "array", "items": {"type": "object", "required": ["name"]}}
_REQUIREMENT = {
    "type": "object",
    "additionalProperties": False,
    "required": ["key", "operator"],
    "properties": {
        "key": {"type": "string"},
        "operator": {"enum": ["In", "NotIn", "Exists", "DoesNotExist"]},
        "values": {"type": "array", "items": {"type": "string"}},
    },
}
# name -> (schema, what the README says). Kubernetes' own objects are checked by its API server.
PREWARM: dict[str, tuple[dict[str, Any], str]] = {
    "name": ({"type": "string", "maxLength": 20, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"}, "Names the Job; at most 20 characters."),
    "image": ({"type": "string", "minLength": 1}, "The engine's image, **the very one that serves**: its releases decide where the engine looks."),
    "imagePullPolicy": ({"enum": ["IfNotPresent", "Always", "Never"]}, "When it is pulled; `IfNotPresent`."),
    "command": ({"type": "array", "items": {"type": "string"}}, "The engine's own command, as the serving pods have it."),
    "args": ({"type": "array", "items": {"type": "string"}}, "Its arguments. One of the two has to be there."),
    "engine": ({"enum": ["sglang", "vllm", "flashinfer"]}, "As `tuning.engine`, for this Job."),
    "tuner": ({"enum": ["engine", "flashinfer-ops", "command"]}, "As `tuning.tuner`, for this Job."),
    "gpus": ({"type": "integer", "minimum": 1}, "How many GPUs: as many as the serving pods have; 1."),
    "gpuResource": ({"type": "string", "minLength": 1}, "Their resource name; `nvidia.com/gpu`."),
    "resources": ({"type": "object", "additionalProperties": False, "properties": {"limits": {"type": "object"}, "requests": {"type": "object"}}}, "CPU and memory."),
    "env": (_ENV, "Variables of the serving pods; those that decide something have to be the same."),
    "envFrom": ({"type": "array", "items": {"type": "object"}}, "As in a pod."),
    "volumes": (_NAMED, "As in a pod, e.g. the one with the model."),
    "volumeMounts": (_NAMED, "As in a pod."),
    "nodeSelector": (_TEXTS, "Where such GPUs are."),
    "tolerations": ({"type": "array", "items": {"type": "object"}}, "As in a pod."),
    "runtimeClassName": ({"type": "string"}, "As in a pod."),
    "priorityClassName": ({"type": "string"}, "As in a pod."),
    "securityContext": ({"type": "object"}, "Of the engine's container, instead of `securityContext`."),
    "podSecurityContext": ({"type": "object"}, "Of the pod, instead of `podSecurityContext`: `{}` where the image has to run as root."),
    "deadlineSeconds": ({"type": "integer", "minimum": 1, "maximum": 604800}, "As `tuning.deadlineSeconds`, for this Job."),
    "backoffLimit": ({"type": "integer", "minimum": 0}, "How often Kubernetes tries again; 1."),
    "ttlSecondsAfterFinished": ({"type": "integer", "minimum": 0}, "How long a finished Job stays to be looked at; 86400."),
    "hook": ({"type": "boolean"}, "Run before each install and upgrade, and let it fail where this fails."),
}  # fmt: skip
DEFINITIONS: dict[str, Any] = {
    "objectName": _OBJECT_NAME,
    "quantity": {"type": "string", "pattern": "^([0-9]+(\\.[0-9]+)?([KMGTPE]i?|k|m)?)?$"},
    "settings": {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            option.variable: {"type": "string", "description": option.meaning}
            for option in OPTIONS
            if option.name not in _HAVE_VALUES
        },
        # what is said of the store's cloud beside the engine's, docs/configuration.md
        "patternProperties": {"^AUTOTUNE_STORE_(AWS|GOOGLE|AZURE)_[A-Z0-9_]+$": {"type": "string"}},
    },
    "labelSelector": {
        "type": "object",
        "additionalProperties": False,
        "properties": {"matchLabels": _TEXTS, "matchExpressions": {"type": "array", "items": _REQUIREMENT}},
    },
    "prewarm": {
        "type": "object",
        "additionalProperties": False,
        "required": ["name", "image"],
        "anyOf": [{"required": ["command"]}, {"required": ["args"]}],
        "properties": {
            name: {"description": meaning, **schema} for name, (schema, meaning) in PREWARM.items()
        },
    },
}


@dataclass
class Value:
    """One key of values.yaml. `path` are the keys that lead there; `extra` is its "@" line."""

    path: tuple[str, ...]
    meaning: str
    default: Any
    extra: dict[str, Any] = field(default_factory=dict)


def read_values(text: str) -> Iterator[Value]:
    """The values in their order. Keys of Kubernetes' own objects (additionalProperties: true) are part of their default."""
    defaults = yaml.safe_load(text)
    said: list[str] = []
    above: list[tuple[int, str]] = []
    closed_at: int | None = None
    for line in text.splitlines():
        words = line.strip()
        depth = len(line) - len(line.lstrip())
        if not words or words.startswith("# --"):
            said = []
        elif words.startswith("#"):
            said.append(words.lstrip("# "))
        elif found := re.match(r"([A-Za-z]\w*):", words):
            if closed_at is not None and depth > closed_at:
                continue
            closed_at = None
            above = [one for one in above if one[0] < depth] + [(depth, found[1])]
            path = tuple(name for _, name in above)
            extra = json.loads(next((one[1:] for one in said if one.startswith("@")), "{}"))
            default = defaults
            for name in path:
                default = default[name]
            yield Value(path, " ".join(one for one in said if not one.startswith("@")), default, extra)
            if extra.get("additionalProperties") or "$ref" in extra or "items" in extra:
                closed_at = depth
            said = []


def schema_of(values: list[Value]) -> dict[str, Any]:
    root: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Values of the chart autotune-cache",
        "type": "object",
        "additionalProperties": False,
        "properties": {"global": {"type": "object", "description": "Helm hands it to every subchart."}},
        "$defs": DEFINITIONS,
    }
    for value in values:
        place = root
        for name in value.path[:-1]:
            place = place["properties"][name]
        made: dict[str, Any] = {"description": value.meaning} if value.meaning else {}
        is_reference = "$ref" in value.extra
        if not is_reference and "enum" not in value.extra:
            made["type"] = _TYPES[type(value.default)]
        if isinstance(value.default, dict) and not is_reference and "additionalProperties" not in value.extra:
            made |= {"additionalProperties": False, "properties": {}}
        place["properties"][value.path[-1]] = made | value.extra
    return root


def value_rows(values: list[Value]) -> str:
    rows = ["| value | default | why |", "|---|---|---|"]
    for value in values:
        if not value.meaning:
            continue  # only a heading
        default = json.dumps(value.default)
        choices = value.extra.get("enum")
        meaning = value.meaning
        if choices and not all(f"`{choice}`" in meaning for choice in choices if choice):
            meaning += " One of " + ", ".join(f"`{choice}`" for choice in choices if choice) + "."
        rows.append(f"| `{'.'.join(value.path)}` | `{default}` | {meaning} |".replace("|| ", "\\|\\| "))
    return "\n".join(rows)


def prewarm_rows() -> str:
    rows = ["| field | meaning |", "|---|---|"]
    return "\n".join(rows + [f"| `{name}` | {meaning} |" for name, (_, meaning) in PREWARM.items()])


def generated() -> dict[Path, str]:
    """What the files have to be."""
    values = list(read_values((HERE / "values.yaml").read_text()))
    readme = (HERE / "README.tmpl.md").read_text()
    readme = readme.replace("<!-- values -->", value_rows(values)).replace("<!-- prewarm -->", prewarm_rows())
    return {
        HERE / "values.schema.json": json.dumps(schema_of(values), indent=1, ensure_ascii=False) + "\n",
        HERE / "README.md": readme,
    }


def main(arguments: list[str]) -> int:
    differing = {
        path: text for path, text in generated().items() if not path.exists() or path.read_text() != text
    }
    if "--check" in arguments:
        sys.stderr.writelines(f"{path.name} is not what generate.py makes\n" for path in differing)
        return int(bool(differing))
    for path, text in differing.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))  # noqa: TID251 -- this is a program
