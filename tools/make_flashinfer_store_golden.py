"""Asks each FlashInfer release where its managed autotune store would be, and writes the answers as golden vectors.

    pip download --no-deps -d WHEELS flashinfer-python==0.7.2 ...
    python tools/make_flashinfer_store_golden.py WHEELS/flashinfer_python-0.7.*.whl

The constructor of the store is taken out of the wheel and run by itself; no FlashInfer code is kept. Writes
tests/data/flashinfer_store_golden.json: per release, pairs of metadata and the environment directory below the root.
"""

import ast
import hashlib
import json
import os
import pathlib
import random
import re
import sys
import typing
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "data" / "flashinfer_store_golden.json"
WANTED = {"_SCHEMA", "_canonical_json", "ManagedAutotuneCache", "MeasurementPolicy"}
VECTORS = 12


def namespace_of(wheel: Path) -> dict[str, object]:
    """What the release's autotune_cache.py needs to build a store object."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith("/autotune_cache.py"))
        tree = ast.parse(archive.read(name).decode())
    import dataclasses

    namespace: dict[str, object] = {
        **vars(typing), "hashlib": hashlib, "json": json, "os": os, "pathlib": pathlib, "dataclasses": dataclasses,
        "ManagedCacheEntry": object,
    }  # fmt: skip
    for node in tree.body:
        names = {getattr(node, "name", None)} | {
            target.id for target in getattr(node, "targets", []) if isinstance(target, ast.Name)
        }
        if names & WANTED:
            source = "from __future__ import annotations\n" + ast.unparse(node)
            exec(compile(source, str(wheel), "exec"), namespace)
    return namespace


def make_metadata(version: str) -> list[tuple[dict[str, str], dict[str, object]]]:
    """(metadata, measurement policy) pairs."""
    rng = random.Random(20261122)
    pick = rng.choice
    return [
        (
            {
                "flashinfer_version": version,
                "cuda_version": pick(["12.9", "13.0", "unknown"]),
                "cublas_version": pick(["13.1.0", "cuda-toolkit-13.0", "unknown"]),
                "cudnn_version": pick(["91002", "unknown"]),
                "cudnn_frontend_version": pick(["1.14.1", "unknown"]),
                "cutlass_dsl_version": pick(["nvidia-cutlass-dsl=4.3.0,libs=4.3.0", "unknown"]),
                "gpu": pick(["NVIDIA H100 80GB HBM3", "NVIDIA GH200 480GB", 'odd "näme" \\']),
            },
            pick([{}, {}, {"execution_mode": "eager"}, {"cold_l2": True, "_timer": "cupti"}]),
        )
        for _ in range(VECTORS)
    ]


def main() -> int:
    golden = {}
    for wheel in map(Path, sys.argv[1:]):
        version = re.match(r"flashinfer_python-([^-]+)-", wheel.name).group(1)
        namespace = namespace_of(wheel)
        golden[version] = []
        for metadata, policy in make_metadata(version):
            manifest = {**metadata, **namespace["MeasurementPolicy"](**policy).manifest_fields()}
            store = namespace["ManagedAutotuneCache"](manifest=manifest, root="/root")
            golden[version].append([manifest, str(store.env_dir.relative_to("/root"))])
        print(version, file=sys.stderr)
    GOLDEN.write_text(json.dumps(dict(sorted(golden.items())), ensure_ascii=False, indent=0) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
