"""`autotune-init key`: where the engine will look, and why."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TextIO, cast

from autotune_init.ask_engine import EngineCannotSay
from autotune_init.engines import EngineCache, KeyAnswer, Refusal
from autotune_init.engines.known_bad import matching
from autotune_init.engines.registry import ask
from autotune_init.key_batch import Reader, answer_lines
from autotune_init.key_means import EngineAsker
from autotune_init.model_config import read_model_config
from autotune_init.node import NodeUnknown, learn_facts, learn_group
from autotune_init.outcomes import OK, Outcome, strict_exit_code
from autotune_init.settings import Settings
from autotune_init.settle_key import WrongAnswer, agreed, cache_of, settle
from autotune_init.settled import Policy
from autotune_init.store_access import StoreAccess
from autotune_init.story import Story
from autotune_init.workload import Workload, learn_workload
from cache_store.clock import SystemClock
from cache_store.dataclass import dataclass, replace


@dataclass(frozen=True)
class Verification:
    """What the engine on `python` itself said beside the recipe; `agrees` is None where only one of them answered."""

    python: str
    agrees: bool | None
    key_text: str
    detail: str


def explain_key(
    settings: Settings,
    environ: Mapping[str, str],
    stdin: TextIO,
    stdout: TextIO,
    stderr: TextIO,
    *,
    as_json: bool,
    is_batch: bool,
    verify_with: str | None = None,
) -> int:
    """Exit 0 with an answer, else the code of the refusal (2, 17, 19, 23, 24). A batch always ends with 0.

    `verify_with` is an engine's Python that is asked beside the recipe, whatever --resolver says.
    """
    if is_batch:
        for line in answer_lines(stdin, Reader(read_model_config, lambda path: Path(path).read_text())):
            stdout.write(json.dumps(line) + "\n")
            stdout.flush()
        return OK
    if verify_with is not None:
        settings = replace(settings, python=verify_with)
    clock = SystemClock()
    try:
        facts = learn_facts(settings, environ, settings.deadline_s, clock)
        workload = learn_workload(settings, environ, facts, learn_group(settings, environ))
    except NodeUnknown as unknown:
        return _refuse(Refusal(unknown.reason, unknown.detail), stdout, stderr, as_json=as_json)
    story = Story(stderr)
    asker = EngineAsker(
        settings, environ, facts, workload, clock, lambda: settings.resolve_timeout_s, story.tell
    )
    recipe = ask(workload.question)
    if verify_with is not None:
        answer, verification = _verified(recipe, workload, asker, verify_with)
    else:
        answer, verification = _settled(recipe, settings, environ, workload, asker, story), None
    if not isinstance(answer, EngineCache):
        refusal = Refusal(answer.reason, "; ".join((answer.detail, *workload.warnings)))
        return _refuse(refusal, stdout, stderr, as_json=as_json, verification=verification)
    if as_json:
        document = asdict(answer)
        if verification is not None:
            document["verification"] = asdict(verification)
        stdout.write(json.dumps(document, indent=2) + "\n")
        return OK
    stdout.write(as_text(answer, verification))
    return OK


def as_text(answer: EngineCache, verification: Verification | None = None) -> str:
    """For a person: the directory, the files, and every input with its value and where it came from."""
    lines = _lines(answer)
    if answer.draft is not None:
        lines += ["", "Its draft worker:", *_lines(answer.draft)]
    if verification is not None:
        lines += ["", f"The engine itself on {verification.python}: {verification.detail}"]
    return "\n".join(lines) + "\n"


def _lines(answer: EngineCache) -> list[str]:
    width = max(len(one.name) for one in answer.inputs)
    value_width = min(48, max(len(str(one.value)) for one in answer.inputs))
    lines = [f"{answer.engine} {answer.engine_version} will look in", f"  {answer.directory}"]
    if answer.kind == "rank-files":
        lines += ["for", *(f"  {name}" for name in answer.rank_files)]
    if answer.key_text:
        lines += [f"because the key is sha256 of (by the {answer.source})", f"  {answer.key_text}", "with"]
    else:
        lines += [f"because the engine itself says so (by the {answer.source}), with"]
    for one in answer.inputs:
        lines.append(f"  {one.name:{width}}  {one.value!s:{value_width}}  {one.source}")
    lines.append(_tuning(answer))
    if answer.ranks_must_agree:
        lines.append("This release deletes the files of a TP group unless they are equal as JSON.")
    if answer.bound_to_gpu:
        lines.append("The file names carry this GPU's UUID: such files cannot be shared.")
    lines += [f"Known hazard {row.id}: {row.detail}" for row in matching(answer, None)]
    return lines


def _tuning(answer: EngineCache) -> str:
    why = f": {answer.tunes_why}" if answer.tunes_why else ""
    if answer.tunes is None:
        return f"Whether it tunes here is known when the model is loaded{why}."
    if answer.tunes:
        return f"It tunes here{why}."
    return f"It does not tune here{why}. Nothing would be looked up for it."


def _settled(
    recipe: KeyAnswer,
    settings: Settings,
    environ: Mapping[str, str],
    workload: Workload,
    asker: EngineAsker,
    story: Story,
) -> KeyAnswer:
    """As `run` would, but for leaving a memo behind."""
    store = StoreAccess(settings, environ, asker.clock) if settings.store else None
    try:
        means = asker.means(store.open if store else None, remembers=False)
        settled = settle(workload.question, recipe, cast("Policy", settings.resolver), means)
    finally:
        if store is not None:
            store.close()
    for warning in settled.warnings:
        story.tell(warning)
    return settled.answer


def _verified(
    recipe: KeyAnswer, workload: Workload, asker: EngineAsker, python: str
) -> tuple[KeyAnswer, Verification]:
    """The engine beside the recipe: what holds, and what was said."""
    try:
        engine = cache_of(workload.question, asker.ask(), "resolver")
    except (EngineCannotSay, WrongAnswer) as silence:
        detail = f"it could not say: {silence}"
        return Refusal("undecidable", detail), Verification(python, None, "", detail)
    if not isinstance(engine, EngineCache):
        return engine, Verification(python, None, "", f"it says {engine.reason}: {engine.detail}")
    if not isinstance(recipe, EngineCache):
        detail = f"it says {engine.key_text}; the recipe says {recipe.reason}: {recipe.detail}"
        return engine, Verification(python, None, engine.key_text, detail)
    answer = agreed(recipe, engine)
    if not isinstance(answer, EngineCache):
        return answer, Verification(python, agrees=False, key_text=engine.key_text, detail=answer.detail)
    # the recipe's inputs say where each comes from
    tunes = replace(recipe, tunes=engine.tunes, tunes_why=engine.tunes_why)
    return tunes, Verification(python, agrees=True, key_text=engine.key_text, detail="it agrees")


def _refuse(
    refusal: Refusal,
    stdout: TextIO,
    stderr: TextIO,
    *,
    as_json: bool,
    verification: Verification | None = None,
) -> int:
    if as_json:
        document: dict[str, object] = {"refused": refusal.reason, "detail": refusal.detail}
        if verification is not None:
            document["verification"] = asdict(verification)
        stdout.write(json.dumps(document) + "\n")
    else:
        stderr.write(f"autotune-init key: {refusal.reason}: {refusal.detail}\n")
    return strict_exit_code(Outcome.SKIPPED, refusal.reason)
