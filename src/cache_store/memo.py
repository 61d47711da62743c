"""Resolution memos: what an engine itself answered for exactly these inputs, so that the fleet asks it once.

    <root>/_resolved/<sha256 of the inputs' canonical JSON>.json

A memo is a shared note, not an authority: a reader checks that it was made for its own inputs and treats the answer as
text from outside. It is written once (create-only); whoever comes second reads the first one's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cache_store.identity import canonical_json
from cache_store.json_depth import depth_of

SCHEMA: Final = "autotune-cache/resolution-memo/v1"
FOLDER: Final = "_resolved/"
MAX_MEMO_BYTES = 1024 * 1024
_MAX_DEPTH = 16


class BadMemo(ValueError):  # noqa: N818 -- reads as what it is
    """Bytes that are no memo for these inputs; the message says why."""


class Memo(BaseModel):
    """`inputs` in clear, `answer` as the engine's program gave it, and who asked."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", populate_by_name=True)

    schema_name: Literal["autotune-cache/resolution-memo/v1"] = Field(alias="schema", default=SCHEMA)
    inputs: dict[str, Any]
    answer: dict[str, Any]
    holder: str = ""
    program: str = ""

    def encode(self) -> bytes:
        return self.model_dump_json(by_alias=True, indent=1).encode()


def memo_key(inputs: Mapping[str, Any]) -> str:
    """The object's key below the store's root."""
    return f"{FOLDER}{hashlib.sha256(canonical_json(dict(inputs))).hexdigest()}.json"


def parse_memo(body: bytes, inputs: Mapping[str, Any]) -> Memo:
    """The memo in `body`. Raises `BadMemo` where it is none, or was made for other inputs."""
    if len(body) > MAX_MEMO_BYTES:
        raise BadMemo(f"larger than {MAX_MEMO_BYTES} bytes")
    if depth_of(body, _MAX_DEPTH) > _MAX_DEPTH:
        raise BadMemo(f"nested deeper than {_MAX_DEPTH}")
    try:
        memo = Memo.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise BadMemo(f"{'.'.join(map(str, first['loc']))[:80]}: {first['msg']}"[:300]) from None
    if canonical_json(memo.inputs) != canonical_json(dict(inputs)):
        raise BadMemo("it was made for other inputs")
    return memo
