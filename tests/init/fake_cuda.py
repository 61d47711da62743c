"""A CUDA that does nothing, so that FlashInfer's own autotuner runs on a CPU. Loaded into children by a sitecustomize.

Only what touches the GPU is replaced: torch.cuda, the delay kernel, and `bmm_fp8`, whose stand-in asks the real
autotuner with the real tuning config, runner class name and key extras. Buckets, keys, saving, loading, metadata
checks and contexts are FlashInfer's.

FAKE_CUDA_METADATA: JSON, values of FlashInfer's metadata fields. FAKE_CUDA_OP: "real-keys", "raw-m" (the op keys on
the caller's token count, as mm_bf16 with cuBLASLt does), "broken" (cannot be built) or "out-of-memory".
FAKE_CUDA_CALLS: a file that gets one line for each call of the op: M N K.
"""

import contextlib
import json
import os
import sys
import time


class FakeStream:
    device = "cpu"

    def synchronize(self):
        pass

    def wait_stream(self, _other):
        pass


class FakeEvent:
    def __init__(self, enable_timing=True):
        self.at = 0.0

    def record(self, *_):
        self.at = time.perf_counter()

    def elapsed_time(self, other):
        return (other.at - self.at) * 1e3


@contextlib.contextmanager
def fake_stream_context(_stream):
    yield


def sitecustomize(folder):
    """Write the module that makes every Python with `folder` on its PYTHONPATH use this file."""
    here = os.path.dirname(os.path.abspath(__file__))
    text = f"import sys\nsys.path.append({here!r})\nimport fake_cuda\nfake_cuda.install()\n"
    (folder / "sitecustomize.py").write_text(text)


def install():
    import torch

    cuda = torch.cuda
    cuda.is_available = lambda: True
    cuda.get_device_capability = lambda *_: (9, 0)
    cuda.get_device_name = lambda *_: "NVIDIA H100 80GB HBM3"
    cuda.current_device = lambda: 0
    cuda.current_stream = lambda *_, **__: FakeStream()
    cuda.Event, cuda.stream = FakeEvent, fake_stream_context
    cuda.CUDAGraph = lambda *_, **__: None
    cuda.synchronize = cuda.empty_cache = lambda *_, **__: None
    cuda.is_current_stream_capturing = lambda: False
    for name in ("randn", "ones"):
        setattr(torch, name, on_cpu(getattr(torch, name)))

    import flashinfer
    import flashinfer.tllm_utils

    tuner_module = sys.modules["flashinfer.autotuner.autotuner"]
    tuner_module.delay_kernel = flashinfer.tllm_utils.delay_kernel = lambda _us: None
    collect = tuner_module._collect_metadata
    stated = json.loads(os.environ["FAKE_CUDA_METADATA"])
    tuner_module._collect_metadata = lambda: {**collect(), **stated}
    flashinfer.bmm_fp8 = stand_in(os.environ.get("FAKE_CUDA_OP", "real-keys"))


def on_cpu(factory):
    def make(*args, device=None, **kwargs):
        return factory(*args, device=None if device == "cuda" else device, **kwargs)

    return make


def stand_in(behaviour):
    import torch
    from flashinfer.autotuner import AutoTuner, TunableRunner
    from flashinfer.gemm import gemm_base

    class CublasFp8GemmRunner(TunableRunner):
        def get_cache_key_extras(self, inputs):
            a, b, _, _, out, _ = inputs
            raw = (a.shape[-2],) if behaviour == "raw-m" else ()
            return (*raw, a.dtype, b.dtype, out.dtype)

        def get_valid_tactics(self, inputs, profile):
            if behaviour == "out-of-memory" and inputs[0].shape[-2] < 4:
                raise MemoryError
            return [0, 1, 2]

        def forward(self, inputs, tactic=-1, do_preparation=False, **kwargs):
            time.sleep({-1: 0.0002, 0: 0.0002, 1: 0.00002, 2: 0.0001}[tactic])
            return inputs[4]

    def bmm_fp8(a, b, a_scale, b_scale, dtype, out=None, backend="cublas"):
        if behaviour == "broken":
            raise RuntimeError("nvcc not found\nninja: build stopped")
        assert backend == "cublas"
        assert b.stride()[-2] == 1, "B must be column-major"
        if log := os.environ.get("FAKE_CUDA_CALLS"):
            with open(log, "a") as file:
                file.write(f"{a.shape[1]} {b.shape[2]} {b.shape[1]}\n")
        out = torch.empty((a.shape[0], a.shape[1], b.shape[2]), dtype=dtype)
        workspace = torch.empty(1024, dtype=torch.uint8)
        inputs = [a, b, a_scale, b_scale, out, workspace]
        runner, tactic = AutoTuner.get().choose_one(
            "fp8_gemm", [CublasFp8GemmRunner()], gemm_base._FP8_GEMM_SM100_TUNING_CONFIG, inputs
        )
        runner(inputs=inputs, tactic=tactic)
        return out

    return bmm_fp8
