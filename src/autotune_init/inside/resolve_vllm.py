"""Runs on the engine's Python: where will this vLLM keep its autotune files for this command line?

One JSON job on stdin, one marked JSON line on stdout:

    {"argv": [what follows `vllm serve`], "node_rank": 0,
     "gpu": null | {"name", "capability": [9, 0], "memory_mib", "count", "driver"}}
    AUTOTUNE-ANSWER {"schema", "engine", "engine_version", "flashinfer_version", "capability", "argv",
                     "workers": [{"role", "kind": "v1"|"v2", "key", "folder", "files", "fields", "tunes", ...}]}
    AUTOTUNE-ANSWER {"refused": "undecidable", "detail": "<rule>: ..."}

vLLM hashes its configuration as it is in a worker that has loaded the model, and hashing changes it: the configuration
of `create_engine_config` gives other keys (MoE layers are missing), and so does a second call of the path function
(vLLM 0.33.0, model_executor/warmup/flashinfer_autotune_cache.py `replace`, config/vllm.py `__post_init__`). So every
rank is a fork with its own copy of the configuration that goes the worker's way, with the model built on the meta
device (no weights, no GPU memory), and calls the path function once.

A GPU is pretended from the first import on: the job's, or with `gpu` null the one that NVML finds, since CUDA must not
come to life in a process that forks. No network: connecting raises. Nothing is written outside of a scratch directory. Standard library only until the import of torch.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import pickle
import re
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autotune_init.inside import vllm_surroundings, vllm_worker_steps
    from autotune_init.inside.asked_in_fork import CannotResolve, in_fork
else:  # by path: the engine's Python does not have our package
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
    import vllm_surroundings
    import vllm_worker_steps
    from asked_in_fork import CannotResolve, in_fork

ANSWER_MARK = "AUTOTUNE-ANSWER "
SCHEMA = "autotune-cache/resolution/v1"
# the releases whose worker's steps are those of vllm_worker_steps.py
RELEASES = ("0.33.0",)
_VERSION = re.compile(r"(\d+\.\d+\.\d+)(?:\+cu\d{3})?")
_ROOT_VARIABLE = vllm_surroundings.ROOT_VARIABLE
_MAX_RANKS = 128


def resolve(argv: list[str]) -> dict[str, Any]:
    """What the installed release makes of `argv`. Raises `CannotResolve` and whatever the release raises."""
    import flashinfer
    import vllm
    from vllm.platforms import current_platform

    version = _VERSION.fullmatch(vllm.__version__)
    if version is None or version.group(1) not in RELEASES:
        raise CannotResolve("engine-version", f"vLLM {vllm.__version__} is none of {', '.join(RELEASES)}")
    if not current_platform.is_cuda():
        raise CannotResolve("platform", f"vLLM chose {type(current_platform).__name__}, not CUDA")
    config = engine_config(argv)
    capability = current_platform.get_device_capability()
    return {
        "schema": SCHEMA,
        "engine": "vllm",
        "engine_version": vllm.__version__,
        "flashinfer_version": flashinfer.__version__,
        "capability": [capability.major, capability.minor],
        "argv": list(argv),
        "workers": [_worker(config)],
    }


def engine_config(argv: list[str]) -> Any:
    """The VllmConfig of `vllm serve` (of the older server where the model is given by --model)."""
    import argparse

    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.entrypoints.cli.serve import ServeSubcommand
    from vllm.entrypoints.common import cli_args
    from vllm.usage.usage_lib import UsageContext
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    def say(_parser: object, message: str) -> None:
        raise CannotResolve("command-line", f"the engine's parser: {message}")

    argparse.ArgumentParser.error = say  # type: ignore[assignment, method-assign] # it would exit
    if "--omni" in argv:
        raise CannotResolve("omni", "another program serves this (vLLM 0.33.0, entrypoints/cli/main.py)")
    parser = FlexibleArgumentParser(prog="vllm")
    if any(word.partition("=")[0] == "--model" for word in argv):  # `vllm serve` refuses it
        args = cli_args.make_arg_parser(parser).parse_args(list(argv))
    else:
        serve = ServeSubcommand()
        serve.subparser_init(parser.add_subparsers(required=False, dest="subparser"))
        args = parser.parse_args(["serve", *argv])
        if args.model_tag is not None:
            args.model = args.model_tag
    cli_args.validate_parsed_serve_args(args)
    if getattr(args, "grpc", False):
        raise CannotResolve("grpc", "another server reads the arguments")
    engine_args = AsyncEngineArgs.from_cli_args(args)
    if engine_args.max_model_len == -1:
        raise CannotResolve("max-model-len", "-1 is fitted to the GPU memory that is free at the start")
    if not pathlib.Path(engine_args.model).exists():
        if engine_args.model.startswith((".", "/")) or "://" in engine_args.model:
            raise CannotResolve("model", f"{engine_args.model!r} is no folder here")
        why = vllm_surroundings.use_hub_cache(engine_args.model, engine_args.revision)
        if why:
            raise CannotResolve("hub-name", why)
    cli_args.propagate_flash_late_interaction(args, engine_args)
    return engine_args.create_engine_config(
        usage_context=UsageContext.OPENAI_API_SERVER, headless=bool(getattr(args, "headless", False))
    )


def _worker(config: Any) -> dict[str, Any]:
    refuse_unproven(config)
    parallel = config.parallel_config
    fields = _fields(config)
    replicas = parallel.data_parallel_size if config.model_config.is_moe else 1
    if replicas * parallel.world_size > _MAX_RANKS:
        raise CannotResolve("ranks", f"more than {_MAX_RANKS} of them")
    tunes, why = _tunes(config)
    worker: dict[str, Any] = {"role": "target", "kind": "v1", "key_text": "", "fields": fields}
    worker |= {"tunes": tunes, "tunes_why": why}
    if tunes is False:
        return {**worker, "key": "", "folder": "", "files": []}
    vllm_worker_steps.preload()
    paths = []
    for replica in range(replicas):
        for rank in range(parallel.world_size):
            answer = in_fork(partial(_rank_path, config, replica, rank))
            if answer["kind"] == "v2":
                return {
                    **worker,
                    "kind": "v2",
                    "key": "",
                    "folder": "",
                    "files": [],
                    "root_variable": answer["root_variable"],
                }
            paths.append(pathlib.Path(answer["path"]))
    folders = {path.parent for path in paths}
    if len(folders) > 1:
        names = ", ".join(sorted(folder.name for folder in folders)[:2])
        raise CannotResolve(
            "ranks-in-several-folders", f"ranks hash different configurations (pipeline stages do): {names}"
        )
    folder = folders.pop()
    root = os.environ[_ROOT_VARIABLE] if os.environ.get(_ROOT_VARIABLE) else os.environ["VLLM_CACHE_ROOT"]
    return {
        **worker,
        "key": folder.name,
        "folder": str(folder.relative_to(pathlib.Path(root).expanduser())),
        "files": [path.name for path in paths],
    }


def refuse_unproven(config: Any) -> None:
    """Configurations whose workers do more to them than what was compared with the release, rule by rule."""
    model, parallel = config.model_config, config.parallel_config
    connector = config.kv_transfer_config is not None
    rules = (
        ("speculative-decoding", config.speculative_config is not None, "drafts change the target's configuration"),
        ("mla", model.use_mla, "latent attention was not compared"),
        ("hybrid", model.is_hybrid or model.is_attention_free, "models with state-space layers were not compared"),
        ("multimodal", model.is_multimodal_model, "the encoder's measurements were not compared"),
        ("pooling", model.runner_type != "generate", "pooling models were not compared"),
        ("lora", config.lora_config is not None, "adapters change the model after it is built"),
        ("elastic-experts", parallel.enable_elastic_ep, "ranks come and go"),
        ("expert-balancing", parallel.enable_eplb, "experts move between ranks"),
        ("kv-connector-with-dcp", connector and parallel.decode_context_parallel_size > 1, "the engine core adjusts it"),
        ("ray", parallel.distributed_executor_backend not in {"mp", "uni"}, "places ranks by itself"),
        ("data-parallel-nodes", parallel.data_parallel_size_local != parallel.data_parallel_size
         or parallel.data_parallel_external_lb or (parallel.nnodes > 1 and parallel.data_parallel_size > 1),
         "data parallelism over several pods"),
        ("worker-class", parallel.worker_cls not in {"auto", "vllm.v1.worker.gpu_worker.Worker"}
         or bool(parallel.worker_extension_cls), "the worker is not the release's own"),
        # model_executor/models/llama4.py writes generation_config.json's content into the configuration
        ("llama4", "llama4" in str(model.hf_config.model_type), "was not compared"),
        ("dtype-of-the-weights", getattr(model.hf_text_config, "dtype", None) is None,
         "config.json names no dtype, so that the weights' headers decide"),
        ("transformers-backend", model.using_transformers_backend(), "was not compared"),
        ("adaptive-max-model-len", model.original_max_model_len == -1, "fitted to free GPU memory"),
    )  # fmt: skip
    for rule, applies, why in rules:
        if applies:
            raise CannotResolve(rule, why)


def _tunes(config: Any) -> tuple[bool, str]:
    """(whether the autotune pass runs, why): vLLM 0.33.0, model_executor/warmup/kernel_warmup.py `kernel_warmup`."""
    from vllm.platforms import current_platform
    from vllm.utils.flashinfer import has_flashinfer

    if config.kernel_config.enable_flashinfer_autotune is False:
        return False, "enable_flashinfer_autotune is off"
    if not has_flashinfer():
        return False, "vLLM does not use FlashInfer here: flashinfer-cubin, or nvcc and ninja, are missing"
    if not current_platform.has_device_capability(90):
        return False, "the GPU is older than compute capability 9.0"
    return True, "the release's own rule"


def _rank_path(config: Any, replica: int, rank: int) -> dict[str, Any]:
    """One rank's file, or that it uses FlashInfer's own store. In a fork: what is done here stays."""
    from vllm.model_executor.warmup import flashinfer_autotune_cache as autotune_cache

    worker = pickle.loads(pickle.dumps(config))  # noqa: S301 -- our own, as a spawned worker gets it
    vllm_worker_steps.start_engine_core(worker, replica, rank)
    vllm_worker_steps.load_model(worker)
    runner = SimpleNamespace(vllm_config=worker)
    if autotune_cache.use_flashinfer_autotune_v2(runner):
        given = autotune_cache.resolve_flashinfer_autotune_v2_root()
        return {"kind": "v2", "root_variable": _ROOT_VARIABLE if given is not None else None}
    with _without_directories():
        path = autotune_cache.resolve_rank_flashinfer_autotune_file(runner)
        # the warm-up of this all-reduce calls the path function as well, before the autotuner does
        hashes_before = os.environ.get("VLLM_ALLREDUCE_USE_FLASHINFER_PCIE_IPC", "0") != "0"
        if hashes_before and autotune_cache.flashinfer_autotune_cache_hash(runner) != path.parent.name:
            raise CannotResolve("pcie-ipc-all-reduce", "hashes the configuration first, which changes it")
    return {"kind": "v1", "path": str(path)}


@contextlib.contextmanager
def _without_directories() -> Iterator[None]:
    """The path function creates the directory; a question does not."""
    real = pathlib.Path.mkdir
    pathlib.Path.mkdir = lambda *_a, **_k: None  # type: ignore[method-assign] # for this call only
    try:
        yield
    finally:
        pathlib.Path.mkdir = real  # type: ignore[method-assign] # as it was


def _fields(config: Any) -> dict[str, Any]:
    model, parallel, scheduler = config.model_config, config.parallel_config, config.scheduler_config
    found = {
        "model": model.model,
        "dtype": str(model.dtype),
        "quantization": model.quantization,
        "architecture": ",".join(model.architectures),
        "is_moe": model.is_moe,
        "max_model_len": model.max_model_len,
        "kv_cache_dtype": config.cache_config.cache_dtype,
        "moe_backend": config.kernel_config.moe_backend,
        "enforce_eager": model.enforce_eager,
    }
    names = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "prefill_context_parallel_size",
             "decode_context_parallel_size", "world_size", "nnodes", "node_rank", "enable_expert_parallel",
             "all2all_backend", "distributed_executor_backend")  # fmt: skip
    found |= {name: getattr(parallel, name) for name in names}
    found |= {name: getattr(scheduler, name) for name in ("max_num_batched_tokens", "max_num_seqs")}
    return {name: _plain(value) for name, value in found.items()}


def _plain(value: object) -> object:
    return value if value is None or isinstance(value, (str, int, bool)) else str(value)


def answer(job: dict[str, Any], scratch: str) -> dict[str, Any]:
    """The answer line; whatever the engine raises becomes a refusal that names it."""
    vllm_surroundings.no_network()
    vllm_surroundings.use_scratch(pathlib.Path(scratch))
    try:
        if job.get("gpu") is not None:
            vllm_surroundings.PretendedGpu(job["gpu"], pathlib.Path(scratch))
        else:
            vllm_surroundings.PretendedGpu(vllm_surroundings.gpu_here(), None)
        return resolve(list(job["argv"]))
    except CannotResolve as problem:
        return {"refused": "undecidable", "detail": str(problem)[:1000]}
    except (Exception, SystemExit) as error:
        return {"refused": "undecidable", "detail": f"engine: {type(error).__name__}: {error}"[:1000]}


def main() -> None:
    """Imports print to stdout, from C too: they get stderr, the answer gets what was stdout."""
    answer_to = os.dup(1)
    os.dup2(2, 1)
    with tempfile.TemporaryDirectory(prefix="autotune-resolve-") as scratch:
        line = ANSWER_MARK + json.dumps(answer(json.load(sys.stdin), scratch))
    text = f"\n{line}\n".encode()
    while text:
        text = text[os.write(answer_to, text) :]
    os.close(answer_to)
    os._exit(0)  # engines leave threads behind that would be waited for


if __name__ == "__main__":
    main()
