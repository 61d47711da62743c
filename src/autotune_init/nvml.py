"""The node's GPUs, asked from the driver's own library by ctypes: no torch, no CUDA context, a few milliseconds.

libnvidia-ml.so.1 comes with the driver (the container runtime mounts it with the "utility" capability). Its functions
are versioned and old names stay; the ones used are in every driver since R450.
"""

from __future__ import annotations

from collections.abc import Mapping

from cache_store.annotation import TYPE_CHECKING
from cache_store.dataclass import dataclass

if TYPE_CHECKING:
    import ctypes

NVML_LIBRARY = "libnvidia-ml.so.1"
_SUCCESS = 0
_TEXT_BYTES = 96  # NVML_DEVICE_NAME_V2_BUFFER_SIZE and NVML_DEVICE_UUID_V2_BUFFER_SIZE (nvml.h)
_VGPU = 2  # NVML_GPU_VIRTUALIZATION_MODE_VGPU: inside a guest


class NoGpu(Exception):  # noqa: N818 -- it is an answer
    """No GPU can be asked here. The message says what was tried."""

    reason = "no-gpu"


@dataclass(frozen=True)
class NvmlGpu:
    """One GPU as NVML shows it.

    `index` is NVML's (PCI bus order). `is_split` says that CUDA may show it under another name: MIG mode is on, or
    it is a virtual GPU. `memory_mib` is None where the driver does not say (unified memory).
    """

    index: int
    name: str
    uuid: str
    capability: tuple[int, int]
    is_split: bool = False
    memory_mib: int | None = None


@dataclass(frozen=True)
class NodeGpus:
    """What NVML shows of the node, whatever CUDA_VISIBLE_DEVICES says. `driver` like "580.95.05"."""

    driver: str
    gpus: tuple[NvmlGpu, ...]


def read_gpus(library: str = NVML_LIBRARY) -> NodeGpus:
    """Ask NVML. Raises `NoGpu` where the library, the driver or a GPU is missing or does not answer."""
    import ctypes

    try:
        nvml = ctypes.CDLL(library)
    except OSError as error:
        raise NoGpu(f"{library} cannot be loaded: {error}") from error
    try:
        _check(nvml, nvml.nvmlInit_v2(), "nvmlInit_v2")
        try:
            return NodeGpus(driver=_driver(nvml), gpus=_gpus(nvml))
        finally:
            nvml.nvmlShutdown()
    except AttributeError as error:
        raise NoGpu(f"{library} is no NVML: {error}") from error


def _driver(nvml: ctypes.CDLL) -> str:
    import ctypes

    text = ctypes.create_string_buffer(_TEXT_BYTES)
    _check(nvml, nvml.nvmlSystemGetDriverVersion(text, len(text)), "nvmlSystemGetDriverVersion")
    return text.value.decode(errors="replace")


def _gpus(nvml: ctypes.CDLL) -> tuple[NvmlGpu, ...]:
    import ctypes

    count = ctypes.c_uint()
    _check(nvml, nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)), "nvmlDeviceGetCount_v2")
    if count.value == 0:
        raise NoGpu("NVML shows no GPU")
    return tuple(_gpu(nvml, index) for index in range(count.value))


def _gpu(nvml: ctypes.CDLL, index: int) -> NvmlGpu:
    import ctypes

    device = ctypes.c_void_p()
    _check(
        nvml, nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(device)), f"GPU {index}"
    )
    name, uuid = ctypes.create_string_buffer(_TEXT_BYTES), ctypes.create_string_buffer(_TEXT_BYTES)
    _check(nvml, nvml.nvmlDeviceGetName(device, name, len(name)), f"nvmlDeviceGetName of GPU {index}")
    _check(nvml, nvml.nvmlDeviceGetUUID(device, uuid, len(uuid)), f"nvmlDeviceGetUUID of GPU {index}")
    major, minor = ctypes.c_int(), ctypes.c_int()
    code = nvml.nvmlDeviceGetCudaComputeCapability(device, ctypes.byref(major), ctypes.byref(minor))
    _check(nvml, code, f"nvmlDeviceGetCudaComputeCapability of GPU {index}")
    return NvmlGpu(
        index=index,
        name=name.value.decode(errors="replace"),
        uuid=uuid.value.decode(errors="replace"),
        capability=(major.value, minor.value),
        is_split=_is_mig(nvml, device) or _is_vgpu(nvml, device),
        memory_mib=_memory_mib(nvml, device),
    )


def _memory_mib(nvml: ctypes.CDLL, device: ctypes.c_void_p) -> int | None:
    import ctypes

    # nvmlMemory_t: total, free, used; NOT_SUPPORTED on GPUs that share the host's memory. A fact that only the
    # engine's own resolution wants must not be why a GPU is not seen
    read = getattr(nvml, "nvmlDeviceGetMemoryInfo", None)
    sizes = (ctypes.c_ulonglong * 3)()
    if read is None or read(device, ctypes.byref(sizes)) != _SUCCESS:
        return None
    return int(sizes[0]) >> 20 or None


def _is_mig(nvml: ctypes.CDLL, device: ctypes.c_void_p) -> bool:
    import ctypes

    now, pending = ctypes.c_uint(), ctypes.c_uint()
    # NOT_SUPPORTED on GPUs that have no MIG; any other failure is settled by the calls around this one
    code = nvml.nvmlDeviceGetMigMode(device, ctypes.byref(now), ctypes.byref(pending))
    return code == _SUCCESS and now.value == 1


def _is_vgpu(nvml: ctypes.CDLL, device: ctypes.c_void_p) -> bool:
    import ctypes

    mode = ctypes.c_int()
    code = nvml.nvmlDeviceGetVirtualizationMode(device, ctypes.byref(mode))
    return code == _SUCCESS and mode.value == _VGPU


def _check(nvml: ctypes.CDLL, code: int, call: str) -> None:
    if code == _SUCCESS:
        return
    import ctypes

    try:
        describe = nvml.nvmlErrorString
        describe.restype = ctypes.c_char_p
        text = (describe(code) or b"").decode(errors="replace")
    except AttributeError:
        text = ""
    raise NoGpu(f"{call} failed with NVML error {code}{': ' if text else ''}{text}")


def visible_gpus(gpus: tuple[NvmlGpu, ...], environ: Mapping[str, str]) -> tuple[NvmlGpu, ...]:
    """Those that CUDA would show a process with this environment, as CUDA reads CUDA_VISIBLE_DEVICES.

    Indices and UUID prefixes; the first entry that names nothing ends the list, and one that comes twice empties it
    (CUDA C++ Programming Guide, "CUDA Environment Variables"). An index counts in NVML's order, which is CUDA's
    wherever all GPUs are of one model (CUDA sorts by speed first) or CUDA_DEVICE_ORDER is PCI_BUS_ID: the caller
    must not rely on *which* GPU an index means unless all have one name.
    """
    stated = environ.get("CUDA_VISIBLE_DEVICES")
    if stated is None:
        return gpus
    chosen: list[NvmlGpu] = []
    for entry in stated.split(","):
        gpu = _named(gpus, entry.strip())
        if gpu is None:
            break
        if gpu in chosen:
            return ()
        chosen.append(gpu)
    return tuple(chosen)


def _named(gpus: tuple[NvmlGpu, ...], entry: str) -> NvmlGpu | None:
    if entry.isascii() and entry.isdigit():
        return gpus[int(entry)] if int(entry) < len(gpus) else None
    if not entry.startswith("GPU-"):
        return None
    matches = [gpu for gpu in gpus if gpu.uuid.startswith(entry)]
    return matches[0] if len(matches) == 1 else None
