"""Verified bytes become the engine's files: all ranks of this pod, or none.

Temp file in the same directory, fsync, mode and owner, rename; then the directory's fsync. Several pods may do this
in one shared volume at the same moment: every step leaves either the old or the new whole file at each name.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from autotune_init.local_files import FileState, LocalSet
from cache_store.dataclass import dataclass
from cache_store.pattern import pattern

ASIDE_SUFFIX = ".aside"
# a pod that was killed between two steps leaves its temporary files; no placing of a living one takes as long
ABANDONED_S = 86400.0
_TEMPORARY = pattern(r"\.(.+)\.[0-9A-Za-z_-]+\.(?:tmp|old)\Z")


class PlaceFailed(Exception):  # noqa: N818 -- reads as what happened
    """Nothing was placed and the directory is as it was. `reason` is stable."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Ownership:
    """Modes and owner of what we create. FlashInfer's own files are 0600, which shuts out an engine of another uid."""

    file_mode: int = 0o644
    dir_mode: int = 0o755
    uid: int | None = None
    gid: int | None = None


@dataclass(frozen=True)
class Placed:
    """What was done: names written, names that were right already, and old file -> where it went."""

    written: tuple[str, ...]
    kept: tuple[str, ...]
    moved_aside: Mapping[str, str]


@dataclass(frozen=True)
class Placement:
    """What to do with each file, decided before anything is touched."""

    write: tuple[str, ...]
    keep: tuple[str, ...]
    aside: tuple[str, ...]


def decide(contents: Mapping[str, bytes], local: LocalSet, made_at: float | None) -> Placement:
    """Pure. `made_at`: when the bundle was made, Unix seconds, or None where unknown.

    Raises `PlaceFailed` where a valid local file is newer than the bundle and differs: it stays, and a mixed set of
    ranks is worse than none.
    """
    write: list[str] = []
    keep: list[str] = []
    aside: list[str] = []
    for name, body in sorted(contents.items()):
        found = local.files[name]
        if found.state is FileState.VALID and found.body == body:
            keep.append(name)
            continue
        if (
            found.state is FileState.VALID
            and local.ranks_agree
            and (made_at is None or found.written_at > made_at)
        ):
            raise PlaceFailed("local-newer", f"{name} is valid and newer than the bundle; it stays")
        write.append(name)
        if found.state not in (FileState.ABSENT, FileState.VALID):
            aside.append(name)
    return Placement(tuple(write), tuple(keep), tuple(aside))


@dataclass(frozen=True)
class Staged:
    """Files that are on the disk, each beside its place. Exactly one of `commit` and `discard` follows."""

    directory: Path
    placement: Placement
    temps: Mapping[str, str]
    created: tuple[Path, ...]
    nonce: str

    def commit(self) -> Placed:
        """The renames. Raises `PlaceFailed`; then everything is as it was."""
        if not self.temps:
            return Placed((), self.placement.keep, {})
        try:
            moved = _swap(self.directory, self.temps, self.placement.aside, self.nonce)
        except OSError as error:
            self.discard()
            raise _failed(error, self.directory) from error
        _sync_directory(self.directory)
        return Placed(self.placement.write, self.placement.keep, moved)

    def discard(self) -> None:
        for temp in self.temps.values():
            _remove(temp)
        _remove_empty(list(self.created))


def stage(
    contents: Mapping[str, bytes], local: LocalSet, *, made_at: float | None, ownership: Ownership, nonce: str
) -> Staged:
    """Everything that can fail for want of room or rights, but the renames. Raises `PlaceFailed`; then nothing is left."""
    placement = decide(contents, local, made_at)
    directory = local.directory
    if not placement.write:
        return Staged(directory, placement, {}, (), nonce)
    created: list[Path] = []
    temps: dict[str, str] = {}
    try:
        _make_directories(directory, ownership, created)
        for name in placement.write:
            temps[name] = f"{directory}/.{name}.{nonce}.tmp"
            _write_temp(temps[name], contents[name], ownership)
        _sweep(directory, temps)
    except OSError as error:
        Staged(directory, placement, temps, tuple(created), nonce).discard()
        raise _failed(error, directory) from error
    return Staged(directory, placement, temps, tuple(created), nonce)


def place(
    contents: Mapping[str, bytes], local: LocalSet, *, made_at: float | None, ownership: Ownership, nonce: str
) -> Placed:
    """Write what is missing or wrong. Idempotent. Raises `PlaceFailed`; then everything is as it was."""
    return stage(contents, local, made_at=made_at, ownership=ownership, nonce=nonce).commit()


def _failed(error: OSError, directory: Path) -> PlaceFailed:
    return PlaceFailed(f"place-{_reason_of(error)}", f"{error.filename or directory}: {error.strerror}")


def move_aside(directory: Path, name: str) -> str:
    """Take one file out of the engine's way; the newest one moved aside is kept. Returns its new name."""
    target = name + ASIDE_SUFFIX
    (directory / name).replace(directory / target)
    return target


def _swap(directory: Path, temps: Mapping[str, str], aside: tuple[str, ...], nonce: str) -> dict[str, str]:
    """The renames. If one fails, those before it are undone."""
    moved: dict[str, str] = {}
    done: list[tuple[str, str, int]] = []
    backups: dict[str, str] = {}
    try:
        for name, temp in temps.items():
            final, backup = f"{directory}/{name}", f"{directory}/.{name}.{nonce}.old"
            try:
                os.link(final, backup)
                backups[name] = backup
            except FileNotFoundError:
                pass
            inode = os.stat(temp).st_ino
            os.replace(temp, final)
            done.append((final, backup, inode))
        for name in filter(backups.__contains__, aside):  # one that is gone by now needs no other place
            os.replace(backups.pop(name), f"{directory}/{name}{ASIDE_SUFFIX}")
            moved[name] = name + ASIDE_SUFFIX
    except OSError:
        for final, backup, inode in done:
            _undo(final, backup, inode)
        raise
    finally:
        for backup in backups.values():
            _remove(backup)
    return moved


def _undo(final: str, backup: str, inode: int) -> None:
    try:
        if os.stat(final).st_ino != inode:
            return  # another pod placed its own meanwhile
        if os.path.exists(backup):
            os.replace(backup, final)
        else:
            os.unlink(final)
    except OSError:
        return  # the first error is the one to report


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def _make_directories(directory: Path, ownership: Ownership, created: list[Path]) -> None:
    missing: list[Path] = []
    at = directory
    while not at.exists():
        missing.append(at)
        at = at.parent
    for path in reversed(missing):
        try:
            path.mkdir()
        except FileExistsError:
            continue  # another pod made it between our look and our step
        created.append(path)
        # mkdir's own mode is cut by the umask; a volume's group (fsGroup) is handed down by the set-group-ID bit
        path.chmod(ownership.dir_mode | (path.stat().st_mode & stat.S_ISGID))
        _chown(path, ownership)


def _write_temp(path: str, body: bytes, ownership: Ownership) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(body)
        file.flush()
        os.fchmod(descriptor, ownership.file_mode)
        if ownership.uid is not None or ownership.gid is not None:
            os.fchown(descriptor, _or_same(ownership.uid), _or_same(ownership.gid))
        os.fsync(descriptor)


def _sweep(directory: Path, temps: Mapping[str, str]) -> None:
    """Remove what killed pods left beside these names. Told by the volume's own clock: ours wrote there just now."""
    ours = {os.path.basename(temp) for temp in temps.values()}
    try:
        for found in os.listdir(directory):
            whose = _TEMPORARY.match(found) if found.startswith(".") and found not in ours else None
            temp = temps.get(whose[1]) if whose else None
            if temp is not None:
                path = f"{directory}/{found}"
                if os.stat(temp).st_mtime - os.lstat(path).st_mtime > ABANDONED_S:
                    _remove(path)
    except OSError:
        return  # another pod's, on a volume that keeps owners apart: they cost nothing but room


def _chown(path: Path, ownership: Ownership) -> None:
    if ownership.uid is not None or ownership.gid is not None:
        os.chown(path, _or_same(ownership.uid), _or_same(ownership.gid))


def _or_same(number: int | None) -> int:
    return -1 if number is None else number


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError:
        pass  # some network file systems cannot; the rename is as durable as they make it
    finally:
        os.close(descriptor)


def _remove_empty(created: list[Path]) -> None:
    for path in reversed(created):
        try:
            path.rmdir()
        except OSError:
            return  # somebody put something there meanwhile


def _reason_of(error: OSError) -> str:
    import errno

    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "disk-full"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "denied"
    return "failed"
