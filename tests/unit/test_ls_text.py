"""What a row of `ls` looks like to a person."""

import pytest
from tests.bundles import bundle, tombstone

from cache_store.cli import output
from cache_store.cli.bundle_rows import contents_view
from cache_store.cli.ls_text import branches
from cache_store.cli.views import Reading, address_view

ADDRESS = bundle().identity.address


def view(reading):
    told = {**address_view(ADDRESS), **contents_view(reading)}
    return told | {"size_bytes": 4096, "age_s": 3600.0, "objects": 1}


def leaf(reading, width):
    tree = branches([view(reading)], width=width)
    [[[told]]] = [[list(one.values()) for one in models.values()] for models in tree.values()]
    return told


@pytest.mark.parametrize("width", [20, 60, 80, 100])
def test_a_leaf_fits_the_terminal_and_loses_the_least_important_first(width):
    told = leaf(Reading("published", bundle()), width)

    assert told.startswith("state published")
    assert len(told) <= max(width - 16, len("state published"))


def test_all_of_it_where_there_is_room_or_long_asks_for_it():
    assert "took 1m34s" in leaf(Reading("published", bundle()), 300)
    assert "took 1m34s" in leaf(Reading("published", bundle()), None)


def test_why_something_was_taken_out_of_service_is_shortened():
    told = leaf(Reading("tombstone", tombstone(reason="x" * 4000)), 100)

    assert told.startswith("state tombstone")
    assert "why xxx" in told
    assert len(told) <= 84


def test_columns_are_as_wide_as_their_cells_on_a_terminal(capsys):
    output.emit_table(["A", "B"], [["\u6a21\u578b", "x"], ["abcd", "y"], ["e\u0301\x1b", "z"]])

    assert capsys.readouterr().out == "A      B\n\u6a21\u578b   x\nabcd   y\ne\u0301\\x1b  z\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("2026-11-21T18:00:00.123456+00:00", "2026-11-21T18:00:00Z"),
        ("2026-11-21T18:00:00Z", "2026-11-21T18:00:00Z"),
        ("yesterday", "yesterday"),
    ],
)
def test_times_without_microseconds(text, told):
    assert output.for_people_time(text) == told
