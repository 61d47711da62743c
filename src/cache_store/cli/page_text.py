"""Texts and dates from a bucket, as the page shows them. Pure."""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime, timezone

from cache_store.cli.output import escape, shortened
from cache_store.fleet_page import MAX_TEXT

# nothing was tuned for FlashInfer before: a date that is older is a clock's mistake, or somebody's joke
FIRST = datetime(2020, 1, 1, tzinfo=timezone.utc)
# letters by Unicode's word, and blank to the eye: Hangul fillers and the empty Braille pattern
_BLANK = re.compile("[\u115f\u1160\u3164\uffa0\u2800]")
# more than any language needs; towers of them cover the lines above
MAX_MARKS = 8


def page_text(value: object, length: int = MAX_TEXT) -> str:
    """Printable, visible, and at most `length` long."""
    if isinstance(value, str) and len(value) <= length and value.isascii() and value.isprintable():
        return value  # nearly all: 10,000 bundles bring 400,000 texts
    # what is cut away needs no escaping: a bundle may bring megabytes
    plain = escape(str(value)[: length + 1])
    if not plain.isascii():
        plain = _BLANK.sub(lambda found: f"\\u{ord(found[0]):04x}", plain)
        plain = _without_towers(plain)
    return shortened(plain, length)


def _without_towers(text: str) -> str:
    kept, marks = [], 0
    for one in text:
        marks = marks + 1 if unicodedata.category(one) in ("Mn", "Me") else 0
        if marks <= MAX_MARKS:
            kept.append(one)
    return "".join(kept)


def moment_of(text: str | None) -> datetime | None:
    """A date that a bucket tells, in UTC; None where it tells none, or one that cannot be.

    The first minutes of year 1 east of Greenwich have no UTC: they overflow when they are converted.
    """
    try:
        # Python 3.10 knows no Z
        told = datetime.fromisoformat((text or "").replace("Z", "+00:00"))
        moment = told.astimezone(timezone.utc) if told.tzinfo else None
    except (ValueError, OverflowError):
        return None
    return moment if moment and moment >= FIRST else None


def minute_of(moment: datetime | None) -> str:
    """In UTC, to the minute; "" for unknown. Texts of this form sort as the moments do."""
    return "" if moment is None else moment.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M")
