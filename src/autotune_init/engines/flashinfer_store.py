"""FlashInfer's own store (autotune_v2, 0.7.0 and later): `<root>/v2/<env_hash16>/entries/*.json`. Pure.

The directory's name is all the identity there is: sha256 over the canonical JSON of FlashInfer's metadata and the
schema's name (FlashInfer 0.7.0 to 0.7.2.post1, flashinfer/autotune_cache.py `ManagedAutotuneCache.__init__`; what each
of these releases makes of random metadata is in tests/data/flashinfer_store_golden.json).

The directory says nothing about the model, so the address in the bucket does: with one register for an environment,
the first model's entries would be every other model's "hit", and nobody would tune again. A wrong guess of the
workload costs a tune and can do no harm: each entry says itself what it is for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import PurePosixPath

from autotune_init.engines import EngineCache, FieldValue, Input, Question, Refusal
from cache_store.sha256 import sha256_hex

SCHEMA = "v2"
RELEASES = ("0.7.0", "0.7.0.post1", "0.7.1", "0.7.2", "0.7.2.post1")
METADATA_FIELDS = frozenset({
    "flashinfer_version", "cuda_version", "cublas_version", "cudnn_version", "cudnn_frontend_version",
    "cutlass_dsl_version", "gpu",
})  # fmt: skip
# MeasurementPolicy.manifest_fields: only what is not the default stands in the manifest
POLICIES: Mapping[str, tuple[str, ...]] = {
    "measure_execution_mode": ("cuda_graph", "eager"),
    "measure_cold_l2": ("True", "False"),
    "measure_timer": ("events", "events_no_delay", "cupti"),
}
POLICY_FIELDS = frozenset(POLICIES)
WORKLOAD = "workload"
_ELSEWHERE = frozenset({"model_path"})  # says where config.json is, in whichever engine
MAX_WORKLOAD = 256


class BadMetadata(ValueError):  # noqa: N818 -- reads as what it is
    """Not the manifest of a release that has the store; the message says why."""


def env_hash(metadata: Mapping[str, str]) -> str:
    """16 hex. Raises `BadMetadata` for fields that no known release writes: then we would name a wrong directory."""
    names = set(metadata)
    if not names >= METADATA_FIELDS or not names <= METADATA_FIELDS | POLICY_FIELDS:
        odd = sorted(names ^ METADATA_FIELDS - POLICY_FIELDS)
        raise BadMetadata(f"missing or unknown metadata fields: {odd[:8]}")
    if not all(isinstance(value, str) for value in metadata.values()):
        raise BadMetadata("metadata values are texts")
    if metadata["flashinfer_version"] not in RELEASES:
        known = f"{RELEASES[0]} to {RELEASES[-1]}"
        raise BadMetadata(f"FlashInfer {metadata['flashinfer_version'][:40]!r} is not one of {known}")
    manifest = {**metadata, "cache_schema": SCHEMA}
    canonical = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
    return sha256_hex(canonical.encode())[:16]


def environment_directory(root: str, metadata: Mapping[str, str]) -> str:
    return str(PurePosixPath(root) / SCHEMA / env_hash(metadata))


def manifest_of(metadata: Mapping[str, str], resolved: Mapping[str, FieldValue]) -> dict[str, str]:
    """What FlashInfer writes to manifest.json: `metadata` with the measurement policy that `resolved` states."""
    stated = {name: str(resolved[name]) for name in POLICIES if name in resolved}
    return {**metadata, **stated, "cache_schema": SCHEMA}


def hash_of(manifest: Mapping[str, str]) -> str:
    """`env_hash` of a whole manifest. Raises `BadMetadata`, also where its schema is another one."""
    if manifest.get("cache_schema") != SCHEMA:
        raise BadMetadata(f"cache_schema is {str(manifest.get('cache_schema'))[:40]!r}, not {SCHEMA!r}")
    return env_hash({name: value for name, value in manifest.items() if name != "cache_schema"})


def store_of(question: Question) -> EngineCache | Refusal:
    """Where FlashInfer looks, whichever engine calls it. Raises nothing."""
    for root, source in _roots(question):
        if root:
            return store_below(question, root, source)
    return Refusal("key-inputs", "neither FLASHINFER_AUTOTUNE_CACHE_DIR nor HOME is set; state --cache-dir")


def store_below(question: Question, root: str, source: str) -> EngineCache | Refusal:
    """The same for a root that is known, with `source`, where from. Raises nothing."""
    unknown = sorted(question.fields.keys() - POLICIES.keys() - _ELSEWHERE - {WORKLOAD})
    if unknown:
        takes = ", ".join((WORKLOAD, *POLICIES))
        return Refusal("key-inputs", f"--field {unknown[0]}: FlashInfer's own store takes {takes}")
    stated = {name: str(question.fields[name]) for name in POLICIES if name in question.fields}
    for name, value in stated.items():
        if value not in POLICIES[name]:
            return Refusal(
                "key-inputs", f"--field {name}={value[:40]}: it is one of {', '.join(POLICIES[name])}"
            )
    if not root.startswith("/"):
        return Refusal("key-inputs", f"{source} {root[:200]!r} is relative to wherever the engine will start")
    workload, workload_source = _workload(question)
    if not workload or len(workload) > MAX_WORKLOAD or not workload.isprintable():
        return Refusal(
            "key-inputs",
            "neither the engine's command line nor config.json says what is served, and the store's path does not; "
            f"state --field {WORKLOAD}=NAME (1 to {MAX_WORKLOAD} printable characters)",
        )
    try:
        environment = env_hash({**question.metadata, **stated})
    except BadMetadata as problem:
        return Refusal("key-inputs", str(problem))
    text = f"flashinfer-{SCHEMA}|{environment}|{workload}"
    return EngineCache(
        engine=question.engine,
        engine_version=question.engine_version,
        flashinfer_version=question.flashinfer_version,
        arch=f"sm{question.capability[0]}{question.capability[1]}",
        key=sha256_hex(text.encode())[:16],
        key_text=text,
        inputs=(
            Input("env_hash", environment, "FlashInfer's metadata, flashinfer/autotune_cache.py"),
            *(Input(name, value, "--field") for name, value in stated.items()),
            Input(WORKLOAD, workload, workload_source),
            Input("root", root, source),
        ),
        directory=str(PurePosixPath(root) / SCHEMA / environment),
        rank_files=(),
        all_rank_files=(),
        resolved={"env_hash": environment, WORKLOAD: workload, "root": root, **stated},
        source="recipe",
        kind="entries",
    )


def _roots(question: Question) -> tuple[tuple[str | None, str], ...]:
    """(root, where from), best first.

    FlashInfer: `get_default_cache_root` of flashinfer/autotune_cache.py and `FLASHINFER_BASE_DIR` of
    flashinfer/jit/env.py, where a workspace base that is set to nothing is the current directory. vLLM 0.33 passes
    its own variable, where that is set, as `cache_root`.
    """
    environ = question.environ
    base = environ.get("FLASHINFER_WORKSPACE_BASE")
    named = "FLASHINFER_WORKSPACE_BASE" if base is not None else "HOME"
    if base is None:
        base = environ.get("HOME") or None
    default = str(PurePosixPath(base) / ".cache" / "flashinfer" / "autotune") if base is not None else None
    return (
        (question.cache_dir, "--cache-dir"),
        (environ.get("VLLM_FLASHINFER_AUTOTUNE_CACHE_DIR"), "VLLM_FLASHINFER_AUTOTUNE_CACHE_DIR"),
        (environ.get("FLASHINFER_AUTOTUNE_CACHE_DIR"), "FLASHINFER_AUTOTUNE_CACHE_DIR"),
        (default, named),
    )


def _workload(question: Question) -> tuple[str, str]:
    """(name, where from); "" where nothing says what is served. Two command lines of one model are two workloads."""
    if WORKLOAD in question.fields:
        return str(question.fields[WORKLOAD]), f"--field {WORKLOAD}"
    if not question.argv and question.model_config is None:
        return "", ""
    config = _digest(question.model_config) if question.model_config is not None else None
    return _digest([list(question.argv), config])[:32], "sha256 of the command line and config.json"


def _digest(value: object) -> str:
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return sha256_hex(canonical.encode())
