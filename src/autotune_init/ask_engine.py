"""Ask the engine itself where it will look: its own argument resolution, in a child of the engine's own Python.

The answer is text from outside until `settle_key.cache_of` has checked it. Deadline and kill are tuners/child.py's.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from autotune_init.engines import Question
from autotune_init.environment import Machine
from autotune_init.facts import Gpu
from autotune_init.installed import InstalledPackages
from autotune_init.memo_inputs import EngineCode
from autotune_init.nvml import NoGpu, visible_gpus
from autotune_init.tuners import TunerFailed
from autotune_init.tuners.inside_call import Interpreter, ask_inside
from cache_store.dataclass import dataclass
from cache_store.sha256 import sha256_hex

# engine -> the program in inside/
PROGRAMS: Mapping[str, str] = {"sglang": "resolve_sglang.py", "vllm": "resolve_vllm.py"}

# an H100's, and the GPUs of one host; SGLang 0.5.12 to 0.5.23 resolved the same key with 24564 MiB and with one GPU
_ASSUMED_MIB = {"sglang": 81559}
_AT_LEAST = {"sglang": 8}
_MAX_SAID = 400

Why = Literal[
    "no-program",
    "gpu-unknown",
    "code-unknown",
    "not-started",
    "not-installed",
    "timeout",
    "stopped",
    "crashed",
    "refused",
]


class EngineCannotSay(Exception):  # noqa: N818 -- it is an answer
    """The engine gave no answer. `why` tells the cases apart, `detail` is a sentence, `tail` the child's last lines."""

    def __init__(self, why: Why, detail: str, tail: tuple[str, ...] = ()) -> None:
        super().__init__(f"{why}: {detail}")
        self.why = why
        self.detail = detail
        self.tail = tail


@dataclass(frozen=True)
class Job:
    """What the program is told. `gpu` is None where the engine shall ask the GPU that is really there."""

    argv: tuple[str, ...]
    gpu: Mapping[str, object] | None

    def as_dict(self) -> dict[str, object]:
        return {"argv": list(self.argv), "gpu": dict(self.gpu) if self.gpu is not None else None}


def ask_engine(
    question: Question, gpu: Gpu, is_gpu_here: bool, interpreter: Interpreter, deadline_s: float
) -> dict[str, object]:
    """The program's answer, unchecked. Raises `EngineCannotSay`, and `Cancelled` where this pod is told to stop.

    `interpreter.environ` is the engine's environment; our own variables do not reach the child.
    """
    program = PROGRAMS.get(question.engine)
    if program is None:
        raise EngineCannotSay("no-program", f"how to ask {question.engine} is not known")
    job = Job(question.argv, None if is_gpu_here else pretended(question.engine, gpu))
    try:
        answer = ask_inside(program, job.as_dict(), interpreter, deadline_s)
    except TunerFailed as failure:
        interpreter.clock.sleep(
            0
        )  # told to stop while the child ran: that is the reason, not the child's end
        raise _failed(failure, interpreter.python) from None
    refused = answer.get("refused")
    if refused is not None:
        raise _refused(question.engine, str(answer.get("detail") or refused), interpreter.python)
    return answer


def memory_mib_of(engine: str, gpu: Gpu) -> int | None:
    """What the engine is shown as the GPU's memory, MiB; None where it is not known and may matter."""
    return gpu.memory_mib or _ASSUMED_MIB.get(engine)


def count_of(engine: str, gpu: Gpu) -> int | None:
    """How many GPUs the engine is shown where none is here; None where that is not known and may matter."""
    return max(gpu.count or 0, _AT_LEAST.get(engine, 0)) or None


def pretended(engine: str, gpu: Gpu) -> dict[str, object]:
    """The facts' GPU as the program wants it. Raises `EngineCannotSay` for facts that an answer may depend on."""
    memory_mib, count = memory_mib_of(engine, gpu), count_of(engine, gpu)
    absent = [
        name
        for name, value in (
            ("name", gpu.name),
            ("capability", gpu.capability),
            ("driver", gpu.driver),  # GPT-OSS gets another MoE backend from driver 595 on
            ("memory_mib", memory_mib),
            ("count", count),
        )
        if value is None
    ]
    if absent or gpu.capability is None:
        detail = f"no GPU is here, and the facts do not state gpu.{' and gpu.'.join(absent)}"
        raise EngineCannotSay("gpu-unknown", detail)
    return {
        "name": gpu.name,
        "capability": list(gpu.capability),
        "memory_mib": memory_mib,
        "count": count,
        "driver": gpu.driver,
        # NVML's with "GPU-", torch's without
        "uuid": gpu.uuids[0].removeprefix("GPU-") if gpu.uuids else None,
    }


def is_gpu_here(gpu: Gpu, machine: Machine) -> bool:
    """Whether a child of ours would be shown the GPU that the facts speak of, rather than another one or none."""
    try:
        node = machine.read_gpus()
    except NoGpu:
        return False
    visible = visible_gpus(node.gpus, machine.environ)
    return bool(visible) and all(
        one.capability == gpu.capability and (gpu.name or "").startswith(one.name) for one in visible
    )


def code_of(packages: InstalledPackages, engine: str) -> EngineCode:
    """Which engine is installed, to the byte: a fork keeps the version, and another one's answer must not be believed.

    From RECORD, which has each module's digest; an editable installation has no modules there, so they are read
    (30 MB for SGLang). Raises `EngineCannotSay`.
    """
    record = next(
        (
            place / "RECORD"
            for entry in packages.search_path
            for place in sorted(Path(entry).glob(f"{engine}-*.dist-info"))
        ),
        None,
    )
    try:
        lines = record.read_text(errors="replace").splitlines() if record is not None else []
        modules = sorted(line for line in lines if line.startswith(f"{engine}/") and ".pyc," not in line)
        digest = _digest_of_lines(modules) if modules else _digest_of_modules(packages.package_dir(engine))
    except OSError as error:
        raise EngineCannotSay("code-unknown", f"{error.filename}: {error.strerror}") from None
    if digest is None:
        raise EngineCannotSay("code-unknown", f"where the modules of {engine} are installed is not seen")
    return EngineCode(digest, packages.version("torch"), packages.version("transformers"))


def _digest_of_lines(lines: list[str]) -> str:
    return sha256_hex("\n".join(lines).encode())


def _digest_of_modules(package: Path | None) -> str | None:
    if package is None:
        return None
    return _digest_of_lines(
        [
            f"{module.relative_to(package)} {sha256_hex(module.read_bytes())}"
            for module in sorted(package.rglob("*.py"))
        ]
    )


def _failed(failure: TunerFailed, python: str) -> EngineCannotSay:
    if failure.reason == "tuner-unavailable":
        return EngineCannotSay("not-started", failure.detail, failure.tail)
    if failure.reason == "tuner-timeout":
        return EngineCannotSay("timeout", f"{failure.detail} (--resolve-timeout)", failure.tail)
    if failure.reason == "tuner-cancelled":
        return EngineCannotSay("stopped", failure.detail, failure.tail)
    last = f"; its last line: {failure.tail[-1][:200]}" if failure.tail else ""
    return EngineCannotSay("crashed", f"{failure.detail} on {python}{last}", failure.tail)


def _refused(engine: str, detail: str, python: str) -> EngineCannotSay:
    missing = ("ModuleNotFoundError: No module named ", "ImportError: No module named ")
    if detail.startswith(missing):
        return EngineCannotSay(
            "not-installed", f"{engine} is not complete for {python}: {detail[:_MAX_SAID]}"
        )
    return EngineCannotSay("refused", detail[:_MAX_SAID])
