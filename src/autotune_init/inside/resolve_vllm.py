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

With `gpu` null the real GPU is asked; otherwise that GPU is pretended from the first import on. No network: connecting
raises. Nothing is written outside of a scratch directory. Standard library only until the import of torch.
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
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autotune_init.inside import vllm_worker_steps
else:  # by path: the engine's Python does not have our package
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
    import vllm_worker_steps

ANSWER_MARK = "AUTOTUNE-ANSWER "
SCHEMA = "autotune-cache/resolution/v1"
# the releases whose worker's steps are those of vllm_worker_steps.py
RELEASES = ("0.33.0",)
_VERSION = re.compile(r"(\d+\.\d+\.\d+)(?:\+cu\d{3})?")
_ROOT_VARIABLE = "VLLM_FLASHINFER_AUTOTUNE_CACHE_DIR"
# what engines keep below these must not come to life because somebody asked a question
_SCRATCH_VARIABLES = (
    "VLLM_CACHE_ROOT", "FLASHINFER_WORKSPACE_BASE", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR",
    "CUDA_CACHE_PATH", "MPLCONFIGDIR", "HF_MODULES_CACHE", "TVM_FFI_CACHE_DIR", "TILELANG_CACHE_DIR",
    "CUTE_DSL_CACHE_DIR", "QUACK_CACHE_DIR", "OUTLINES_CACHE_DIR", "NUMBA_CACHE_DIR",
)  # fmt: skip
_MAX_RANKS = 128


class CannotResolve(Exception):  # noqa: N818 -- reads as what it is
    """`rule` names why the answer would be a guess."""

    def __init__(self, rule: str, why: str) -> None:
        super().__init__(f"{rule}: {why}")


def no_network() -> None:
    """Looking a model up in the hub must fail as it does without a network, not download.

    HF_HUB_OFFLINE would do that too, but with it vLLM replaces a hub name by the path of its snapshot, and the path of
    the model is part of the key.
    """
    import socket

    def refuse(_self: object, address: object) -> None:
        if isinstance(address, tuple):  # AF_INET, AF_INET6; AF_UNIX addresses are texts
            raise OSError(101, "network is unreachable: a question about the cache does not download")

    class Offline(socket.socket):
        connect = refuse  # type: ignore[assignment] # narrower on purpose
        connect_ex = refuse  # type: ignore[assignment] # as above

    socket.socket = Offline  # type: ignore[misc] # the point of it
    socket.getaddrinfo = lambda *_a, **_k: (_ for _ in ()).throw(socket.gaierror(-2, "no network"))


def use_scratch(scratch: str) -> None:
    for name in _SCRATCH_VARIABLES:
        os.environ[name] = os.path.join(scratch, name.lower())
    if os.environ.get(_ROOT_VARIABLE):  # vLLM takes an empty one for none
        os.environ[_ROOT_VARIABLE] = os.path.join(scratch, "override")
    # as `vllm serve` itself sets it (entrypoints/common/startup.py cli_env_setup)
    os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")


class PretendedGpu:
    """What vLLM asks NVML and torch.cuda about a GPU, answered for one that is not there."""

    def __init__(self, gpu: dict[str, Any], scratch: str) -> None:
        import pretended_libcuda

        folder = os.path.join(scratch, "pretended")
        os.makedirs(folder, exist_ok=True)
        pretended_libcuda.load(folder)
        self.become(gpu)
        import torch

        nothing = type("Nothing", (), {"__init__": lambda *_a, **_k: None, "__getattr__": lambda *_: _nothing})
        cuda: Any = torch.cuda
        cuda._device_count_nvml = lambda: self.count
        cuda.device_count = lambda: self.count
        cuda.is_available = lambda: True
        cuda.current_device = lambda: 0
        cuda.set_device = _nothing
        cuda.get_device_capability = lambda *_a, **_k: self.capability
        cuda.get_device_name = lambda *_a, **_k: self.name
        cuda.get_device_properties = lambda *_a, **_k: self.properties
        cuda.mem_get_info = lambda *_a, **_k: (self.memory_bytes,) * 2
        cuda.Stream = cuda.Event = nothing
        import vllm.third_party.pynvml as nvml  # the first import of vllm: its platform is chosen later, by NVML

        memory = lambda _h: SimpleNamespace(total=self.memory_bytes, free=self.memory_bytes, used=0)  # noqa: E731 -- one of a table
        answers: dict[str, Callable[..., Any]] = {
            "nvmlInit": _nothing,
            "nvmlShutdown": _nothing,
            "nvmlDeviceGetCount": lambda: self.count,
            "nvmlDeviceGetHandleByIndex": lambda index: index,
            "nvmlDeviceGetName": lambda _h: self.name,
            "nvmlDeviceGetUUID": lambda handle: f"GPU-{handle}",
            "nvmlDeviceGetCudaComputeCapability": lambda _h: self.capability,
            "nvmlDeviceGetMemoryInfo": memory,
            "nvmlDeviceGetP2PStatus": lambda *_: 0,
            "nvmlSystemGetDriverVersion": lambda: self.driver,
        }
        for name, function in answers.items():
            setattr(nvml, name, function)
        from vllm.model_executor.models import registry

        # it looks at a model's class in a second process so that CUDA is not initialised in this one: it cannot be here
        registry._run_in_subprocess = lambda function: function()

    def become(self, gpu: dict[str, Any]) -> None:
        major, minor = gpu["capability"]
        self.name, self.count = str(gpu["name"]), int(gpu["count"])
        self.capability, self.memory_bytes = (int(major), int(minor)), int(gpu["memory_mib"]) << 20
        self.driver = str(gpu.get("driver") or "580.95.05")
        self.properties = SimpleNamespace(
            name=self.name, major=major, minor=minor, total_memory=self.memory_bytes,
            multi_processor_count=132 if major == 9 else 148, warp_size=32, max_threads_per_multi_processor=2048,
            shared_memory_per_block=49152, shared_memory_per_block_optin=232448, regs_per_multiprocessor=65536,
            L2_cache_size=50 << 20, is_integrated=False, is_multi_gpu_board=False, gcnArchName="",
            uuid="00000000-0000-0000-0000-000000000000",
        )  # fmt: skip


def _nothing(*_a: object, **_k: object) -> None:
    return None


def resolve(argv: list[str], scratch: str) -> dict[str, Any]:
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
        "workers": [_worker(config, scratch)],
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
    cli_args.propagate_flash_late_interaction(args, engine_args)
    return engine_args.create_engine_config(
        usage_context=UsageContext.OPENAI_API_SERVER, headless=bool(getattr(args, "headless", False))
    )


def _worker(config: Any, scratch: str) -> dict[str, Any]:
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
    paths = []
    for replica in range(replicas):
        for rank in range(parallel.world_size):
            answer = _in_fork(lambda replica=replica, rank=rank: _rank_path(config, replica, rank))
            if answer["kind"] == "v2":
                return {**worker, "kind": "v2", "key": "", "folder": "", "files": [], "root_variable": answer["root_variable"]}
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
    """vLLM 0.33.0, model_executor/warmup/kernel_warmup.py `kernel_warmup`."""
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
        if os.environ.get("VLLM_ALLREDUCE_USE_FLASHINFER_PCIE_IPC", "0") != "0":
            # its warm-up calls the path function too, before the autotuner
            if autotune_cache.flashinfer_autotune_cache_hash(runner) != path.parent.name:
                raise CannotResolve("pcie-ipc-all-reduce", "hashes the configuration first, which changes it")
    return {"kind": "v1", "path": str(path)}


@contextlib.contextmanager
def _without_directories() -> Iterator[None]:
    """The path function creates the directory; a question does not."""
    real = pathlib.Path.mkdir
    pathlib.Path.mkdir = _nothing  # type: ignore[method-assign] # for this call only
    try:
        yield
    finally:
        pathlib.Path.mkdir = real  # type: ignore[method-assign] # as it was


def _in_fork(ask: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """`ask` in a process of its own. Raises `CannotResolve` for what it raised."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        try:
            said = {"answer": ask()}
        except BaseException as error:
            if os.environ.get("AUTOTUNE_RESOLVE_TRACE"):
                import traceback

                traceback.print_exc()
            rule = "" if isinstance(error, CannotResolve) else f"worker: {type(error).__name__}: "
            said = {"raised": f"{rule}{error}"}
        with os.fdopen(write, "wb") as stream:
            stream.write(json.dumps(said).encode())
        os._exit(0)  # no atexit of the engine's: they would end what the parent owns
    os.close(write)
    with os.fdopen(read, "rb") as stream:
        text = stream.read()
    _, status = os.waitpid(child, 0)
    if not text:
        raise CannotResolve("worker", f"ended with wait status {status} and without a word")
    answer = json.loads(text)
    if "raised" in answer:
        rule, _, why = str(answer["raised"]).partition(": ")
        raise CannotResolve(rule, why[:900])
    found: dict[str, Any] = answer["answer"]
    return found


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
    no_network()
    use_scratch(scratch)
    try:
        if job.get("gpu") is not None:
            PretendedGpu(job["gpu"], scratch)
        return resolve(list(job["argv"]), scratch)
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
