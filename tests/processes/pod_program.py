"""What a forked pod runs: the program itself, with shorter leases and with a gate at one named step."""

import os
import resource
import signal
import sys
import traceback

from tests.processes import gates

BROKEN = 99  # an exit code that the program does not have


def become(pod):
    """In the child, for good. `pod`: see `pods.Order`."""
    try:
        _prepare(pod)
        from autotune_init.__main__ import main

        main()
    except BaseException:
        traceback.print_exc()
    os._exit(BROKEN)


def _prepare(pod):
    os.chdir(pod["cwd"])
    for descriptor, path in ((1, pod["stdout"]), (2, pod["stderr"])):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.environ.clear()
    os.environ.update(pod["environ"])
    sys.argv = ["autotune-init", *pod["argv"]]
    if pod["largest_file_bytes"]:
        signal.signal(
            signal.SIGXFSZ, signal.SIG_IGN
        )  # as Python sets it at its start: the write fails with EFBIG
        resource.setrlimit(resource.RLIMIT_FSIZE, (pod["largest_file_bytes"],) * 2)
    if pod["uid"]:
        os.setgroups(pod["groups"])
        os.setgid(pod["uid"])
        os.setuid(pod["uid"])
    os.umask(0o022)
    hasten(pod["rules"])
    if pod["mutant"]:
        {"overwrites": overwrite_bundles}[pod["mutant"]]()
    if pod["gate"]:
        gates.open_gate(pod["at"], pod["gate"], pod["name"])


def hasten(rules):
    """The product's durations (a lease of 60 s) would make a round last minutes; their order stays the same."""
    from cache_store.claim import Rules

    plain = Rules.__init__
    Rules.__init__ = lambda self, **given: plain(self, **{**rules, **given})
    wrong = {name: value for name, value in rules.items() if getattr(Rules(), name) != value}
    if wrong:
        raise AssertionError(f"no such rules: {wrong}")


def overwrite_bundles():
    """A broken program, for the tests of the tests: it publishes over whatever is there."""
    from cache_store.participate import Driver

    write_it = Driver._write

    def write(self, key, body, base):
        if key.endswith("/bundle.json"):
            seen = self._store.get(key, limit_bytes=1 << 24)
            base = getattr(seen, "etag", None)
        return write_it(self, key, body, base)

    Driver._write = write
