"""A bundle's rank files into a directory, for a person; files of other names are not touched.

Everything happens below one open directory, and no link in it is followed. Each file is written aside and renamed when
all are on the disk. The names are `bundle_json.RANK_NAME`s, which have neither a slash nor a dot in front; the directory is
whatever its owner named, and may be a link.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from cache_store.dataclass import dataclass

FILE_MODE = 0o644


class Unplaceable(Exception):  # noqa: N818 -- reads as what it is
    """Nothing was changed. `reason` is stable."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Found:
    """What has a wanted name already. `body`: of a regular file that is not larger than ours."""

    kind: str
    body: bytes | None = None


@dataclass(frozen=True)
class FilePlan:
    """Names, in order. `replace` are among `write`."""

    write: tuple[str, ...]
    keep: tuple[str, ...]
    replace: tuple[str, ...]


def decide(contents: Mapping[str, bytes], found: Mapping[str, Found], *, may_replace: bool) -> FilePlan:
    """Pure. Raises `Unplaceable`."""
    keep = tuple(
        sorted(name for name, body in contents.items() if name in found and found[name].body == body)
    )
    write = tuple(sorted(contents.keys() - set(keep)))
    replace = tuple(name for name in write if name in found)
    for name in replace:
        if found[name].kind == "directory":
            raise Unplaceable("file-differs", f"{name} is a directory there")
        if not may_replace:
            raise Unplaceable(
                "file-differs", f"{name} is there and differs (a {found[name].kind}); --force replaces it"
            )
    return FilePlan(write, keep, replace)


def place_files(
    directory: Path, contents: Mapping[str, bytes], *, nonce: str, may_replace: bool, is_dry: bool
) -> FilePlan:
    """What was done, or with `is_dry` would be. A directory that is not there is made. Raises `Unplaceable`."""
    try:
        if not directory.exists():
            if is_dry:
                return decide(contents, {}, may_replace=may_replace)
            directory.mkdir(parents=True)
        opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            found = {name: one for name in contents if (one := _look(opened, name, len(contents[name])))}
            plan = decide(contents, found, may_replace=may_replace)
            if not is_dry:
                _write(opened, {name: contents[name] for name in plan.write}, nonce)
            return plan
        finally:
            os.close(opened)
    except OSError as error:
        raise Unplaceable("output", f"{error.filename or directory}: {error.strerror}") from error


def _look(directory: int, name: str, size_bytes: int) -> Found | None:
    """None where nothing has the name."""
    try:
        mode = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(mode):
        return Found("directory")
    if stat.S_ISLNK(mode):
        return Found("symbolic link")
    if not stat.S_ISREG(mode):
        return Found("special file")
    # it may have become a pipe since: without NONBLOCK that would wait for a writer
    with os.fdopen(
        os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory), "rb"
    ) as file:
        body = file.read(size_bytes + 1)
    return Found("file", body if len(body) <= size_bytes else None)


def _write(directory: int, contents: Mapping[str, bytes], nonce: str) -> None:
    """All on the disk first, then the renames: what can fail for want of room fails before the first of them."""
    # not after their names: one of 246 characters leaves no room for a nonce
    temps = {name: f".{nonce}.{number}.tmp" for number, name in enumerate(contents)}
    try:
        for name, temp in temps.items():
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            with os.fdopen(os.open(temp, flags, FILE_MODE, dir_fd=directory), "wb") as file:
                file.write(contents[name])
                file.flush()
                # whatever the umask: an engine of another uid reads it
                os.fchmod(file.fileno(), FILE_MODE)
                os.fsync(file.fileno())
        for name, temp in temps.items():
            os.replace(temp, name, src_dir_fd=directory, dst_dir_fd=directory)
        os.fsync(directory)
    finally:
        for temp in temps.values():
            with suppress(FileNotFoundError):
                os.unlink(temp, dir_fd=directory)
