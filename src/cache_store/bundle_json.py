"""The bytes of `bundle.json` and its records, both ways: what is read was written by somebody else, and is checked whole.

As strict as pydantic's strict mode, which tests/unit/test_bundle_json.py holds it to: no number for a text, no float for
a count, no text that is too long. A field that this release does not know is left alone: a later release may add some
within a schema; a change of meaning gets a new schema name. Why not pydantic itself: see bundle.py.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn, TypeVar

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
from cache_store.json_depth import depth_of

T = TypeVar("T")
Check = Callable[[Any], Any]
Fields = Mapping[str, Check]

MAX_TEXT: Final = 65536
MAX_TUNE_S: Final = 366 * 86400.0
DIGEST: Final = re.compile(r"[0-9a-f]{64}\Z")
RANK_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,240}\.json\Z")
# half of a character that UTF-8 has no bytes for: JSON can spell it, and nothing could write it again
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class _Wrong(Exception):  # noqa: N818 -- reads as what it is
    """A value that is not what it must be. `path` leads to it, innermost first."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.path: list[str] = []


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
        document = _loaded(body)
        schema = _inside("schema", _text, _object(document).get("schema"))
        if schema == TOMBSTONE_SCHEMA:
            return _record(Tombstone, _TOMBSTONE, _TOMBSTONE_MAY, document)
        if schema == BUNDLE_SCHEMA:
            return _record(Bundle, _BUNDLE, _BUNDLE_MAY, document)
    except _Wrong as wrong:
        where = ".".join(part[:80] for part in reversed(wrong.path))
        raise BadBundle("bundle-corrupt", f"{where or 'document'}: {wrong}"[:300]) from None
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


def _loaded(body: bytes) -> object:
    try:
        document = json.loads(body.decode(), parse_constant=_refuse)
        if _SURROGATE.search(body):
            json.dumps(document, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:  # a UnicodeError is a ValueError
        raise _Wrong(f"invalid JSON: {error}") from None
    return document


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")


def _record(kind: Callable[..., T], needs: Fields, may: Fields, value: object) -> T:
    document = _object(value)
    found = {}
    for fields in (needs, may):
        for name, check in fields.items():
            if name in document:
                found[name] = _inside(name, check, document[name])
            elif fields is needs:
                raise _at(name, _Wrong("this field is required"))
    return kind(**found)


def _inside(name: str, check: Check, value: object) -> Any:
    try:
        return check(value)
    except _Wrong as wrong:
        raise _at(name, wrong) from None


def _at(name: str, wrong: _Wrong) -> _Wrong:
    wrong.path.append(name)
    return wrong


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _Wrong("it must be an object")
    return value


def _any_text(value: object) -> str:
    if not isinstance(value, str):
        raise _Wrong("it must be a text")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _Wrong("it must be a text")
    if len(value) > MAX_TEXT:
        raise _Wrong(f"it has {len(value)} characters; the limit is {MAX_TEXT}")
    return value


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise _Wrong("it must be true or false")
    return value


def _count(value: object) -> int:
    # a bool is an int to Python
    if not isinstance(value, int) or isinstance(value, bool):
        raise _Wrong("it must be a whole number")
    if value < 0:
        raise _Wrong("it must not be negative")
    return value


def _number(value: object) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise _Wrong("it must be a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise _Wrong("it must be finite")
    return number


def _tune_s(value: object) -> float:
    number = _number(value)
    if not 0 <= number <= MAX_TUNE_S:
        raise _Wrong(f"it must be between 0 and {MAX_TUNE_S:.0f}")
    return number


def _key_input(value: object) -> str | int | bool | None:
    if value is not None and not isinstance(value, (str, int, bool)):
        raise _Wrong("it must be a text, a whole number, true, false or null")
    return value


def _clock(value: object) -> str:
    if value not in ("server", "pod"):
        raise _Wrong("it must be server or pod")
    return str(value)


def _matching(pattern: re.Pattern[str], what: str) -> Check:
    def check(value: object) -> str:
        if not isinstance(value, str) or not pattern.match(value):
            raise _Wrong(f"it must be {what}")
        return value

    return check


def _or_none(check: Check) -> Check:
    return lambda value: None if value is None else check(value)


def _mapping(check_name: Check, check: Check) -> Check:
    def of(value: object) -> dict[str, Any]:
        found = _object(value)
        for name, inner in found.items():
            _inside(name, check_name, name)
            found[name] = _inside(name, check, inner)
        return found

    return of


def _row(check: Check) -> Check:
    def of(value: object) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise _Wrong("it must be a list")
        return tuple(_inside(str(index), check, inner) for index, inner in enumerate(value))

    return of


def _of(kind: Callable[..., T], needs: Fields, may: Fields) -> Callable[[object], T]:
    return lambda value: _record(kind, needs, may, value)


_digest = _matching(DIGEST, "a SHA-256 in lower-case hex")
_rank_name = _matching(RANK_NAME, "a file name that ends in .json")
_texts = _mapping(_any_text, _any_text)
_identity = _of(
    IdentityRecord,
    {
        **dict.fromkeys(("engine", "flashinfer_version", "arch", "key", "key_text", "environment"), _text),
        "key_inputs": _mapping(_any_text, _key_input),
        "metadata": _texts,
    },
    {"extra": _texts},
)
_provenance = _of(
    Provenance,
    {},
    {
        **dict.fromkeys(("holder", "tuner", "verified", "engine_version", "program"), _text),
        **dict.fromkeys(
            ("created_at", "image", "driver", "restored_by", "restored_at", "restored_why"), _or_none(_text)
        ),
        "created_by_clock": _clock,
        "tune_s": _tune_s,
    },
)
_coverage = _of(
    CoverageRecord,
    {},
    {
        "ops": _mapping(_any_text, _count),
        **dict.fromkeys(("entries", "max_bucket", "rows_left_out"), _count),
        **dict.fromkeys(("expected", "missing"), _or_none(_count)),
        **dict.fromkeys(("excluded", "undecided"), _texts),
        "buckets": _mapping(_any_text, _mapping(_any_text, _row(_count))),
        "first_missing": _row(_text),
    },
)
_BUNDLE: Final[Fields] = {
    "identity": _identity,
    "ranks": _mapping(_rank_name, _digest),
    "files": _mapping(_digest, _any_text),
    "epoch": _count,
    "nonce": _text,
    "provenance": _provenance,
    "coverage": _coverage,
}
_BUNDLE_MAY: Final[Fields] = {"blobs": _mapping(_digest, _count), "signature": _or_none(_text)}
_TOMBSTONE: Final[Fields] = {"reason": _text, "retired_by": _text, "epoch": _count, "nonce": _text}
_TOMBSTONE_MAY: Final[Fields] = {
    "retired_at": _or_none(_text),
    "may_retune": _truth,
    "identity": _or_none(_identity),
    "retired_copy": _or_none(_text),
    "ranks": _mapping(_rank_name, _digest),
    "expected_tune_s": _or_none(_number),
}
