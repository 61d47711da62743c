"""Runs on the engine's Python: where will this SGLang keep its autotune files for this command line?

One JSON job on stdin, one marked JSON line on stdout:

    {"argv": [...], "gpu": null | {"name", "capability": [9, 0], "memory_mib", "count", "driver", "uuid"}}
    AUTOTUNE-ANSWER {"schema", "engine", "engine_version", "flashinfer_version", "capability", "argv",
                     "workers": [{"role": "target"|"draft", "key", "folder", "fields", "files", "tunes", "tunes_why"}]}
    AUTOTUNE-ANSWER {"refused": "undecidable", "detail": ...}

The release resolves the arguments itself, and its own path function is called for every rank of the replica. With
`gpu` null the real GPU is asked. Otherwise that GPU is pretended from the first import on: `torch.cuda`'s queries, a
libcuda that fails every call, an nvidia-smi that prints memory and driver. Nothing of SGLang is edited; its path
function creates the key's directory, which therefore is in a scratch directory. No network: connecting raises.

Standard library only until the import of torch. Seen to work on SGLang 0.5.12 to 0.5.23.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import json
import os
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autotune_init.inside.offline import no_network
    from autotune_init.inside.sglang_surroundings import PretendedGpu, use_scratch
else:  # this directory is the first on the path of a program that is run by path
    from offline import no_network
    from sglang_surroundings import PretendedGpu, use_scratch

ANSWER_MARK = "AUTOTUNE-ANSWER "
SCHEMA = "autotune-cache/resolution/v1"
_PATH_FUNCTIONS = (
    ("model_executor.runner.flashinfer_autotune", None, "flashinfer_autotune_cache_path"),  # from 0.5.15
    ("model_executor.runner.base_runner", "BaseRunner", "_flashinfer_autotune_cache_path"),  # 0.5.14
    ("model_executor.model_runner", "ModelRunner", "_flashinfer_autotune_cache_path"),  # 0.5.12, 0.5.13
)
_TUNES_FUNCTIONS = (
    ("model_executor.runner.flashinfer_autotune", None, "should_run_flashinfer_autotune"),
    ("model_executor.runner.base_runner", "BaseRunner", "_should_run_flashinfer_autotune"),
    ("model_executor.model_runner", "ModelRunner", "_should_run_flashinfer_autotune"),
)
_GEMM_CONFIGS = (
    ("sglang.srt.layers.quantization.fp4_utils", "initialize_fp4_gemm_config"),
    ("sglang.srt.layers.quantization.fp8_utils", "initialize_fp8_gemm_config"),
)
_FIELDS = (
    "moe_a2a_backend", "tp_size", "pp_size", "dp_size", "enable_dp_attention", "nnodes", "node_rank", "ep_size",
    "speculative_algorithm", "speculative_draft_model_path", "speculative_moe_runner_backend",
    "speculative_draft_model_quantization", "enable_deterministic_inference", "fp4_gemm_runner_backend",
    "fp8_gemm_runner_backend",
)  # fmt: skip
_WITHOUT_DRAFT = frozenset({"NGRAM"})
_MAX_RANKS = 1024


class CannotResolve(Exception):  # noqa: N818 -- reads as what it is
    """The engine would not start, or asked for something that a question must not do."""


def resolve(argv: list[str]) -> dict[str, Any]:
    """What the installed release makes of `argv`. Raises `CannotResolve` and whatever the release raises."""
    import argparse

    import flashinfer
    import sglang
    import torch
    from sglang.srt.configs.model_config import ModelConfig
    from sglang.srt.server_args import prepare_server_args

    def say(_parser: object, message: str) -> None:
        raise CannotResolve(f"the engine's parser: {message}")

    argparse.ArgumentParser.error = say  # type: ignore[assignment, method-assign] # it would exit
    args = prepare_server_args(list(argv))
    if hasattr(args, "resolve_once"):
        args.resolve_once()
    resolved = args.resolved_dict() if hasattr(args, "resolved_dict") else vars(args)
    model = ModelConfig.from_server_args(args)
    _publish(args)
    fields = {name: _plain(resolved.get(name, getattr(args, name, None))) for name in _FIELDS}
    # 0.5.22 and later resolve --dp N --enable-dp-attention to attn_dp_size=N, dp_size=1
    attention_dp = resolved.get("attn_dp_size")
    if attention_dp is None:
        attention_dp = resolved["dp_size"] if resolved["enable_dp_attention"] else 1
    fields["attn_dp_size"] = attention_dp
    workers = [_worker("target", args, resolved, model, fields)]
    if fields["speculative_algorithm"] and fields["speculative_algorithm"] not in _WITHOUT_DRAFT:
        draft = ModelConfig.from_server_args(
            args,
            # without a path the model's own extra layer is the draft: managers/tp_worker.py `_init_model_config`
            model_path=fields["speculative_draft_model_path"],
            model_revision=resolved.get("speculative_draft_model_revision"),
            is_draft_model=True,
        )
        workers.append(_worker("draft", args, resolved, draft, fields))
    return {
        "schema": SCHEMA,
        "engine": "sglang",
        "engine_version": sglang.__version__,
        "flashinfer_version": flashinfer.__version__,
        "capability": list(torch.cuda.get_device_capability()),
        "argv": list(argv),
        "workers": workers,
    }


def _publish(args: Any) -> None:
    """From 0.5.18 on the path function reads the process-wide context that a scheduler publishes."""
    with contextlib.suppress(ImportError):
        from sglang.srt import runtime_context

        if hasattr(runtime_context, "publish"):
            runtime_context.publish(args, role="scheduler")


def _worker(
    role: str, args: Any, resolved: dict[str, Any], model: Any, found: dict[str, Any]
) -> dict[str, Any]:
    is_draft = role == "draft"
    function = _first_of(_PATH_FUNCTIONS)
    if function is None:
        raise CannotResolve("this release has no autotune cache")
    folders, files = set(), []
    for ranks in _ranks(found):
        path = Path(function(_runner(args, model, found, ranks, is_draft=is_draft)))
        folders.add(str(path.parent.relative_to(os.environ["SGLANG_CACHE_DIR"])))
        files.append(path.name)
    if len(folders) != 1:
        raise CannotResolve(f"ranks have different keys: {sorted(folders)}")
    runner = _runner(args, model, found, next(iter(_ranks(found))), is_draft=is_draft)
    tunes, why = _tunes(runner, args, is_draft=is_draft)
    folder = folders.pop()
    return {
        "role": role,
        "key": Path(folder).name,
        "folder": folder,
        "files": sorted(set(files)),
        "tunes": tunes,
        "tunes_why": why,
        "fields": {
            "model_path": resolved["model_path"],
            "dtype": str(model.dtype),
            "quantization": resolved["quantization"],
            "moe_runner_backend": resolved["moe_runner_backend"],
            "config_class": type(model.hf_config).__name__,
            "skip_ops": ",".join(sorted(set(resolved.get("flashinfer_autotune_skip_ops") or ()))),
            "is_draft": is_draft,
            "model_quantization": model.quantization,
            **found,
        },
    }


def _runner(
    args: Any, model: Any, found: dict[str, Any], ranks: dict[str, Any], *, is_draft: bool
) -> SimpleNamespace:
    """What a release's functions read of a ModelRunner (or of a BaseRunner that holds one)."""
    shape = SimpleNamespace(
        **ranks,
        tp_size=found["tp_size"],
        pp_size=found["pp_size"],
        moe_ep_size=found["ep_size"],
        attn_dp_size=found["attn_dp_size"],
        dp_size=found["attn_dp_size"],
    )
    runner = SimpleNamespace(
        device="cuda", dtype=model.dtype, server_args=args, model_config=model, is_draft_worker=is_draft, gpu_id=0,
        spec_algorithm=_algorithm(found["speculative_algorithm"]), ps=shape, **vars(shape),
    )  # fmt: skip
    runner.model_runner = runner
    with contextlib.suppress(ImportError):
        from sglang.srt import runtime_context

        parallel: Any = getattr(getattr(runtime_context, "_CONTEXT", None), "parallel", None)
        if hasattr(parallel, "override_permanently"):
            try:
                parallel.override_permanently(**ranks)
            except ValueError:  # 0.5.21 keeps only the pipeline rank there
                parallel.override_permanently(pp_rank=ranks["pp_rank"])
    return runner


def _ranks(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Every rank of the replica as the scheduler would be told it; dp_rank is None without data parallelism."""
    tp, attention_dp = found["tp_size"], found["attn_dp_size"]
    plain_dp = 1 if found["enable_dp_attention"] or attention_dp > 1 else found["dp_size"] or 1
    if tp * found["pp_size"] * plain_dp > _MAX_RANKS:
        raise CannotResolve(f"more than {_MAX_RANKS} ranks")
    ranks = []
    for pp_rank in range(found["pp_size"]):
        for tp_rank in range(tp):
            for replica in range(plain_dp):
                dp_rank = replica if plain_dp > 1 else None
                if attention_dp > 1:
                    dp_rank = tp_rank // (tp // attention_dp)
                ranks.append({"tp_rank": tp_rank, "pp_rank": pp_rank, "dp_rank": dp_rank})
    return ranks


def _tunes(runner: SimpleNamespace, args: Any, *, is_draft: bool) -> tuple[bool | None, str]:
    """(whether this worker tunes, why); None where only loaded modules decide."""
    function = _first_of(_TUNES_FUNCTIONS)
    if function is None:
        return None, "this release's rule was not found"
    if is_draft and _PATH_FUNCTIONS[0][2] != getattr(_first_of(_PATH_FUNCTIONS), "__name__", ""):
        return False, "draft workers do not tune before 0.5.15"
    for module, name in _GEMM_CONFIGS:
        with contextlib.suppress(ImportError, AttributeError):
            initialize = getattr(importlib.import_module(module), name)
            initialize(*([args] if inspect.signature(initialize).parameters else []))
    options = {}
    if is_draft and "for_speculative_draft" in inspect.signature(function).parameters:
        options = {"for_speculative_draft": True}
    # 0.5.23 also looks into the loaded model for block-FP8 layers that are served as MXFP8: asked with none and with some
    runner.model = SimpleNamespace(modules=list)
    without = bool(function(runner, **options))
    where, probe = sys.modules.get(function.__module__), "_serves_block_fp8_as_mxfp8_on_flashinfer"
    if without or not hasattr(where, probe) or not _may_be_served_as_mxfp8(runner.model_config):
        return without, "the release's own rule"
    real = getattr(where, probe)
    setattr(where, probe, lambda _runner: True)
    try:
        if bool(function(runner, **options)):
            return None, "block-FP8 layers may be served as MXFP8, which is known when they are loaded"
    finally:
        setattr(where, probe, real)
    return False, "the release's own rule"


def _may_be_served_as_mxfp8(model: Any) -> bool:
    """0.5.23 srt/layers/quantization/fp8_utils.py `can_serve_block_fp8_as_mxfp8`: 32-wide K blocks with ue8m0 scales."""
    saved = getattr(model.hf_config, "quantization_config", None)
    if not isinstance(saved, dict):
        return False
    block = saved.get("weight_block_size") or ()
    return list(block)[-1:] == [32] and saved.get("scale_fmt") == "ue8m0"


def preload() -> None:
    """All of the engine's imports that answers need, for a program that asks many times in forks."""
    _first_of(_PATH_FUNCTIONS)
    _first_of(_TUNES_FUNCTIONS)
    for module in (*(module for module, _ in _GEMM_CONFIGS), "sglang.srt.speculative.spec_info"):
        with contextlib.suppress(ImportError):
            importlib.import_module(module)


def _algorithm(name: object) -> object:
    from sglang.srt.speculative.spec_info import SpeculativeAlgorithm

    return SpeculativeAlgorithm.from_string(name)


def _first_of(places: tuple[tuple[str, str | None, str], ...]) -> Any:
    for module, owner, name in places:
        with contextlib.suppress(ImportError, AttributeError):
            found = importlib.import_module(f"sglang.srt.{module}")
            return getattr(getattr(found, owner) if owner else found, name)
    return None


def _plain(value: object) -> object:
    return value if value is None or isinstance(value, (str, int, bool)) else str(value)


def answer(job: dict[str, Any], scratch: Path) -> dict[str, Any]:
    """The answer line; whatever the engine raises becomes a refusal that names it."""
    no_network()
    use_scratch(scratch)
    try:
        if job.get("gpu") is not None:
            PretendedGpu(job["gpu"], scratch)
        return resolve(list(job["argv"]))
    except (Exception, SystemExit) as error:
        return {"refused": "undecidable", "detail": f"{type(error).__name__}: {error}"[:1000]}


def main() -> None:
    """Imports print to stdout, from C too: they get stderr, the answer gets what was stdout."""
    answer_to = os.dup(1)
    os.dup2(2, 1)
    with tempfile.TemporaryDirectory(prefix="autotune-resolve-") as scratch:
        line = ANSWER_MARK + json.dumps(answer(json.load(sys.stdin), Path(scratch)))
    text = f"\n{line}\n".encode()
    while text:
        text = text[os.write(answer_to, text) :]
    os.close(answer_to)
    os._exit(0)  # engines leave threads behind that would be waited for


if __name__ == "__main__":
    main()
