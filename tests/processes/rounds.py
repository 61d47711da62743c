"""One round: 16 pods start, the one that holds the claim is killed or stopped at a named step, and all come to an end."""

import json
import os
import queue
import random
import signal
import socket
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.processes import gates
from tests.processes.pods import RULES, Nursery, Pod, Run, bring_tuner, tuning

PODS = 16
RESTART_AFTER_S = 0.2
ANY_MOMENT = "any-moment"
STEPS = (*gates.EVERYWHERE, ANY_MOMENT)
LEASE_OVER_S = RULES["lease_s"] + RULES["margin_s"]


@dataclass(frozen=True)
class Plan:
    """What happens in a round, all of it from the seed."""

    number: int
    at: str
    stops: bool  # SIGSTOP, and SIGCONT after `stop_s`; else SIGKILL
    stop_s: float
    strikes: int
    over_tombstone: bool  # ops have retired a bundle before: the publish is a replacement, and no creation
    tune_s: float
    moment_s: float  # after the first claim, where no step is named
    starts_s: tuple[float, ...]


def plan_of(number, seed, steps=STEPS):
    rng = random.Random(f"{seed}:{number}")
    outlives_lease = rng.random() < 0.5
    return Plan(
        number,
        at=steps[number % len(steps)],
        stops=number // len(steps) % 2 == 1,
        stop_s=LEASE_OVER_S + rng.uniform(0.5, 1.5) if outlives_lease else rng.uniform(0.3, 1.5),
        strikes=rng.choice([1, 1, 2]),
        over_tombstone=rng.random() < 0.4,
        tune_s=round(rng.uniform(1.0, 1.6), 2),  # longer than a heartbeat's pause, so that there is one
        moment_s=rng.uniform(0.0, 1.2),
        starts_s=tuple(sorted(rng.uniform(0, 0.3) for _ in range(PODS))),
    )


@dataclass
class Struck:
    """A process that was killed or stopped."""

    pod: Pod
    run: Run
    at: str
    stops: bool
    files_at_kill: dict = field(default_factory=dict)


@dataclass
class Played:
    """What a round left behind."""

    plan: Plan
    pods: list
    struck: list
    reader: Pod
    seconds: float


class Round:
    """Plays one plan."""

    def __init__(self, plan, stage, nursery: Nursery, root: Path, *, folder, mutant=""):
        self.mutant = mutant
        self.plan, self.stage, self.nursery = plan, stage, nursery
        self.prefix = f"round-{plan.number:05d}"
        self.root = root / self.prefix
        self.root.mkdir(parents=True)
        bring_tuner(self.root)
        self.arrivals = queue.SimpleQueue()
        # not in `root`: a socket's path has 107 characters at most
        self.gate = f"/tmp/gate-{os.getpid()}-{stage.name}-{plan.number}"
        self.struck = []
        self.due = []  # (when, what to do)
        self.folder = folder
        self.claimed_at = None

    def play(self):
        began = time.monotonic()
        url = self.stage.url(self.prefix)
        if self.plan.over_tombstone:
            self.stage.retire(self.prefix, self.folder)
        pods = [self._pod(n, url) for n in range(PODS)]
        with Gate(self.gate, self.arrivals):
            for pod, after_s in zip(pods, self.plan.starts_s, strict=True):
                self.due.append((began + after_s, lambda pod=pod: self._start(pod)))
            until = began + 120
            while (self.due or not all(pod.last.is_over for pod in pods)) and time.monotonic() < until:
                self._do_what_is_due()
                self._meet(pods)
        return Played(self.plan, pods, self.struck, self._read_alone(url), time.monotonic() - began)

    def _pod(self, number, url):
        uids = self.stage.uids
        return Pod(
            self.root / f"pod-{number:02d}",
            f"pod-{number:02d}",
            url,
            environ=self.stage.environ,
            flags=tuning(self.plan.tune_s, self.root),
            uid=uids[number % len(uids)] if uids else 0,
            groups=self.stage.groups if uids else (),
            mutant=self.mutant,
        )

    def _start(self, pod):
        self.nursery.start(pod, at=self.plan.at, gate=self.gate)

    def _read_alone(self, url):
        """A pod that only looks, past all faults."""
        reader = Pod(self.root / "reader", "reader", url, environ=self.stage.honest_environ)
        self.nursery.wait(self.nursery.start(reader), 60)
        return reader

    # -- what happens to them ----------------------------------------------------------------------------------

    def _do_what_is_due(self):
        now = time.monotonic()
        ready = [what for when, what in self.due if when <= now]
        self.due = [(when, what) for when, what in self.due if when > now]
        for what in ready:
            what()

    def _meet(self, pods):
        """The next pod that comes to the gate, if one comes soon: strike it, or let it go on."""
        try:
            line, told = self.arrivals.get(timeout=0.02)
        except queue.Empty:
            if self.plan.at == ANY_MOMENT and len(self.struck) < self.plan.strikes:
                self._strike_holder_by_time(pods)
            return
        pod = next(pod for pod in pods if pod.name == told["pod"])
        if len(self.struck) < self.plan.strikes and self._is_worth_it(told):
            self._strike(pod, self.plan.at)
        with line:
            try:
                line.sendall(b"g")
            except OSError:
                pass  # it was killed

    def _is_worth_it(self, told):
        if told["step"] in (gates.BEFORE_CLAIM, gates.BEFORE_LINK):
            return True
        claim = self._claim()
        return claim is not None and claim["holder"] == told["pod"]

    def _claim(self):
        return self.stage.claim(self.prefix, self.folder)

    def _strike_holder_by_time(self, pods):
        claim = self._claim()
        if claim is None:
            return
        now = time.monotonic()
        self.claimed_at = self.claimed_at or now
        pod = next((pod for pod in pods if pod.name == claim["holder"]), None)
        if pod is None or not pod.runs or now < self.claimed_at + self.plan.moment_s * (len(self.struck) + 1):
            return
        if not pod.last.is_over and all(pod.last is not one.run for one in self.struck):
            self._strike(pod, ANY_MOMENT)

    def _strike(self, pod, at):
        run = pod.last
        if not self.nursery.signal(run, signal.SIGSTOP):
            return
        struck = Struck(pod, run, at, self.plan.stops)
        self.struck.append(struck)
        if self.plan.stops:
            began = time.monotonic()

            def go_on():
                self.nursery.signal(run, signal.SIGCONT)
                run.stopped_s += time.monotonic() - began

            self.due.append((began + self.plan.stop_s, go_on))
            return
        self.nursery.signal(run, signal.SIGKILL)
        self.nursery.wait(run, 30)
        struck.files_at_kill = pod.visible()
        self.due.append((time.monotonic() + RESTART_AFTER_S, lambda: self._start(pod)))


class Gate:
    """A socket at which pods report and wait; (connection, what they said) go into `arrivals`."""

    def __init__(self, address, arrivals):
        self.address, self.arrivals = address, arrivals
        self.listener = socket.socket(socket.AF_UNIX)
        self.lines = []

    def __enter__(self):
        self.listener.bind(self.address)
        Path(self.address).chmod(0o777)  # pods of other users come here too
        self.listener.listen(64)
        self.thread = threading.Thread(target=self._accept, name="gate", daemon=True)
        self.thread.start()

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join(10)
        self.listener.close()
        for line in self.lines:
            line.close()
        Path(self.address).unlink()

    def _accept(self):
        while True:
            try:
                line, _ = self.listener.accept()
            except OSError:
                return
            self.lines.append(line)
            line.settimeout(10)
            with line.makefile("rb") as file:
                said = file.readline()
            if said:
                self.arrivals.put((line, json.loads(said)))
