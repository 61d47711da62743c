"""A file that others see whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def whole_file(path: Path, nonce: str) -> Iterator[BinaryIO]:
    """A file that has its name when all of it is on the disk, and not before. Raises `OSError`."""
    # a link to elsewhere stays one: what it leads to is replaced
    try:
        target = path.resolve()
    except RuntimeError as error:  # Python before 3.13
        raise OSError(errno.ELOOP, "it is a link that leads to itself", str(path)) from error
    if target.exists() and not target.is_file():
        raise OSError(errno.EINVAL, "it is there, and no regular file", str(target))
    temp = target.parent / f".{nonce}.tmp"
    try:
        with temp.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temp.replace(target)
    except BaseException as error:
        with suppress(OSError):
            temp.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename == str(temp):
            error.filename = str(path)  # nobody knows the other name
        raise
