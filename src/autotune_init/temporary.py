"""Where temporary files go in a container that has no place for them: a read-only root without a volume at /tmp."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

# the engines' own words for a directory that they write to; the chart sets them all to one volume
_WRITABLE = (
    "SGLANG_CACHE_DIR",
    "VLLM_FLASHINFER_AUTOTUNE_CACHE_DIR",
    "FLASHINFER_AUTOTUNE_CACHE_DIR",
    "VLLM_CACHE_ROOT",
)


@contextmanager
def with_temporary(environ: Mapping[str, str], cache_dir: str | None) -> Iterator[Mapping[str, str]]:
    """`environ`, with a TMPDIR in the cache volume where nothing else can be written; removed at the end.

    Where that cannot be written either it is left as it is: looking up and placing need no temporary files, and what
    does says so itself.
    """
    if _takes_a_file(environ.get("TMPDIR", "/tmp")):  # noqa: S108 -- where tempfile looks too
        yield environ
        return
    import shutil
    import tempfile

    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        made = _make_one([cache_dir, *(environ.get(name) for name in _WRITABLE)])
    else:
        made = None
    if made is None:
        yield environ
        return
    tempfile.tempdir = str(made)
    try:
        yield {**environ, "TMPDIR": str(made)}
    finally:
        tempfile.tempdir = None
        shutil.rmtree(made, ignore_errors=True)


def _takes_a_file(folder: str) -> bool:
    """Without a name, so that nothing is left. False also where the filesystem cannot: then tempfile is asked."""
    try:
        descriptor = os.open(folder, os.O_TMPFILE | os.O_WRONLY)
    except OSError:
        return False
    try:
        return os.write(descriptor, b"full?") > 0
    except OSError:
        return False
    finally:
        os.close(descriptor)


def _make_one(roots: list[str | None]) -> Path | None:
    import tempfile

    for root in filter(None, roots):
        try:
            Path(root).mkdir(parents=True, exist_ok=True)
            return Path(tempfile.mkdtemp(prefix=".autotune-tmp-", dir=root))
        except OSError:
            continue
    return None
