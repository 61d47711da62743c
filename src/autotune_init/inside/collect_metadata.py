"""Runs on the engine's Python: print what FlashInfer itself would write as `_metadata`, as one marked JSON line.

    {"metadata": {"flashinfer_version": ..., ...}}    or    {"reason": "no-flashinfer", "detail": ...}

Standard library only until the import of FlashInfer. The collector is private and moved: it is
`flashinfer.autotuner._collect_metadata` up to 0.6.14 (a module) and `flashinfer.autotuner.autotuner._collect_metadata`
from 0.6.15 (a package).
"""

from __future__ import annotations

import json
import os
import sys

MARKER = "AUTOTUNE_METADATA "


def collect() -> dict[str, object]:
    """The answer; whatever FlashInfer or torch raise becomes a reason."""
    try:
        import torch
    except ImportError as error:
        is_absent = isinstance(error, ModuleNotFoundError) and error.name == "torch"
        return {"reason": "no-torch" if is_absent else "collector-failed", "detail": f"import torch: {error}"}
    try:
        import flashinfer.autotuner
    except Exception as error:
        is_absent = isinstance(error, ModuleNotFoundError) and error.name == "flashinfer"
        detail = f"import flashinfer (torch {torch.__version__}): {type(error).__name__}: {error}"
        return {"reason": "no-flashinfer" if is_absent else "collector-failed", "detail": detail}
    try:
        module = sys.modules.get("flashinfer.autotuner.autotuner", flashinfer.autotuner)
        metadata = module._collect_metadata()
    except Exception as error:
        return {"reason": "collector-failed", "detail": f"{type(error).__name__}: {error}"}
    return {"metadata": {str(name): str(value) for name, value in metadata.items()}}


def main() -> None:
    """Imports print to stdout, from C too: they get stderr, the answer gets what was stdout."""
    here = os.path.realpath(os.path.dirname(__file__))  # noqa: PTH120 -- nothing but the essential is imported here
    # a script's own directory comes first on sys.path, where `verify.py` and others would shadow real modules
    sys.path[:] = [entry for entry in sys.path if os.path.realpath(entry or ".") != here]
    answer_to = os.dup(1)
    os.dup2(2, 1)
    line = f"\n{MARKER}{json.dumps(collect())}\n".encode()
    while line:
        line = line[os.write(answer_to, line) :]
    os.close(answer_to)


if __name__ == "__main__":
    main()
