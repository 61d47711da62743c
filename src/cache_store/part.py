"""`parts/<epoch>/pod-<rank>.json`: what one pod of a replica group gives to a tune, before its leader commits.

One object a pod, written once: its ranks' files, or why there are none. A part belongs to one claim's epoch, so that
nothing of an earlier tune can be committed with a later one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cache_store.bundle import MAX_DEPTH, MAX_REGISTER_BYTES, BadBundle, check_content, digest_of
from cache_store.identity import Address
from cache_store.json_depth import depth_of
from cache_store.json_fields import Count, Digest, RankName, Text

SCHEMA: Final = "autotune-cache/part/v1"
MAX_PART_BYTES = MAX_REGISTER_BYTES


class BadPart(ValueError):  # noqa: N818 -- reads as what it is
    """Bytes that are no part of this tune; the message says why."""


class Part(BaseModel):
    """`files` holds each distinct text once. `failure` is set where the pod's tune gave nothing."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", populate_by_name=True)

    schema_name: Literal["autotune-cache/part/v1"] = Field(alias="schema", default=SCHEMA)
    group: Text
    epoch: Count
    pod: Count
    ranks: dict[RankName, Digest] = {}
    files: dict[Digest, str] = {}
    failure: Text | None = None
    verified: Text = ""
    tune_s: float = Field(ge=0, le=366 * 86400.0, default=0.0)
    excluded: dict[str, str] = {}

    def encode(self) -> bytes:
        return self.model_dump_json(by_alias=True, exclude_none=True, indent=1).encode()

    @property
    def contents(self) -> dict[str, bytes]:
        return {name: self.files[digest].encode() for name, digest in self.ranks.items()}


def part_key(address: Address, epoch: int, pod: int) -> str:
    """The object's key below the store's root."""
    return f"{address}/parts/{epoch}/pod-{pod}.json"


def inline(contents: Mapping[str, bytes]) -> tuple[dict[str, str], dict[str, str]]:
    """(ranks, files) of a part. Raises `BadPart` for what cannot ride in one."""
    if sum(map(len, contents.values())) > MAX_PART_BYTES // 2:
        raise BadPart(f"more than {MAX_PART_BYTES // 2} bytes of rank files")
    try:
        files = {digest_of(body): body.decode() for body in contents.values()}
    except UnicodeDecodeError:
        raise BadPart("a rank file is not UTF-8") from None
    return {name: digest_of(body) for name, body in sorted(contents.items())}, files


def parse_part(body: bytes, *, group: str, epoch: int, pod: int) -> Part:
    """The part in `body`, every digest checked. Raises `BadPart`."""
    if len(body) > MAX_PART_BYTES:
        raise BadPart(f"larger than {MAX_PART_BYTES} bytes")
    if depth_of(body, MAX_DEPTH) > MAX_DEPTH:
        raise BadPart(f"nested deeper than {MAX_DEPTH}")
    try:
        part = Part.model_validate_json(body)
        for digest, text in part.files.items():
            check_content(text.encode(), digest)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise BadPart(f"{'.'.join(map(str, first['loc']))[:80]}: {first['msg']}"[:300]) from None
    except BadBundle as problem:
        raise BadPart(problem.detail) from None
    if (part.group, part.epoch, part.pod) != (group, epoch, pod):
        raise BadPart(f"it is of {part.group[:80]!r}, epoch {part.epoch}, pod {part.pod}")
    absent = set(part.ranks.values()) - part.files.keys()
    if absent:
        raise BadPart(f"no content for digest {min(absent)}")
    return part
