"""--tuner engine: the pod's own engine, started once with random weights, ended when its rank files are there.

    command line -> start, follow log and files -> end -> collect -> check -> FlashInfer's own loader

What the engine tunes is by construction what it will look up. One start fills the folder of the target model and those
of its draft workers, so the last start is remembered and answers for its other folders.

Limits of memory are those of the container: the child lives in our cgroup and inherits our rlimits, and nothing is
raised or lowered for it. Where the kernel killed for memory, that is said (the cgroup's own counter).
"""

from __future__ import annotations

import os
import re
import socket
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from autotune_init.engines.sglang_versions import BY_VERSION
from autotune_init.local_files import are_equal_as_json
from autotune_init.tuners import Coverage, TuneRequest, TuneResult, TunerFailed
from autotune_init.tuners.child import ChildNotStarted, ChildResult, run_child
from autotune_init.tuners.command import check_files, coverage_of, judge_load
from autotune_init.tuners.engine_command import LOOPBACK, NotStartable, Start, engine_command
from autotune_init.tuners.engine_watch import SETTLE_S, FinishedStart, Watch
from autotune_init.tuners.inside_call import Interpreter, ask_inside, raise_unless_done
from cache_store.clock import Clock
from cache_store.dataclass import replace

_WORTH_A_CHECK_S = 5.0  # importing FlashInfer alone takes about that long
_CHECK_S = 30.0  # kept of the deadline for the checks, but at most a tenth of it
_HIGHEST_PORT = 50_000  # SGLang derives further ports from it, up to 10000 above
_OOM_COUNTERS = ("memory.events", "memory/memory.oom_control")  # cgroup 2, cgroup 1


class EngineTuner:
    """Implements `Tuner`. `program` replaces `<python> -m <the engine's module>`; `cgroup` is where the kernel's counters are."""

    def __init__(
        self,
        *,
        clock: Clock,
        progress: Callable[[str], None] | None = None,
        program: tuple[str, ...] | None = None,
        settle_s: float = SETTLE_S,
        cgroup: Path = Path("/sys/fs/cgroup"),
    ) -> None:
        self._clock = clock
        self._tell = progress or (lambda _: None)
        self._program = program
        self._settle_s = settle_s
        self._cgroup = cgroup
        self._last: tuple[object, FinishedStart] | None = None

    @property
    def name(self) -> str:
        return "engine"

    def tune(self, request: TuneRequest, stop: threading.Event) -> TuneResult:
        until = self._clock.monotonic() + request.deadline_s
        if not request.cache_folders or not request.engine_argv:
            raise TunerFailed("tuner-unavailable", "the engine's command line or cache folder is not known")
        raise_if_too_few_gpus(request)
        command = (request.engine, request.engine_version, request.engine_argv, request.python)
        started = self._last[1] if self._last is not None and self._last[0] == command else None
        if started is None or not started.root.is_dir():
            started = self._start(request, stop)
            self._last = (command, started)
        files = started.files_of(request)
        if not files:
            why = "the engine started and autotuned nothing here"
            return TuneResult({}, Coverage(excluded={"everything": why}), "metadata")
        parsed = check_files(files, request.metadata)
        if not any(one.entries or one.has_records for one in parsed.values()):
            why = "the engine autotuned and kept nothing"
            return TuneResult({}, Coverage(excluded={"everything": why}), "metadata")
        raise_if_disagreeing(request, files)
        coverage = replace(coverage_of(parsed), excluded=started.left_out(request))
        for name, body in files.items():
            (request.scratch / name).write_bytes(body)
        return TuneResult(files, coverage, self._verify(request, stop, until - self._clock.monotonic()))

    def _start(self, request: TuneRequest, stop: threading.Event) -> FinishedStart:
        # a name of its own: what an earlier start left would be a warm cache for this one
        root = Path(tempfile.mkdtemp(prefix="engine-", dir=request.scratch.absolute()))
        watch = Watch(request, root, self._clock, self._tell, self._settle_s)
        killed_before = oom_kills(self._cgroup)
        try:
            start = Start(
                python=request.python,
                scratch=str(root),
                port=free_port(),
                kept_root=kept_root(request.engine_cache_root),
                program=self._program,
                environ=request.environ,
            )
            command = engine_command(request.engine, request.engine_version, request.engine_argv, start)
            if command.taken_out:
                self._tell(f"the engine starts without {' '.join(command.taken_out)}")
            result = run_child(
                command.argv,
                environ=command.environ,
                # a relative --model-path means the same as for the pod's engine
                cwd=Path.cwd() if request.engine_directory is None else Path(request.engine_directory),
                deadline_s=request.deadline_s - min(_CHECK_S, request.deadline_s / 10),
                stop=stop,
                clock=self._clock,
                progress=watch.line,
                is_enough=watch.is_enough,
            )
        except NotStartable as problem:
            raise TunerFailed("tuner-unavailable", str(problem)) from None
        except ChildNotStarted as problem:
            raise TunerFailed("tuner-unavailable", f"the engine does not start: {problem}") from None
        if result.ending != "enough" or watch.failure is not None:
            killed = (oom_kills(self._cgroup) or 0) - (killed_before or 0)
            raise _failure(result, watch, killed if killed_before is not None else 0)
        return FinishedStart(root, watch.log, result.tail)

    def _verify(self, request: TuneRequest, stop: threading.Event, left_s: float) -> str:
        """FlashInfer's own loader in a fresh process, where the engine's Python sees a GPU."""
        if left_s <= _WORTH_A_CHECK_S:
            return "metadata"
        paths = [str(request.scratch / name) for name in request.rank_files]
        job = {"mode": "load", "files": paths, "work": str(request.scratch / "verify")}
        inside = Interpreter(request.python, request.environ, request.scratch, stop, self._clock, self._tell)
        try:
            answer = ask_inside("verify.py", job, inside, left_s)
        except TunerFailed as failure:
            if failure.reason == "tuner-cancelled":
                raise
            return "metadata"  # the check could not be made, which says nothing about the files
        return judge_load(answer, request.metadata)


def raise_if_too_few_gpus(request: TuneRequest) -> None:
    """An engine that is one GPU short fails late and in many words. Raises `TunerFailed`."""
    needed = len(request.rank_files)
    if request.gpu_count is not None and request.gpu_count < needed:
        detail = f"the engine needs {needed} GPUs for its ranks, this pod sees {request.gpu_count}"
        raise TunerFailed("tuner-unavailable", detail)


def raise_if_disagreeing(request: TuneRequest, files: Mapping[str, bytes]) -> None:
    """Raises `TunerFailed` where this engine release would throw the files away at its next start."""
    release = BY_VERSION.get(request.engine_version) if request.engine == "sglang" else None
    if release is not None and release.ranks_must_agree and not are_equal_as_json(list(files.values())):
        detail = f"the rank files differ, and SGLang {release.version} throws such files away at every start"
        raise TunerFailed("tuner-bad-file", detail)


def _failure(result: ChildResult, watch: Watch, oom_killed: int) -> TunerFailed:
    log = watch.log
    at = f"; it was at {log.progress}" if log.progress else ""
    said = f"; its log: {log.error}" if log.error else at
    if oom_killed > 0 and result.ending != "stopped":
        detail = f"the kernel killed {oom_killed} process(es) for memory; the container's limit is too low"
        return TunerFailed("tuner-crashed", detail + at, result.tail)
    if watch.failure is not None:
        return TunerFailed(watch.failure.reason, watch.failure.detail, result.tail)
    if result.succeeded:
        return TunerFailed(
            "tuner-crashed", f"the engine ended by itself before it was ready{said}", result.tail
        )
    try:
        raise_unless_done(result, "the engine")
    except TunerFailed as failure:
        return TunerFailed(failure.reason, failure.detail + said, failure.tail)
    raise AssertionError("every other ending is a failure")


def kept_root(root: str) -> str:
    """The pod's cache root if what we write there is of use to its engine: writable, and not root's among another's."""
    if not root:
        return ""
    nearest = Path(root)
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    if not os.access(nearest, os.W_OK) or (os.geteuid() == 0 and nearest.stat().st_uid != 0):
        return ""
    return root


def free_port() -> int:
    """A port of the loopback interface that is free now, with room above for those that the engine derives from it."""
    port = 0
    for _ in range(50):
        with socket.socket() as probe:
            probe.bind((LOOPBACK, 0))
            port = int(probe.getsockname()[1])
        if port < _HIGHEST_PORT:
            return port
    return port


def oom_kills(cgroup: Path) -> int | None:
    """How many processes of this container the kernel has killed for memory; None where that cannot be read."""
    for name in _OOM_COUNTERS:
        try:
            found = re.search(r"^oom_kill (\d+)$", (cgroup / name).read_text(), re.MULTILINE)
        except OSError:
            continue
        return int(found.group(1)) if found else None
    return None
