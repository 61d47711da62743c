"""Check cache files in a fresh process. A program for the engine's Python: JSON job on stdin, one marked answer line.

`{"mode": "replay", ...}` (an op_calls.Job): with the file loaded, make the same calls in tune mode and count what is
profiled again, op by op; nothing must be, and the file must not be rewritten.
`{"mode": "load", "files": [PATH, ...]}`: only ask FlashInfer whether it would load each file.
`{"mode": "store", "root": PATH, "policy": {FIELD: VALUE}}`: attach its own store (autotune_v2) below this root, under a
measurement policy's manifest fields, and ask it for every entry there.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autotune_init.inside import cuda_build_env, op_calls
else:  # by path: the engine's Python does not have our package
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    import cuda_build_env
    import op_calls


def main() -> int:
    document = op_calls.load_stdin(sys.stdin)
    if document["mode"] in ("load", "store") and importlib.util.find_spec("flashinfer") is None:
        return op_calls.answer(flashinfer=None)
    work = Path(document["work"])
    build = cuda_build_env.prepare(os.environ, work)
    op_calls.set_environment(build.variables, build.notes)
    if document["mode"] == "load":
        return op_calls.answer(**_load([str(path) for path in document["files"]]))
    if document["mode"] == "store":
        return op_calls.answer(**_attach(Path(document["root"]), dict(document["policy"])))
    job = op_calls.read_job(document)
    try:
        op_calls.prepare_gpu(job)
    except op_calls.Unavailable as problem:
        return op_calls.answer(unavailable=str(problem))
    return op_calls.answer(**_replay(job))


def _load(paths: list[str]) -> dict[str, Any]:
    import flashinfer
    from flashinfer.autotuner import AutoTuner

    loaded: dict[str, bool] = {}
    errors: dict[str, str] = {}
    for path in paths:
        try:
            loaded[path] = AutoTuner.get().load_configs(path) is True
        except Exception as error:  # a file that raises here kills the engine at its start
            errors[path] = f"{type(error).__name__}: {error}"[:300]
    return {
        "flashinfer": flashinfer.__version__,
        "loaded": loaded,
        "errors": errors,
        "collected": _collected(),
    }


def _attach(root: Path, policy: dict[str, str]) -> dict[str, Any]:
    """`manifest` None: this FlashInfer has no store of its own (before 0.7.0)."""
    import flashinfer

    try:
        from flashinfer.autotune_cache import ManagedAutotuneCache
    except ImportError:
        return {"flashinfer": flashinfer.__version__, "manifest": None}
    store = ManagedAutotuneCache({**_collected(), **policy}, root=root)
    served, refused = 0, []
    for path in sorted(store.entries_dir.glob("*.json")):
        # what an engine would ask for: the key alone leads to the file
        if store.lookup(json.loads(path.read_bytes())["key"]) is None:
            refused.append(path.name)
        else:
            served += 1
    return {
        "flashinfer": flashinfer.__version__,
        "manifest": store.manifest,
        "served": served,
        "refused": refused,
    }


def _replay(job: op_calls.Job) -> dict[str, Any]:
    import flashinfer
    from flashinfer.autotuner import AutoTuner

    copy = job.work / "verified.json"
    shutil.copyfile(job.cache, copy)
    before = _digest(copy)
    counts = op_calls.Counts()
    op_calls.watch_autotuner(counts)
    is_loaded = AutoTuner.get().load_configs(str(copy)) is True
    with op_calls.tuning_context(copy):
        op_calls.make_calls(job)
    return {
        "flashinfer": flashinfer.__version__,
        "loaded": is_loaded,
        "profiled": counts.profiled,
        "looked_up": counts.wanted,
        "unchanged": _digest(copy) == before,
        "collected": _collected(),
    }


def _collected() -> dict[str, str]:
    """What FlashInfer itself would write as `_metadata` here and now."""
    import flashinfer.autotuner as package

    module = sys.modules.get("flashinfer.autotuner.autotuner", package)  # a package only from 0.6.15
    return {str(name): str(value) for name, value in module._collect_metadata().items()}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
