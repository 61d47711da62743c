"""The recipe's answers to the cases of sglang_matrix.py, set beside what a release answered itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.engines import sglang_matrix
from tests.engines.sglang_matrix import Case

from autotune_init.engines import EngineCache, Question
from autotune_init.engines.registry import ask
from autotune_init.engines.sglang_versions import BY_VERSION
from autotune_init.engines.sglang_words import read_argv

Asked = tuple[str, tuple[str, ...]]


@dataclass
class Tally:
    """`decided`: the engine's own key. `refused`: the engine has a key and we do not say it."""

    decided: int = 0
    refused: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    engine_refused: int = 0

    @property
    def share(self) -> float:
        return self.decided / max(1, self.decided + len(self.refused))


def question_of(case: Case, version: str) -> Question:
    release = BY_VERSION[version]
    config = sglang_matrix.config_of(case.model)
    draft = read_argv(case.argv, release).text("speculative_draft_model_path")
    sides = [
        sglang_matrix.SIDE_FILES[one] for one in case.model.split("-")[2:] if one in sglang_matrix.SIDE_FILES
    ]
    return Question(
        engine="sglang",
        engine_version=version,
        flashinfer_version="0.7.2",
        capability=tuple(sglang_matrix.ARCHES[case.arch]["capability"]),
        argv=case.argv,
        model_config=config,
        cache_dir="/c",
        driver=sglang_matrix.DRIVER,
        quant_config=sides[0]["hf_quant_config.json"] if sides else None,
        draft_config=_draft_config(draft),
    )


def _draft_config(path: str | None) -> Mapping[str, Any] | None:
    if path is None:
        return None
    folder, _, name = path.partition("/")
    return sglang_matrix.DRAFTS[name] if folder == "drafts" else sglang_matrix.config_of(name)


def tally(version: str, cases: Iterable[Case], engine: Mapping[Asked, list[Any] | None]) -> Tally:
    """`engine`: [key, tunes, draft's key or None, draft's tunes] by (arch, argv), None where it does not start."""
    count = Tally()
    for case in cases:
        own = engine.get((case.arch, case.argv))
        answer = ask(question_of(case, version))
        line = f"{case.arch} {' '.join(case.argv)}"
        if own is None:
            count.engine_refused += 1
            if isinstance(answer, EngineCache):
                count.wrong.append(f"{line}: {answer.key_text}, but {version} does not start")
            continue
        if not isinstance(answer, EngineCache):
            count.refused.append(f"{line}: {answer.reason}: {answer.detail}")
            continue
        problem = _difference(answer, own)
        if problem:
            count.wrong.append(f"{line}: {problem}")
        else:
            count.decided += 1
    return count


def _difference(answer: EngineCache, own: list[Any]) -> str:
    key, tunes, draft_key, draft_tunes = own
    if answer.key != key:
        return f"key of {answer.key_text}, the engine's is {key}"
    if answer.tunes is not None and tunes is not None and answer.tunes is not tunes:
        return f"tunes {answer.tunes} ({answer.tunes_why}), the engine says {tunes}"
    draft = answer.draft.key if answer.draft else None
    expected = draft_key if draft_tunes is not False else None
    return (
        ""
        if draft == expected
        else f"draft {answer.draft and answer.draft.key_text}, the engine's is {expected}"
    )
