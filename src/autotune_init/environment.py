"""FlashInfer's own `_metadata` of this pod, found out without importing torch or flashinfer.

FlashInfer loads a cache file only if each field that it collects equals the file's (`load_configs`). Its collector
needs torch: 8 s of imports. Most fields can be had from NVML, from two text files and from the libraries themselves
(`environment_fields`); where one cannot be known that way, FlashInfer's collector is asked once, in a child.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from autotune_init import environment_fields as fields
from autotune_init.collector import CollectorFailed
from autotune_init.collector_rules import CollectorRules, rules_for
from autotune_init.environment_fields import UNKNOWN, Linking, ProbedField
from autotune_init.installed import InstalledPackages
from autotune_init.nvml import NodeGpus, NoGpu, visible_gpus
from cache_store.annotation import TYPE_CHECKING
from cache_store.dataclass import dataclass, replace

if TYPE_CHECKING:
    from autotune_init.shared_libraries import Libraries

COLLECTOR = "FlashInfer's collector"


class EnvironmentUnknown(Exception):  # noqa: N818 -- reads as what it is
    """The pod's FlashInfer environment cannot be found out, and is not guessed.

    `reason`: "no-flashinfer", "no-torch", "no-gpu", "other-gpu" (than --gpu-name says), "mixed-gpus" (CUDA shows GPUs of several names, so the ranks'
    files would differ), "unknown-field" (stated, but this FlashInfer has no such field), "collector-failed",
    "collector-timeout".
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class EnvironmentProbe:
    """All fields that this FlashInfer writes, in its order, each with a value and who told it."""

    fields: Mapping[str, ProbedField]

    @property
    def metadata(self) -> dict[str, str]:
        """As FlashInfer would write it."""
        return {name: found.value for name, found in self.fields.items() if found.value is not None}


@dataclass(frozen=True)
class Machine:
    """What the probes may touch.

    `environ` is the environment of this process (LD_LIBRARY_PATH above all), taken to be the engine's too.
    `packages` are those of the engine's Python; `is_engine_python` says that this process runs on that very Python:
    if not, what loading a library here tells counts for nothing. `libraries` is called where one is needed. `read_gpus`
    raises `NoGpu`. `ask_flashinfer` runs FlashInfer's collector in a child and raises `CollectorFailed`.
    """

    environ: Mapping[str, str]
    packages: InstalledPackages
    libraries: Callable[[], Libraries]
    read_gpus: Callable[[], NodeGpus]
    ask_flashinfer: Callable[[], Mapping[str, str]]
    is_engine_python: bool = True


def probe_environment(
    machine: Machine, stated: Mapping[str, ProbedField], *, is_collector_forced: bool = False
) -> EnvironmentProbe:
    """Every field of `_metadata`: stated (believed, e.g. by the facts file), probed, or told by the collector.

    The collector runs, once, only if some field is neither stated nor certain, or if it is forced (after a tune whose
    file carried another environment); its word then replaces every probe's. Raises `EnvironmentUnknown`.
    """
    version = stated.get("flashinfer_version") or fields.flashinfer_version(machine.packages)
    if version.value is None and version.is_certain:
        raise EnvironmentUnknown(
            "no-flashinfer", "no FlashInfer in the engine's Python; see --python and --facts"
        )
    rules = rules_for(version.value) if version.value and version.is_certain else None
    found: Mapping[str, ProbedField] = {}
    if rules is not None:
        _refuse_unknown_fields(stated, rules, version)
        found = _probe(machine, rules, {"flashinfer_version": version, **stated})
        if not is_collector_forced and all(field.is_certain for field in found.values()):
            return EnvironmentProbe(found)
    elif "gpu" not in stated:
        visible_name(machine)  # a child that finds no GPU costs 8 s to say so
    return EnvironmentProbe(_told(_ask(machine), found, stated))


def visible_name(machine: Machine) -> ProbedField:
    """The GPU's name as FlashInfer writes it. Raises `EnvironmentUnknown`: no-gpu, mixed-gpus."""
    try:
        node = machine.read_gpus()
    except NoGpu as absent:
        raise EnvironmentUnknown("no-gpu", str(absent)) from absent
    visible = visible_gpus(node.gpus, machine.environ)
    if not visible and machine.environ.get("CUDA_VISIBLE_DEVICES", "").startswith("MIG-"):
        return ProbedField(None, "CUDA_VISIBLE_DEVICES names a MIG slice", is_certain=False)
    if not visible:
        raise EnvironmentUnknown("no-gpu", "CUDA_VISIBLE_DEVICES hides every GPU that NVML shows")
    names = sorted({gpu.name for gpu in visible})
    if len(names) > 1:
        raise EnvironmentUnknown("mixed-gpus", f"CUDA shows {' and '.join(names)}; set CUDA_VISIBLE_DEVICES")
    return fields.gpu_name(visible)


def _refuse_unknown_fields(
    stated: Mapping[str, ProbedField], rules: CollectorRules, version: ProbedField
) -> None:
    for name in stated:
        if name not in rules.fields:
            raise EnvironmentUnknown(
                "unknown-field", f"FlashInfer {version.value} has no metadata field {name!r}"
            )


def _probe(
    machine: Machine, rules: CollectorRules, stated: Mapping[str, ProbedField]
) -> dict[str, ProbedField]:
    """In the collector's order; nothing is probed that is stated."""
    found = dict(stated)
    wanted = [name for name in rules.fields if name not in stated]
    if "gpu" in wanted:  # first: it is the cheapest to fail
        found["gpu"] = visible_name(machine)
    if {"cuda_version", "cublas_version", "cudnn_version"} & set(wanted):
        found = {**_probe_torch(machine, rules, found), **found}
    if "cudnn_frontend_version" in wanted:
        found["cudnn_frontend_version"] = _frontend(machine, found["cudnn_version"])
    if "cutlass_dsl_version" in wanted:
        found["cutlass_dsl_version"] = fields.cutlass_dsl_version(machine.packages)
    return {name: found[name] for name in rules.fields}


def _probe_torch(
    machine: Machine, rules: CollectorRules, stated: Mapping[str, ProbedField]
) -> dict[str, ProbedField]:
    torch = _torch(machine)
    if torch is None or not machine.is_engine_python:
        source = "another Python's libraries" if torch else "torch is not installed as a plain package"
        unsure = ProbedField(None, source, is_certain=False)
        cuda = fields.cuda_version(torch) if torch else unsure
        return {"cuda_version": cuda, "cublas_version": unsure, "cudnn_version": unsure}
    found = {"cuda_version": stated.get("cuda_version") or fields.cuda_version(torch)}
    linking = Linking(torch, machine.packages, machine.libraries(), machine.environ)
    if "cublas_version" not in stated:
        found["cublas_version"] = fields.cublas_version(linking, found["cuda_version"])
    if "cudnn_version" not in stated:
        frontend = fields.cudnn_frontend_version(machine.packages)
        found["cudnn_version"] = fields.cudnn_version(linking, found["cuda_version"], frontend, rules)
    return found


def _torch(machine: Machine) -> Path | None:
    """Where torch lies; None where it is installed in a way that only the import system sees."""
    directory = machine.packages.package_dir("torch")
    if directory is None and machine.packages.version("torch") is None:
        raise EnvironmentUnknown("no-torch", "no torch in the engine's Python; see --python and --facts")
    return directory


def _frontend(machine: Machine, cudnn: ProbedField) -> ProbedField:
    found = fields.cudnn_frontend_version(machine.packages)
    has_cudnn = cudnn.is_certain and (cudnn.value or "").isdigit()
    if found.value == UNKNOWN or has_cudnn:
        return found
    return replace(found, is_certain=False)  # `import cudnn` loads libcudnn, and fails or not without it


def _ask(machine: Machine) -> Mapping[str, str]:
    try:
        return machine.ask_flashinfer()
    except CollectorFailed as failure:
        raise EnvironmentUnknown(failure.reason, failure.detail) from failure


def _told(
    told: Mapping[str, str], probed: Mapping[str, ProbedField], stated: Mapping[str, ProbedField]
) -> dict[str, ProbedField]:
    """What is stated stays; a probe that the collector contradicts is named in the source."""
    answer = {}
    for name, value in told.items():
        probe = probed.get(name)
        source = COLLECTOR
        if probe is not None and probe.value not in (None, value):
            source = f"{COLLECTOR}; {probe.source} said {probe.value}"
        answer[name] = stated.get(name) or ProbedField(value, source)
    for name in stated:
        if name not in answer:
            raise EnvironmentUnknown("unknown-field", f"this FlashInfer has no metadata field {name!r}")
    if "gpu" not in stated and answer.get("gpu", ProbedField(UNKNOWN, "")).value == UNKNOWN:
        raise EnvironmentUnknown("no-gpu", f"{COLLECTOR} sees no GPU")
    return answer
