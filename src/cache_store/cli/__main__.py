"""`cache-store`, and `python -m cache_store.cli`."""

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress
from typing import NoReturn

from cache_store.exit_codes import ExitCode

# reading 10,000 bundles makes no cycles, and looking for some in what is kept of them takes 0.3 s
_COLLECT_EVERY = 100_000


def main() -> NoReturn:
    try:
        code = _run()
    except KeyboardInterrupt:  # while modules are imported; later it is an answer like every other
        sys.stderr.write("cache-store: error: interrupted\n")
        code = ExitCode.INTERRUPTED
    with suppress(OSError, KeyboardInterrupt):
        sys.stdout.flush()
        sys.stderr.flush()
    # not sys.exit: a thread may hang in a store call or a dead mount for ever, and interpreter shutdown waits for it
    os._exit(code)


def _run() -> int:
    _have_streams()
    try:
        from cache_store.cli.app import run
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        sys.stderr.write("cache-store needs click: pip install 'autotune-cache[cli]'\n")
        return ExitCode.USAGE
    gc.set_threshold(_COLLECT_EVERY)
    return run(sys.argv[1:], dict(os.environ))  # noqa: TID251 -- read once, here


def _have_streams() -> None:
    """What was started with `>&-` gets /dev/null: else a connection has the number of stdout, and Python has no stdout."""
    names = ("stdin", "stdout", "stderr")
    for number, name in enumerate(names):
        if getattr(sys, name) is None:
            # the lowest number that is free, which is this one
            opened = os.open(os.devnull, os.O_RDONLY if number == 0 else os.O_WRONLY)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", encoding="utf-8"))


if __name__ == "__main__":
    main()
