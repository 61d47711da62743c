"""Pods as processes that the zygote forks: ordered, watched, killed, stopped, and started again as a kubelet would."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path

from tests.pods import ENGINE, FACTS, RECORDING, ROOT, clean_environ

TUNER = Path(__file__).with_name("tuner.sh")
DEADLINE_S = 40.0
WAIT_S = 30.0
REQUEST_TIMEOUT_S = 2
RULES = {
    "lease_s": 2.5,
    "renew_s": 0.8,
    "margin_s": 0.5,
    "poll_s": 0.4,
    "start_jitter_s": 0.3,
}


@dataclass(frozen=True)
class Order:
    """All that a forked pod is told."""

    ticket: int
    name: str
    argv: tuple[str, ...]
    environ: dict
    cwd: str
    stdout: str
    stderr: str
    rules: dict
    at: str = ""
    gate: str = ""
    uid: int = 0
    groups: tuple[int, ...] = ()
    largest_file_bytes: int = 0
    mutant: str = ""


@dataclass
class Run:
    """One process of a pod, from its fork to its end. `code` None: it runs; negative: ended by that signal."""

    pid: int
    started_at: float
    stdout: Path
    stderr: Path
    stopped_s: float = 0.0
    ended_at: float | None = None
    code: int | None = None

    @property
    def is_over(self):
        return self.code is not None

    @property
    def seconds(self):
        """That it ran, less what it was stopped."""
        return (self.ended_at or time.monotonic()) - self.started_at - self.stopped_s

    @property
    def report(self):
        lines = self.stdout.read_text().strip().splitlines()
        return json.loads(lines[0]) if len(lines) == 1 else None


@dataclass
class Pod:
    """A name, a cache dir that outlives its processes, and the processes."""

    root: Path
    name: str
    store: str
    environ: dict = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    tp: int = 2
    uid: int = 0
    groups: tuple[int, ...] = ()
    largest_file_bytes: int = 0
    cache_dir: Path | None = None
    mutant: str = ""
    runs: list = field(default_factory=list)

    @property
    def cache(self):
        return self.cache_dir or self.root / "cache"

    @property
    def last(self):
        return self.runs[-1]

    def order(self, ticket, at, gate):
        number = len(self.runs)
        scratch = self.root / "tmp"
        scratch.mkdir(parents=True, exist_ok=True)
        if self.uid:
            for path in (self.root, scratch):
                os.chown(path, self.uid, self.uid)
        argv = (
            "run", "--store", self.store, "--cache-dir", str(self.cache), "--facts", str(FACTS),
            "--holder", self.name, "--termination-log", str(self.root / "termination-log"),
            "--request-timeout", str(REQUEST_TIMEOUT_S), "--deadline", f"{DEADLINE_S:g}", "--wait", f"{WAIT_S:g}",
            *self.flags, "--", *ENGINE, "--tp", str(self.tp),
        )  # fmt: skip
        return Order(
            ticket,
            self.name,
            argv,
            clean_environ(**self.environ, TMPDIR=str(scratch)),
            str(ROOT),
            str(self.root / f"stdout-{number}"),
            str(self.root / f"stderr-{number}"),
            RULES,
            at=at,
            gate=gate,
            uid=self.uid,
            groups=self.groups,
            largest_file_bytes=self.largest_file_bytes,
            mutant=self.mutant,
        )

    def visible(self):
        """Name -> bytes of the files that an engine would see."""
        return {
            path.name: path.read_bytes()
            for path in sorted(self.cache.rglob("*"))
            if path.is_file() and not path.name.startswith(".")
        }

    def hidden(self):
        """Names of temporary files that were left."""
        return sorted(
            path.name for path in self.cache.rglob(".*") if path.is_file() and path.suffix in (".tmp", ".old")
        )


def tuning(tune_s, folder):
    """Flags of a pod that tunes for so long, each time another result. `folder`: of `bring_tuner`."""
    command = f"sh {folder / TUNER.name} {folder / RECORDING.name} {tune_s}"
    return ("--tuner", "command", "--tuner-command", command)


def bring_tuner(folder):
    """To where pods of every user can read it, which this checkout need not be."""
    for path in (TUNER, RECORDING):
        shutil.copyfile(path, folder / path.name)
        (folder / path.name).chmod(0o644)


class Nursery:
    """The zygote, and who of its children lives. Safe to use from several threads."""

    def __init__(self):
        self._tickets = count(1)
        self._started = {}
        self._alive = {}
        self._ends = {}  # of pods that `start` has not noted yet, too
        self._lock = threading.Condition()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.processes.zygote"],
            cwd=ROOT,
            env=clean_environ(PYTHONPATH=os.pathsep.join([str(ROOT), str(ROOT / "src")])),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._reader = threading.Thread(target=self._listen, name="nursery", daemon=True)
        self._reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with self._lock:
            for pid in self._alive:
                os.kill(pid, signal.SIGKILL)
        self._process.stdin.close()
        self._process.wait(30)
        self._reader.join(10)
        self._process.stdout.close()

    def start(self, pod, at="", gate=""):
        """Fork `pod`; back as soon as it has a pid."""
        with self._lock:
            ticket = next(self._tickets)
            order = pod.order(ticket, at, gate)
            asked_at = time.monotonic()
            self._process.stdin.write(json.dumps(asdict(order)).encode() + b"\n")
            self._process.stdin.flush()
            if not self._lock.wait_for(lambda: ticket in self._started or self._is_gone(), timeout=30):
                raise RuntimeError("the zygote does not answer")
            if self._is_gone():
                raise RuntimeError("the zygote died")
            run = Run(self._started.pop(ticket), asked_at, Path(order.stdout), Path(order.stderr))
            self._alive[run.pid] = run
            self._note_ends()
            pod.runs.append(run)
            return run

    def wait(self, run, timeout_s):
        """True: it ended."""
        with self._lock:
            return self._lock.wait_for(lambda: run.is_over, timeout=timeout_s)

    def signal(self, run, number):
        """False: it had ended before."""
        with self._lock:
            if run.is_over:
                return False
            os.kill(run.pid, number)
            return True

    def _is_gone(self):
        return self._process.poll() is not None

    def _listen(self):
        for line in self._process.stdout:
            told = json.loads(line)
            with self._lock:
                if "started" in told:
                    self._started[told["ticket"]] = told["started"]
                else:
                    self._ends[told["ended"]] = (told["code"], time.monotonic())
                    self._note_ends()
                self._lock.notify_all()

    def _note_ends(self):
        for pid in self._ends.keys() & self._alive.keys():
            run = self._alive.pop(pid)
            run.code, run.ended_at = self._ends.pop(pid)
