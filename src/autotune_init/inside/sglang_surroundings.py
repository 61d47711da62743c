"""What is around SGLang while it is only asked a question: scratch directories, and a GPU even where none is.

For resolve_sglang.py, before the first import of torch and sglang.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autotune_init.inside import pretended_libcuda
else:  # this directory is the first on the path of a program that is run by path
    import pretended_libcuda

_NVIDIA_SMI = (
    '#!/bin/sh\ncase "$*" in\n*driver_version*) echo "$PRETENDED_DRIVER";;\n*topo*) ;;\n'
    '*) i=0; while [ "$i" -lt "$PRETENDED_COUNT" ]; do echo "$PRETENDED_MIB"; i=$((i+1)); done;;\nesac\n'
)
# what engines keep below these must not come to life because somebody asked a question
_SCRATCH_VARIABLES = (
    "SGLANG_CACHE_DIR", "FLASHINFER_WORKSPACE_BASE", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "CUDA_CACHE_PATH",
    "MPLCONFIGDIR", "HF_MODULES_CACHE", "TVM_FFI_CACHE_DIR",
)  # fmt: skip


def use_scratch(scratch: Path) -> None:
    for name in _SCRATCH_VARIABLES:
        os.environ[name] = str(scratch / name.lower())
    # CuTe-DSL keeps its cache below the directory for temporary files
    temporary = scratch / "tmp"
    temporary.mkdir()
    os.environ["TMPDIR"] = tempfile.tempdir = str(temporary)
    os.environ.pop("SGLANG_FLASHINFER_AUTOTUNE_CACHE", None)


class PretendedGpu:
    """torch.cuda's answers for a GPU that is not there. `become` changes them, also after the engine's import."""

    def __init__(self, gpu: dict[str, Any], scratch: Path) -> None:
        self.gpu = gpu
        folder = scratch / "pretended"
        folder.mkdir(exist_ok=True)
        smi = folder / "nvidia-smi"
        smi.write_text(_NVIDIA_SMI)
        smi.chmod(0o700)
        os.environ["PATH"] = f"{folder}:{os.environ.get('PATH', '')}"
        # deep_gemm asserts that there is one; sys.path and not sysconfig, since the engine may live anywhere
        toolkits = sorted(found for entry in sys.path for found in Path(entry).glob("nvidia/cu1*"))
        os.environ.setdefault("CUDA_HOME", str(toolkits[0] if toolkits else folder))
        pretended_libcuda.load(folder)
        import torch

        self.properties = SimpleNamespace(
            multi_processor_count=132, warp_size=32, max_threads_per_multi_processor=2048, gcnArchName="",
            L2_cache_size=50 << 20, shared_memory_per_block=49152, shared_memory_per_block_optin=232448,
            regs_per_multiprocessor=65536, is_integrated=False, is_multi_gpu_board=False,
        )  # fmt: skip
        self.become(gpu)
        cuda: Any = torch.cuda
        cuda.is_available = lambda: True
        cuda.device_count = lambda: int(self.gpu["count"])
        cuda.current_device = lambda: 0
        cuda.set_device = lambda *_: None
        cuda.get_device_capability = lambda *_a, **_k: tuple(self.gpu["capability"])
        cuda.get_device_name = lambda *_a, **_k: self.gpu["name"]
        cuda.get_device_properties = lambda *_a, **_k: self.properties
        cuda.mem_get_info = lambda *_a, **_k: (self.properties.total_memory,) * 2

    def become(self, gpu: dict[str, Any]) -> None:
        self.gpu = gpu
        self.properties.major, self.properties.minor = gpu["capability"]
        self.properties.name = gpu["name"]
        self.properties.uuid = gpu.get("uuid") or "00000000-0000-0000-0000-000000000000"
        self.properties.total_memory = int(gpu["memory_mib"]) << 20
        os.environ["PRETENDED_MIB"] = str(gpu["memory_mib"])
        os.environ["PRETENDED_COUNT"] = str(gpu["count"])
        os.environ["PRETENDED_DRIVER"] = str(gpu.get("driver") or "580.95.05")
