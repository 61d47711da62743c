"""What is around vLLM while it is only asked a question: no network, nothing written, and a GPU even where none is.

For resolve_vllm.py, before the first import of torch and vllm.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autotune_init.inside import pretended_libcuda
    from autotune_init.inside.offline import no_network
else:  # by path: the engine's Python does not have our package
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    import pretended_libcuda
    from offline import no_network

__all__ = ["no_network"]  # resolve_vllm.py takes it from here, like all that is around the engine

_COMMIT = re.compile("[0-9a-f]{40}")
ROOT_VARIABLE = "VLLM_FLASHINFER_AUTOTUNE_CACHE_DIR"
# what engines keep below these must not come to life because somebody asked a question
_SCRATCH_VARIABLES = (
    "VLLM_CACHE_ROOT", "FLASHINFER_WORKSPACE_BASE", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR",
    "CUDA_CACHE_PATH", "MPLCONFIGDIR", "HF_MODULES_CACHE", "TVM_FFI_CACHE_DIR", "TILELANG_CACHE_DIR",
    "CUTE_DSL_CACHE_DIR", "QUACK_CACHE_DIR", "OUTLINES_CACHE_DIR", "HUMMING_TMP_DIR", "HUMMING_CACHE_DIR", "NUMBA_CACHE_DIR",
)  # fmt: skip


def use_hub_cache(model: str, revision: str | None) -> str:
    """Let a model that is named as in the hub be read from the hub's cache. "", or why the engine may read another one.

    To be called when vLLM has its arguments: what it asks the hub for from then on comes from the cache. A branch may
    have moved on since, and a cache without weights may lack other files as well.
    """
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError

    if not _COMMIT.fullmatch(revision or ""):
        return "a branch of the hub may move: state --revision COMMIT, set HF_HUB_OFFLINE=1, or serve from a path"
    try:
        snapshot = huggingface_hub.snapshot_download(
            model, revision=revision, local_files_only=True, ignore_patterns="*"
        )
    except (OSError, ValueError, HfHubHTTPError) as error:
        return f"not in the hub's cache: {error}"
    if not any(Path(snapshot).glob("*.safetensors")):
        return "the hub's cache holds no weights of it yet, so other files may be missing too"
    huggingface_hub.constants.HF_HUB_OFFLINE = True
    return ""


def use_scratch(scratch: Path) -> None:
    for name in _SCRATCH_VARIABLES:
        os.environ[name] = str(scratch / name.lower())
    if os.environ.get(ROOT_VARIABLE):  # vLLM takes an empty one for none
        os.environ[ROOT_VARIABLE] = str(scratch / "override")
    # as `vllm serve` itself sets it (entrypoints/common/startup.py cli_env_setup)
    os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")


def gpu_here() -> dict[str, Any]:
    """What NVML says of this node, to be pretended: CUDA itself must not come to life in a process that forks.

    Raises what NVML raises where there is no GPU.
    """
    import vllm.third_party.pynvml as nvml

    nvml.nvmlInit()
    handle = nvml.nvmlDeviceGetHandleByIndex(0)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return {
        "name": _text(nvml.nvmlDeviceGetName(handle)),
        "capability": list(nvml.nvmlDeviceGetCudaComputeCapability(handle)),
        "memory_mib": nvml.nvmlDeviceGetMemoryInfo(handle).total >> 20,
        "count": len(visible.split(",")) if visible else nvml.nvmlDeviceGetCount(),
        "driver": _text(nvml.nvmlSystemGetDriverVersion()),
    }


def _text(given: str | bytes) -> str:
    return given.decode() if isinstance(given, bytes) else given


class PretendedGpu:
    """What vLLM asks NVML and torch.cuda about a GPU, answered for one that is not there."""

    def __init__(self, gpu: dict[str, Any], scratch: Path | None) -> None:
        """`scratch` is where a libcuda is made; None where the driver's own is there."""
        if scratch is not None:
            folder = scratch / "pretended"
            folder.mkdir(exist_ok=True)
            pretended_libcuda.load(folder)
        self.become(gpu)
        import torch

        nothing = type(
            "Nothing", (), {"__init__": lambda *_a, **_k: None, "__getattr__": lambda *_: _nothing}
        )
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

        nvml.nvmlInit = nvml.nvmlShutdown = _nothing
        nvml.nvmlDeviceGetCount = lambda: self.count
        nvml.nvmlDeviceGetHandleByIndex = lambda index: index
        nvml.nvmlDeviceGetName = lambda _handle: self.name
        nvml.nvmlDeviceGetUUID = lambda handle: f"GPU-{handle}"
        nvml.nvmlDeviceGetCudaComputeCapability = lambda _handle: self.capability
        nvml.nvmlDeviceGetMemoryInfo = lambda _handle: self.memory
        nvml.nvmlDeviceGetP2PStatus = lambda *_: 0
        nvml.nvmlSystemGetDriverVersion = lambda: self.driver
        from vllm.model_executor.models import registry

        # it looks at a model's class in a second process so that CUDA is not initialised in this one: it cannot be here
        registry._run_in_subprocess = lambda function: function()

    def become(self, gpu: dict[str, Any]) -> None:
        major, minor = gpu["capability"]
        self.name, self.count = str(gpu["name"]), int(gpu["count"])
        self.capability, self.memory_bytes = (int(major), int(minor)), int(gpu["memory_mib"]) << 20
        self.driver = str(gpu.get("driver") or "580.95.05")
        self.memory = SimpleNamespace(total=self.memory_bytes, free=self.memory_bytes, used=0)
        self.properties = SimpleNamespace(
            name=self.name, major=major, minor=minor, total_memory=self.memory_bytes,
            multi_processor_count=132 if major == 9 else 148, warp_size=32, max_threads_per_multi_processor=2048,
            shared_memory_per_block=49152, shared_memory_per_block_optin=232448, regs_per_multiprocessor=65536,
            L2_cache_size=50 << 20, is_integrated=False, is_multi_gpu_board=False, gcnArchName="",
            uuid="00000000-0000-0000-0000-000000000000",
        )  # fmt: skip


def _nothing(*_a: object, **_k: object) -> None:
    return None
