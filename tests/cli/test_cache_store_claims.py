from dataclasses import replace

import pytest
from tests.bundles import H200, identity

from cache_store.errors import ErrorKind
from cache_store.objects import StoredObject
from cache_store.testing.clock import ManualClock
from cache_store.testing.faulty import Fails, Fault


def only(done):
    (row,) = done.document["claims"]
    return row


def test_a_tune_under_way(shop):
    shop.claim(expected_s=90.0, held_s=20.0)
    shop.clock.advance(10)

    row = only(shop("claims", "--json"))

    assert (row["state"], row["verdict"], row["is_stale"]) == ("held", "held", False)
    assert (row["age_s"], row["age_clock"], row["epoch"], row["holder"]) == (10, "server", 1, "pod-a")
    assert (row["lease_left_s"], row["finish_in_s"]) == (55, 60)


@pytest.mark.parametrize(
    ("changes", "age_s", "verdict", "is_stale"),
    [
        ({}, 64, "held", False),
        ({}, 65, "free", True),
        ({"held_s": 1790.0}, 11, "free", True),
        ({"state": "released"}, 1, "free", False),
        ({"state": "done"}, 1, "free", False),
        ({"state": "failed", "cooldown_s": 600.0}, 599, "cooling-down", False),
        ({"state": "failed", "cooldown_s": 600.0}, 600, "free", False),
    ],
)
def test_what_a_claim_means(shop, changes, age_s, verdict, is_stale):
    shop.claim(**changes)
    shop.clock.advance(age_s)

    row = only(shop("claims", "--json"))

    assert (row["verdict"], row["is_stale"]) == (verdict, is_stale)
    assert ("(stale)" in shop("claims", "--all").stdout) == is_stale


def test_a_failed_tune_shows_its_error_and_tail(shop):
    shop.claim(state="failed", error="tuner-crashed", cooldown_s=600.0, tail=("one\x1b[2J", "two"))

    text = shop("claims").stdout

    assert "tuner-crashed" in text
    assert "  | one\\x1b[2J\n  | two\n" in text
    assert only(shop("claims", "--json"))["tail"] == ["one\x1b[2J", "two"]


@pytest.mark.parametrize(("age_s", "verdict", "is_stale"), [(10, "held", False), (66, "free", True)])
def test_an_unreadable_claim_counts_as_held_until_it_is_old(shop, age_s, verdict, is_stale):
    shop.put(identity().address.claim_key, b"{\x1b")
    shop.clock.advance(age_s)

    row = only(shop("claims", "--json"))

    assert (row["state"], row["problem"]) == ("unreadable", "claim-unreadable")
    assert (row["verdict"], row["is_stale"]) == (verdict, is_stale)


@pytest.mark.parametrize(
    ("size", "problem", "verdict"),
    [(70_000, "claim-unreadable", "held"), (2**20 + 1, "store-too-large", "unknown")],
)
def test_a_huge_claim_is_a_row(shop, size, problem, verdict):
    shop.put(identity().address.claim_key, b" " * size)

    row = only(shop("claims", "--json"))

    assert (row["state"], row["problem"], row["verdict"]) == ("unreadable", problem, verdict)


def test_numbers_that_json_does_not_have(shop):
    shop.put(
        identity().address.claim_key,
        b'{"schema":"autotune-cache/claim/v1","state":"failed","epoch":1,"counter":1,"nonce":"n","holder":"h",'
        b'"lease_s":60,"cooldown_s":1e400,"expected_s":1e400}',
    )

    assert only(shop("claims", "--json"))["cooldown_left_s"] is None
    assert shop("claims").code == 0


class WithoutDate:
    """What obstore hands out: when it was written, and not what time it is there."""

    def __init__(self, store):
        self._store = store

    def __getattr__(self, name):
        return getattr(self._store, name)

    def get(self, key, *, limit_bytes):
        answer = self._store.get(key, limit_bytes=limit_bytes)
        return replace(answer, date=None) if isinstance(answer, StoredObject) else answer


def test_without_the_servers_date_our_own_clock_stands_in_and_is_marked(shop):
    shop.claim()
    shop.store = WithoutDate(shop.memory)
    shop.clock.advance(30)

    row = only(shop("claims", "--json"))

    assert (row["age_s"], row["age_clock"]) == (30, "local")
    assert "~30s" in shop("claims").stdout


def test_given_a_clock_that_is_a_day_ahead_when_listed_then_nobody_is_called_dead_as_a_fact(shop):
    shop.claim()
    shop.store = WithoutDate(shop.memory)
    shop.clock.advance(86400)

    listed, shown = shop("claims"), shop("show", identity().address)

    for done in (listed, shown):
        assert "stale, by this computer's clock" in done.stdout
        assert "free" not in done.stdout
        assert "`cache-store doctor` compares" in done.stderr
    assert only(shop("claims", "--json"))["is_stale"]
    assert shop("claims", "--json").stderr == ""


@pytest.mark.parametrize("command", [["claims"], ["stats"], ["show", identity().address]])
def test_given_a_clock_that_is_a_day_behind_when_asked_then_it_says_so(shop, command):
    shop.clock.advance(86400)
    shop.claim()

    assert "clock is at least 24h00m behind the store's" in shop(*command, clock=ManualClock()).stderr


def test_text_shows_who_holds_it_for_how_long_and_for_which_model(shop):
    shop.publish(who=identity(H200))
    shop.claim(held_s=754.0, lease_s=3600.0)
    shop.clock.advance(46)

    header, row = shop("claims").stdout.splitlines()

    assert header.split("  ")[0] == "ADDRESS"
    assert row.split()[1:6] == ["m", "held", "held", "pod-a", "13m20s"]
    assert only(shop("claims", "--json"))["model"] == "m"


def test_what_is_over_is_counted_in_text_and_listed_where_it_is_asked_for(shop):
    shop.claim()
    shop.claim(identity(key="b" * 16), state="done")
    shop.claim(identity(key="c" * 16), state="released", error="node is gone")

    done = shop("claims")

    assert len(done.stdout.splitlines()) == 2
    assert "2 more are done or released" in done.stderr
    everything = shop("claims", "--all").stdout
    assert "  why: node is gone" in everything
    assert "failed" not in everything
    assert len(shop("claims", "--json").document["claims"]) == 3


def test_filters(shop):
    shop.claim()
    shop.claim(identity(key="b" * 16), state="failed", cooldown_s=600.0)
    shop.claim(identity(key="c" * 16), state="done")

    def keys(*arguments):
        return [row["key"][0] for row in shop("claims", "--json", *arguments).document["claims"]]

    assert keys("--state", "done") == ["c"]
    assert keys("--verdict", "held", "--verdict", "cooling-down") == ["0", "b"]
    assert keys("--verdict", "stale") == []
    shop.clock.advance(700)
    assert keys("--verdict", "stale") == ["0"]
    assert "cccc" in shop("claims", "--state", "done").stdout


def test_one_row_a_claim_in_address_order(shop):
    shop.claim(identity(key="b" * 16))
    shop.claim(identity(key="a" * 16))
    shop.claim()
    shop.publish(who=identity(H200))

    done = shop("claims", "--json")

    assert [row["key"][0] for row in done.document["claims"]] == ["0", "a", "b"]
    assert shop.requests == {"list": 1, "get": 4}  # one for the model of the key that has a bundle
    assert len(shop("claims").stdout.splitlines()) == 4


def test_no_claims(shop):
    shop.publish()
    done = shop("claims")

    assert (done.code, done.stdout) == (0, "")
    assert "no claims" in done.stderr
    assert shop("claims", "--json").document["claims"] == []


def test_refusals(shop):
    shop.claim()
    shop.faulty.script(Fault("list", Fails(ErrorKind.DENIED)))
    assert shop("claims").code == 14
    shop.faulty.script(Fault("get", Fails(ErrorKind.DENIED)))
    assert shop("claims").code == 14
    shop.faulty.script(Fault("list", Fails(ErrorKind.TIMEOUT), times=100))
    assert shop("claims", "--json").error["kind"] == "store-timeout"
