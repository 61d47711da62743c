"""Manifests as YAML that a person reads before applying: order kept, long texts as blocks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def to_yaml(manifests: Iterable[Mapping[str, Any]]) -> str:
    import yaml

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 -- two equal lists are two lists
            return True

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        style = "|" if "\n" in value else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    return yaml.dump_all(
        [dict(manifest) for manifest in manifests],
        Dumper=Dumper,
        sort_keys=False,
        default_flow_style=False,
        explicit_start=True,
        width=120,
    )
