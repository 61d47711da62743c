"""A record of one pod's start: what may be in it, and what a bucket may make of it."""

from datetime import datetime, timezone

import pytest
from tests.bundles import identity

from cache_store.use_record import (
    MAX_RECORD_BYTES,
    BadUseRecord,
    UseRecord,
    is_record_key,
    parse_record,
    record_key,
)

PLACE = identity().address
AT = datetime(2026, 3, 4, 5, 6, tzinfo=timezone.utc)


def record(**changes):
    fields = {
        "at": AT.isoformat(), "outcome": "hit", "reason": "found", "flashinfer_version": PLACE.flashinfer_version,
        "arch": PLACE.arch, "key": PLACE.key, "environment": PLACE.environment,
    }  # fmt: skip
    return UseRecord(**(fields | changes))


def test_what_is_written_is_read():
    one = record(saved_s=93.5, requests=1)

    assert parse_record(one.encode()) == one
    assert one.address == PLACE


@pytest.mark.parametrize("changes", [{"key": None}, {"arch": "../x"}, {"environment": "no"}])
def test_an_address_that_is_none(changes):
    assert record(**changes).address is None


def test_its_key_begins_with_the_day():
    assert record_key(AT, "0a1b") == "_reports/2026-03-04/0a1b.json"
    assert is_record_key("_reports/2026-03-04/0a1b.json")


@pytest.mark.parametrize(
    "key", ["_reports/x.json", "_reports/2026-03-04/../x.json", "_reports/2026-03-04/a.txt", "x"]
)
def test_keys_that_are_none(key):
    assert not is_record_key(key)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"{}", b'{"schema":"autotune-cache/use/v9","at":"","outcome":"","reason":""}',
        record().encode().replace(b'"hit"', b'"' + b"h" * 300 + b'"'),
        record(saved_s=1.0).encode().replace(b'"saved_s":1.0', b'"saved_s":1e400'),
        record(saved_s=1.0).encode().replace(b'"saved_s":1.0', b'"saved_s":-5'),
        b" " * (MAX_RECORD_BYTES + 1), b"[" * 1000 + b"]" * 1000,
    ],
)  # fmt: skip
def test_bytes_that_are_none(body):
    with pytest.raises(BadUseRecord):
        parse_record(body)
