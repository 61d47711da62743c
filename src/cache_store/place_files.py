"""A bundle's rank files into a directory, for a person; files of other names are not touched.

Everything happens below one open directory, and no link in it is followed. Each file is written aside and renamed when
all are on the disk. The names are `bundle_json.RANK_NAME`s, which have neither a slash nor a dot in front, some below one
folder (`Parcel.placed`); the directory is whatever its owner named, and may be a link.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

from cache_store.dataclass import dataclass

FILE_MODE = 0o644


class Unplaceable(Exception):  # noqa: N818 -- reads as what it is
    """No file was changed, unless the detail says which. `reason` is stable."""

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
    """What was done, or with `is_dry` would be. Directories that are not there are made. Raises `Unplaceable`."""
    try:
        if not directory.exists():
            if is_dry:
                return decide(contents, {}, may_replace=may_replace)
            _make(directory)
        with ExitStack() as stack:
            opened = _opened(stack, directory, contents, is_dry=is_dry)
            found = {
                name: one
                for name in contents
                if (place := opened[_folder(name)]) is not None
                and (one := _look(place, _base(name), len(contents[name])))
            }
            plan = decide(contents, found, may_replace=may_replace)
            if not is_dry:
                _write(opened, {name: contents[name] for name in plan.write}, nonce)
            return plan
    except OSError as error:
        raise Unplaceable("output", f"{error.filename or directory}: {error.strerror}") from error


def _make(directory: Path) -> None:
    try:
        directory.mkdir(parents=True)
    except FileExistsError:
        told = "a link that leads nowhere" if directory.is_symlink() else "no directory"
        raise Unplaceable("output", f"{directory} is there, and {told}") from None


def _opened(
    stack: ExitStack, directory: Path, names: Iterable[str], *, is_dry: bool
) -> dict[str, int | None]:
    """Folder -> its descriptor, "" for `directory` itself; None where a dry run would make it. Raises OSError."""
    top = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    stack.callback(os.close, top)
    opened: dict[str, int | None] = {"": top}
    for folder in sorted({_folder(name) for name in names} - {""}):
        if not is_dry:
            with suppress(FileExistsError):
                os.mkdir(folder, dir_fd=top)
        try:
            found = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=top)
        except FileNotFoundError:
            if not is_dry:
                raise
            opened[folder] = None
            continue
        stack.callback(os.close, found)
        opened[folder] = found
    return opened


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def _base(name: str) -> str:
    return name.rpartition("/")[2]


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


def _write(opened: Mapping[str, int | None], contents: Mapping[str, bytes], nonce: str) -> None:
    """All on the disk first, then the renames: what can fail for want of room fails before the first of them."""
    # not after their names: one of 246 characters leaves no room for a nonce
    temps = {name: f".{nonce}.{number}.tmp" for number, name in enumerate(contents)}
    try:
        for name, temp in temps.items():
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            with os.fdopen(os.open(temp, flags, FILE_MODE, dir_fd=opened[_folder(name)]), "wb") as file:
                file.write(contents[name])
                file.flush()
                # whatever the umask: an engine of another uid reads it
                os.fchmod(file.fileno(), FILE_MODE)
                os.fsync(file.fileno())
        _rename(opened, temps)
    finally:
        for name, temp in temps.items():
            with suppress(FileNotFoundError):
                os.unlink(temp, dir_fd=opened[_folder(name)])


def _rename(opened: Mapping[str, int | None], temps: Mapping[str, str]) -> None:
    done: list[str] = []
    try:
        for name, temp in temps.items():
            place = opened[_folder(name)]
            os.replace(temp, _base(name), src_dir_fd=place, dst_dir_fd=place)
            done.append(name)
        for place in opened.values():
            if place is not None:
                os.fsync(place)
    except OSError as error:
        written = f"{len(done)} of {len(temps)} files were written before ({', '.join(done[:5])})"
        told = f"{error.strerror}; {written}" if done else f"{error.strerror}"
        raise Unplaceable("output", f"{error.filename or 'the directory'}: {told}") from error
