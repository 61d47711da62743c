"""The nouns of the fleet page: the heat map's best, the timeline without gaps, and data that never ends its block."""

import json
from datetime import datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from cache_store.cli.page_html import as_data
from cache_store.fleet_page import MAX_GPUS, MAX_MODELS, OTHERS, Starts, Workload, heat_map, timeline
from cache_store.page_charts import bars

NOW = datetime(2026, 11, 22, 12, tzinfo=timezone.utc)


def workload(model="m", gpu="H100", state="published", standing="complete", version="0.7.2", **more):
    return Workload("a/b/c/d", state, standing, model, gpu, version, **more)


def test_a_cell_is_the_best_that_is_there():
    found = heat_map([
        workload(standing="incomplete", version="0.7.0"),
        workload(standing="complete"),
        workload(state="quarantined", standing="quarantined"),
    ])  # fmt: skip

    cell = found.cells["m"]["H100"]
    assert (cell.published, cell.standing, cell.versions) == (2, "complete", ("0.7.0", "0.7.2"))


def test_what_there_is_most_of_comes_first_and_the_rest_is_counted():
    many = [workload(model=f"m{number}", gpu=f"g{number}") for number in range(MAX_MODELS + 5)]

    found = heat_map([*many, workload(model="m7", gpu="g7")])

    assert (found.models[0], len(found.models), found.left_out) == ("m7", MAX_MODELS, 5)
    assert (found.gpus[0], found.gpus[-1], len(found.gpus)) == ("g7", OTHERS, MAX_GPUS + 1)
    assert sum(cell.published for row in found.cells.values() for cell in row.values()) == MAX_MODELS + 1


def test_days_have_no_gaps_and_long_histories_are_months():
    days = timeline([workload(at=NOW), workload(at=NOW - timedelta(days=3), state="tombstone")])
    months = timeline([workload(at=NOW), workload(at=NOW - timedelta(days=200))])

    assert [one.label for one in days] == ["2026-11-19", "2026-11-20", "2026-11-21", "2026-11-22"]
    assert (days[0].counts["retired"], days[-1].counts["published"]) == (1, 1)
    assert (months[0].label, months[-1].label, len(months)) == ("2026-05", "2026-11", 7)
    assert timeline([workload(at=None)]) == ()


def test_a_history_of_centuries_is_cut():
    found = timeline([workload(at=NOW), workload(at=datetime(1970, 1, 1, tzinfo=timezone.utc))], periods=60)

    assert len(found) == 60
    assert found[-1].label == "2026-11"


def test_bars_are_as_high_as_their_counts():
    drawn = bars(timeline([workload(at=NOW), workload(at=NOW), workload(at=NOW, state="quarantined")]))

    assert drawn.count("<rect") == 2
    assert 'height="92.0"><title>2026-11-22: 2 published' in drawn
    assert 'height="46.0"><title>2026-11-22: 1 quarantined' in drawn


def test_known_bad_releases_that_pods_met():
    starts = Starts(9, reasons=(("known-bad-x", 3), ("store-timeout", 2)))

    assert starts.known_bad == (("known-bad-x", 3),)


@given(st.lists(st.text(), max_size=5))
def test_any_text_comes_back_from_the_data_and_never_ends_its_block(words):
    text = as_data([workload(model=word, note=word) for word in words])

    assert not set("<>&\u2028\u2029") & set(text)
    data = json.loads(text)
    assert [data["texts"][row[3]] for row in data["rows"]] == words
