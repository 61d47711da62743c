"""One plain file with numbered versions beside it: an atomic register on any POSIX file system, NFS included.

    a/b/claim.json            what people and jq read: the newest version, or for a moment the one before
    a/b/.~claim.json/00000007 version 7, written once and never changed: **the highest number is the truth**
    a/b/.~claim.json/tmp-...  a write that is not one yet

- A version comes to be by `link(tmp, <next number>)`, which the file server runs atomically and exclusively. The writer
  whose link succeeds has won. There is nothing to hold and nothing to release (`flock` lies on NFS): a writer killed at
  any step leaves the old version or the new one, and the next writer goes on from there.
- Then `rename(tmp, a/b/claim.json)`, a convenience. A writer that was paused may rename an old version over a newer one;
  it looks again afterwards and repairs that. Readers here read versions, so they never see it.
- Deleting makes a version too: a symbolic link that points nowhere (creating one is exclusive as well).
- A file that was copied in by hand counts as version 0. Removing a directory by hand removes its objects, because the
  versions lie beside them; removing or editing the plain file alone changes nothing.
- A version that was replaced is removed once its last link is KEPT_S old, and so is all of a deleted object. A writer
  whose link came more than half of that after it looked (it was stopped, its node was suspended) cannot know whether
  its number was free because nobody had used it, and says so (TIMEOUT: read back). Such a link does no harm, being
  below the highest number.

Ages are differences between time stamps of one file server; no node's clock is asked.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cache_store.annotation import TypeVar
from cache_store.dataclass import dataclass

HIDDEN = ".~"
KEPT_S = 3600.0
T = TypeVar("T")


class NoHardLinksError(OSError):
    """A file system that cannot make a version."""


@dataclass(frozen=True)
class Version:
    """What is current. Number 0 is a file without versions; `path` None means that there is no object."""

    number: int
    path: Path | None


@dataclass(frozen=True)
class Stepped:
    """Our link was made. `is_certain` is False where a pause makes it impossible to say that it was the first."""

    is_certain: bool


class VersionedFile:
    """The plain file `plain` below the store's `root`, and its versions. Every method raises `OSError` as it comes."""

    def __init__(
        self,
        plain: Path,
        *,
        root: Path | None = None,
        nonce: Callable[[], str],
        file_mode: int,
        dir_mode: int,
    ) -> None:
        self._plain = plain
        self._root = root or plain.parent
        self._versions = plain.with_name(HIDDEN + plain.name)
        self._nonce = nonce
        self._file_mode = file_mode
        self._dir_mode = dir_mode

    def current(self) -> Version:
        """The newest version. Its file may be gone by the time it is opened: then ask again."""
        number = self._newest()
        if number == 0:
            try:
                mode = self._plain.stat().st_mode
            except FileNotFoundError:
                return Version(0, None)
            if stat.S_ISDIR(mode):
                raise IsADirectoryError(errno.EISDIR, "there are objects below this key")
            return Version(0, self._plain)
        newest = self._path_of(number)
        return Version(number, None if newest.is_symlink() else newest)

    def write_temp(self, body: bytes) -> Path:
        """`body` on disk, beside the versions, under a name that only we know. The caller removes it."""
        self._make_directories(self._versions)
        temp = self._versions / f"tmp-{self._nonce()}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        descriptor = self._within(self._versions, lambda: os.open(temp, flags, self._file_mode))
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(body)
                file.flush()
                os.fchmod(descriptor, self._file_mode)
                os.fsync(descriptor)
        except BaseException:
            temp.unlink(missing_ok=True)
            raise
        return temp

    def step(self, temp: Path, number: int) -> Stepped | None:
        """Make `temp` version `number`; None if that number is taken. `temp` was written before looking."""
        looked_at = temp.stat().st_mtime
        try:
            self._path_of(number).hardlink_to(temp)
        except FileExistsError:
            # a server that lost its answer is asked again and says "exists" of our own link
            if not _is_same_file(temp, self._path_of(number)):
                return None
        except OSError as error:
            # link(2): EPERM is how a file system without hard links says so; we could write beside it, so it is not us
            if error.errno in {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}:
                raise NoHardLinksError(errno.EOPNOTSUPP, "this file system has no hard links") from error
            raise
        linked_at = temp.stat().st_ctime  # link() sets it
        _sync_directory(self._versions)
        self._prune(number, linked_at)
        with suppress(OSError):  # the write has happened; the plain file is a convenience
            temp.replace(self._plain)
            self.show()
        return Stepped(is_certain=linked_at - looked_at <= KEPT_S / 2)

    def delete(self) -> None:
        """After this there is no object, until somebody writes again."""
        marker: Path | None = None
        while (current := self.current()).path is not None:
            self._make_directories(self._versions)
            with suppress(FileExistsError):  # somebody wrote meanwhile: delete that too
                marker = self._path_of(current.number + 1)
                marker.symlink_to("deleted")
        self.show()
        if marker is not None:
            with suppress(OSError):  # litter of others, perhaps of other users
                sweep(self._plain.parent, marker.lstat().st_ctime)

    def show(self) -> None:
        """Make the plain file the newest version, however often that changes meanwhile."""
        shown: Version | None = None
        while (current := self.current()) != shown:
            shown = current
            if current.number == 0:
                return
            if current.path is None:
                self._plain.unlink(missing_ok=True)
            elif not _is_same_file(current.path, self._plain):
                try:
                    self.write_temp(current.path.read_bytes()).replace(self._plain)
                except FileNotFoundError:
                    shown = None  # replaced and removed since we looked

    def _newest(self) -> int:
        try:
            return max((int(name) for name in os.listdir(self._versions) if name.isdigit()), default=0)  # noqa: PTH208 -- names are enough, and this is every read
        except FileNotFoundError:
            return 0

    def _path_of(self, number: int) -> Path:
        return self._versions / f"{number:08d}"

    def _prune(self, newest: int, now: float) -> None:
        """Remove what crashed writers left, and versions that were replaced long ago."""
        for path in self._versions.iterdir():
            if path.name.isdigit() and int(path.name) >= newest:
                continue
            with suppress(FileNotFoundError, PermissionError):
                if now - path.lstat().st_ctime > KEPT_S:
                    path.unlink()

    def _make_directories(self, directory: Path) -> None:
        if directory.is_dir():
            return
        self._make_directories(directory.parent)
        try:
            self._within(directory.parent, directory.mkdir)
        except FileExistsError:
            return
        # chmod(2) takes away the set-group-ID bit that a volume's directory hands down (fsGroup), and with it the
        # common group of everything below
        inherited = directory.stat().st_mode & stat.S_ISGID
        directory.chmod(self._dir_mode | inherited)

    def _within(self, directory: Path, act: Callable[[], T]) -> T:
        """`act`, in a directory that another user's pod may have made this very moment.

        Between its mkdir and its chmod we are refused, which is no reason to give up.
        """
        try:
            return act()
        except PermissionError as error:
            seen = directory.stat()
            mode = stat.S_IMODE(seen.st_mode)
            is_another_pods = self._root in directory.parents and seen.st_uid != os.geteuid()
            if not is_another_pods or mode & 0o700 != 0o700:
                raise
            if mode & self._dir_mode != self._dir_mode:
                text = f"{directory} has mode {mode:04o}, which shuts this user out"
                raise BlockingIOError(errno.EAGAIN, text) from error
        return act()  # finished since we were refused


def sweep(directory: Path, now: float) -> None:
    """Remove the versions of objects of this directory that were deleted more than KEPT_S ago.

    The marker goes last, and the folder only while it is empty: a writer that looked before has its temporary file in
    there, and one whose file was pruned can no longer link it. So a number is never used twice behind a writer's back.
    """
    for versions in directory.glob(f"{HIDDEN}*"):
        if not versions.is_dir():  # what a reader made to ask for the time, and did not live to remove
            if now - versions.lstat().st_ctime > KEPT_S:
                versions.unlink(missing_ok=True)
            continue
        paths = sorted(versions.iterdir())
        is_deleted = bool(paths) and paths[-1].name.isdigit() and paths[-1].is_symlink()
        if is_deleted and now - max(path.lstat().st_ctime for path in paths) > KEPT_S:
            for path in paths:
                path.unlink(missing_ok=True)
            versions.rmdir()


def _is_same_file(one: Path, other: Path) -> bool:
    try:
        return os.path.samestat(one.lstat(), other.lstat())
    except FileNotFoundError:
        return False


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in {
            errno.EINVAL,
            errno.EROFS,
            errno.ENOTSUP,
        }:  # some network file systems refuse it
            raise
    finally:
        os.close(descriptor)
