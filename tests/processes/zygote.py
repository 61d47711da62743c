"""Forks pods off a process that has imported the program once: a real process each, for 1/10 of a start's CPU.

    python -m tests.processes.zygote    # JSON lines on stdin: a pod; on stdout: {"started": pid}, {"ended": pid, "code": n}

Nothing here may make a thread or open a store's client before a fork: neither survives one.
"""

import json
import os
import selectors
import signal
import sys

from tests.processes import gates, pod_program

PRELOADED = (
    "autotune_init.__main__",
    "autotune_init.pod",
    "autotune_init.tuners.command",
    "cache_store.objects.directory",
    "cache_store.objects.obstore_cloud",
    "cache_store.objects.open_url",
    "cache_store.probe",
)


class Zygote:
    """Reads orders, forks, and tells how its children end (negative: by that signal)."""

    def __init__(self, orders, answers):
        self.orders, self.answers = orders, answers
        self.half_line = b""

    def run(self):
        woken, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake)
        with selectors.DefaultSelector() as selector:
            selector.register(self.orders, selectors.EVENT_READ)
            selector.register(woken, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fd == woken:
                        os.read(woken, 4096)
                        self.reap()
                    elif not self.obey():
                        return

    def obey(self):
        sent = os.read(self.orders, 1 << 16)
        *lines, self.half_line = (self.half_line + sent).split(b"\n")
        for line in lines:
            self.fork(json.loads(line))
        return bool(sent)

    def fork(self, pod):
        threads = len(os.listdir("/proc/self/task"))
        if threads != 1:
            raise AssertionError(f"{threads} threads before a fork")
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.close(self.orders)
            os.close(self.answers)
            pod_program.become(pod)
        self.tell(started=pid, ticket=pod["ticket"])

    def reap(self):
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self.tell(ended=pid, code=os.waitstatus_to_exitcode(status))

    def tell(self, **answer):
        os.write(self.answers, json.dumps(answer).encode() + b"\n")


def main():
    for name in PRELOADED:
        __import__(name)
    gates.check_that_steps_exist()
    orders, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    Zygote(orders, answers).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
