"""Checks of a JSON text from outside: each hands back the value that it was asked for, or raises `Wrong`.

As strict as pydantic's strict mode (tests/unit/test_bundle_json.py): no number for a text, no float for a count. They
are what a pod reads with that has no time to import pydantic; everything else of the store reads with pydantic.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection, Mapping

from cache_store.annotation import Any, Final, NoReturn, TypeVar
from cache_store.pattern import pattern

T = TypeVar("T")
Check = Callable[[Any], Any]
Fields = Mapping[str, Check]

MAX_TEXT: Final = 65536
# what every JSON reader has exactly; and an epoch of a thousand digits could be read and never be written again
MAX_COUNT: Final = 2**53 - 1
# half of a character that UTF-8 has no bytes for: JSON can spell it, and nothing could write it again
_SURROGATE = pattern(rb"\\u[dD][89a-fA-F]")


class Wrong(Exception):  # noqa: N818 -- reads as what it is
    """A value that is not what it must be. `path` leads to it, innermost first."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.path: list[str] = []

    def __str__(self) -> str:
        where = ".".join(part[:80] for part in reversed(self.path))
        return f"{where or 'document'}: {super().__str__()}"[:300]


def loaded(body: bytes) -> object:
    try:
        document = _DECODER.decode(body.decode())
        if b"\\u" in body and _SURROGATE.search(body):
            json.dumps(document, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:  # a UnicodeError is a ValueError
        raise Wrong(f"invalid JSON: {error}") from None
    return document


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")


_DECODER: Final = json.JSONDecoder(parse_constant=_refuse)


def record(kind: Callable[..., T], needs: Fields, may: Fields, value: object) -> T:
    document = an_object(value)
    found = {}
    name = ""
    # one `try` for all fields, here and in `mapping`: ten thousand bundles of a listing have half a million of them
    try:
        for name, check in needs.items():
            if name not in document:
                raise Wrong("this field is required")
            found[name] = check(document[name])
        for name, check in may.items():
            if name in document:
                found[name] = check(document[name])
    except Wrong as wrong:
        raise _at(name, wrong) from None
    return kind(**found)


def inside(name: str, check: Check, value: object) -> Any:
    try:
        return check(value)
    except Wrong as wrong:
        raise _at(name, wrong) from None


def _at(name: str, wrong: Wrong) -> Wrong:
    wrong.path.append(name)
    return wrong


def an_object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Wrong("it must be an object")
    return value


def any_text(value: object) -> str:
    if not isinstance(value, str):
        raise Wrong("it must be a text")
    return value


def text(value: object) -> str:
    if not isinstance(value, str):
        raise Wrong("it must be a text")
    if len(value) > MAX_TEXT:
        raise Wrong(f"it has {len(value)} characters; the limit is {MAX_TEXT}")
    return value


def truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise Wrong("it must be true or false")
    return value


def count(value: object) -> int:
    # a bool is an int to Python
    if not isinstance(value, int) or isinstance(value, bool):
        raise Wrong("it must be a whole number")
    if value < 0:
        raise Wrong("it must not be negative")
    if value > MAX_COUNT:
        raise Wrong(f"it must be {MAX_COUNT} at most")
    return value


def number(value: object) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise Wrong("it must be a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise Wrong("it must be finite")
    return number


def matching(pattern: re.Pattern[str], what: str) -> Check:
    def check(value: object) -> str:
        if not isinstance(value, str) or not pattern.match(value):
            raise Wrong(f"it must be {what}")
        return value

    return check


def or_none(check: Check) -> Check:
    return lambda value: None if value is None else check(value)


def mapping(check_name: Check, check: Check) -> Check:
    are_right = _ALL_AT_ONCE.get(check)
    # the names of a JSON object are texts, whoever wrote it
    checks_names = check_name is not any_text

    def of(value: object) -> dict[str, Any]:
        found = an_object(value)
        is_done = are_right is not None and are_right(found.values())
        name = ""
        try:
            if checks_names:
                for name in found:
                    check_name(name)
            if not is_done:
                for name, inner in found.items():
                    found[name] = check(inner)
        except Wrong as wrong:
            raise _at(name, wrong) from None
        return found

    return of


def row(check: Check) -> Check:
    are_right = _ALL_AT_ONCE.get(check)

    def of(value: object) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise Wrong("it must be a list")
        if are_right is not None and are_right(value):
            return tuple(value)
        return tuple(inside(str(index), check, inner) for index, inner in enumerate(value))

    return of


def _are_texts(values: Collection[object]) -> bool:
    return {*map(type, values)} <= {str}


def _are_counts(values: Collection[Any]) -> bool:
    if not values:
        return True
    return {*map(type, values)} == {int} and min(values) >= 0 and max(values) <= MAX_COUNT


# True where each of the values would pass the check and be handed back as it is: most do, and a bundle has hundreds
_ALL_AT_ONCE: Final[Mapping[Check, Callable[[Collection[Any]], bool]]] = {
    any_text: _are_texts,
    count: _are_counts,
}


def record_of(kind: Callable[..., T], needs: Fields, may: Fields) -> Callable[[object], T]:
    return lambda value: record(kind, needs, may, value)
