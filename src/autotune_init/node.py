"""What this node is, from settings, --facts and the machine."""

from __future__ import annotations

from collections.abc import Mapping

from autotune_init.collector import runner
from autotune_init.environment import EnvironmentUnknown, Machine
from autotune_init.facts import BadFacts, Facts, gather, load_facts, to_json
from autotune_init.machine import this_machine
from autotune_init.nvml import NoGpu, visible_gpus
from autotune_init.replica_group import BadReplicaGroup, ReplicaGroup, named, replica_group
from autotune_init.settings import Settings
from cache_store.annotation import TextIO
from cache_store.clock import SystemClock
from cache_store.dataclass import replace

COLLECTOR_DEADLINE_S = 120.0


class NodeUnknown(Exception):  # noqa: N818 -- reads as what it is
    """What this node is cannot be said. `reason` is one of outcomes.REASONS."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def learn_facts(
    settings: Settings, environ: Mapping[str, str], deadline_s: float, clock: SystemClock
) -> Facts:
    """Complete facts of this node. Raises `NodeUnknown`: facts-*, environment-*."""
    try:
        return facts_on(machine_of(settings, environ, deadline_s, clock), settings)
    except BadFacts as problem:
        raise NodeUnknown(f"facts-{problem.reason}", problem.detail) from None
    except EnvironmentUnknown as unknown:
        raise NodeUnknown(f"environment-{unknown.reason}", unknown.detail) from None


def facts_on(machine: Machine, settings: Settings) -> Facts:
    """What --facts and --gpu-name state, completed by the machine. Raises `BadFacts` and `EnvironmentUnknown`."""
    stated = load_facts(settings.facts) if settings.facts else Facts()
    if settings.gpu_name:
        stated = _with_name(stated, settings.gpu_name)
        _compare_with_gpu(settings.gpu_name, machine)
    return gather(stated, machine)


def _with_name(stated: Facts, name: str) -> Facts:
    """Raises `BadFacts`: --facts and --gpu-name are two people's words, and taking either would be a guess."""
    for other in filter(None, (stated.gpu.name, stated.metadata.get("gpu"))):
        if other != name:
            raise BadFacts("bad-value", f"--gpu-name says {name!r}, --facts says {other!r}")
    return replace(stated, gpu=replace(stated.gpu, name=name))


def _compare_with_gpu(name: str, machine: Machine) -> None:
    """A name for containers without a GPU must not be the wrong one where the GPU can be seen.

    Files for another GPU would be ignored by the engine and never overwritten. Raises `EnvironmentUnknown`.
    """
    try:
        visible = visible_gpus(machine.read_gpus().gpus, machine.environ)
    except NoGpu:
        return
    if visible and not name.startswith(visible[0].name):  # CUDA's name of a MIG slice is longer than NVML's
        raise EnvironmentUnknown(
            "other-gpu", f"--gpu-name says {name!r}, the GPU here is {visible[0].name!r}"
        )


def learn_group(settings: Settings, environ: Mapping[str, str]) -> ReplicaGroup:
    """The pod's place in its replica. Raises `NodeUnknown`: replica-group."""
    try:
        found = replica_group(environ, nnodes=settings.group_size, node_rank=settings.node_rank)
    except BadReplicaGroup as problem:
        raise NodeUnknown(problem.reason, str(problem)) from None
    return named(found, settings.group_name, environ.get("POD_NAMESPACE"))


def machine_of(
    settings: Settings, environ: Mapping[str, str], deadline_s: float, clock: SystemClock
) -> Machine:
    """Raises `EnvironmentUnknown` where --python does not run."""
    return this_machine(
        environ,
        settings.python,
        collector_deadline_s=min(COLLECTOR_DEADLINE_S, deadline_s),
        run=runner(clock, clock.stop),
    )


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
