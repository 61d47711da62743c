"""`autotune-init key`: where the engine will look, and why."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import TextIO

from autotune_init.engines import EngineCache
from autotune_init.engines.registry import ask
from autotune_init.key_batch import answer_lines
from autotune_init.model_config import read_model_config
from autotune_init.node import NodeUnknown, learn_facts, learn_group, learn_workload
from autotune_init.outcomes import OK, Outcome, strict_exit_code
from autotune_init.settings import Settings
from cache_store.clock import SystemClock


def explain_key(
    settings: Settings,
    environ: Mapping[str, str],
    stdin: TextIO,
    stdout: TextIO,
    stderr: TextIO,
    *,
    as_json: bool,
    is_batch: bool,
) -> int:
    """Exit 0 with an answer, else the code of the refusal (17, 19, 23, 24). A batch always ends with 0."""
    if is_batch:
        for line in answer_lines(stdin, read_model_config):
            stdout.write(json.dumps(line) + "\n")
            stdout.flush()
        return OK
    try:
        facts = learn_facts(settings, environ, settings.deadline_s, SystemClock())
        workload = learn_workload(settings, environ, facts, learn_group(settings, environ))
    except NodeUnknown as unknown:
        return _refuse(unknown.reason, unknown.detail, stdout, stderr, as_json=as_json)
    answer = ask(workload.question)
    if not isinstance(answer, EngineCache):
        detail = "; ".join((answer.detail, *workload.warnings))
        return _refuse(answer.reason, detail, stdout, stderr, as_json=as_json)
    if as_json:
        stdout.write(json.dumps(asdict(answer), indent=2) + "\n")
        return OK
    stdout.write(as_text(answer))
    return OK


def as_text(answer: EngineCache) -> str:
    """For a person: the directory, the files, and every input with its value and where it came from."""
    width = max(len(one.name) for one in answer.inputs)
    value_width = min(48, max(len(str(one.value)) for one in answer.inputs))
    lines = [f"{answer.engine} {answer.engine_version} will look in", f"  {answer.directory}", "for"]
    lines += [f"  {name}" for name in answer.rank_files]
    lines += ["because the key is sha256 of", f"  {answer.key_text}", "with"]
    for one in answer.inputs:
        lines.append(f"  {one.name:{width}}  {one.value!s:{value_width}}  {one.source}")
    if answer.ranks_must_agree:
        lines.append("This release deletes the files of a TP group unless they are equal as JSON.")
    if answer.bound_to_gpu:
        lines.append("The file names carry this GPU's UUID: such files cannot be shared.")
    return "\n".join(lines) + "\n"


def _refuse(reason: str, detail: str, stdout: TextIO, stderr: TextIO, *, as_json: bool) -> int:
    if as_json:
        stdout.write(json.dumps({"refused": reason, "detail": detail}) + "\n")
    else:
        stderr.write(f"autotune-init key: {reason}: {detail}\n")
    return strict_exit_code(Outcome.SKIPPED, reason)
