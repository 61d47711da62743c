"""The one door for child processes: started in a session of their own, bounded, and never left behind.

Everything that a child (and what it started in turn) can do to us is handled here: run too long, ignore SIGTERM,
keep the pipes open in a grandchild, print without end, die by a signal, not exist. What leaves the session on purpose
(setsid) is out of reach; no compiler or engine is known to.
"""

from __future__ import annotations

import errno
import os
import selectors
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Literal

from autotune_init.tuners.stream_tail import ByteTail, LineTail
from cache_store.clock import Clock
from cache_store.dataclass import dataclass

GRACE_S = 3.0  # between SIGTERM and SIGKILL
STDOUT_LIMIT_BYTES = 4 * 1024 * 1024
_LOOK_S = 0.05
_LINGER_S = 0.5  # how long a grandchild's open pipe is listened to after the child itself has ended
_UNKILLABLE_S = 2.0
_REAP_LOOK_S = 0.01
_REAP_LOOKS = 200
_CHUNK_BYTES = 65_536

Ending = Literal["exited", "deadline", "stopped", "enough"]


class ChildNotStarted(Exception):  # noqa: N818 -- reads as what happened
    """The program is missing, not executable, or the machine could not start it. The message names it."""


@dataclass(frozen=True)
class ChildResult:
    """How a child ended. `exit_code` is negative for a signal, as in subprocess.

    `stdout`: the last 4 MiB of it. `tail`: the last 100 lines of stderr, each at most 2000 characters.
    """

    ending: Ending
    exit_code: int
    stdout: bytes
    tail: tuple[str, ...]
    seconds: float

    @property
    def succeeded(self) -> bool:
        return self.ending == "exited" and self.exit_code == 0


def run_child(
    argv: Sequence[str],
    *,
    environ: Mapping[str, str],
    cwd: Path,
    deadline_s: float,
    stop: threading.Event,
    clock: Clock,
    stdin: bytes = b"",
    progress: Callable[[str], None] | None = None,
    is_enough: Callable[[], bool] | None = None,
) -> ChildResult:
    """Run to its end, to the deadline or until `stop` is set; in each case its whole process group is gone after.

    `is_enough` is asked some twenty times a second whether a child that never ends by itself (a server) has done what
    it was started for; it is ended like one that is stopped then.

    Raises `ChildNotStarted`. Whatever else is raised (by `progress` or `is_enough`) comes after the group was killed.
    """
    began = clock.monotonic()
    tail = LineTail(progress)
    if stop.is_set():
        return ChildResult("stopped", -signal.SIGTERM, b"", (), 0.0)
    try:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd,
            env=dict(environ),
            start_new_session=True,
        )
    except (OSError, ValueError, IndexError) as error:
        raise ChildNotStarted(f"{argv[0] if argv else 'nothing'}: {error}") from None
    pipes = _Pipes(process, stdin, tail)
    try:
        ending: Ending = _watch(process.pid, pipes, stop, clock, began + deadline_s, is_enough)
        if ending == "exited":
            pipes.drain(clock, _LINGER_S)
        else:
            _end_gently(process.pid, pipes, clock)
    finally:
        exit_code = _end(process)
        pipes.close()
    tail.finish()
    seconds = round(clock.monotonic() - began, 3)
    return ChildResult(ending, exit_code, pipes.stdout.value(), tail.lines(), seconds)


def _watch(
    pid: int,
    pipes: _Pipes,
    stop: threading.Event,
    clock: Clock,
    until: float,
    is_enough: Callable[[], bool] | None,
) -> Ending:
    while True:
        pipes.turn(_LOOK_S)
        if _has_exited(pid):
            return "exited"
        if stop.is_set():
            return "stopped"
        if is_enough is not None and is_enough():
            return "enough"
        if clock.monotonic() >= until:
            return "deadline"


def _end_gently(pid: int, pipes: _Pipes, clock: Clock) -> None:
    _signal_group(pid, signal.SIGTERM)
    until = clock.monotonic() + GRACE_S
    # closed pipes say that the grandchildren are gone as well: the group itself cannot be asked while the child
    # is unreaped, and reaping it would free its number for somebody else
    while clock.monotonic() < until and not (pipes.is_closed and _has_exited(pid)):
        pipes.turn(_LOOK_S)


def _has_exited(pid: int) -> bool:
    """Without reaping: until then the number of the process group cannot be given to anybody else."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _end(process: subprocess.Popen[bytes]) -> int:
    """Nothing of the group survives this. Returns the exit code."""
    _signal_group(process.pid, signal.SIGKILL)
    try:
        exit_code = process.wait(_UNKILLABLE_S)
    except subprocess.TimeoutExpired:
        return (
            -signal.SIGKILL
        )  # stuck in the kernel (a GPU driver can do that); waiting longer would hang us too
    _reap_adopted(process.pid)
    return exit_code


def _reap_adopted(group: int) -> None:
    """As PID 1 of a container we inherit the grandchildren; unreaped they would pile up."""
    for _ in range(_REAP_LOOKS):
        try:
            if os.waitpid(-group, os.WNOHANG) == (0, 0):
                threading.Event().wait(
                    _REAP_LOOK_S
                )  # killed, but not yet dead; a stopped clock must not end this
        except ChildProcessError:
            return  # none of the group is ours any more


def _signal_group(pid: int, number: signal.Signals) -> None:
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        pass  # all gone
    except PermissionError:
        os.kill(pid, number)  # a setuid grandchild bars the group; the child itself is ours


class _Pipes:
    """The three pipes of one child, served from one thread so that none of them can block another."""

    def __init__(self, process: subprocess.Popen[bytes], stdin: bytes, tail: LineTail) -> None:
        self.stdout = ByteTail(STDOUT_LIMIT_BYTES)
        self._pending = memoryview(stdin)
        self._selector = selectors.DefaultSelector()
        self._files: list[IO[bytes]] = []
        for pipe, take in ((process.stdout, self.stdout.feed), (process.stderr, tail.feed)):
            if pipe is not None:
                self._register(pipe, selectors.EVENT_READ, take)
        if process.stdin is not None:
            self._register(process.stdin, selectors.EVENT_WRITE, None)

    def _register(self, pipe: IO[bytes], events: int, take: Callable[[bytes], None] | None) -> None:
        os.set_blocking(pipe.fileno(), False)
        self._files.append(pipe)
        self._selector.register(pipe, events, take)

    @property
    def is_closed(self) -> bool:
        """Nobody can write to us any more."""
        return all(key.events == selectors.EVENT_WRITE for key in self._selector.get_map().values())

    def turn(self, wait_s: float) -> None:
        """Serve what is ready, waiting at most `wait_s`."""
        for key, events in self._selector.select(wait_s):
            if events & selectors.EVENT_WRITE:
                self._write(key)
            else:
                self._read(key)

    def drain(self, clock: Clock, linger_s: float) -> None:
        """What is already in the pipes, and a little longer where a grandchild still holds them."""
        until = clock.monotonic() + linger_s
        while not self.is_closed and clock.monotonic() < until:
            self.turn(_LOOK_S)

    def close(self) -> None:
        self._selector.close()
        for pipe in self._files:
            try:
                pipe.close()
            except BrokenPipeError:
                pass  # bytes that nobody read

    def _write(self, key: selectors.SelectorKey) -> None:
        try:
            sent = os.write(key.fd, self._pending[:_CHUNK_BYTES])
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.ECONNRESET):
                raise
            sent = len(self._pending)  # the child does not want it
        self._pending = self._pending[sent:]
        if not self._pending:
            self._forget(key)

    def _read(self, key: selectors.SelectorKey) -> None:
        try:
            chunk = os.read(key.fd, _CHUNK_BYTES)
        except BlockingIOError:
            return
        if chunk:
            key.data(chunk)
        else:
            self._forget(key)

    def _forget(self, key: selectors.SelectorKey) -> None:
        self._selector.unregister(key.fileobj)
        if not isinstance(key.fileobj, int):
            key.fileobj.close()  # type: ignore[attr-defined]  # typeshed knows only HasFileno here; these are pipes
