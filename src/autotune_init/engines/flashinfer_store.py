"""FlashInfer's own store (autotune_v2, 0.7.0 and later): `<root>/v2/<env_hash16>/entries/*.json`. Pure.

The directory's name is all the identity there is: sha256 over the canonical JSON of FlashInfer's metadata and the
schema's name (FlashInfer 0.7.0 to 0.7.2.post1, flashinfer/autotune_cache.py `ManagedAutotuneCache.__init__`; what each
of these releases makes of random metadata is in tests/data/flashinfer_store_golden.json).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import PurePosixPath

SCHEMA = "v2"
RELEASES = ("0.7.0", "0.7.0.post1", "0.7.1", "0.7.2", "0.7.2.post1")
METADATA_FIELDS = frozenset({
    "flashinfer_version", "cuda_version", "cublas_version", "cudnn_version", "cudnn_frontend_version",
    "cutlass_dsl_version", "gpu",
})  # fmt: skip
# MeasurementPolicy.manifest_fields: only what is not the default stands in the manifest
POLICY_FIELDS = frozenset({"measure_execution_mode", "measure_cold_l2", "measure_timer"})


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
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def environment_directory(root: str, metadata: Mapping[str, str]) -> str:
    return str(PurePosixPath(root) / SCHEMA / env_hash(metadata))
