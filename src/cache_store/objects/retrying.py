"""The only retry policy: reads, listings and deletes are sent again, conditional writes never.

A conditional write that was sent twice can be refused by its own first copy, so only the protocol may decide about
those, after it has read back (`coordination`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

from cache_store.annotation import TypeVar
from cache_store.chance import Chance
from cache_store.clock import Clock
from cache_store.dataclass import dataclass
from cache_store.errors import StoreError
from cache_store.objects import Entry, Missing, NotWritten, ObjectStore, StoredObject, Written

T = TypeVar("T")


@dataclass(frozen=True)
class Backoff:
    """At most `attempts` sends a call, none begun after `total_s`; full jitter up to `first_s`, doubling to `longest_s`."""

    attempts: int = 5
    total_s: float = 30.0
    first_s: float = 0.2
    longest_s: float = 5.0

    def ceiling_s(self, failures: int) -> float:
        return min(self.longest_s, self.first_s * 2.0 ** (failures - 1))


class Retrying:
    """`store`, with patience. Raises the last error; `Cancelled` as soon as the clock says so."""

    def __init__(
        self, store: ObjectStore, *, clock: Clock, rng: Chance, backoff: Backoff | None = None
    ) -> None:
        self._store = store
        self._clock = clock
        self._rng = rng
        self._backoff = backoff or Backoff()

    @property
    def url(self) -> str:
        return self._store.url

    def get(self, key: str, *, limit_bytes: int) -> StoredObject | Missing:
        return self._again(lambda: self._store.get(key, limit_bytes=limit_bytes))

    def put_if_absent(self, key: str, body: bytes) -> Written | NotWritten:
        return self._store.put_if_absent(key, body)

    def put_if_match(self, key: str, body: bytes, etag: str) -> Written | NotWritten:
        return self._store.put_if_match(key, body, etag)

    def list(self, prefix: str) -> Iterator[Entry]:
        """A page that fails makes the listing begin anew, after the rows that were handed out."""
        last: str | None = None
        rows = iter(self._store.list(prefix))

        def next_row() -> list[Entry]:
            nonlocal rows
            try:
                return list(islice(rows, 1))
            except StoreError:
                rows = (row for row in self._store.list(prefix) if last is None or row.key > last)
                raise

        while found := self._again(next_row):
            last = found[0].key
            yield found[0]

    def delete(self, key: str) -> None:
        self._again(lambda: self._store.delete(key))

    def close(self) -> None:
        self._store.close()

    def _again(self, call: Callable[[], T]) -> T:
        began = self._clock.monotonic()
        failures = 0
        while True:
            try:
                return call()
            except StoreError as error:
                failures += 1
                nap_s = self._rng.uniform(0, self._backoff.ceiling_s(failures))
                is_over = self._clock.monotonic() - began + nap_s >= self._backoff.total_s
                if not error.is_retryable or failures >= self._backoff.attempts or is_over:
                    raise
            self._clock.sleep(nap_s)
