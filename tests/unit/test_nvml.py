"""The driver's library, asked through a real shared object."""

from __future__ import annotations

import pytest
from tests.data.environment_stubs import cuda_library, nvml_library

from autotune_init.nvml import NoGpu, NvmlGpu, read_gpus, visible_gpus

H100 = "NVIDIA H100 80GB HBM3"
B200 = "NVIDIA B200"


def gpu(index, name=H100):
    return NvmlGpu(index, name, f"GPU-{index + 1:08d}-0000-0000-0000-000000000000", (9, 0))


def test_two_gpus_are_read_with_name_uuid_capability_and_driver(tmp_path):
    node = read_gpus(nvml_library(tmp_path, H100, B200))
    assert node.driver == "580.95.05"
    assert [(g.index, g.name, g.capability, g.is_split) for g in node.gpus] == [
        (0, H100, (9, 0), False),
        (1, B200, (10, 0), False),
    ]
    assert node.gpus[1].uuid == "GPU-00000002-0000-0000-0000-000000000000"


@pytest.mark.parametrize(
    ("mig", "virtualization", "is_split"),
    [(0, 0, False), (1, 0, True), (-1, 2, True), (-1, 1, False)],
    ids=["mig-off", "mig-on", "virtual-gpu", "passed-through"],
)
def test_a_gpu_that_cuda_may_name_otherwise_is_split(tmp_path, mig, virtualization, is_split):
    node = read_gpus(nvml_library(tmp_path, H100, mig=mig, virtualization=virtualization))
    assert node.gpus[0].is_split is is_split


def test_a_missing_library_is_no_gpu(tmp_path):
    with pytest.raises(NoGpu, match="cannot be loaded"):
        read_gpus(str(tmp_path / "libnvidia-ml.so.1"))


def test_the_text_of_nvml_says_why_it_does_not_start(tmp_path):
    with pytest.raises(NoGpu, match="NVML error 9: Driver Not Loaded"):
        read_gpus(nvml_library(tmp_path, H100, init=9))


def test_a_driver_without_gpus_is_no_gpu(tmp_path):
    with pytest.raises(NoGpu, match="shows no GPU"):
        read_gpus(nvml_library(tmp_path, H100, count=0))


def test_a_library_that_is_no_nvml_is_no_gpu(tmp_path):
    with pytest.raises(NoGpu, match="is no NVML"):
        read_gpus(str(cuda_library(tmp_path / "libnvidia-ml.so.1")))


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        (None, [0, 1, 2, 3]),
        ("2", [2]),
        ("3,0", [3, 0]),
        (" 1 , 2 ", [1, 2]),
        ("GPU-00000002", [1]),
        ("GPU-00000003,0", [2, 0]),
        ("0,9,1", [0]),
        ("0,-1,1", [0]),
        ("", []),
        ("-1", []),
        ("1,1", []),
        ("GPU-0000000", []),
        ("MIG-1234", []),
        ("none", []),
    ],
)
def test_cuda_visible_devices_is_read_as_cuda_reads_it(stated, expected):
    environ = {} if stated is None else {"CUDA_VISIBLE_DEVICES": stated}
    assert [g.index for g in visible_gpus(tuple(gpu(i) for i in range(4)), environ)] == expected
