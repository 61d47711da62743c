"""Starting, watching and ending background programs, each recorded by pid and start time.

Pids are reused, so a record is `PID STARTTIME` and both must match before anything is killed. A zombie counts as
gone: the process 1 of a container may reap only now and then.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.cluster.errors import ClusterError

_POLL_S = 0.1
_TAIL_BYTES = 3000


@dataclass(frozen=True)
class Daemons:
    """The background programs of one cluster or API server: records in `pids`, output in `logs`."""

    pids: Path
    logs: Path

    def start(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        environ: Mapping[str, str] | None = None,
        is_tied: bool = False,
    ) -> None:
        """Starts it in its own session. `is_tied`: the kernel kills it when the thread that started it ends."""
        self.pids.mkdir(parents=True, exist_ok=True)
        self.logs.mkdir(parents=True, exist_ok=True)
        argv = [str(part) for part in command]
        if is_tied:
            argv = ["setpriv", "--pdeathsig", "KILL", "--", *argv]
        program = shutil.which(argv[0])
        if program is None:
            raise ClusterError(f"{argv[0]} is missing; run `make servers`")
        output = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        # umask 022: daemons make folders that containers of other users read
        previous = os.umask(0o022)
        try:
            # not Popen: the program outlives this process, and Popen objects warn about that
            pid = os.posix_spawn(
                program,
                argv,
                dict(os.environ if environ is None else environ),
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 1, str(self.logs / f"{name}.log"), output, 0o644),
                    (os.POSIX_SPAWN_DUP2, 1, 2),
                ],
                setsid=True,
            )
        finally:
            os.umask(previous)
        (self.pids / name).write_text(f"{pid} {start_time(pid)}")

    def pid(self, name: str) -> int | None:
        """The recorded process, where it still is that process."""
        record = self.pids / name
        if not record.exists():
            return None
        pid, _, started = record.read_text().partition(" ")
        return int(pid) if started and start_time(int(pid)) == started else None

    def recorded(self) -> list[str]:
        """Whatever was started and not stopped, alive or not."""
        return sorted(record.name for record in self.pids.iterdir()) if self.pids.is_dir() else []

    def are_alive(self, names: Sequence[str]) -> bool:
        return all(self.pid(name) is not None for name in names)

    def stop(self, *names: str, grace_s: float = 0) -> None:
        """Ends them in this order; at once, unless they get `grace_s` to end by themselves."""
        for name in names:
            pid = self.pid(name)
            if pid is not None and grace_s:
                end(pid, signal.SIGTERM, grace_s)
            if self.pid(name) is not None and pid is not None:
                end(pid, signal.SIGKILL, 10)
            (self.pids / name).unlink(missing_ok=True)

    def resident_bytes(self, name: str) -> int | None:
        pid = self.pid(name)
        if pid is None:
            return None
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        return None

    def wait_until(
        self, what: str, within_s: float, is_ready: Callable[[], bool], *, needs: Sequence[str] = ()
    ) -> None:
        """Returns when `is_ready()`; ClusterError after `within_s`, or at once when one of `needs` has ended."""
        limit = time.monotonic() + within_s
        while not is_ready():
            for name in needs:
                if self.pid(name) is None:
                    raise ClusterError(
                        f"{name} ended while {what} was waited for; its log ends:\n{self.tail(name)}"
                    )
            if time.monotonic() > limit:
                logs = "".join(f"\n--- {name}:\n{self.tail(name)}" for name in needs)
                raise ClusterError(f"{what} is not ready after {within_s:.0f} s (logs: {self.logs}){logs}")
            time.sleep(_POLL_S)

    def tail(self, name: str) -> str:
        log = self.logs / f"{name}.log"
        return log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace") if log.exists() else "(no log)"


def start_time(pid: int) -> str:
    """Field 22 of /proc/PID/stat, or "" when that process is gone or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in "ZX" else fields[19]


def end(pid: int, how: signal.Signals, within_s: float) -> None:
    """Sends the signal and waits until that process is gone, at most `within_s`."""
    started = start_time(pid)
    try:
        os.kill(pid, how)
    except ProcessLookupError:
        return
    limit = time.monotonic() + within_s
    while started and start_time(pid) == started and time.monotonic() < limit:
        time.sleep(0.02)
    try:
        os.waitpid(pid, os.WNOHANG)  # ours to reap where this very process started it
    except ChildProcessError:
        pass
