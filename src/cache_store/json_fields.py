"""Fields that the store's smaller objects share, for pydantic: what bundle_json.py checks of a bundle's."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from cache_store.bundle_json import DIGEST, RANK_NAME
from cache_store.json_checks import MAX_COUNT, MAX_TEXT

# pydantic's own engine for patterns has no \Z: its $ is the end
Digest = Annotated[str, StringConstraints(pattern=f"^{DIGEST.pattern[:-2]}$")]
RankName = Annotated[str, StringConstraints(pattern=f"^{RANK_NAME.pattern[:-2]}$")]
Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]
Text = Annotated[str, StringConstraints(max_length=MAX_TEXT)]
