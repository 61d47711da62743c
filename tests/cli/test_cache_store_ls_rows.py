"""Which rows `ls` shows, in which order, and what it reads for them."""

import threading

import pytest
from tests.bundles import H200, identity, tombstone

from cache_store.cli.bundle_rows import by_numbers
from cache_store.objects import Entry
from cache_store.testing.clock import ManualClock

DAY_S = 86400


@pytest.fixture
def aged(shop):
    """A published bundle of 40 days, a quarantined one of 20, a claim of 10 and a published one of today."""
    shop.publish(holder="pod-b", tune_s=20.0)
    shop.clock.advance(20 * DAY_S)
    shop.put(identity(key="c" * 16).address.bundle_key, tombstone(may_retune=False).encode())
    shop.clock.advance(10 * DAY_S)
    shop.claim(identity(key="a" * 16))
    shop.clock.advance(10 * DAY_S)
    shop.publish(who=identity(H200), holder="pod-a", tune_s=300.0)
    return shop


def keys(done):
    return [(row["key"][:1], row["environment"][7:11]) for row in done.document["bundles"]]


def shown(done):
    return [(row["state"], round(row["age_s"] / DAY_S)) for row in done.document["bundles"]]


@pytest.mark.parametrize(
    ("flags", "rows", "gets"),
    [
        (["--older-than", "30d"], [("published", 40)], 1),
        (["--older-than", "2w", "--younger-than", "30d"], [("quarantined", 20)], 1),
        (["--younger-than", "12h"], [("published", 0)], 1),
        (["--older-than", "5w", "--state", "claimed-only"], [], 0),
        (["--state", "claimed-only"], [("claimed-only", 10)], 0),
        (["--state", "quarantined"], [("quarantined", 20)], 3),
        (
            ["--state", "quarantined", "--state", "claimed-only"],
            [("claimed-only", 10), ("quarantined", 20)],
            3,
        ),
        (["--model", "M"], [("published", 40), ("published", 0)], 3),
        (["--model", "llama"], [], 3),
        (["--gpu", "h200"], [("published", 0)], 1),
    ],
)
def test_filters_and_what_they_read(aged, flags, rows, gets):
    done = aged("ls", "--json", *flags)

    assert shown(done) == rows
    assert aged.requests == ({"list": 1, "get": gets} if gets else {"list": 1})


@pytest.mark.parametrize(
    ("order", "ages"),
    [
        ("age", [0, 10, 20, 40]),
        ("-age", [40, 20, 10, 0]),
        ("took", [40, 0, 10, 20]),
        ("-took", [0, 40, 10, 20]),
        ("made-by,age", [0, 40, 10, 20]),
        ("state,-age", [10, 40, 0, 20]),
        ("coverage,-took", [0, 40, 10, 20]),
    ],
)
def test_orders(aged, order, ages):
    assert [age for _, age in shown(aged("ls", "--json", "--sort", order))] == ages


def test_names_only_sorts_and_filters_by_what_the_listing_tells(aged):
    done = aged("ls", "--names-only", "--json", "--sort", "-age", "--older-than", "1d")

    assert [row["key"][0] for row in done.document["bundles"]] == ["0", "c", "a"]
    assert aged.requests == {"list": 1}


@pytest.mark.parametrize(
    "flags",
    [
        ["--sort", "colour"],
        ["--sort", ""],
        ["--older-than", "30"],
        ["--older-than", "1e9d"],
        ["--older-than", "-3d"],
        ["--state", "gone"],
        ["--names-only", "--model", "m"],
        ["--names-only", "--state", "published"],
        ["--names-only", "--sort", "took"],
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_asked(shop, flags):
    done = shop("ls", *flags)

    assert (done.code, done.stdout, shop.requests) == (2, "", {})


def test_a_sorted_list_on_a_terminal_is_columns(aged, monkeypatch):
    monkeypatch.setattr("cache_store.cli.output.is_terminal", lambda: True)

    assert aged("ls", "--sort", "age").stdout.startswith("ADDRESS ")


def test_given_a_clock_a_day_behind_when_listed_then_it_is_said(shop):
    behind = ManualClock()
    shop.clock.advance(DAY_S)
    shop.publish()

    assert "clock is at least 24h00m behind" in shop("ls", clock=behind).stderr
    done = shop("ls", "--json", clock=behind)
    assert (done.document["clock_behind_s"], done.stderr) == (pytest.approx(86400, abs=10), "")
    assert "clock_behind_s" not in shop("ls", "--json").document
    assert shop("ls", "--json").stderr == ""


def test_given_an_object_without_a_time_when_filtered_by_age_then_it_is_in_neither(shop, monkeypatch):
    address = shop.publish()
    monkeypatch.setattr(shop.memory, "list", lambda _prefix: iter([Entry(address.bundle_key, 5, None)]))

    assert shown_count(shop("ls", "--json", "--older-than", "1s")) == 0
    assert shown_count(shop("ls", "--json", "--younger-than", "9999d")) == 0
    assert shown_count(shop("ls", "--json")) == 1


def shown_count(done):
    return len(done.document["bundles"])


def test_given_a_model_path_of_4_kb_in_any_script_when_listed_then_it_is_a_row(shop):
    for number, model in enumerate(("m" * 4096, "模型/通义\u202eX", "/a\x1b[31mb", "[bold]")):
        who = identity(key=f"{number:016x}")
        shop.publish(who=type(who)(**{**vars(who), "key_inputs": {"model_path": model}}))

    done = shop("ls")

    assert len(done.stdout.splitlines()) == 5
    assert max(map(len, done.stdout.splitlines())) < 400
    assert "\x1b" not in done.stdout
    assert shown_count(shop("ls", "--json", "--model", "通义")) == 1
    assert len(shop("ls", "--json", "--model", "MMMM").document["bundles"][0]["model"]) == 4096


def test_given_only_foreign_objects_when_listed_then_no_row_and_no_read(shop):
    for number in range(2500):
        shop.put(f"datasets/part-{number}", b"x")
    shop.put("Überblick/übung 模型.json", b"{}")

    done = shop("ls", "--json")

    assert done.document["bundles"] == []
    assert done.document["foreign"]["objects"] == 2501
    assert shop.requests == {"list": 1}


def test_reads_go_on_while_the_listing_comes_in(shop, monkeypatch):
    """Else a large bucket's listing is waited for before the first bundle is read."""
    address = shop.publish()
    was_read = threading.Event()

    def listing(_prefix):
        yield Entry(address.bundle_key, 5, shop.clock.now())
        yield from (Entry(f"x/{number}", 1, None) for number in range(5000))
        assert was_read.wait(5)

    plain = shop.memory.get
    monkeypatch.setattr(shop.faulty, "list", listing)
    monkeypatch.setattr(shop.memory, "get", lambda key, **more: (was_read.set(), plain(key, **more))[1])

    assert shop("ls", "--json").document["foreign"]["objects"] == 5000


def test_versions_and_architectures_are_in_the_order_of_their_numbers():
    rest = "0123456789abcdef/nvidia-h200-0123456789ab"
    sorted_by_people = [
        f"{one}/{rest}" for one in ("0.6.9/sm90", "0.6.18/sm90", "0.6.18/sm100", "0.7.0rc1/sm90")
    ]

    assert sorted(set(sorted_by_people), key=by_numbers) == sorted_by_people
