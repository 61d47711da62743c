"""What releases answered to the cases of sglang_matrix.py, as kept in tests/data/sglang_matrix_golden.json.

    {"cases": ["<arch> <argv>", ...], "releases": {"<version>": ["<key><tunes>[ <draft's key><tunes>]", ...]}}

`tunes` is T, F or ? (only the loaded model decides). An empty text: the release does not start. null: was not asked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.engines.sglang_matrix import Case

FILE = Path(__file__).resolve().parent.parent / "data" / "sglang_matrix_golden.json"
_LETTERS: dict[bool | None, str] = {True: "T", False: "F", None: "?"}
_TUNES = {letter: value for value, letter in _LETTERS.items()}

Own = list[Any] | None  # [key, tunes, draft's key, draft's tunes]


def line_of(arch: str, argv: tuple[str, ...]) -> str:
    return " ".join((arch, *argv))


def own_of(answer: Mapping[str, Any]) -> Own:
    """One answer of tools/ask_sglang.py."""
    if "workers" not in answer:
        return None
    target, *drafts = answer["workers"]
    draft = drafts[0] if drafts else {"key": None, "tunes": None}
    return [target["key"], target["tunes"], draft["key"], draft["tunes"]]


def spell(own: Own) -> str:
    if own is None:
        return ""
    key, tunes, draft_key, draft_tunes = own
    return f"{key}{_LETTERS[tunes]}" + (f" {draft_key}{_LETTERS[draft_tunes]}" if draft_key else "")


def _read(text: str) -> Own:
    if not text:
        return None
    target, _, draft = text.partition(" ")
    return [target[:-1], _TUNES[target[-1]], draft[:-1] or None, _TUNES[draft[-1]] if draft else None]


def load() -> dict[str, dict[tuple[str, tuple[str, ...]], Own]]:
    """release -> (arch, argv) -> what it answered; cases that it was not asked are left out."""
    document = json.loads(FILE.read_text())
    cases = []
    for line in document["cases"]:
        arch, *argv = line.split(" ")
        cases.append((arch, tuple(argv)))
    return {
        version: {case: _read(text) for case, text in zip(cases, texts, strict=True) if text is not None}
        for version, texts in document["releases"].items()
    }


def asked(cases: list[Case], own: Mapping[tuple[str, tuple[str, ...]], Own]) -> list[Case]:
    return [case for case in cases if (case.arch, case.argv) in own]
