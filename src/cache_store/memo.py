"""Resolution memos: what an engine itself answered for exactly these inputs, so that the fleet asks it once.

    <root>/_resolved/<sha256 of the inputs' canonical JSON>.json

A memo is a shared note, not an authority: a reader checks that it was made for its own inputs and treats the answer as
text from outside. It is written once (create-only); whoever comes second reads the first one's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from cache_store.dataclass import dataclass
from cache_store.identity import canonical_json
from cache_store.json_checks import Wrong, an_object, any_text, inside, loaded, record
from cache_store.json_depth import depth_of
from cache_store.layout import MEMOS
from cache_store.sha256 import sha256_hex

SCHEMA: Final = "autotune-cache/resolution-memo/v1"
MAX_MEMO_BYTES = 1024 * 1024
_MAX_DEPTH = 16


class BadMemo(ValueError):  # noqa: N818 -- reads as what it is
    """Bytes that are no memo for these inputs; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Memo:
    """`inputs` in clear, `answer` as the engine's program gave it, and who asked."""

    inputs: dict[str, Any]
    answer: dict[str, Any]
    holder: str = ""
    program: str = ""

    def encode(self) -> bytes:
        """Raises ValueError for what JSON or UTF-8 cannot hold."""
        return json.dumps(
            {"schema": SCHEMA, **vars(self)}, indent=1, ensure_ascii=False, allow_nan=False
        ).encode()


def memo_key(inputs: Mapping[str, Any]) -> str:
    """The object's key below the store's root."""
    return f"{MEMOS}{sha256_hex(canonical_json(dict(inputs)))}.json"


def parse_memo(body: bytes, inputs: Mapping[str, Any]) -> Memo:
    """The memo in `body`. Raises `BadMemo` where it is none, or was made for other inputs."""
    if len(body) > MAX_MEMO_BYTES:
        raise BadMemo(f"larger than {MAX_MEMO_BYTES} bytes")
    if depth_of(body, _MAX_DEPTH) > _MAX_DEPTH:
        raise BadMemo(f"nested deeper than {_MAX_DEPTH}")
    try:
        document = an_object(loaded(body))
        inside("schema", _our_schema, document.get("schema"))
        memo = record(Memo, dict.fromkeys(("inputs", "answer"), an_object), _MAY, document)
    except Wrong as wrong:
        raise BadMemo(str(wrong)) from None
    if canonical_json(memo.inputs) != canonical_json(dict(inputs)):
        raise BadMemo("it was made for other inputs")
    return memo


def _our_schema(value: object) -> None:
    if value != SCHEMA:
        raise Wrong(f"{str(value)[:80]!r} is not {SCHEMA}")


_MAY: Final = dict.fromkeys(("holder", "program"), any_text)
