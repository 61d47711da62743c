"""What a worker of vLLM 0.33.0 does to its configuration before it asks for its autotune file, without GPU and weights.

For resolve_vllm.py, in a fork that ends afterwards. Each step names the release's own code that it stands for.
"""

from __future__ import annotations

import contextlib
import importlib
from typing import Any

_SLOW_IMPORTS = (
    "vllm.compilation.backends", "vllm.compilation.passes.pass_manager", "vllm.distributed.device_communicators.cuda_communicator",
    "vllm.distributed.eplb.eplb_state", "vllm.lora.punica_wrapper.punica_base", "vllm.model_executor.kernels.linear",
    "vllm.model_executor.layers.fused_moe", "vllm.model_executor.layers.quantization.fp8",
    "vllm.model_executor.model_loader", "vllm.model_executor.warmup.flashinfer_autotune_cache",
    "vllm.v1.attention.backends.flash_attn", "vllm.v1.attention.backends.flashinfer",
    "vllm.v1.attention.backends.triton_attn", "vllm.v1.attention.backends.flex_attention",
    "vllm.v1.worker.gpu.attn_utils", "vllm.v1.worker.gpu.cudagraph_utils",
    "torch.testing._internal.distributed.fake_pg",
)  # fmt: skip


def preload() -> None:
    """What every rank would import in its own fork, five seconds each; only a matter of time."""
    for module in _SLOW_IMPORTS:
        with contextlib.suppress(ImportError):
            importlib.import_module(module)


def start_engine_core(config: Any, replica: int, rank: int) -> None:
    """v1/engine/core.py `run_engine_core`, v1/worker/gpu_worker.py `init_worker_distributed_environment`."""
    import torch.distributed as dist
    from torch.testing._internal.distributed.fake_pg import FakeStore
    from vllm.config import set_current_vllm_config
    from vllm.distributed import parallel_state
    from vllm.distributed.device_communicators.shm_broadcast import MessageQueue

    parallel = config.parallel_config
    parallel.data_parallel_index = replica
    if parallel.data_parallel_size > 1 and config.model_config.is_moe:
        parallel.data_parallel_rank = replica
    else:
        parallel.reconfigure_for_independent_dp_rank()
    parallel.rank = rank  # v1/worker/worker_base.py

    real_group, real_init = dist.new_group, parallel_state.GroupCoordinator.__init__
    dist.new_group = lambda ranks=None, *_a, **_k: real_group(ranks, backend="fake")
    MessageQueue.create_from_process_group = staticmethod(lambda *_a, **_k: None)

    def without_communicator(self: Any, *given: Any, **named: Any) -> None:
        real_init(self, *given, **{**named, "use_device_communicator": False})

    parallel_state.GroupCoordinator.__init__ = without_communicator
    parallel_state._node_count = lambda _group: parallel.nnodes
    first = parallel.data_parallel_rank * parallel.world_size
    dist.init_process_group(
        "fake", rank=first + rank, world_size=parallel.world_size_across_dp, store=FakeStore()
    )
    with set_current_vllm_config(config):
        parallel_state.init_distributed_environment(parallel.world_size, rank, "env://", rank, "fake")
        parallel_state.ensure_model_parallel_initialized(
            parallel.tensor_parallel_size,
            parallel.pipeline_parallel_size,
            parallel.prefill_context_parallel_size,
            parallel.decode_context_parallel_size,
        )


def load_model(config: Any) -> None:
    """From `load_model` to the cache's initialisation: everything that writes into the configuration."""
    import torch
    from vllm.config import set_current_vllm_config
    from vllm.model_executor.model_loader.utils import initialize_model
    from vllm.platforms import current_platform
    from vllm.utils.torch_utils import set_default_torch_dtype
    from vllm.v1.attention.backends.utils import get_supported_kv_cache_layouts, resolve_kv_cache_layout
    from vllm.v1.worker.gpu.attn_utils import get_kv_cache_spec

    class ToMeta(torch.overrides.TorchFunctionMode):  # type: ignore[misc] # torch is not typed here
        """Nothing is allocated: what asks for a GPU gets the meta device."""

        def __torch_function__(
            self, function: Any, _types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            named = {name: _meta(value) for name, value in (kwargs or {}).items() if name != "pin_memory"}
            return function(*[_meta(value) for value in args], **named)

    def _meta(value: Any) -> Any:
        is_device = isinstance(value, (torch.device, str)) and str(value).startswith("cuda")
        return "meta" if is_device else value

    on_meta = (set_default_torch_dtype(config.model_config.dtype), torch.device("meta"), ToMeta())
    with set_current_vllm_config(config), on_meta[0], on_meta[1], on_meta[2]:
        model = initialize_model(config)
    current_platform.update_block_size_for_backend(config)  # v1/executor/multiproc_executor.py WorkerProc
    backends = current_platform._find_non_ssm_backends(config)
    with set_current_vllm_config(config):
        specs = get_kv_cache_spec(config)
    # v1/engine/core.py `_initialize_kv_caches`, then the workers' set_kv_cache_layout
    layouts = [layout.name for layout in get_supported_kv_cache_layouts(backends)]
    resolve_kv_cache_layout(config, [layouts], list(specs.values()))
    _resolve_cuda_graphs(config, model, specs)


def _resolve_cuda_graphs(config: Any, model: Any, specs: dict[str, Any]) -> None:
    """v1/worker/gpu_model_runner.py `_check_and_update_cudagraph_mode`, v1/worker/gpu/model_runner.py likewise."""
    from vllm import envs
    from vllm.config import set_current_vllm_config
    from vllm.v1.attention.backend import AttentionCGSupport
    from vllm.v1.worker.gpu.cudagraph_utils import has_compiled_submodule

    lowest, named = AttentionCGSupport.ALWAYS, None
    with set_current_vllm_config(config):
        for name, spec in specs.items():
            backend = config.compilation_config.static_forward_context[name].get_attn_backend()
            support = backend.get_builder_cls().get_cudagraph_support(config, spec)
            if support.value < lowest.value:
                lowest, named = support, backend.__name__
    options: dict[str, Any] = {"use_v2_model_runner": bool(config.use_v2_model_runner)}
    if config.use_v2_model_runner:
        compiled = bool(envs.VLLM_USE_BREAKABLE_CUDAGRAPH or has_compiled_submodule(model))
        options["piecewise_capture_available"] = compiled
    config.compilation_config.resolve_cudagraph_mode_and_sizes(lowest, named, 1, **options)
