"""Objects as plain files below one directory, written by any number of processes on any number of nodes.

`version_files` says how a conditional write is atomic here. Not possible: an object "a" beside an object "a/b". A file
system that hangs cannot be given a time limit, so neither can these calls.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path

from cache_store.errors import ErrorKind, StoreError
from cache_store.objects import Entry, Missing, NotWritten, StoredObject, Written
from cache_store.objects.keys import check_key, folder_of
from cache_store.objects.version_files import HIDDEN, NoHardLinksError, Version, VersionedFile
from cache_store.sha256 import sha256_hex

READ_TRIES = 8

_KINDS = {
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), ErrorKind.DENIED),
    **dict.fromkeys((errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP), ErrorKind.INVALID),
    errno.ETIMEDOUT: ErrorKind.TIMEOUT,
}


@contextmanager
def _mapped(key: str) -> Iterator[None]:
    """The one place where `OSError` becomes `StoreError`."""
    try:
        yield
    except NoHardLinksError as error:
        raise StoreError(ErrorKind.UNSUPPORTED, f"{key}: {error.strerror}") from error
    except OSError as error:
        kind = _KINDS.get(error.errno or 0, ErrorKind.UNAVAILABLE)
        raise StoreError(kind, f"{key}: {error.strerror or error} (errno {error.errno})") from error


class DirectoryStore:
    """`root` must exist, as a bucket must: a volume that was not mounted is an error and not an empty store.

    `nonce` makes names that nobody else makes. `file_mode` and `dir_mode` are set whatever the umask is, so that pods
    of several uids can share a volume: 0664/0775 for one common group (fsGroup), 0666/0777 for none.
    """

    def __init__(
        self, root: Path, *, nonce: Callable[[], str], file_mode: int = 0o664, dir_mode: int = 0o775
    ) -> None:
        self._root = root.absolute()
        self._nonce = nonce
        self._file_mode = file_mode
        self._dir_mode = dir_mode

    @property
    def url(self) -> str:
        return self._root.as_uri()

    def get(self, key: str, *, limit_bytes: int) -> StoredObject | Missing:
        file = self._file(key)
        with _mapped(key):
            for _ in range(READ_TRIES):
                current = file.current()
                if current.path is None:
                    self._check_root()
                    return Missing(self._date())
                try:
                    body, written_s = _read(current.path, limit_bytes)
                except FileNotFoundError:
                    continue  # replaced and removed since we looked
                return StoredObject(body, _etag(current.number, body), self._date(), _utc(written_s))
        raise StoreError(ErrorKind.UNAVAILABLE, f"{key}: its versions change faster than they can be read")

    def put_if_absent(self, key: str, body: bytes) -> Written | NotWritten:
        def judge(current: Version) -> int:
            return 0 if current.path is None else 412

        return self._put(key, body, judge)

    def put_if_match(self, key: str, body: bytes, etag: str) -> Written | NotWritten:
        def judge(current: Version) -> int:
            if current.path is None:
                return 404
            try:
                seen = current.path.read_bytes()
            except FileNotFoundError:
                return 412  # replaced and removed since we looked
            return 0 if _etag(current.number, seen) == etag else 412

        return self._put(key, body, judge)

    def list(self, prefix: str) -> Iterator[Entry]:
        with _mapped(prefix):
            self._check_root()
            entries = sorted(self._entries(folder_of(prefix)), key=lambda entry: entry.key)
        yield from (entry for entry in entries if entry.key.startswith(prefix))

    def delete(self, key: str) -> None:
        file = self._file(key)
        with _mapped(key):
            self._check_root()
            file.delete()

    def close(self) -> None:
        pass

    def _put(self, key: str, body: bytes, judge: Callable[[Version], int]) -> Written | NotWritten:
        """`judge` says 0 (go on from this version) or the status to answer."""
        file = self._file(key)
        with _mapped(key):
            self._check_root()
            if status := judge(file.current()):
                return NotWritten(status)
            temp = file.write_temp(body)
            try:
                # again, for the version must have been current after the temporary file was made (see KEPT_S)
                current = file.current()
                if status := judge(current):
                    return NotWritten(status)
                stepped = file.step(temp, current.number + 1)
            finally:
                with suppress(FileNotFoundError):
                    temp.unlink()
        if stepped is None:
            return NotWritten(412)
        if not stepped.is_certain:
            raise StoreError(
                ErrorKind.TIMEOUT, f"{key}: this writer was stopped for too long to know; read back"
            )
        return Written(_etag(current.number + 1, body))

    def _file(self, key: str) -> VersionedFile:
        if any(segment.startswith(HIDDEN) for segment in check_key(key).split("/")):
            raise StoreError(
                ErrorKind.INVALID, f"key {key!r}: names that begin with {HIDDEN} are the store's own"
            )
        return self._versioned(self._root / key)

    def _versioned(self, plain: Path) -> VersionedFile:
        return VersionedFile(
            plain, root=self._root, nonce=self._nonce, file_mode=self._file_mode, dir_mode=self._dir_mode
        )

    def _check_root(self) -> None:
        if not self._root.is_dir():
            raise StoreError(ErrorKind.NOT_FOUND, f"there is no directory {self._root}")

    def _entries(self, folder: str) -> Iterator[Entry]:
        for at, directories, names in os.walk(self._root / folder):
            chains = [name for name in directories if name.startswith(HIDDEN)]
            directories[:] = [name for name in directories if not name.startswith(HIDDEN)]
            plain = [name for name in names if not name.startswith(HIDDEN)]
            for name in {*plain, *(chain[len(HIDDEN) :] for chain in chains)}:
                path = Path(at, name)
                with suppress(FileNotFoundError):  # gone since it was listed
                    current = self._versioned(path).current().path
                    if current is not None:
                        seen = current.stat()
                        key = path.relative_to(self._root).as_posix()
                        yield Entry(key, seen.st_size, _utc(seen.st_mtime))

    def _date(self) -> datetime | None:
        """The file server's clock, from a file made for the purpose; None where we may not write."""
        probe = self._root / f"{HIDDEN}now-{self._nonce()}"
        try:
            probe.touch(exist_ok=False)
            try:
                return _utc(probe.stat().st_mtime)
            finally:
                probe.unlink()
        except OSError:
            return None


def _read(path: Path, limit_bytes: int) -> tuple[bytes, float]:
    """The whole file and when it was written. Raises TOO_LARGE without reading it."""
    with path.open("rb") as file:
        seen = os.fstat(file.fileno())
        if seen.st_size > limit_bytes:
            raise StoreError(ErrorKind.TOO_LARGE, f"{path.name}: {seen.st_size} bytes, limit {limit_bytes}")
        body = file.read()
    if len(body) != seen.st_size:
        raise StoreError(
            ErrorKind.UNAVAILABLE, f"{path.name}: {len(body)} of {seen.st_size} bytes could be read"
        )
    return body, seen.st_mtime


def _etag(number: int, body: bytes) -> str:
    return f'"{number}-{sha256_hex(body)[:32]}"'


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, tz=timezone.utc)
