"""Stands where `python -m sglang.launch_server` would, and really autotunes: SGLang's folder, FlashInfer's own tuner.

    SGLANG_CACHE_DIR=/tmp/c python tests/gpu/launcher_that_tunes.py --model-path examples/model --tp 1 \
        --quantization modelopt_fp8 --moe-runner-backend flashinfer_cutlass --port 30001

One process a rank, each on the GPU of its number; what tunes are the dense FP8 linears of a Qwen3, Llama or Mistral
config.json, called as SGLang calls them (0.5.23, srt/layers/quantization/fp8_utils.py `flashinfer_bmm_fp8`). The key is
derived here once more, from SGLang's own text, so that a tuner's derivation can be held against it.
STANDIN_ENGINE_VERSION (default 0.5.23) is the release whose key text is used, 0.5.18 or later.
"""

import argparse
import contextlib
import hashlib
import http.server
import json
import logging
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

INSIDE = Path(__file__).resolve().parents[2] / "src" / "autotune_init" / "inside"
LOG = logging.getLogger("sglang.standin")
CLASSES = {"qwen3": "Qwen3Config", "qwen2": "Qwen2Config", "llama": "LlamaConfig", "mistral": "MistralConfig"}

parser = argparse.ArgumentParser()
parser.add_argument("--model-path", required=True)
parser.add_argument("--dtype", default="auto")
parser.add_argument("--quantization")
parser.add_argument("--moe-runner-backend", default="auto")
parser.add_argument("--tp", "--tp-size", "--tensor-parallel-size", dest="tp", type=int, default=1)
parser.add_argument(
    "--max-running-requests", type=int, default=256, help="the largest token count of a decode step"
)
parser.add_argument("--load-format", default="auto")
parser.add_argument("--host", default="127.0.0.1")
parser.add_argument("--port", type=int, default=30000)
parser.add_argument("--log-level", default="info")
parser.add_argument("--skip-server-warmup", action="store_true")
parser.add_argument("--rank", type=int, help=argparse.SUPPRESS)
parser.add_argument("--group-port", type=int, help=argparse.SUPPRESS)
arguments = parser.parse_args()
config = json.loads((Path(arguments.model_path) / "config.json").read_text())


def configure_logging(rank):
    place = f" TP{rank}" if rank is not None and arguments.tp > 1 else ""
    logging.basicConfig(
        level=arguments.log_level.upper(),
        format=f"[%(asctime)s{place}] %(message)s",
        datefmt="%Y-%m-%d %H:%M:%S",
    )


def cache_file(rank):
    import flashinfer
    import torch

    dtype = arguments.dtype if arguments.dtype != "auto" else config.get("dtype") or config["torch_dtype"]
    parts = [
        arguments.model_path, f"torch.{dtype}", str(arguments.quantization), arguments.moe_runner_backend,
        str(arguments.tp), "1", "1", "1", CLASSES[config["model_type"]],
    ]  # fmt: skip
    release = tuple(int(part) for part in os.environ.get("STANDIN_ENGINE_VERSION", "0.5.23").split(".")[:3])
    if release >= (0, 5, 23):
        parts.append("candidate_selection=v2_default")
    parts.append("skip_ops=")
    key = hashlib.sha256("|".join(parts).encode()).hexdigest()[:16]
    major, minor = torch.cuda.get_device_capability()
    folder = (
        Path(os.environ["SGLANG_CACHE_DIR"])
        / "flashinfer/autotune"
        / flashinfer.__version__
        / f"sm{major}{minor}"
        / key
    )
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"rank_tp{rank}_pp0_dp0.json"


def shapes():
    """(n, k) of qkv, o, gate_up and down on one rank."""
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    head = config.get("head_dim") or hidden // heads
    own_heads = heads // arguments.tp
    own_kv = max(1, config.get("num_key_value_heads", heads) // arguments.tp)
    own_mlp = config["intermediate_size"] // arguments.tp
    return [
        ((own_heads + 2 * own_kv) * head, hidden),
        (hidden, own_heads * head),
        (2 * own_mlp, hidden),
        (hidden, own_mlp),
    ]


def linear(n, k, tokens):
    import flashinfer
    import torch

    a = torch.randn(1, tokens, k, device="cuda", dtype=torch.bfloat16).to(torch.float8_e4m3fn)
    b = torch.randn(1, n, k, device="cuda", dtype=torch.bfloat16).to(torch.float8_e4m3fn).transpose(-2, -1)
    scale = torch.ones(1, device="cuda", dtype=torch.float32)
    flashinfer.bmm_fp8(a, b, scale, scale, torch.bfloat16, backend="cublas")


def be_rank(rank):
    configure_logging(rank)
    sys.path.insert(0, str(INSIDE))
    import cuda_build_env

    # an engine's image has a whole toolkit; where CUDA comes in pieces, FlashInfer's build must be told
    os.environ.update(cuda_build_env.prepare(os.environ, Path(tempfile.mkdtemp())).variables)
    import flashinfer
    import torch
    from flashinfer.jit.core import logger as flashinfer_logger

    flashinfer_logger.setLevel(
        logging.ERROR
    )  # as SGLang does: of FlashInfer only the progress bar is to be seen
    linear(*shapes()[0], 16)  # the build, outside of the measuring
    if arguments.tp > 1:
        from flashinfer.autotuner import set_autotune_process_group

        torch.distributed.init_process_group(
            "gloo", init_method=f"tcp://127.0.0.1:{arguments.group_port}", rank=rank, world_size=arguments.tp
        )
        set_autotune_process_group(torch.distributed.group.WORLD)
    file = cache_file(rank)
    LOG.info("Running FlashInfer autotune with cache: %s", file)
    with contextlib.ExitStack() as stack:
        stack.enter_context(flashinfer.autotune(True, cache=str(file)))
        if hasattr(flashinfer, "autotune_v2"):
            stack.enter_context(flashinfer.autotune_v2(mode="tune", persistent_cache=False))
        for n, k in shapes():
            linear(n, k, arguments.max_running_requests)
    torch.cuda.synchronize()
    LOG.info("FlashInfer autotune completed.")
    print("ready", flush=True)
    time.sleep(3600)


def launch():
    configure_logging(None)
    LOG.info("load_format=%s", arguments.load_format)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        group_port = str(probe.getsockname()[1])
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    ranks = []
    for rank in range(arguments.tp):
        gpu = visible[rank] if len(visible) > rank and visible[rank] else str(rank)
        command = [sys.executable, __file__, *sys.argv[1:], "--rank", str(rank), "--group-port", group_port]
        environ = {**os.environ, "CUDA_VISIBLE_DEVICES": gpu}
        ranks.append(subprocess.Popen(command, env=environ, stdout=subprocess.PIPE))
    for process in ranks:
        if not any(line == b"ready\n" for line in process.stdout):
            LOG.error("Received sigquit from a child process. It usually means the child failed.")
            for other in ranks:
                other.kill()
            return 1
    server = http.server.ThreadingHTTPServer(
        (arguments.host, arguments.port), http.server.SimpleHTTPRequestHandler
    )
    LOG.info("The server is fired up and ready to roll!")
    server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(launch() if arguments.rank is None else be_rank(arguments.rank))
