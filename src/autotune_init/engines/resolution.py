"""What an engine itself answered, from a child or from a memo: text from outside until it has been checked. Pure.

The answer (inside/resolve_sglang.py, inside/resolve_vllm.py) echoes the question, because a child can answer another
one: a stale memo, an image with two engines, a wrapper that drops words.
"""

from __future__ import annotations

from collections.abc import Mapping

from autotune_init.engines import FieldValue, Question
from cache_store.dataclass import dataclass

SCHEMA = "autotune-cache/resolution/v1"
MAX_WORKERS = 16
MAX_FILES = 65536


class BadResolution(ValueError):  # noqa: N818 -- reads as what it is
    """No answer to this question; the message says what does not fit."""


@dataclass(frozen=True)
class Worker:
    """One worker's files as the engine named them. `tunes` is None where only the loaded model decides."""

    role: str
    kind: str
    key: str
    folder: str
    files: tuple[str, ...]
    fields: Mapping[str, FieldValue]
    tunes: bool | None
    tunes_why: str


def workers_of(answer: Mapping[str, object], question: Question) -> tuple[Worker, ...]:
    """The target first, then draft workers. Raises `BadResolution`."""
    expected: dict[str, object] = {
        "schema": SCHEMA,
        "engine": question.engine,
        "engine_version": question.engine_version,
        "flashinfer_version": question.flashinfer_version,
        "capability": list(question.capability),
        "argv": list(question.argv),
    }
    for name, value in expected.items():
        if answer.get(name) != value:
            raise BadResolution(
                f"it answers for {name} {answer.get(name)!r}, the question was {value!r}"[:400]
            )
    given = answer.get("workers")
    if not isinstance(given, list) or not 1 <= len(given) <= MAX_WORKERS:
        raise BadResolution("it names no workers")
    workers = tuple(_worker(one) for one in given)
    if workers[0].role != "target" or any(one.role != "draft" for one in workers[1:]):
        raise BadResolution("it names other workers than a target and its drafts")
    return workers


def _worker(given: object) -> Worker:
    if not isinstance(given, dict):
        raise BadResolution("a worker is no object")
    fields, files, tunes = given.get("fields"), given.get("files", []), given.get("tunes")
    if not isinstance(fields, dict) or not all(_is_field(value) for value in fields.values()):
        raise BadResolution("a worker's fields are no map of plain values")
    if (
        not isinstance(files, list)
        or len(files) > MAX_FILES
        or not all(isinstance(name, str) for name in files)
    ):
        raise BadResolution("a worker's files are no list of names")
    if tunes not in (True, False, None):
        raise BadResolution(f"tunes is {tunes!r}"[:100])
    return Worker(
        role=_text(given, "role"),
        kind=_text(given, "kind", "v1"),
        key=_text(given, "key", ""),
        folder=_text(given, "folder", ""),
        files=tuple(files),
        fields=fields,
        tunes=tunes,
        tunes_why=_text(given, "tunes_why", ""),
    )


def _text(given: Mapping[str, object], name: str, default: str | None = None) -> str:
    value = given.get(name, default)
    if not isinstance(value, str):
        raise BadResolution(f"a worker's {name} is {value!r}"[:200])
    return value


def _is_field(value: object) -> bool:
    return value is None or isinstance(value, str | int | bool)
