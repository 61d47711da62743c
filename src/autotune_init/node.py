"""What this node and this workload are, from settings, --facts and the machine; and the question that follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from autotune_init.collector import runner
from autotune_init.engines import Question
from autotune_init.environment import EnvironmentUnknown
from autotune_init.facts import BadFacts, Facts, gather, load_facts, to_json
from autotune_init.machine import this_machine
from autotune_init.model_config import ConfigNotFound, find_model_config, read_model_config, with_side_file
from autotune_init.replica_group import BadReplicaGroup, ReplicaGroup, replica_group
from autotune_init.settings import Settings
from cache_store.clock import SystemClock

COLLECTOR_DEADLINE_S = 120.0


class NodeUnknown(Exception):  # noqa: N818 -- reads as what it is
    """What this node is cannot be said. `reason` is one of outcomes.REASONS."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Workload:
    """What is served here: the engine's question, the model's config as tuners need it, and what was not found."""

    question: Question
    model_config: Mapping[str, object] | None
    warnings: tuple[str, ...]


def learn_facts(
    settings: Settings, environ: Mapping[str, str], deadline_s: float, clock: SystemClock
) -> Facts:
    """Complete facts of this node. Raises `NodeUnknown`: facts-*, environment-*."""
    try:
        stated = load_facts(Path(settings.facts)) if settings.facts else Facts()
        machine = this_machine(
            environ,
            settings.python,
            collector_deadline_s=min(COLLECTOR_DEADLINE_S, deadline_s),
            run=runner(clock, clock.stop),
        )
        return gather(stated, machine)
    except BadFacts as problem:
        raise NodeUnknown(f"facts-{problem.reason}", problem.detail) from None
    except EnvironmentUnknown as unknown:
        raise NodeUnknown(f"environment-{unknown.reason}", unknown.detail) from None


def learn_group(settings: Settings, environ: Mapping[str, str]) -> ReplicaGroup:
    """The pod's place in its replica. Raises `NodeUnknown`: replica-group."""
    try:
        return replica_group(environ, nnodes=settings.group_size, node_rank=settings.node_rank)
    except BadReplicaGroup as problem:
        raise NodeUnknown(problem.reason, str(problem)) from None


def learn_workload(
    settings: Settings, environ: Mapping[str, str], facts: Facts, group: ReplicaGroup
) -> Workload:
    """The question to the engine's recipe. Raises `NodeUnknown`: environment-no-gpu, unknown-engine-version."""
    version = settings.engine_version or (
        facts.metadata.get("flashinfer_version")
        if settings.engine == "flashinfer"
        else facts.packages.get(settings.engine)
    )
    if version is None:
        detail = f"{settings.engine} is not installed beside us; state --engine-version"
        raise NodeUnknown("unknown-engine-version", detail)
    if facts.gpu.capability is None:
        raise NodeUnknown("environment-no-gpu", "the compute capability is not known")
    config, directory, warning = _config(settings, environ)
    question = Question(
        engine=settings.engine,
        engine_version=version,
        flashinfer_version=facts.metadata["flashinfer_version"],
        capability=facts.gpu.capability,
        argv=settings.engine_argv,
        model_config=config,
        environ=environ,
        fields=dict(settings.field),
        cache_dir=str(Path(settings.cache_dir).absolute()) if settings.cache_dir else None,
        gpu_uuids=facts.gpu.uuids,
        node_rank=group.node_rank,
        metadata=facts.metadata,
    )
    tuned = with_side_file(config, directory) if config is not None and directory else config
    return Workload(question, tuned, (warning,) if warning else ())


def _config(
    settings: Settings, environ: Mapping[str, str]
) -> tuple[Mapping[str, object] | None, Path | None, str]:
    """(config.json or None, its directory, why there is none). The recipe refuses by itself where it needs one."""
    try:
        file = Path(settings.model_config) if settings.model_config else _find(settings, environ)
        if file is None:
            return None, None, ""
        return read_model_config(str(file)), file if file.is_dir() else file.parent, ""
    except ConfigNotFound as absent:
        return None, None, str(absent)
    except (OSError, ValueError) as problem:
        return None, None, f"config.json: {problem}"[:300]


def _find(settings: Settings, environ: Mapping[str, str]) -> Path | None:
    """Through the stated model path, else through argv's: a stated one may be a name that only the key knows."""
    revision = flag_value(settings.engine_argv, "--revision")
    paths = (settings.field.get("model_path"), flag_value(settings.engine_argv, "--model-path", "--model"))
    absent: ConfigNotFound | None = None
    for path in filter(None, paths):
        try:
            return find_model_config(path, environ, revision)
        except ConfigNotFound as problem:
            absent = absent or problem
    if absent is not None:
        raise absent
    return None


def flag_value(argv: tuple[str, ...], *names: str) -> str | None:
    """The last value of a flag in the engine's argv, in either spelling."""
    found: str | None = None
    for at, word in enumerate(argv):
        name, equals, attached = word.partition("=")
        if name in names:
            found = attached if equals else (argv[at + 1] if at + 1 < len(argv) else None)
    return found


def print_facts(settings: Settings, environ: Mapping[str, str], stdout: TextIO, stderr: TextIO) -> int:
    """`autotune-init facts`. Exit 19 where this node cannot be known."""
    from autotune_init.outcomes import Outcome, strict_exit_code

    try:
        facts = learn_facts(settings, environ, settings.deadline_s, SystemClock())
    except NodeUnknown as unknown:
        stderr.write(f"autotune-init facts: {unknown.reason}: {unknown.detail}\n")
        return strict_exit_code(Outcome.COLD, unknown.reason)
    stdout.write(to_json(facts))
    stderr.writelines(f"{name}: {source}\n" for name, source in sorted(facts.sources.items()))
    return 0
