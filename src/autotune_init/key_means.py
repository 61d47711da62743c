"""What settling a key acts with, made of this pod: the engine's Python, what the memo is keyed by, the store."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from autotune_init.ask_engine import (
    EngineCannotSay,
    ask_engine,
    code_of,
    count_of,
    is_gpu_here,
    memory_mib_of,
)
from autotune_init.engines.vllm_memo import may_be_remembered
from autotune_init.environment import EnvironmentUnknown, Machine
from autotune_init.facts import Facts
from autotune_init.memo_inputs import AskedGpu, memo_inputs
from autotune_init.node import machine_of
from autotune_init.settings import Settings
from autotune_init.settle_key import Means
from autotune_init.tuners.inside_call import Interpreter
from autotune_init.workload import Workload, learn_files
from cache_store.clock import SystemClock
from cache_store.dataclass import dataclass
from cache_store.objects import ObjectStore


@dataclass(frozen=True)
class EngineAsker:
    """The pod's engine, as somebody to ask. `left_s` says how many seconds this pod still has."""

    settings: Settings
    environ: Mapping[str, str]
    facts: Facts
    workload: Workload
    clock: SystemClock
    left_s: Callable[[], float]
    tell: Callable[[str], None]

    def means(
        self,
        open_store: Callable[[], ObjectStore] | None,
        *,
        remembers: bool,
        holder: str = "",
        program: str = "",
    ) -> Means:
        return Means(self.ask, self.inputs, open_store, remembers=remembers, holder=holder, program=program)

    def ask(self) -> Mapping[str, object]:
        """Raises `EngineCannotSay` and `Cancelled`."""
        question, command = self.workload.question, self.workload.command
        python = self.settings.python or sys.executable
        deadline_s = min(self.settings.resolve_timeout_s, self.left_s())
        is_here = is_gpu_here(self.facts.gpu, self._machine)
        self.tell(f"asking {question.engine} itself on {python}, for at most {deadline_s:.0f} s")
        interpreter = Interpreter(
            python=python,
            # a program of ours would refuse variables that were meant for this one
            environ={
                name: text for name, text in command.environ.items() if not name.startswith("AUTOTUNE_")
            },
            cwd=Path(command.directory) if command.directory else Path.cwd(),
            stop=self.clock.stop,
            clock=self.clock,
        )
        return ask_engine(question, self.facts.gpu, is_here, interpreter, deadline_s)

    def inputs(self) -> Mapping[str, object]:
        """Raises `EngineCannotSay` where something that the answer may depend on is not known."""
        question, gpu = self.workload.question, self.facts.gpu
        memory_mib = memory_mib_of(question.engine, gpu)
        if gpu.name is None or gpu.driver is None or memory_mib is None:
            raise EngineCannotSay("gpu-unknown", "the GPU's name, driver or memory is not known")
        count = None
        if question.engine == "vllm":
            count = count_of(question.engine, gpu)
            if not may_be_remembered(question):
                detail = "the command line names files or code of its own, which are not followed"
                raise EngineCannotSay("code-unknown", detail)
        asked = AskedGpu(gpu.name, memory_mib, gpu.driver, count)
        return memo_inputs(
            question, asked, code_of(self._machine.packages, question.engine), learn_files(self.workload)
        )

    @functools.cached_property
    def _machine(self) -> Machine:
        try:
            return machine_of(self.settings, self.environ, self.left_s(), self.clock)
        except EnvironmentUnknown as unknown:
            raise EngineCannotSay("not-started", f"{unknown.reason}: {unknown.detail}") from None
