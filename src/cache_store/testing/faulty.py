"""A store that goes wrong when and how a test says. Without a script it is the store that it wraps."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from typing import TypeVar

from cache_store.clock import Clock
from cache_store.dataclass import dataclass, replace
from cache_store.errors import ErrorKind, StoreError
from cache_store.objects import Entry, Missing, NotWritten, ObjectStore, StoredObject, Written

T = TypeVar("T")


@dataclass(frozen=True)
class Fails:
    """Nothing reaches the store."""

    kind: ErrorKind = ErrorKind.UNAVAILABLE


@dataclass(frozen=True)
class LosesAnswer:
    """The store does it, and the answer never arrives."""

    kind: ErrorKind = ErrorKind.TIMEOUT


@dataclass(frozen=True)
class Delays:
    """It takes `seconds` of the clock first."""

    seconds: float


@dataclass(frozen=True)
class AppliesLate:
    """TIMEOUT now; the request reaches the store at the first call that is made `seconds` later, or by `settle`."""

    seconds: float


@dataclass(frozen=True)
class Truncates:
    """A GET hands out the first `kept_bytes` only, and does not notice."""

    kept_bytes: int


@dataclass(frozen=True)
class Says:
    """A conditional write is answered so; it happens first where `is_applied`."""

    status: int
    is_applied: bool = False


Effect = Fails | LosesAnswer | Delays | AppliesLate | Truncates | Says


@dataclass(frozen=True)
class Fault:
    """`effect` for the next `times` calls of `operation` on keys like `key`, after `skip` that go well.

    operation: get | put_if_absent | put_if_match | list | delete, or a pattern ("put*", "*"). key: a pattern; for
    `list` the prefix.
    """

    operation: str
    effect: Effect
    key: str = "*"
    times: int = 1
    skip: int = 0


class FaultyStore:
    """`store`, spoiled by `faults` in the order given: the first that fits a call is used up by it."""

    def __init__(self, store: ObjectStore, *, clock: Clock, faults: tuple[Fault, ...] = ()) -> None:
        self._store = store
        self._clock = clock
        self._faults = list(faults)
        self._late: list[tuple[float, Callable[[], object]]] = []
        self._lock = threading.RLock()
        self.used: list[tuple[str, str, Effect]] = []

    @property
    def url(self) -> str:
        return self._store.url

    def script(self, *faults: Fault) -> None:
        with self._lock:
            self._faults.extend(faults)

    def settle(self) -> None:
        """Let every late request reach the store now."""
        with self._lock:
            late, self._late = self._late, []
        for _, call in late:
            call()

    def get(self, key: str, *, limit_bytes: int) -> StoredObject | Missing:
        effect = self._effect("get", key)
        answer = self._spoil(effect, key, lambda: self._store.get(key, limit_bytes=limit_bytes))
        if isinstance(effect, Truncates) and isinstance(answer, StoredObject):
            return replace(answer, body=answer.body[: effect.kept_bytes])
        return answer

    def put_if_absent(self, key: str, body: bytes) -> Written | NotWritten:
        return self._put("put_if_absent", key, lambda: self._store.put_if_absent(key, body))

    def put_if_match(self, key: str, body: bytes, etag: str) -> Written | NotWritten:
        return self._put("put_if_match", key, lambda: self._store.put_if_match(key, body, etag))

    def list(self, prefix: str) -> Iterator[Entry]:
        effect = self._effect("list", prefix)
        yield from self._spoil(effect, prefix, lambda: list(self._store.list(prefix)))

    def delete(self, key: str) -> None:
        self._spoil(self._effect("delete", key), key, lambda: self._store.delete(key))

    def close(self) -> None:
        self._store.close()

    def _put(
        self, operation: str, key: str, call: Callable[[], Written | NotWritten]
    ) -> Written | NotWritten:
        effect = self._effect(operation, key)
        if isinstance(effect, Says):
            if effect.is_applied:
                call()
            return NotWritten(effect.status)
        return self._spoil(effect, key, call)

    def _effect(self, operation: str, key: str) -> Effect | None:
        self._apply_due()
        with self._lock:
            for position, fault in enumerate(self._faults):
                if not (fnmatchcase(operation, fault.operation) and fnmatchcase(key, fault.key)):
                    continue
                if fault.skip:
                    self._faults[position] = replace(fault, skip=fault.skip - 1)
                    continue
                if fault.times > 1:
                    self._faults[position] = replace(fault, times=fault.times - 1)
                else:
                    del self._faults[position]
                self.used.append((operation, key, fault.effect))
                return fault.effect
        return None

    def _spoil(self, effect: Effect | None, key: str, call: Callable[[], T]) -> T:
        if isinstance(effect, Fails):
            raise StoreError(effect.kind, f"{key}: scripted, before the store saw it")
        if isinstance(effect, AppliesLate):
            with self._lock:
                self._late.append((self._clock.monotonic() + effect.seconds, call))
            raise StoreError(ErrorKind.TIMEOUT, f"{key}: scripted, to be applied late")
        if isinstance(effect, Delays):
            self._clock.sleep(effect.seconds)
        answer = call()
        if isinstance(effect, LosesAnswer):
            raise StoreError(effect.kind, f"{key}: scripted, after the store did it")
        return answer

    def _apply_due(self) -> None:
        now = self._clock.monotonic()
        with self._lock:
            due = [call for at, call in self._late if at <= now]
            self._late = [(at, call) for at, call in self._late if at > now]
        for call in due:
            call()
