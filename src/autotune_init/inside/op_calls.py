"""What tune_ops.py and verify.py share: the job, the calls as the engine makes them, and the answer line.

Both must make the very same calls in the very same context, or the check proves nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

ANSWER_MARK = "AUTOTUNE-ANSWER "  # builds and imports print on stdout too


class Unavailable(Exception):  # noqa: N818 -- reads as what it is
    """Nothing can be tuned by this interpreter on this machine."""


@dataclass(frozen=True)
class Job:
    """`calls`: one dict an op, e.g. {"op": "bmm_fp8", "n": 4096, "k": 4096, "out_dtype": "bfloat16"}.

    `cache` is the file to write (tune) or to check (verify), `work` a directory for builds and copies, `max_tokens`
    the largest token count to cover, `capability` what the GPU must be, as (major, minor).
    """

    calls: tuple[dict[str, Any], ...]
    cache: Path
    work: Path
    max_tokens: int
    capability: tuple[int, int]


@dataclass
class Counts:
    """What the autotuner did, by op name as in the file's keys."""

    profiled: dict[str, int] = field(default_factory=dict)
    wanted: dict[str, int] = field(default_factory=dict)


def read_job(document: dict[str, Any]) -> Job:
    """Raises KeyError, TypeError or ValueError: the parent wrote it, so it is a bug there."""
    major, minor = document["capability"]
    return Job(
        tuple(document["calls"]),
        Path(document["cache"]),
        Path(document["work"]),
        int(document["max_tokens"]),
        (int(major), int(minor)),
    )


def load_stdin(stream: IO[str]) -> dict[str, Any]:
    document = json.load(stream)
    if not isinstance(document, dict):
        raise TypeError("the job is not a JSON object")
    return document


def answer(**fields: object) -> int:
    """Print the one line that the parent reads; returns the exit code for a job that ran to its end."""
    print(ANSWER_MARK + json.dumps(fields), flush=True)
    return 0


def tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def prepare_gpu(job: Job) -> None:
    """Raises `Unavailable` unless FlashInfer imports and the GPU is the one the job was made for."""
    try:
        import torch
    except Exception as error:
        raise Unavailable(f"torch does not import: {error}") from error
    if not torch.cuda.is_available():
        raise Unavailable("torch sees no GPU")
    capability = tuple(torch.cuda.get_device_capability())
    if capability != job.capability:
        raise Unavailable(f"the GPU is {capability}, the job is for {job.capability}")
    try:
        import flashinfer
    except Exception as error:
        raise Unavailable(f"flashinfer does not import: {error}") from error
    tell(f"FlashInfer {flashinfer.__version__}, torch {torch.__version__}, {torch.cuda.get_device_name()}")


def set_environment(variables: dict[str, str], notes: list[str]) -> None:
    os.environ.update(variables)
    os.environ.setdefault(
        "TQDM_MININTERVAL", "5"
    )  # a pod's log is no terminal: ten bars a second drown the rest
    for note in notes:
        tell(f"build environment: {note}")


def top_bucket(max_tokens: int) -> int:
    """The bucket that `max_tokens` falls into.

    A GEMM op makes its buckets from the token count of the call itself, so the call must be made with the largest
    one; a count between two buckets would be profiled under the name of the next bucket without being it
    (flashinfer/gemm/gemm_base.py, `get_hybrid_num_tokens_buckets` and `map_to_hybrid_bucket_uncapped`).
    """
    from flashinfer.fused_moe import utils

    to_bucket = getattr(utils, "map_to_hybrid_bucket_uncapped", None)
    if to_bucket is not None:
        return int(to_bucket(max_tokens))
    return 1 << (max_tokens - 1).bit_length()  # releases before the hybrid buckets have powers of two


@contextlib.contextmanager
def tuning_context(cache: Path) -> Iterator[None]:
    """The context that SGLang tunes in, entered once.

    From FlashInfer 0.7 SGLang 0.5.23 opens `autotune_v2(mode="tune", persistent_cache=False)` inside: measuring is the
    same, but the op's default tactic joins the race, and the directory name of such files promises that
    (`candidate_selection=v2_default`). A v2 context without a measurement policy keeps its winners where the outer
    v1 context saves them, so the file is an ordinary one.
    """
    import flashinfer

    with contextlib.ExitStack() as stack:
        stack.enter_context(flashinfer.autotune(True, cache=str(cache)))
        if hasattr(flashinfer, "autotune_v2"):
            stack.enter_context(flashinfer.autotune_v2(mode="tune", persistent_cache=False))
        yield


def watch_autotuner(counts: Counts) -> None:
    """Count profiled tactics and wanted entries of each op, by wrapping the two methods that do the work."""
    from flashinfer.autotuner import AutoTuner

    choose, profile = AutoTuner.choose_one, AutoTuner._profile_single_kernel
    current: list[str] = []

    def counting_choose(self: Any, custom_op: str, *args: Any, **kwargs: Any) -> Any:
        current.append(custom_op)
        try:
            return choose(self, custom_op, *args, **kwargs)
        finally:
            current.pop()
            total = self.stats.tuned_op_total_configs.pop(custom_op, 0)
            counts.wanted[custom_op] = counts.wanted.get(custom_op, 0) + total

    def counting_profile(self: Any, *args: Any, **kwargs: Any) -> Any:
        op = current[-1] if current else "unknown"
        counts.profiled[op] = counts.profiled.get(op, 0) + 1
        return profile(self, *args, **kwargs)

    AutoTuner.choose_one = counting_choose
    AutoTuner._profile_single_kernel = counting_profile


def make_calls(job: Job, *, only_first: bool = False) -> None:
    """Make every call of the job once, at the top bucket. `only_first`: one of each op, to build its modules."""
    import torch

    tokens = 16 if only_first else top_bucket(job.max_tokens)
    seen: set[str] = set()
    for number, call in enumerate(job.calls, 1):
        name = str(call["op"])
        if only_first and name in seen:
            continue
        seen.add(name)
        shape = f"n={call['n']} k={call['k']}, up to {tokens} tokens"
        tell(f"{'building' if only_first else 'calling'} {name} {number}/{len(job.calls)}: {shape}")
        _OPS[name](call)(tokens)
        torch.cuda.synchronize()


_Maker = Callable[[int], None]


def _bmm_fp8(call: dict[str, Any]) -> _Maker:
    def make(tokens: int) -> None:
        import flashinfer
        import torch

        # 3-D views, scales of shape (1,) and the cublas backend are what SGLang passes (0.5.18 and 0.5.23,
        # srt/layers/quantization/fp8_utils.py flashinfer_bmm_fp8): each of them is part of the key
        a = torch.randn(1, tokens, call["k"], device="cuda", dtype=torch.bfloat16).to(torch.float8_e4m3fn)
        b = torch.randn(1, call["n"], call["k"], device="cuda", dtype=torch.bfloat16).to(torch.float8_e4m3fn)
        scale = torch.ones(1, device="cuda", dtype=torch.float32)
        out_dtype = getattr(torch, call["out_dtype"])
        flashinfer.bmm_fp8(a, b.transpose(-2, -1), scale, scale, out_dtype, backend="cublas")

    return make


_OPS: dict[str, Callable[[dict[str, Any]], _Maker]] = {"bmm_fp8": _bmm_fp8}
