"""Asks one installed SGLang release what its own argument resolution makes of every command line of the golden file.

    uv venv R && uv pip install --python R/bin/python sglang==0.5.23      # about 9 GB
    R/bin/python tools/make_sglang_argv_golden.py                         # needs a C compiler, no GPU, no network

Reads tests/data/sglang_argv_cases.json and puts the release's keys into tests/data/sglang_argv_golden.json: one key per
case, null where the release does not start. Nothing of SGLang is edited or kept: a GPU is pretended before its first
import (torch.cuda's queries, a libcuda that fails every call, an nvidia-smi that prints memory and driver), the release
resolves the command line, and its own path function is called with what it resolved. Older releases want
`--exclude-newer` a few days after their release; each case runs in a fork, because resolution leaves state behind.
"""

import contextlib
import functools
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

TESTS_DATA = Path(__file__).resolve().parent.parent / "tests" / "data"
CASES, GOLDEN = TESTS_DATA / "sglang_argv_cases.json", TESTS_DATA / "sglang_argv_golden.json"
PRETENDED = {  # capability -> name, memory in MiB
    (9, 0): ("NVIDIA H100 80GB HBM3", 81559),
    (10, 0): ("NVIDIA B200", 183359),
    (10, 3): ("NVIDIA B300 SXM6 AC", 275040),
    (12, 0): ("NVIDIA RTX PRO 6000 Blackwell Server Edition", 97887),
}
LIBCUDA_NAMES = """cuCtxFromGreenCtx cuCtxGetCurrent cuCtxPopCurrent_v2 cuCtxPushCurrent_v2 cuDevResourceGenerateDesc
cuDevSmResourceSplitByCount cuDeviceGet cuDeviceGetCount cuDeviceGetDevResource cuDriverGetVersion cuGetErrorName
cuGetErrorString cuGetProcAddress cuGetProcAddress_v2 cuGreenCtxCreate cuGreenCtxDestroy cuGreenCtxGetDevResource cuInit
cuLaunchKernel cuMemAddressFree cuMemGetAddressRange_v2 cuMemRelease cuMemRetainAllocationHandle cuMemSetAccess cuMemUnmap
cuModuleLoadData cuPointerGetAttribute cuStreamCreate cuTensorMapEncodeTiled"""
NVIDIA_SMI = (
    '#!/bin/sh\ncase "$*" in *driver_version*) echo 580.95.05;; *) echo "${PRETENDED_MIB:-81559}";; esac\n'
)
HUB_COMMIT = "0123456789abcdef0123456789abcdef01234567"


def config_of(document: dict, name: str) -> dict:
    """family-quantization[-dtype] -> config.json"""
    family, quantization, *dtype = name.split("-")
    config = {**document["common"], **document["families"][family]}
    if document["quantizations"][quantization]:
        config["quantization_config"] = document["quantizations"][quantization]
    if dtype:
        config = {key: value for key, value in config.items() if key != "torch_dtype"}
        config.update(document["dtypes"][dtype[0]])
    return config


def prepare(work: Path, document: dict) -> dict[str, str]:
    """Models, libcuda, nvidia-smi and a hub cache in `work`; the environment that shows them."""
    for case in document["cases"]:
        model = work / "models" / case["config"]
        model.mkdir(parents=True, exist_ok=True)
        (model / "config.json").write_text(json.dumps(config_of(document, case["config"])))
    hub = work / "hf" / "hub" / "models--org--qwen3"
    (hub / "snapshots" / HUB_COMMIT).mkdir(parents=True)
    (hub / "refs").mkdir()
    (hub / "refs" / "main").write_text(HUB_COMMIT)
    shutil.copy(work / "models" / "qwen3-none" / "config.json", hub / "snapshots" / HUB_COMMIT)
    source = work / "libcuda.c"
    source.write_text("".join(f"int {name}(){{return 100;}}\n" for name in LIBCUDA_NAMES.split()))
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(work / "libcuda.so.1"), str(source)], check=True)
    smi = work / "nvidia-smi"
    smi.write_text(NVIDIA_SMI)
    smi.chmod(0o755)
    # sys.path, not sysconfig: the release may live in a virtual environment
    toolkit = next((str(at) for path in sys.path for at in Path(path).glob("nvidia/cu1*")), str(work))
    return {
        **os.environ,
        "LD_LIBRARY_PATH": f"{work}:{os.environ.get('LD_LIBRARY_PATH', '')}",
        "PATH": f"{work}:{os.environ['PATH']}",
        "CUDA_HOME": toolkit,
        "HF_HOME": str(work / "hf"),
        "HF_HUB_OFFLINE": "1",
        "HOME": str(work),
        "SGLANG_CACHE_DIR": str(work / "cache"),
        "PRETENDED_WORK": str(work),
    }


class Gpu:
    """torch.cuda's answers, replaced before sglang is imported; `become` changes them for a fork."""

    def __init__(self) -> None:
        import torch

        self.properties = SimpleNamespace(
            multi_processor_count=132, warp_size=32, max_threads_per_multi_processor=2048, gcnArchName="",
            uuid="00000000-0000-0000-0000-000000000000", L2_cache_size=50 << 20, shared_memory_per_block=49152,
            shared_memory_per_block_optin=232448, regs_per_multiprocessor=65536, is_integrated=False,
            is_multi_gpu_board=False,
        )  # fmt: skip
        self.set((10, 0))
        cuda = torch.cuda
        cuda.is_available = lambda: True
        cuda.device_count = lambda: 8
        cuda.current_device = lambda: 0
        cuda.set_device = lambda *_: None
        cuda.get_device_capability = lambda *_a, **_k: self.capability
        cuda.get_device_name = lambda *_a, **_k: self.properties.name
        cuda.get_device_properties = lambda *_a, **_k: self.properties
        cuda.mem_get_info = lambda *_a, **_k: (self.properties.total_memory, self.properties.total_memory)

    def set(self, capability: tuple[int, int]) -> None:
        self.capability = capability
        self.properties.major, self.properties.minor = capability
        self.properties.name, mebibytes = PRETENDED[capability]
        self.properties.total_memory = mebibytes << 20
        os.environ["PRETENDED_MIB"] = str(mebibytes)

    def become(self, capability: tuple[int, int]) -> None:
        self.set(capability)
        for name, module in list(sys.modules.items()):
            if name.startswith("sglang"):
                for value in list(vars(module).values()):
                    if isinstance(value, functools._lru_cache_wrapper):  # noqa: SLF001 -- its only name
                        value.cache_clear()


def path_function():
    """The release's own; up to 0.5.14 it is a method that only reads attributes."""
    for module, owner, name in (
        ("model_executor.runner.flashinfer_autotune", None, "flashinfer_autotune_cache_path"),
        ("model_executor.runner.base_runner", "BaseRunner", "_flashinfer_autotune_cache_path"),
        ("model_executor.model_runner", "ModelRunner", "_flashinfer_autotune_cache_path"),
    ):
        with contextlib.suppress(ImportError, AttributeError):
            found = importlib.import_module(f"sglang.srt.{module}")
            return getattr(getattr(found, owner) if owner else found, name)
    raise SystemExit("this release has no autotune cache")


def key_of(argv: list[str], function) -> str:
    """The key that the release gives rank 0 of this command line's target model."""
    from sglang.srt.configs.model_config import ModelConfig
    from sglang.srt.server_args import prepare_server_args

    args = prepare_server_args(argv)
    if hasattr(args, "resolve_once"):
        args.resolve_once()
    resolved = args.resolved_dict() if hasattr(args, "resolved_dict") else vars(args)
    model = ModelConfig.from_server_args(args)
    attention_dp = resolved.get("attn_dp_size")
    if attention_dp is None:
        attention_dp = resolved["dp_size"] if resolved["enable_dp_attention"] else 1
    ranks = {"tp_rank": 0, "pp_rank": 0, "dp_rank": None}
    sizes = {
        "tp_size": resolved["tp_size"],
        "pp_size": resolved["pp_size"],
        "moe_ep_size": resolved["ep_size"],
    }
    shape = SimpleNamespace(**ranks, **sizes, attn_dp_size=attention_dp, dp_size=attention_dp)
    runner = SimpleNamespace(
        device="cuda", dtype=model.dtype, server_args=args, model_config=model, is_draft_worker=False, gpu_id=0,
        ps=shape, **vars(shape),
    )  # fmt: skip
    runner.model_runner = runner
    with contextlib.suppress(ImportError):
        from sglang.srt import runtime_context

        if hasattr(runtime_context, "publish"):
            runtime_context.publish(args, role="scheduler")
        parallel = getattr(getattr(runtime_context, "_CONTEXT", None), "parallel", None)
        if hasattr(parallel, "override_permanently"):
            parallel.override_permanently(**ranks)
    path = Path(function(runner))
    if path.name != "rank_tp0_pp0_dp0.json":
        raise ValueError(path.name)
    return path.parent.name


def ask(case: dict, gpu: Gpu, function) -> str | None:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        answer = b""
        log = os.open("children.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        with contextlib.suppress(BaseException):
            gpu.become(tuple(case["capability"]))
            answer = key_of(case["argv"], function).encode()
        os.write(write, answer)
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as stream:
        answer = stream.read().decode()
    os.waitpid(child, 0)
    return answer or None


def main() -> int:
    document = json.loads(CASES.read_text())
    work = os.environ.get("PRETENDED_WORK")
    if work is None:
        with tempfile.TemporaryDirectory() as folder:
            environ = prepare(Path(folder), document)
            program = str(Path(__file__).resolve())
            return subprocess.run([sys.executable, program], env=environ, cwd=folder, check=False).returncode
    gpu = Gpu()
    import sglang

    function = path_function()
    answers = [ask(case, gpu, function) for case in document["cases"]]
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    golden[sglang.__version__] = answers
    ordered = sorted(golden.items(), key=lambda item: [int(number) for number in re.findall(r"\d+", item[0])])
    rows = [json.dumps(version) + ": " + json.dumps(keys) for version, keys in ordered]
    GOLDEN.write_text("{\n" + ",\n".join(rows) + "\n}\n")
    print(sglang.__version__, sum(one is not None for one in answers), "keys of", len(answers))
    return 0


if __name__ == "__main__":
    sys.exit(main())
