"""What a store was asked and how much went over the wire, for the report and for tests that hold a budget."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from cache_store.dataclass import dataclass, field
from cache_store.objects import Entry, Missing, NotWritten, ObjectStore, StoredObject, Written


@dataclass
class Counts:
    """Calls by operation (get, put_if_absent, put_if_match, list, delete), failed ones included; body bytes.

    A listing counts as one request however many pages it has.
    """

    requests: dict[str, int] = field(default_factory=dict)
    read_bytes: int = 0
    written_bytes: int = 0

    @property
    def total_requests(self) -> int:
        return sum(self.requests.values())


class Counting:
    """`store`, counted in `counts`. Put it below `Retrying` to count what is sent, above to count what was asked."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self.counts = Counts()

    @property
    def url(self) -> str:
        return self._store.url

    def get(self, key: str, *, limit_bytes: int) -> StoredObject | Missing:
        self._count("get")
        answer = self._store.get(key, limit_bytes=limit_bytes)
        if isinstance(answer, StoredObject):
            with self._lock:
                self.counts.read_bytes += len(answer.body)
        return answer

    def put_if_absent(self, key: str, body: bytes) -> Written | NotWritten:
        self._count("put_if_absent", len(body))
        return self._store.put_if_absent(key, body)

    def put_if_match(self, key: str, body: bytes, etag: str) -> Written | NotWritten:
        self._count("put_if_match", len(body))
        return self._store.put_if_match(key, body, etag)

    def list(self, prefix: str) -> Iterator[Entry]:
        self._count("list")
        return self._store.list(prefix)

    def delete(self, key: str) -> None:
        self._count("delete")
        self._store.delete(key)

    def close(self) -> None:
        self._store.close()

    def _count(self, operation: str, written_bytes: int = 0) -> None:
        with self._lock:
            self.counts.requests[operation] = self.counts.requests.get(operation, 0) + 1
            self.counts.written_bytes += written_bytes
