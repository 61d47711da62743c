"""--tuner flashinfer-ops: FlashInfer's own autotuner over the GEMMs that SGLang will call for this model.

    plan the shapes -> tune in one child -> a second, fresh child loads the file and must profile nothing

The keys of these ops carry no rank, so one file is made and serves every rank name.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from autotune_init.tuners import Coverage, TuneRequest, TuneResult, TunerFailed
from autotune_init.tuners.command import check_files, collect_files
from autotune_init.tuners.gemm_shapes import SM90, GemmPlan, NotUnderstood, plan_gemms
from autotune_init.tuners.inside_call import Interpreter, ask_inside
from cache_store.clock import Clock

_TUNED = "tuned.json"


class FlashinferOpsTuner:
    """Implements `Tuner` for `engine` "sglang"; no other engine's calls are known."""

    def __init__(self, *, engine: str, clock: Clock, progress: Callable[[str], None] | None = None) -> None:
        self._engine = engine
        self._clock = clock
        self._progress = progress

    @property
    def name(self) -> str:
        return "flashinfer-ops"

    def tune(self, request: TuneRequest, stop: threading.Event) -> TuneResult:
        until = self._clock.monotonic() + request.deadline_s
        plan = self._plan(request)
        if not plan.gemms:
            return TuneResult({}, Coverage(excluded=plan.excluded), "metadata")
        interpreter = Interpreter(
            request.python, request.environ, request.scratch, stop, self._clock, self._progress
        )
        job = job_of(plan, request)
        made = ask_inside("tune_ops.py", job, interpreter, until - self._clock.monotonic())
        raise_if_incomplete(made)
        files = collect_files(request.scratch, (_TUNED,))
        rank_file = check_files(files, request.metadata)[_TUNED]
        checked = ask_inside(
            "verify.py", {**job, "mode": "replay"}, interpreter, until - self._clock.monotonic()
        )
        raise_unless_replayed(checked)
        coverage = Coverage(
            rank_file.ops(), len(rank_file.entries), rank_file.max_bucket(), dict(plan.excluded)
        )
        return TuneResult(dict.fromkeys(request.rank_files, files[_TUNED]), coverage, "profiles-zero")

    def _plan(self, request: TuneRequest) -> GemmPlan:
        if self._engine != "sglang":
            raise TunerFailed(
                "tuner-unavailable", f"which ops {self._engine} calls is not known; use a command"
            )
        try:
            return plan_gemms(
                request.model_config,
                request.resolved,
                capability_in(request.facts_path),
            )
        except NotUnderstood as problem:
            raise TunerFailed("tuner-unavailable", f"this model is not understood: {problem}") from None


def job_of(plan: GemmPlan, request: TuneRequest) -> dict[str, object]:
    """The job of inside/op_calls.py."""
    calls = [{"op": "bmm_fp8", "n": gemm.n, "k": gemm.k, "out_dtype": plan.out_dtype} for gemm in plan.gemms]
    return {
        "calls": calls,
        "cache": str(request.scratch / _TUNED),
        "work": str(request.scratch),
        "max_tokens": request.max_tokens,
        "capability": list(SM90),
    }


def capability_in(facts_path: Path) -> tuple[int, int] | None:
    """(major, minor) as the facts state it, or None where they do not."""
    try:
        facts = json.loads(facts_path.read_bytes())
        major, minor = facts["gpu"]["capability"]
        return int(major), int(minor)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def raise_if_incomplete(made: Mapping[str, object]) -> None:
    missing = made.get("missing")
    if isinstance(missing, dict) and missing:
        op, counts = next(iter(missing.items()))
        detail = f"{op}: only {counts[0]} of {counts[1]} buckets could be tuned (out of GPU memory?)"
        raise TunerFailed("tuner-crashed", detail)


def raise_unless_replayed(checked: Mapping[str, object]) -> None:
    """The published promise: an engine that loads this file profiles nothing of it."""
    profiled = checked.get("profiled")
    again = (
        {str(op): count for op, count in profiled.items() if count} if isinstance(profiled, dict) else None
    )
    if checked.get("loaded") is not True:
        raise TunerFailed(
            "tuner-environment", "a fresh process of the same FlashInfer does not load the file"
        )
    if again is None or not checked.get("looked_up"):
        raise TunerFailed("tuner-crashed", "the check did not look anything up")
    if again:
        text = ", ".join(f"{op} ({count} tactics)" for op, count in sorted(again.items()))
        raise TunerFailed("tuner-retunes", f"a fresh process profiled again: {text}")
    if checked.get("unchanged") is not True:
        raise TunerFailed("tuner-retunes", "a fresh process rewrote the file")
