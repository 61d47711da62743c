"""How deep JSON nests: the number that a parser would find, at a cost that no text can drive up."""

import json
import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as some

from cache_store.json_depth import depth_of

LEAF = some.text('"\\[]{}a', max_size=6) | some.integers() | some.none()
DOCUMENT = some.recursive(
    LEAF,
    lambda below: (
        some.lists(below, max_size=3)
        | some.dictionaries(some.text('"\\[]{}a', max_size=4), below, max_size=3)
    ),
)


def measured(document):
    if isinstance(document, dict):
        return 1 + max(map(measured, document.values()), default=0)
    if isinstance(document, list):
        return 1 + max(map(measured, document), default=0)
    return 0


@given(DOCUMENT, some.sampled_from([None, 1]))
def test_it_is_the_depth_of_what_the_parser_makes(document, indent):
    assert depth_of(json.dumps(document, indent=indent).encode(), 1000) == measured(document)


@pytest.mark.parametrize("before", [65_530, 65_532, 65_533, 65_534, 65_535, 65_536, 131_071, 200_000])
@pytest.mark.parametrize("odd", ['"[[[', "\\[[", "[", ""])
def test_a_string_that_reaches_from_one_part_of_the_text_into_the_next_is_one(before, odd):
    document = [[["a" * before + odd, {"b": [odd]}]], odd]
    assert depth_of(json.dumps(document).encode(), 1000) == measured(document)


@given(DOCUMENT)
def test_a_text_inside_a_text_inside_a_text_counts_once(document):
    assert depth_of(json.dumps([json.dumps(json.dumps(document))]).encode(), 1000) == 1


@pytest.mark.parametrize(
    "body",
    [
        b'"' + b'\\"' * 500_000,
        b'"' + b"a" * 1_000_000 + b'"',
        b'"' * 1_000_000,
        b'"\\' * 500_000,
        b"\\" * 1_000_000,
        b"[]" * 500_000,
        b'{"a":"[' * 140_000,
    ],
    ids=[
        "open string of quotes",
        "long string",
        "quotes",
        "open escapes",
        "backslashes",
        "pairs",
        "open pairs",
    ],
)
def test_given_a_hostile_megabyte_when_counted_then_time_and_memory_stay_small(body):
    began = time.process_time()
    depth_of(body, 32)
    took_s = time.process_time() - began
    tracemalloc.start()
    depth_of(body, 32)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert took_s < 2
    assert peak_bytes < 6 * len(body)


def test_counting_stops_past_the_limit():
    assert depth_of(b"[" * 1000, 32) == 33
