"""A store in this process, for tests and simulations. No kinder than S3 where S3 is unkind."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime
from operator import itemgetter

from cache_store.clock import Clock
from cache_store.dataclass import dataclass
from cache_store.errors import ErrorKind, StoreError
from cache_store.objects import Entry, Missing, NotWritten, StoredObject, Written
from cache_store.objects.keys import check_key, folder_of
from cache_store.sha256 import sha256_hex


@dataclass(frozen=True)
class _Kept:
    body: bytes
    etag: str
    last_modified: datetime


class MemoryStore:
    """Thread-safe. Dates come from `clock`, cut to whole seconds as HTTP headers are.

    The ETag is a digest of the body, as S3's is: a writer that writes equal bytes twice finds its old ETag valid
    again, and a protocol that minds must put a nonce into the body.
    """

    def __init__(self, clock: Clock, *, url: str = "memory:") -> None:
        self._clock = clock
        self._url = url
        self._kept: dict[str, _Kept] = {}
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return self._url

    def get(self, key: str, *, limit_bytes: int) -> StoredObject | Missing:
        with self._lock:
            kept = self._kept.get(check_key(key))
        if kept is None:
            return Missing(self._now())
        if len(kept.body) > limit_bytes:
            raise StoreError(ErrorKind.TOO_LARGE, f"{key}: {len(kept.body)} bytes, limit {limit_bytes}")
        return StoredObject(kept.body, kept.etag, self._now(), kept.last_modified)

    def put_if_absent(self, key: str, body: bytes) -> Written | NotWritten:
        with self._lock:
            if check_key(key) in self._kept:
                return NotWritten(412)
            return self._keep(key, body)

    def put_if_match(self, key: str, body: bytes, etag: str) -> Written | NotWritten:
        with self._lock:
            kept = self._kept.get(check_key(key))
            if kept is None:
                return NotWritten(404)
            if kept.etag != etag:
                return NotWritten(412)
            return self._keep(key, body)

    def list(self, prefix: str) -> Iterator[Entry]:
        folder_of(prefix)
        with self._lock:
            kept = sorted(
                ((key, one) for key, one in self._kept.items() if key.startswith(prefix)), key=itemgetter(0)
            )
        for key, one in kept:
            yield Entry(key, len(one.body), one.last_modified, one.etag)

    def delete(self, key: str) -> None:
        with self._lock:
            self._kept.pop(check_key(key), None)

    def close(self) -> None:
        pass

    def _keep(self, key: str, body: bytes) -> Written:
        etag = f'"{sha256_hex(body)[:32]}"'
        self._kept[key] = _Kept(bytes(body), etag, self._now())
        return Written(etag)

    def _now(self) -> datetime:
        return self._clock.now().replace(microsecond=0)
