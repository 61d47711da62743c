"""Tune FlashInfer ops into one cache file. A program for the engine's Python: JSON job on stdin (see op_calls.Job).

The answer is one marked line on stdout; the story goes to stderr. Exit code 0 with `"unavailable"` in the answer
means that nothing could be tried; a traceback means that something broke.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autotune_init.inside import cuda_build_env, op_calls
else:  # by path: the engine's Python does not have our package
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    import cuda_build_env
    import op_calls


def main() -> int:
    job = op_calls.read_job(op_calls.load_stdin(sys.stdin))
    build = cuda_build_env.prepare(os.environ, job.work)
    op_calls.set_environment(build.variables, build.notes)
    try:
        op_calls.prepare_gpu(job)
        _build_modules(job)
    except op_calls.Unavailable as problem:
        return op_calls.answer(unavailable=str(problem))
    return op_calls.answer(**_tune(job))


def _build_modules(job: op_calls.Job) -> None:
    """Outside the tuning context: there, FlashInfer counts a failed build as one more unsupported tactic."""
    from flashinfer.tllm_utils import delay_kernel

    try:
        op_calls.make_calls(job, only_first=True)
        delay_kernel(10)  # every measurement waits behind it, and it is compiled at its first use
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        for line in lines[-60:]:
            op_calls.tell(line)
        raise op_calls.Unavailable(f"an op cannot be built or run here: {lines[0][:300]}") from error


def _tune(job: op_calls.Job) -> dict[str, Any]:
    import flashinfer
    from flashinfer.autotuner import AutoTuner

    counts = op_calls.Counts()
    op_calls.watch_autotuner(counts)
    with op_calls.tuning_context(job.cache):
        op_calls.make_calls(job)
    # an out-of-memory while preparing a bucket makes FlashInfer return early and say nothing
    made = dict(AutoTuner.get().stats.tuned_op_successful_configs)
    missing = {
        op: [made.get(op, 0), wanted] for op, wanted in counts.wanted.items() if made.get(op, 0) < wanted
    }
    return {
        "flashinfer": flashinfer.__version__,
        "profiled": counts.profiled,
        "made": made,
        "missing": missing,
    }


if __name__ == "__main__":
    sys.exit(main())
