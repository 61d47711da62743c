"""The pod's way to its store: opened late, counted, with patience, and checked before it may carry a tune."""

from __future__ import annotations

from collections.abc import Mapping

from autotune_init.settings import Settings
from cache_store.annotation import TYPE_CHECKING, Literal, cast
from cache_store.chance import FreshChance
from cache_store.clock import Clock, fresh_nonce
from cache_store.objects import ObjectStore
from cache_store.objects.counting import Counting
from cache_store.objects.retrying import Backoff, Retrying
from cache_store.store_environ import store_environ

if TYPE_CHECKING:
    from cache_store.register import Unreachable
    from cache_store.steps import Fit, Unfit

# a request that times out is tried a few times; a fleet must not hang for minutes on a store that is away
PATIENCE = 3.0


class _Lent(Retrying):
    """One client for all who ask: it stays open when one of them is done."""

    def close(self) -> None:
        """`StoreAccess.close` does."""


class StoreAccess:
    """Opens the store of the settings, once, and knows what it was asked."""

    def __init__(self, settings: Settings, environ: Mapping[str, str], clock: Clock) -> None:
        self._settings = settings
        self._environ = store_environ(environ)
        self._clock = clock
        self._counting: Counting | None = None
        self._adapter: ObjectStore | None = None
        self._lent: _Lent | None = None

    def open(self) -> ObjectStore:
        """The same client each time. Raises `StoreError` (INVALID) for a URL that is none."""
        if self._lent is not None:
            return self._lent
        from cache_store.objects.open_url import open_store

        self._adapter = open_store(
            self._settings.store or "",
            environ=self._environ,
            adapter=cast("Literal['auto', 'obstore', 'fsspec']", self._settings.store_adapter),
            request_timeout_s=self._settings.request_timeout_s,
        )
        self._counting = Counting(self._adapter)
        self._lent = _Lent(
            self._counting,
            clock=self._clock,
            rng=FreshChance(),
            backoff=Backoff(attempts=4, total_s=PATIENCE * self._settings.request_timeout_s),
        )
        return self._lent

    def close(self) -> None:
        """Let go of connections. Idempotent."""
        if self._adapter is not None:
            self._adapter.close()

    @property
    def requests(self) -> int:
        return self._counting.counts.total_requests if self._counting else 0

    @property
    def bytes(self) -> int:
        counts = self._counting.counts if self._counting else None
        return counts.read_bytes + counts.written_bytes if counts else 0

    def check(self, store: ObjectStore) -> Fit | Unfit | Unreachable:
        """Probe the very prefix. A store that does not keep conditions can be read, but not tuned for."""
        from cache_store.fitness import check_fitness

        return check_fitness(store, self._adapter, fresh_nonce())

    @staticmethod
    def unfit(_store: ObjectStore) -> Unfit:
        from cache_store.steps import Unfit

        return Unfit("no-store", "no --store was given")
