"""Real processes that do everything a child can do to its parent."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import time
import tracemalloc
from pathlib import Path

import pytest

from autotune_init.tuners.child import ChildNotStarted, ChildResult, run_child
from autotune_init.tuners.stream_tail import LINE_LIMIT, TAIL_LINES, ByteTail, LineTail
from cache_store.clock import SystemClock

ENVIRON = {"PATH": os.environ.get("PATH", "/usr/bin:/bin")}


def run_python(program: str, *, deadline_s: float = 20.0, stop=None, stdin=b"", progress=None) -> ChildResult:
    return run_child(
        [sys.executable, "-S", "-c", program],
        environ=ENVIRON,
        cwd=Path(tempfile.gettempdir()),
        deadline_s=deadline_s,
        stop=stop or threading.Event(),
        clock=SystemClock(),
        stdin=stdin,
        progress=progress,
    )


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state not in ("Z", "X")


def assert_gone(pid: int) -> None:
    until = time.monotonic() + 5
    while is_alive(pid):
        assert time.monotonic() < until, f"process {pid} was left behind"
        time.sleep(0.02)


def test_the_exit_code_and_both_streams_come_back():
    result = run_python("import sys; print('answer'); print('story', file=sys.stderr); sys.exit(7)")
    assert (result.ending, result.exit_code) == ("exited", 7)
    assert result.stdout == b"answer\n"
    assert result.tail == ("story",)
    assert not result.succeeded


def test_stdin_larger_than_a_pipe_arrives_whole():
    result = run_python("import sys; print(len(sys.stdin.buffer.read()))", stdin=b"x" * 1_000_000)
    assert result.stdout == b"1000000\n"


def test_a_child_that_never_reads_its_stdin_still_ends():
    result = run_python("print('done')", stdin=b"x" * 1_000_000)
    assert result.succeeded
    assert result.stdout == b"done\n"


def test_only_the_given_environment_is_seen():
    result = run_python("import os; print(sorted(k for k in os.environ if k != 'LC_CTYPE'))")
    assert result.stdout == b"['PATH']\n"


def test_a_hanging_child_ends_at_the_deadline():
    began = time.monotonic()
    result = run_python("import time; time.sleep(600)", deadline_s=0.5)
    assert result.ending == "deadline"
    assert result.exit_code == -signal.SIGTERM
    assert time.monotonic() - began < 3


def test_a_child_that_ignores_sigterm_is_killed_after_the_grace(monkeypatch):
    monkeypatch.setattr("autotune_init.tuners.child.GRACE_S", 0.4)
    program = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    result = run_python(program, deadline_s=1.0)
    assert result.ending == "deadline"
    assert result.exit_code == -signal.SIGKILL


def test_the_grace_lets_a_child_say_goodbye():
    program = (
        "import signal, sys, time\n"
        "def bye(*_):\n    print('saved', flush=True); sys.exit(3)\n"
        "signal.signal(signal.SIGTERM, bye)\nprint('up', file=sys.stderr, flush=True)\ntime.sleep(600)"
    )
    stop = threading.Event()
    result = run_python(program, stop=stop, progress=lambda _line: stop.set())
    assert (result.ending, result.exit_code, result.stdout) == ("stopped", 3, b"saved\n")


def test_stop_ends_it_soon():
    stop = threading.Event()
    began = time.monotonic()
    result = run_python(
        "import sys, time; print('up', file=sys.stderr, flush=True); time.sleep(600)",
        stop=stop,
        progress=lambda _line: stop.set(),
    )
    assert result.ending == "stopped"
    assert time.monotonic() - began < 5


def test_nothing_is_started_once_stopped(tmp_path):
    stop = threading.Event()
    stop.set()
    marker = tmp_path / "started"
    result = run_python(f"open({str(marker)!r}, 'w')", stop=stop)
    assert result.ending == "stopped"
    assert not marker.exists()


GRANDCHILD = (
    "import subprocess, sys, time\n"
    "p = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(600)'])\n"
    "print(p.pid, flush=True)\n"
)


def test_a_grandchild_that_holds_the_pipes_does_not_hang_us_and_is_not_left_behind():
    began = time.monotonic()
    result = run_python(GRANDCHILD)
    assert result.succeeded
    assert time.monotonic() - began < 10
    assert_gone(int(result.stdout))


def test_a_grandchild_that_ignores_sigterm_dies_with_the_deadline(monkeypatch):
    monkeypatch.setattr("autotune_init.tuners.child.GRACE_S", 0.3)
    program = (
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + GRANDCHILD + "time.sleep(600)"
    )
    result = run_python(program, deadline_s=1.5)
    assert result.ending == "deadline"
    assert_gone(int(result.stdout))


def test_a_progress_that_raises_leaves_no_child_behind(tmp_path):
    def explode(line: str) -> None:
        (tmp_path / "pid").write_text(line)
        raise RuntimeError("broken pipe of ours")

    program = "import os, sys, time; print(os.getpid(), file=sys.stderr, flush=True); time.sleep(600)"
    with pytest.raises(RuntimeError, match="of ours"):
        run_python(program, progress=explode)
    assert_gone(int((tmp_path / "pid").read_text()))


def test_a_hundred_megabytes_on_both_streams_stay_bounded():
    program = (
        "import os\nblock = b'y' * 1_000_000\n"
        "for n in range(50):\n    os.write(1, block); os.write(2, block)\n"
        "import sys\nprint('end', file=sys.stderr); print('LAST')"
    )
    tracemalloc.start()
    result = run_python(program, deadline_s=60)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert result.succeeded
    assert result.stdout.endswith(b"LAST\n")
    assert len(result.stdout) <= 4 * 1024 * 1024
    assert all(len(line) <= LINE_LIMIT for line in result.tail)
    assert peak_bytes < 24 * 1024 * 1024


def test_a_child_that_dies_by_a_signal_says_so():
    result = run_python("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    assert (result.ending, result.exit_code) == ("exited", -signal.SIGSEGV)


def test_every_line_is_forwarded_and_only_the_last_hundred_kept():
    seen: list[str] = []
    result = run_python(
        "import sys\nfor n in range(250): print('line', n, file=sys.stderr)", progress=seen.append
    )
    assert len(seen) == 250
    assert len(result.tail) == TAIL_LINES
    assert result.tail[-1] == "line 249"


@pytest.mark.parametrize(
    "kind", ["missing", "not executable", "a directory", "no interpreter line", "no argv"]
)
def test_what_cannot_be_started_is_named(tmp_path, kind):
    program = tmp_path / "program"
    if kind in ("not executable", "no interpreter line"):
        program.write_bytes(b"\x00\x01\x02")
        program.chmod(0o644 if kind == "not executable" else 0o755)
    if kind == "a directory":
        program.mkdir()
    argv = [] if kind == "no argv" else [str(program)]
    with pytest.raises(ChildNotStarted) as caught:
        run_child(
            argv,
            environ=ENVIRON,
            cwd=tmp_path,
            deadline_s=5,
            stop=threading.Event(),
            clock=SystemClock(),
        )
    assert ("nothing" if kind == "no argv" else str(program)) in str(caught.value)


def test_adopted_grandchildren_are_reaped_as_pid_one_must():
    """Given a parent that inherits orphans (as PID 1 does), when the child has ended, then no zombie is left."""
    program = f"""
import ctypes, os, sys, tempfile, threading
from pathlib import Path
sys.path[:0] = {[str(p) for p in sys.path if p]!r}
assert ctypes.CDLL(None, use_errno=True).prctl(36, 1, 0, 0, 0) == 0  # PR_SET_CHILD_SUBREAPER
from autotune_init.tuners.child import run_child
from cache_store.clock import SystemClock
result = run_child([sys.executable, '-S', '-c', {GRANDCHILD!r}], environ=dict(os.environ),
                   cwd=Path(tempfile.gettempdir()), deadline_s=20, stop=threading.Event(), clock=SystemClock())
import time
until = time.monotonic() + 5
while Path('/proc', result.stdout.decode().strip()).exists() and time.monotonic() < until:
    time.sleep(0.02)
print('zombie' if Path('/proc', result.stdout.decode().strip()).exists() else 'reaped')
"""
    result = run_python(program)
    assert result.stdout == b"reaped\n", result.tail


def test_a_progress_bar_counts_as_lines_and_a_cut_character_does_not_break():
    seen: list[str] = []
    tail = LineTail(seen.append)
    body = "10%\r20%\r\nfertig: ü\n".encode()
    for position in range(len(body)):
        tail.feed(body[position : position + 1])
    tail.finish()
    assert tuple(seen) == tail.lines() == ("10%", "20%", "fertig: ü")


def test_the_last_bytes_are_kept():
    kept = ByteTail(4)
    for number in range(10):
        kept.feed(str(number).encode())
    assert kept.value() == b"6789"
