"""The compute capability of GPUs that engines are served on, by the name that NVML gives them.

For containers without a GPU (--gpu-name, or a facts file without "capability"). From NVIDIA's table of CUDA GPUs; a name
that is not here is not guessed. Longer beginnings come first where one begins another.
"""

from __future__ import annotations

Capability = tuple[int, int]

# a name, or its beginning up to a blank or dash: "NVIDIA H100" stands for "NVIDIA H100 80GB HBM3" and "NVIDIA H100 NVL"
_CAPABILITIES: dict[str, Capability] = {
    "NVIDIA A100": (8, 0),
    "NVIDIA A100-SXM4": (8, 0),
    "NVIDIA A100-PCIE": (8, 0),
    "NVIDIA A800": (8, 0),
    "NVIDIA A800-SXM4": (8, 0),
    "NVIDIA A30": (8, 0),
    "NVIDIA A10": (8, 6),
    "NVIDIA A10G": (8, 6),
    "NVIDIA A40": (8, 6),
    "NVIDIA RTX A6000": (8, 6),
    "NVIDIA L4": (8, 9),
    "NVIDIA L20": (8, 9),
    "NVIDIA L40": (8, 9),
    "NVIDIA L40S": (8, 9),
    "NVIDIA RTX 6000 Ada Generation": (8, 9),
    "NVIDIA GeForce RTX 4090": (8, 9),
    "NVIDIA H20": (9, 0),
    "NVIDIA H20-3e": (9, 0),
    "NVIDIA H100": (9, 0),
    "NVIDIA H200": (9, 0),
    "NVIDIA H800": (9, 0),
    "NVIDIA GH200": (9, 0),
    "NVIDIA B200": (10, 0),
    "NVIDIA GB200": (10, 0),
    "NVIDIA B300": (10, 3),
    "NVIDIA GB300": (10, 3),
    "NVIDIA RTX PRO 6000 Blackwell": (12, 0),
    "NVIDIA GeForce RTX 5090": (12, 0),
    "NVIDIA GB10": (12, 1),
}


def capability_of(name: str) -> Capability | None:
    """(major, minor) of the GPU that NVML or CUDA calls `name`, or None where the table does not say.

    A MIG slice has its GPU's capability: CUDA appends " MIG 3g.40gb" to the name.
    """
    at = len(name)
    while at > 0:
        known = _CAPABILITIES.get(name[:at])
        if known is not None:
            return known
        at = max(name.rfind(" ", 0, at), name.rfind("-", 0, at))
    return None
