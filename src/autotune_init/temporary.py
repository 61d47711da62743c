"""Where temporary files go in a container that has no place for them: a read-only root without a volume at /tmp."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

# the engines' own words for a directory that they write to; the chart sets them all to one volume
_WRITABLE = (
    "SGLANG_CACHE_DIR",
    "VLLM_FLASHINFER_AUTOTUNE_CACHE_DIR",
    "FLASHINFER_AUTOTUNE_CACHE_DIR",
    "VLLM_CACHE_ROOT",
)


class with_temporary:  # noqa: N801 -- used as `with with_temporary(...)`; contextlib is 0.7 ms of a hit
    """`environ`, with a TMPDIR in the cache volume where nothing else can be written; removed at the end.

    Where that cannot be written either it is left as it is: looking up and placing need no temporary files, and what
    does says so itself.
    """

    def __init__(self, environ: Mapping[str, str], cache_dir: str | None) -> None:
        self._environ = environ
        self._cache_dir = cache_dir
        self._made: Path | None = None

    def __enter__(self) -> Mapping[str, str]:
        if _takes_a_file(self._environ.get("TMPDIR", "/tmp")):  # noqa: S108 -- where tempfile looks too
            return self._environ
        import tempfile

        try:
            tempfile.gettempdir()
        except FileNotFoundError:
            self._made = _make_one([self._cache_dir, *(self._environ.get(name) for name in _WRITABLE)])
        if self._made is None:
            return self._environ
        tempfile.tempdir = str(self._made)
        return {**self._environ, "TMPDIR": str(self._made)}

    def __exit__(self, *_: object) -> None:
        if self._made is None:
            return
        import shutil
        import tempfile

        tempfile.tempdir = None
        shutil.rmtree(self._made, ignore_errors=True)


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
