"""What this node is: its GPU, the engine's packages and FlashInfer's environment; from --facts, else probed.

The file is what `autotune-init facts` prints, so that a node without a GPU can stand in for one that has:
{"gpu": {"name", "capability", "count", "uuid", "driver", "memory_mib"}, "packages": {name: version}, "metadata": {field: value}}.
What is absent is probed, what is present is believed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from autotune_init.environment import EnvironmentUnknown, Machine, probe_environment
from autotune_init.environment_fields import ProbedField
from autotune_init.gpu_names import capability_of
from autotune_init.nvml import NoGpu, visible_gpus
from cache_store.dataclass import dataclass, field, replace

MAX_FACTS_BYTES = 1024 * 1024
STATED = "facts file"
PACKAGES = ("sglang", "vllm", "flashinfer-python", "torch")
_MAX_TEXT = 4096  # a CuTe-DSL fingerprint names every package of its stack: 300 characters today
_MAX_NUMBER = 4096
_MAX_MIB = 64 * 1024 * 1024
_GPU_KEYS = {
    "name": "name",
    "capability": "capability",
    "count": "count",
    "uuids": "uuid",
    "driver": "driver",
    "memory_mib": "memory_mib",
}


class BadFacts(ValueError):  # noqa: N818 -- reads as what it is
    """The facts file is unusable. `reason`: "unreadable", "too-large", "not-json", "unknown-key", "bad-value".

    The message names the key.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Gpu:
    """The GPUs that a process here would be shown; None or () where not known.

    `name` as CUDA and FlashInfer spell it, `capability` (major, minor), `count` and `uuids` of the visible ones,
    `driver` like "580.95", `memory_mib` the whole memory of one (NVML's total, nvidia-smi's memory.total).
    """

    name: str | None = None
    capability: tuple[int, int] | None = None
    count: int | None = None
    uuids: tuple[str, ...] = ()
    driver: str | None = None
    memory_mib: int | None = None


@dataclass(frozen=True)
class Facts:
    """`packages`: distribution -> version. `metadata`: FlashInfer's `_metadata` fields.

    `sources`: "gpu.name" or "metadata.cublas_version" -> who told it; for people, no part of equality.
    """

    gpu: Gpu = field(default_factory=Gpu)
    packages: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict, compare=False)


def load_facts(given: str) -> Facts:
    """Facts from what --facts was given: the path of a file, or the JSON itself. Raises `BadFacts`."""
    if given.lstrip().startswith("{"):
        return parse_facts(given.encode(errors="surrogateescape"))
    path = Path(given)
    try:
        with path.open("rb") as facts:
            body = facts.read(MAX_FACTS_BYTES + 1)
    except OSError as error:
        raise BadFacts("unreadable", f"{path}: {error.strerror}") from error
    return parse_facts(body)


def parse_facts(body: bytes) -> Facts:
    """The facts in the bytes of a file: strict, because a misspelt key would silently mean "probe it".

    Raises `BadFacts`.
    """
    if len(body) > MAX_FACTS_BYTES:
        raise BadFacts("too-large", f"a facts file has at most {MAX_FACTS_BYTES} bytes")
    try:
        top = json.loads(body, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise error if isinstance(error, BadFacts) else BadFacts("not-json", f"not JSON: {error}") from error
    sections = _object("the file", top)
    _only_keys("", sections, ("gpu", "packages", "metadata"))
    gpu = _gpu(_object("gpu", sections.get("gpu", {})))
    packages = _texts("packages", sections.get("packages", {}))
    metadata = _texts("metadata", sections.get("metadata", {}))
    facts = Facts(gpu, packages, metadata)
    return replace(facts, sources=dict.fromkeys(_known(facts), STATED))


def to_json(facts: Facts) -> str:
    """The text of a facts file; `parse_facts` reads it back equal. What is not known is left out."""
    gpu = {
        "name": facts.gpu.name,
        "capability": list(facts.gpu.capability) if facts.gpu.capability else None,
        "count": facts.gpu.count,
        "uuid": list(facts.gpu.uuids) or None,
        "driver": facts.gpu.driver,
        "memory_mib": facts.gpu.memory_mib,
    }
    answer = {
        "gpu": {key: value for key, value in gpu.items() if value is not None},
        "packages": dict(facts.packages),
        "metadata": dict(facts.metadata),
    }
    return json.dumps(answer, indent=2, ensure_ascii=False) + "\n"


def gather(stated: Facts, machine: Machine, *, is_collector_forced: bool = False) -> Facts:
    """Complete facts: those stated, and for the rest what the machine says.

    The result has a GPU name and capability and every metadata field of its FlashInfer. Raises `EnvironmentUnknown`
    (reasons there) where one can be neither read nor probed.
    """
    believed = dict(stated.metadata)
    sources: dict[str, str] = dict.fromkeys(_known(stated), STATED)
    if stated.gpu.name is not None and "gpu" not in believed:
        believed["gpu"] = stated.gpu.name
    fields = {name: ProbedField(value, STATED) for name, value in believed.items()}
    gpu = _complete_gpu(stated.gpu, believed.get("gpu"), machine, sources)
    probe = probe_environment(machine, fields, is_collector_forced=is_collector_forced)
    if gpu.name is None or sources.get("gpu.name", "").startswith("NVML"):
        # CUDA's name where the two differ (MIG): it is the one that files carry
        gpu = replace(gpu, name=probe.metadata["gpu"])
        sources["gpu.name"] = probe.fields["gpu"].source
    packages = dict(stated.packages)
    for name in PACKAGES:
        version = None if name in packages else machine.packages.version(name)
        if version is not None:
            packages[name] = version
            sources[f"packages.{name}"] = f"package metadata of {name}"
    sources.update({f"metadata.{name}": found.source for name, found in probe.fields.items()})
    return Facts(gpu, packages, probe.metadata, sources)


def _complete_gpu(stated: Gpu, believed_name: str | None, machine: Machine, sources: dict[str, str]) -> Gpu:
    """NVML fills what is absent, unless it shows another GPU than the stated one: then this node only stands in."""
    name = stated.name or believed_name
    # the memory decides no key by a recipe: for it alone NVML is not asked
    if None not in (name, stated.capability, stated.count, stated.driver) and stated.uuids:
        return replace(stated, name=name)
    try:
        node = machine.read_gpus()
    except NoGpu as absent:
        return _without_nvml(replace(stated, name=name), sources, str(absent))
    visible = visible_gpus(node.gpus, machine.environ)
    if not visible:
        visible = tuple(gpu for gpu in node.gpus if gpu.is_split)  # a MIG slice chosen by its own UUID
    if not visible or (name is not None and not name.startswith(visible[0].name)):
        return _without_nvml(replace(stated, name=name), sources, "NVML shows no such GPU here")
    probed = Gpu(
        name=visible[0].name,
        capability=visible[0].capability,
        count=len(visible),
        uuids=tuple(gpu.uuid for gpu in visible),
        driver=node.driver,
        memory_mib=visible[0].memory_mib,
    )
    for attribute, key in _GPU_KEYS.items():
        is_absent = getattr(stated, attribute) in (None, ()) and getattr(probed, attribute) not in (None, ())
        if is_absent and not (key == "name" and name):
            sources[f"gpu.{key}"] = "NVML"
    return Gpu(
        name=name or probed.name,
        capability=stated.capability or probed.capability,
        count=probed.count if stated.count is None else stated.count,
        uuids=stated.uuids or probed.uuids,
        driver=stated.driver or probed.driver,
        memory_mib=stated.memory_mib or probed.memory_mib,
    )


def _without_nvml(gpu: Gpu, sources: dict[str, str], detail: str) -> Gpu:
    if gpu.name is not None and gpu.capability is None and (known := capability_of(gpu.name)):
        gpu = replace(gpu, capability=known)
        sources["gpu.capability"] = f"table of GPUs: {gpu.name}"
    for key in ("name", "capability"):
        if getattr(gpu, key) is None:
            raise EnvironmentUnknown("no-gpu", f"gpu.{key} is not stated, and {detail}")
    return gpu


def _known(facts: Facts) -> list[str]:
    known = [
        f"gpu.{key}"
        for attribute, key in _GPU_KEYS.items()
        if getattr(facts.gpu, attribute) not in (None, ())
    ]
    known += [f"packages.{name}" for name in facts.packages]
    return known + [f"metadata.{name}" for name in facts.metadata]


def _gpu(stated: Mapping[str, object]) -> Gpu:
    _only_keys("gpu.", stated, tuple(_GPU_KEYS.values()))
    capability: tuple[int, int] | None = None
    if "capability" in stated:
        numbers = stated["capability"]
        if not isinstance(numbers, list) or len(numbers) != 2:
            raise BadFacts("bad-value", "gpu.capability: wants [major, minor], e.g. [9, 0]")
        capability = (_number("gpu.capability", numbers[0], 1), _number("gpu.capability", numbers[1], 0))
    uuids = stated.get("uuid", [])
    if not isinstance(uuids, list):
        raise BadFacts("bad-value", "gpu.uuid: wants a list of texts")
    return Gpu(
        name=_text("gpu.name", stated["name"]) if "name" in stated else None,
        capability=capability,
        count=_number("gpu.count", stated["count"], 1) if "count" in stated else None,
        uuids=tuple(_text("gpu.uuid", uuid) for uuid in uuids),
        driver=_text("gpu.driver", stated["driver"]) if "driver" in stated else None,
        memory_mib=_number("gpu.memory_mib", stated["memory_mib"], 1, _MAX_MIB)
        if "memory_mib" in stated
        else None,
    )


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in pairs:
        if key in found:
            raise BadFacts("bad-value", f"{key[:80]!r} comes twice")
        found[key] = value
    return found


def _object(key: str, value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise BadFacts("bad-value", f"{key}: wants an object, not {type(value).__name__}")
    return value


def _only_keys(prefix: str, found: Mapping[str, object], allowed: tuple[str, ...]) -> None:
    for key in found:
        if key not in allowed:
            raise BadFacts("unknown-key", f"{prefix}{key[:80]}: no such key; there are {', '.join(allowed)}")


def _texts(section: str, value: object) -> dict[str, str]:
    return {
        _text(f"a key of {section}", name): _text(f"{section}.{name[:80]}", text)
        for name, text in _object(section, value).items()
    }


def _text(key: str, value: object) -> str:
    if not isinstance(value, str):
        raise BadFacts("bad-value", f"{key}: wants text, not {type(value).__name__}")
    if not value or len(value) > _MAX_TEXT or not value.isprintable():
        raise BadFacts("bad-value", f"{key}: wants 1 to {_MAX_TEXT} printable characters")
    return value


def _number(key: str, value: object, least: int, most: int = _MAX_NUMBER) -> int:
    if type(value) is not int or not least <= value <= most:  # bool is an int, and no count
        raise BadFacts("bad-value", f"{key}: wants a whole number from {least}")
    return value
