"""The nouns of the fleet page: the cells of the heat map, histories without gaps, and data that never ends its block."""

import json
from collections import Counter
from datetime import date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_store.cli.page_data import MAX_CHARACTERS, as_data
from cache_store.cli.page_text import MAX_MARKS, moment_of, page_text
from cache_store.fleet_map import MAX_GPUS, MAX_MODELS, heat_map
from cache_store.fleet_page import OTHERS, STATES, FleetPage, Met, Starts, Trouble, Workload
from cache_store.fleet_timeline import over_time, timeline
from cache_store.page_charts import bars

NOW = datetime(2026, 11, 22, 12, tzinfo=timezone.utc)


def workload(model="m", gpu="H100", state="published", coverage=None, version="0.7.2", **more):
    coverage = coverage or ("complete" if state == "published" else "")
    return Workload("a/b/c/d", state, model, gpu, version, coverage=coverage, **more)


def page_of(workloads, **more):
    fields = {"store": "s3://b/x", "written_at": NOW, "program": "1", "troubles": (), "starts": Starts()}
    return FleetPage(workloads=tuple(workloads), **(fields | more))


def rows_of(text):
    data = json.loads(text)
    return data, [[data["texts"][at] for at in row[:11]] for row in data["rows"]]


def test_a_cell_counts_what_is_there_and_hides_nothing():
    found = heat_map([
        workload(coverage="incomplete", version="0.7.0", expected=10, missing=3),
        workload(expected=10, missing=0),
        workload(coverage="unknown"),
        workload(state="quarantined"),
    ])  # fmt: skip

    cell = found.cells["m"]["H100"]
    assert (cell.total, cell.published, cell.main) == (4, 3, "1 of 3 complete")
    assert cell.beside == "85 % of expected entries, 1 unknown, 1 quarantined"
    assert (cell.is_marked, cell.kind, cell.versions) == (True, "share-1", ("0.7.0", "0.7.2"))


@pytest.mark.parametrize(
    ("some", "told"),
    [
        ([workload(), workload()], ("2 of 2 complete", "", False, "share-4")),
        ([workload(coverage="unknown")], ("1 published", "1 unknown", False, "s-unknown")),
        ([workload(), workload(state="retired")], ("1 of 1 complete", "1 retired", False, "share-4")),
        ([workload(state="stale"), workload(state="being tuned")], ("none published", "1 being tuned, 1 stale", True, "s-stale")),
        ([workload(coverage="incomplete", expected=10**4000, missing=1)], ("0 of 1 complete", "99 % of expected entries", True, "share-0")),
    ],
)  # fmt: skip
def test_a_cell_in_words_and_its_colour(some, told):
    cell = heat_map(some).cells["m"]["H100"]

    assert (cell.main, cell.beside, cell.is_marked, cell.kind) == told


def test_every_state_has_a_colour_where_nothing_is_published():
    for state in STATES:
        assert heat_map([workload(state=state)]).cells["m"]["H100"].kind


def test_what_there_is_most_of_is_shown_by_name_and_the_rest_is_counted():
    many = [workload(model=f"m{number:02d}", gpu=f"g{number}") for number in range(MAX_MODELS + 5)]
    nameless = [workload(model="key 00", is_named=False)] * 3

    found = heat_map([*many, workload(model="m44", gpu="g44"), *nameless])

    assert (found.models[0], found.models[-1], len(found.models), found.left_out) == (
        "m00",
        "m44",
        MAX_MODELS,
        6,
    )
    assert "key 00" not in found.models
    assert (found.gpus[1], found.gpus[-1], len(found.gpus)) == ("g44", OTHERS, MAX_GPUS + 1)
    assert sum(cell.published for row in found.cells.values() for cell in row.values()) == MAX_MODELS + 1


def test_given_a_gpu_that_is_called_as_the_rest_then_there_is_one_such_column():
    found = heat_map([workload(gpu=OTHERS), workload()])

    assert found.gpus == ("H100", OTHERS)


def test_days_have_no_gaps_and_long_histories_are_months():
    days = timeline([workload(at=NOW), workload(at=NOW - timedelta(days=3), state="retired")])
    months = timeline([workload(at=NOW), workload(at=NOW - timedelta(days=200))])

    assert [one.label for one in days.periods] == ["2026-11-19", "2026-11-20", "2026-11-21", "2026-11-22"]
    assert (days.periods[0].counts["retired"], days.periods[-1].counts["published"]) == (1, 1)
    assert (months.periods[0].label, months.periods[-1].label, len(months.periods)) == (
        "2026-05",
        "2026-11",
        7,
    )
    assert timeline([workload(at=None)]).periods == ()


def test_given_one_date_far_away_then_the_days_stay_and_it_is_counted():
    days = [workload(at=NOW - timedelta(days=day)) for day in range(40)]

    found = timeline([*days, workload(at=datetime(2020, 1, 1, tzinfo=timezone.utc))])

    assert (len(found.periods), found.earlier, found.total) == (40, 1, 40)


def test_a_history_of_decades_is_cut_and_says_so():
    found = timeline([workload(at=NOW), workload(at=datetime(2020, 1, 1, tzinfo=timezone.utc))])

    assert [one.label for one in found.periods] == ["2026-11"]
    assert found.earlier == 1


@given(
    st.lists(
        st.tuples(st.dates(date(2020, 1, 1), date(2026, 11, 22)), st.sampled_from(("warm", "cold"))),
        max_size=30,
    )
)
def test_no_event_is_dropped_in_silence(events):
    found = over_time(Counter(events), ("warm", "cold"))

    assert found.total + found.earlier == len(events)
    assert len(found.periods) <= 60


def test_a_bundle_that_was_retired_and_tuned_anew_is_both():
    found = timeline([workload(at=NOW, taken_out=(NOW - timedelta(days=4), NOW - timedelta(days=2)))])

    told = {one.label: one.counts for one in found.periods if any(one.counts.values())}
    assert {label: counts["retired"] for label, counts in told.items()} == {
        "2026-11-18": 1,
        "2026-11-20": 1,
        "2026-11-22": 0,
    }
    assert told["2026-11-22"]["published"] == 1


def test_bars_are_as_high_as_their_counts_on_an_axis_of_whole_numbers():
    drawn = bars(
        timeline([workload(at=NOW), workload(at=NOW), workload(at=NOW, state="quarantined")]), "says"
    )

    assert drawn.count("<rect") == 2
    assert 'height="64.0"><title>2026-11-22: 2 published' in drawn
    assert 'height="32.0"><title>2026-11-22: 1 quarantined' in drawn
    assert [drawn.count(f">{number}</text>") for number in (4, 2, 0)] == [1, 1, 1]
    assert 'role="img" aria-label="says"' in drawn


def test_known_bad_rows_need_attention_too():
    page = page_of(
        [workload()],
        troubles=(Trouble("stale", "a", "b"),),
        starts=Starts(known_bad=(Met("known-bad-x", 3),)),
    )

    assert page.needs_attention == 2


@given(st.lists(st.text(), max_size=5))
def test_any_text_comes_back_from_the_data_and_never_ends_its_block(words):
    some = [workload(model=word, note=word) for word in words]
    text = as_data(page_of(some), heat_map(some))

    assert not set("<>&\u2028\u2029") & set(text)
    assert [row[4] for row in rows_of(text)[1]] == words


def test_given_more_facts_than_a_page_has_room_for_then_rows_say_where_they_are():
    some = [workload(facts=(("Key", f"n{number}", str(number) * 1000),)) for number in range(1, 14000)]

    text = as_data(page_of(some), heat_map(some))

    data, _ = rows_of(text)
    assert len(text) < 2 * MAX_CHARACTERS
    assert len(data["rows"]) == len(some)
    assert "cache-store show" in data["texts"][data["rows"][-1][-1][-1]]


def test_commands_are_quoted_for_a_shell():
    data, _ = rows_of(as_data(page_of([], store="s3://b/x y';rm"), heat_map([])))

    assert data["commands"]["show"] == ["cache-store show --store 's3://b/x y'\"'\"';rm' ", ""]


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("\u115f\u3164\u2800x", "\\u115f\\u3164\\u2800x"),
        ("e" + "\u0300" * 200 + "f", "e" + "\u0300" * MAX_MARKS + "f"),
        ("\u0928\u092e\u0938\u094d\u0924\u0947", "\u0928\u092e\u0938\u094d\u0924\u0947"),
        ("a\u202eb", "a\\u202eb"),
    ],
)
def test_what_cannot_be_seen_is_spelled_out(given, shown):
    assert page_text(given) == shown


def test_a_moment_is_in_utc_or_none():
    assert moment_of("2026-11-22T13:00:00+01:00") == NOW
    assert moment_of("0001-01-01T00:00:00+14:00") is None
    assert moment_of("2019-12-31T23:59:59Z") is None
