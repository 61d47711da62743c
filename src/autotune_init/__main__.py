"""`autotune-init`, and `python -m autotune_init`."""

from __future__ import annotations

import io
import os
import sys
from typing import NoReturn

from autotune_init.main import run


def main() -> NoReturn:
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        # a container's locale may be anything, and a batch line or a path may hold stray bytes
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    code = run(sys.argv[1:], dict(os.environ), sys.stdin, sys.stdout, sys.stderr)  # noqa: TID251 -- read once, here
    sys.stdout.flush()
    sys.stderr.flush()
    # not sys.exit: a thread may hang in a store call or a dead mount for ever, and interpreter shutdown waits for it
    os._exit(code)


if __name__ == "__main__":
    main()
