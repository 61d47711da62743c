"""The lease's arithmetic, one row a line."""

import json

import pytest

from cache_store.claim import (
    Claim,
    CoolingDown,
    MayTake,
    MustWait,
    Rules,
    UnreadableClaim,
    judge,
    parse_claim,
)

RULES = Rules()


def claim(**changes):
    return Claim(
        **{
            "state": "held",
            "epoch": 4,
            "counter": 1,
            "nonce": "n",
            "holder": "pod-a",
            "lease_s": 60.0,
            **changes,
        }
    )


@pytest.mark.parametrize(
    ("what", "age_s", "expected"),
    [
        pytest.param(claim(), 0.0, MustWait(65.0, None), id="a fresh lease is waited for"),
        pytest.param(claim(), 64.9, MustWait(pytest.approx(0.1), None), id="the margin counts as lease"),
        pytest.param(claim(), 65.0, MayTake(5, "lease ran out"), id="a lease that ran out may be taken"),
        pytest.param(
            claim(lease_s=10.0), 16.0, MayTake(5, "lease ran out"), id="the claim's own lease counts"
        ),
        pytest.param(
            claim(expected_s=100.0, held_s=20.0), 10.0, MustWait(55.0, 70.0), id="expected finish is told"
        ),
        pytest.param(
            claim(held_s=1795.0),
            6.0,
            MayTake(5, "held longer than 1800 s"),
            id="a hung tune with a live heartbeat ends",
        ),
        pytest.param(
            claim(state="released"), 0.0, MayTake(5, "released"), id="released may be taken at once"
        ),
        pytest.param(claim(state="done"), 0.0, MayTake(5, "done"), id="done without a bundle may be taken"),
        pytest.param(
            claim(state="failed", cooldown_s=600.0, error="boom"),
            60.0,
            CoolingDown(540.0, "boom", ()),
            id="cool-down",
        ),
        pytest.param(
            claim(state="failed", cooldown_s=600.0),
            600.0,
            MayTake(5, "cool-down over"),
            id="after the cool-down",
        ),
        pytest.param(UnreadableClaim("x"), 10.0, MustWait(55.0, None), id="an unreadable claim is held"),
        pytest.param(
            UnreadableClaim("x"),
            65.0,
            MayTake(1, "unreadable claim (x) ran out"),
            id="until its age runs out",
        ),
    ],
)
def test_judge(what, age_s, expected):
    assert judge(what, age_s, RULES) == expected


def test_a_claim_survives_the_round_trip():
    made = claim(state="failed", error="x", cooldown_s=3.0, tail=("a", "b"))

    assert parse_claim(made.encode()) == made


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"schema":"autotune-cache/claim/v9"}',
        b"[" * 5000,
        b" " * 70_000,
        b"\xff",
        b'{"state":"held"}',
    ],
)
def test_what_is_no_claim_is_unreadable_and_never_an_exception(body):
    assert isinstance(parse_claim(body), UnreadableClaim)


@pytest.mark.parametrize("field", ["cooldown_s", "held_s", "expected_s", "lease_s"])
@pytest.mark.parametrize("value", ["1e400", "-1", "1e12", "NaN"])
def test_a_hostile_duration_cannot_keep_a_key_from_ever_being_tuned(field, value):
    document = {**json.loads(claim(state="failed").encode()), field: "HERE"}
    body = json.dumps(document).replace('"HERE"', value).encode()

    assert isinstance(parse_claim(body), UnreadableClaim)
