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
        from cache_store.cli.app import run
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        sys.stderr.write("cache-store needs click: pip install 'autotune-cache[cli]'\n")
        sys.exit(ExitCode.USAGE)  # noqa: TID251 -- the one place
    gc.set_threshold(_COLLECT_EVERY)
    code = run(sys.argv[1:], dict(os.environ))  # noqa: TID251 -- read once, here
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    # not sys.exit: a thread may hang in a store call or a dead mount for ever, and interpreter shutdown waits for it
    os._exit(code)


if __name__ == "__main__":
    main()
