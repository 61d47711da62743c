"""Object storage, and nothing about caches: the protocol that every adapter keeps.

One contract suite (`cache_store.testing.contract`) runs against every adapter. Only plain single-request GET and PUT
carry the coordination protocol: stores silently ignore conditions on multipart, copy and delete
(docs/coordination.md), so no adapter may use those to write.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from cache_store.annotation import Protocol
from cache_store.dataclass import dataclass, field

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True)
class StoredObject:
    """One object as a GET saw it.

    `etag` is opaque: it is only ever handed back to `put_if_match` of the same adapter.
    `date` is the server's clock when it answered and `last_modified` when the object was written, both by the *same*
    clock, so that their difference is the object's age without trusting this pod's clock. None where unknown.
    """

    body: bytes
    etag: str
    date: datetime | None = None
    last_modified: datetime | None = None

    @property
    def age_s(self) -> float | None:
        """Seconds since the object was written, by the server's clock; None where that cannot be known or is absurd.

        Header granularity is one second, so -1 s is rounding and counts as 0.
        """
        if self.date is None or self.last_modified is None:
            return None
        age = (self.date - self.last_modified).total_seconds()
        return max(0.0, age) if age >= -1.0 else None


@dataclass(frozen=True)
class Missing:
    """There is no such object. `date` as in `StoredObject`."""

    date: datetime | None = None


@dataclass(frozen=True)
class Written:
    """The write happened, and this is the tag of what was written."""

    etag: str


@dataclass(frozen=True)
class NotWritten:
    """The store said that the condition did not hold (412), or that it cannot say (409).

    Never proof that somebody else won: a client library may have re-sent our own successful write. Read back and
    compare the nonce.
    """

    status: int


@dataclass(frozen=True)
class Entry:
    """One row of a listing. `key` is relative to the store's root; `etag` None where a listing does not tell it."""

    key: str
    size_bytes: int
    last_modified: datetime | None
    etag: str | None = field(default=None, compare=False)

    @property
    def version(self) -> str | None:
        """What differs between two contents of one key; None where the listing tells nothing that does."""
        if self.etag:
            return self.etag
        if self.last_modified is None:
            return None
        return f"{self.size_bytes} bytes of {self.last_modified.isoformat()}"


class ObjectStore(Protocol):
    """A flat map from keys ("a/b/c", no leading slash) to small objects below one root.

    Every method raises `StoreError` and nothing else for what the store or the network did. No method retries: that
    is `retrying.Retrying`'s job. Each request ends within the adapter's request timeout.
    """

    @property
    def url(self) -> str:
        """Where this is, without credentials."""

    def get(self, key: str, *, limit_bytes: int) -> StoredObject | Missing:
        """The whole object in one request.

        MUST raise TOO_LARGE, without keeping the body, if it is larger than `limit_bytes`; MUST NOT answer Missing
        for 403 or for a missing bucket; MUST notice a truncated body (UNAVAILABLE).
        """

    def put_if_absent(self, key: str, body: bytes) -> Written | NotWritten:
        """Create. MUST be atomic: of any number of simultaneous callers exactly one gets `Written`."""

    def put_if_match(self, key: str, body: bytes, etag: str) -> Written | NotWritten:
        """Replace exactly the version that `etag` names. MUST be atomic. A missing object is `NotWritten`."""

    def list(self, prefix: str) -> Iterator[Entry]:
        """Every object whose key starts with `prefix`, in pages behind the scenes, in key order."""

    def delete(self, key: str) -> None:
        """Remove, unconditionally; a missing object is fine. Pods use this on their own probe objects only."""

    def close(self) -> None:
        """Let go of connections. Idempotent."""
