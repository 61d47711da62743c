"""`autotune-init`, and `python -m autotune_init`."""

from __future__ import annotations

import gc
import io
import os
import sys

from autotune_init.main import run
from cache_store.annotation import NoReturn
from cache_store.store_environ import is_for_store, store_environ

# a hit makes nothing that needs collecting, and looking for it takes 5 of its 90 ms; a tune still meets a few collections
_COLLECT_EVERY = 100_000


def main() -> NoReturn:
    gc.set_threshold(_COLLECT_EVERY)
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        # a container's locale may be anything, and a batch line or a path may hold stray bytes
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    environ = dict(os.environ)  # noqa: TID251 -- read once, here
    if any(is_for_store(name) for name in environ):
        from cache_store.process_environ import lend

        # children are handed `environ`, as the engine has it
        lend(store_environ(environ))
    # or pydantic would read the entry points of all 300 packages of an engine's image (0.2 s), and load plugins that were
    # installed for another pydantic. Children get `environ`, which does not have it
    os.environ["PYDANTIC_DISABLE_PLUGINS"] = "1"  # noqa: TID251 -- read by pydantic alone
    code = run(sys.argv[1:], environ, sys.stdin, sys.stdout, sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    # not sys.exit: a thread may hang in a store call or a dead mount for ever, and interpreter shutdown waits for it
    os._exit(code)


if __name__ == "__main__":
    main()
