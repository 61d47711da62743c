"""`_reports/<day>/<id>.json`: how one pod's start ended, for whoever wants to know what the cache is worth.

Opt-in (`autotune-init run --report-to-store`), written once and never replaced; anybody may delete them at any time.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from cache_store.identity import Address, BadAddress
from cache_store.json_depth import depth_of
from cache_store.layout import RECORDS
from cache_store.objects import KIB

SCHEMA: Final = "autotune-cache/use/v1"
MAX_RECORD_BYTES = 16 * KIB
WARM: Final = frozenset({"hit", "local", "waited", "tuned"})
_MAX_DEPTH = 8
_KEY = re.compile(r"_reports/(\d{4}-\d{2}-\d{2})/[A-Za-z0-9-]{1,64}\.json\Z")

Word = Annotated[str, StringConstraints(max_length=200)]
Seconds = Annotated[float, Field(ge=0, le=366 * 86400.0)]


class BadUseRecord(ValueError):  # noqa: N818 -- reads as what it is
    """Bytes that are no record."""


class UseRecord(BaseModel):
    """`at` is the pod's own clock; `saved_s` is how long the tune had taken that this pod did not have to do."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", populate_by_name=True)

    schema_name: Literal["autotune-cache/use/v1"] = Field(alias="schema", default=SCHEMA)
    at: Word
    outcome: Word
    reason: Word
    flashinfer_version: Word | None = None
    arch: Word | None = None
    key: Word | None = None
    environment: Word | None = None
    nonce: Word | None = None
    seconds: Seconds = 0.0
    saved_s: Seconds = 0.0
    tune_s: Seconds | None = None
    requests: int = Field(ge=0, default=0)
    holder: Word = ""
    program: Word = ""

    def encode(self) -> bytes:
        return self.model_dump_json(by_alias=True, exclude_none=True).encode()

    @property
    def address(self) -> Address | None:
        """Whose bundle it was about; None where the pod never knew."""
        parts = (self.flashinfer_version, self.arch, self.key, self.environment)
        if any(part is None for part in parts):
            return None
        try:
            return Address(*(str(part) for part in parts))
        except BadAddress:
            return None


def record_key(at: datetime, nonce: str) -> str:
    """The object's key below the store's root: days are what is listed, and what is deleted."""
    return f"{RECORDS}{at:%Y-%m-%d}/{nonce}.json"


def is_record_key(key: str) -> bool:
    return bool(_KEY.match(key))


def parse_record(body: bytes) -> UseRecord:
    """Raises `BadUseRecord`."""
    if len(body) > MAX_RECORD_BYTES or depth_of(body, _MAX_DEPTH) > _MAX_DEPTH:
        raise BadUseRecord("too large or too deep")
    try:
        return UseRecord.model_validate_json(body)
    except ValidationError as error:
        raise BadUseRecord(
            str(error.errors(include_url=False, include_input=False)[0]["msg"])[:200]
        ) from None
