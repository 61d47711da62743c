"""From the bytes of `bundle.json` to its records: somebody else wrote them, so that all of them are checked.

A field that this release does not know is left alone: a later release may add some within a schema; a change of
meaning gets a new schema name. Why not pydantic: see bundle.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from cache_store.annotation import Any, Final
from cache_store.bundle import (
    BUNDLE_SCHEMA,
    MAX_DEPTH,
    MAX_REGISTER_BYTES,
    TOMBSTONE_SCHEMA,
    BadBundle,
    Bundle,
    CoverageRecord,
    IdentityRecord,
    Provenance,
    Tombstone,
    check_contents,
)
from cache_store.json_checks import (
    Fields,
    Wrong,
    an_object,
    any_text,
    count,
    inside,
    loaded,
    mapping,
    matching,
    number,
    or_none,
    record,
    record_of,
    row,
    text,
    truth,
)
from cache_store.json_depth import depth_of
from cache_store.pattern import pattern

MAX_TUNE_S: Final = 366 * 86400.0
DIGEST: Final = pattern(r"[0-9a-f]{64}\Z")
RANK_NAME: Final = pattern(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,240}\.json\Z")


def parse_register(body: bytes) -> Bundle | Tombstone:
    """The state of the register. Raises `BadBundle`: too-large, too-deep, corrupt, unknown-schema, digest-mismatch."""
    register = read_register(body)
    if isinstance(register, Bundle):
        check_contents(register)
    return register


def read_register(body: bytes) -> Bundle | Tombstone:
    """The same without a look at digests and identity."""
    if len(body) > MAX_REGISTER_BYTES:
        raise BadBundle("bundle-too-large", f"{len(body)} bytes; the limit is {MAX_REGISTER_BYTES}")
    if depth_of(body, MAX_DEPTH) > MAX_DEPTH:
        raise BadBundle("bundle-too-deep", f"nested deeper than {MAX_DEPTH}")
    try:
        document = loaded(body)
        schema = inside("schema", text, an_object(document).get("schema"))
        if schema == TOMBSTONE_SCHEMA:
            return record(Tombstone, _TOMBSTONE, _TOMBSTONE_MAY, document)
        if schema == BUNDLE_SCHEMA:
            return record(Bundle, _BUNDLE, _BUNDLE_MAY, document)
    except Wrong as wrong:
        raise BadBundle("bundle-corrupt", str(wrong)) from None
    raise BadBundle("bundle-unknown-schema", f"schema {schema[:80]!r} is not known to this release")


def revised(body: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    """`body` after `change`, and nothing else of it: fields of a later release stay. Raises `BadBundle`."""
    try:
        document = json.loads(body)
        change(document)
        # as UTF-8: with escapes a register of non-ASCII text could become larger than a register may be
        changed = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False).encode()
    except ValueError as error:  # 1e400, an integer of 5,000 digits: nothing that we wrote
        raise BadBundle("bundle-corrupt", f"it cannot be written again: {error}"[:300]) from None
    parse_register(changed)
    return changed


def _tune_s(value: object) -> float:
    seconds = number(value)
    if not 0 <= seconds <= MAX_TUNE_S:
        raise Wrong(f"it must be between 0 and {MAX_TUNE_S:.0f}")
    return seconds


def _key_input(value: object) -> str | int | bool | None:
    if value is not None and not isinstance(value, (str, int, bool)):
        raise Wrong("it must be a text, a whole number, true, false or null")
    return value


def _clock(value: object) -> str:
    if value not in ("server", "pod"):
        raise Wrong("it must be server or pod")
    return str(value)


_digest = matching(DIGEST, "a SHA-256 in lower-case hex")
_rank_name = matching(RANK_NAME, "a file name that ends in .json")
_texts = mapping(any_text, any_text)
_identity = record_of(
    IdentityRecord,
    {
        **dict.fromkeys(("engine", "flashinfer_version", "arch", "key", "key_text", "environment"), text),
        "key_inputs": mapping(any_text, _key_input),
        "metadata": _texts,
    },
    {"extra": _texts},
)
_provenance = record_of(
    Provenance,
    {},
    {
        **dict.fromkeys(("holder", "tuner", "verified", "engine_version", "program"), text),
        **dict.fromkeys(
            ("created_at", "image", "driver", "restored_by", "restored_at", "restored_why"), or_none(text)
        ),
        "created_by_clock": _clock,
        "tune_s": _tune_s,
    },
)
_coverage = record_of(
    CoverageRecord,
    {},
    {
        "ops": mapping(any_text, count),
        **dict.fromkeys(("entries", "max_bucket", "rows_left_out"), count),
        **dict.fromkeys(("expected", "missing"), or_none(count)),
        **dict.fromkeys(("excluded", "undecided"), _texts),
        "buckets": mapping(any_text, mapping(any_text, row(count))),
        "first_missing": row(text),
    },
)
_BUNDLE: Final[Fields] = {
    "identity": _identity,
    "ranks": mapping(_rank_name, _digest),
    "files": mapping(_digest, any_text),
    "epoch": count,
    "nonce": text,
    "provenance": _provenance,
    "coverage": _coverage,
}
_BUNDLE_MAY: Final[Fields] = {"blobs": mapping(_digest, count), "signature": or_none(text)}
_TOMBSTONE: Final[Fields] = {"reason": text, "retired_by": text, "epoch": count, "nonce": text}
_TOMBSTONE_MAY: Final[Fields] = {
    "retired_at": or_none(text),
    "may_retune": truth,
    "identity": or_none(_identity),
    "retired_copy": or_none(text),
    "ranks": mapping(_rank_name, _digest),
    "expected_tune_s": or_none(number),
}
