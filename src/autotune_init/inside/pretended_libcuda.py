"""A libcuda.so.1 that fails every call, for engines that are only asked a question on a node without a GPU.

Their extension modules need the library to be there, none of its functions to work. Once a library with this soname is
loaded, later loads of "libcuda.so.1" find it, so nothing has to stand on LD_LIBRARY_PATH.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

SONAME = "libcuda.so.1"
_STUBS = (
    "/usr/local/cuda/lib64/stubs/libcuda.so",
    "/usr/local/cuda/targets/x86_64-linux/lib/stubs/libcuda.so",
    "/usr/local/cuda/targets/sbsa-linux/lib/stubs/libcuda.so",
)
_NAMES = """cuCtxFromGreenCtx cuCtxGetCurrent cuCtxPopCurrent_v2 cuCtxPushCurrent_v2 cuCtxSynchronize
cuDevResourceGenerateDesc cuDevSmResourceSplitByCount cuDeviceGet cuDeviceGetAttribute cuDeviceGetCount
cuDeviceGetDevResource cuDriverGetVersion cuFuncSetAttribute cuGetErrorName cuGetErrorString cuGetProcAddress
cuGetProcAddress_v2 cuGreenCtxCreate cuGreenCtxDestroy cuGreenCtxGetDevResource cuInit cuLaunchKernel cuLaunchKernelEx
cuMemAddressFree cuMemAddressReserve cuMemCreate cuMemExportToShareableHandle cuMemGetAddressRange_v2
cuMemGetAllocationGranularity cuMemImportFromShareableHandle cuMemMap cuMemRelease cuMemRetainAllocationHandle
cuMemSetAccess cuMemUnmap cuModuleGetFunction cuModuleLoad cuModuleLoadData cuModuleUnload cuMulticastAddDevice
cuMulticastBindMem cuMulticastCreate cuMulticastGetGranularity cuMulticastUnbind cuPointerGetAttribute cuStreamCreate
cuStreamWriteValue32_v2 cuStreamWaitValue32_v2 cuTensorMapEncodeTiled cuTensorMapEncodeIm2col"""
_CUDA_ERROR_NO_DEVICE = 100


def load(folder: str | Path) -> None:
    """Make it in `folder` and load it for the whole process. Raises OSError where neither compiler nor stub is there."""
    folder = Path(folder)
    library = folder / SONAME
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler:
        source = folder / "libcuda.c"
        source.write_text(
            "".join(f"int {name}(){{return {_CUDA_ERROR_NO_DEVICE};}}\n" for name in _NAMES.split())
        )
        flags = ["-w", "-shared", "-fPIC", f"-Wl,-soname,{SONAME}", "-o", str(library), str(source)]
        made = subprocess.run([compiler, *flags], check=False, capture_output=True, text=True)
        if made.returncode:
            raise OSError(f"{compiler} makes no {SONAME}: {made.stderr.strip()[-200:]}")
    else:
        stub = next((stub for stub in map(Path, _STUBS) if stub.exists()), None)
        if stub is None:
            raise OSError(f"no GPU, no C compiler and no CUDA stub: {SONAME} cannot be pretended")
        library = stub  # its soname is libcuda.so.1
    ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)
