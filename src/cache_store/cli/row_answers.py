"""The register and the claim of one address as they were found: two requests, and what they mean."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from cache_store.bundle import MAX_REGISTER_BYTES
from cache_store.claim import MAX_READ_BYTES, Rules
from cache_store.cli.bundle_rows import state_without_bundle
from cache_store.cli.claim_view import claim_view
from cache_store.cli.survey import read_object
from cache_store.cli.views import ObjectAnswer, Reading, reading_of
from cache_store.dataclass import dataclass
from cache_store.inventory import Row
from cache_store.objects import Missing, ObjectStore


@dataclass(frozen=True)
class RowAnswers:
    """None where the listing has no such object, and nothing was asked."""

    row: Row
    register: ObjectAnswer | None = None
    claim: ObjectAnswer | None = None

    @property
    def requests(self) -> int:
        return sum(answer is not None for answer in (self.register, self.claim))

    def reading(self) -> Reading:
        if self.register is None:
            return Reading(state_without_bundle(self.row))
        return reading_of(self.row.address, self.register, has_claim=self.row.claim is not None)

    def claim_view(self, now: datetime) -> dict[str, Any] | None:
        """None where there is no claim, or none any more."""
        if self.claim is None or isinstance(self.claim, Missing):
            return None
        return claim_view(self.claim, now, Rules())


def ask_row(store: ObjectStore, row: Row) -> RowAnswers:
    """Raises `StoreError` where going on with other rows is pointless."""

    def ask(is_there: object, key: str, limit_bytes: int) -> ObjectAnswer | None:
        return read_object(store, key, limit_bytes=limit_bytes) if is_there is not None else None

    register = ask(row.bundle, row.address.bundle_key, MAX_REGISTER_BYTES)
    return RowAnswers(row, register, ask(row.claim, row.address.claim_key, MAX_READ_BYTES))
