"""What may go and what must stay, decided without a store."""

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from tests.bundles import bundle, identity, tombstone

from cache_store.claim import Claim, UnreadableClaim
from cache_store.collecting import (
    DAY_S,
    CollectRules,
    Found,
    Objects,
    Unused,
    judge_address,
    judge_folders,
    sort_out,
)
from cache_store.layout import FOLDERS
from cache_store.objects import Entry

NOW = datetime(2026, 6, 1, tzinfo=timezone.utc)
PLACE = identity().address
BLOB = "a" * 64
COPY = "retired/x.json"
BARE = Found()


def objects(**ages_d):
    """Names (with __ for / and a dot) -> days since they were written."""
    return Objects(
        PLACE,
        {name: Entry(f"{PLACE}/{name}", 100, NOW - timedelta(days=days)) for name, days in ages_d.items()},
    )


def claim(state="done", **changes):
    fields = {"state": state, "epoch": 1, "counter": 1, "nonce": "n", "holder": "p", "lease_s": 60.0}
    return Claim(**(fields | changes))


def judged(found, ages_d, **rules):
    return judge_address(objects(**ages_d), found, CollectRules(**rules), NOW)


OLD_BUNDLE = {"bundle.json": 400, "claim.json": 400}


@pytest.mark.parametrize(
    ("rules", "action"),
    [
        ({}, "keep"),
        ({"older_than_s": 300 * DAY_S}, "retire"),
        ({"older_than_s": 500 * DAY_S}, "keep"),
        ({"flashinfer": frozenset({"0.7.2"})}, "retire"),
        ({"flashinfer": frozenset({"0.7.3"})}, "keep"),
        ({"older_than_s": 500 * DAY_S, "flashinfer": frozenset({"0.7.2"})}, "keep"),
        ({"older_than_s": 300 * DAY_S, "flashinfer": frozenset({"0.7.2"})}, "retire"),
        ({"older_than_s": 300 * DAY_S, "kept": frozenset({PLACE})}, "keep"),
    ],
)
def test_which_published_bundles_are_retired(rules, action):
    assert judged(Found(bundle(), claim=claim()), OLD_BUNDLE, **rules).action == action


@pytest.mark.parametrize(
    ("register", "ages_d", "rules", "action"),
    [
        (tombstone(), {"bundle.json": 31, "claim.json": 31, COPY: 31}, {}, "forget"),
        (tombstone(), {"bundle.json": 31, "claim.json": 31}, {}, "keep"),  # nothing is left of it
        (tombstone(), {"bundle.json": 29, "claim.json": 90, COPY: 90}, {}, "keep"),
        (tombstone(), {"bundle.json": 90, "claim.json": 1, COPY: 90}, {}, "keep"),
        (tombstone(), {"bundle.json": 90, COPY: 90, "parts/1/pod-0.json": 1}, {}, "keep"),
        (tombstone(), {"bundle.json": 6, COPY: 90}, {"tombstones_s": DAY_S}, "keep"),
        (tombstone(), {"bundle.json": 8, COPY: 90}, {"tombstones_s": DAY_S}, "forget"),
        (tombstone(), {"bundle.json": 90, COPY: 90}, {"kept": frozenset({PLACE})}, "keep"),
        (tombstone(may_retune=False), {"bundle.json": 900}, {}, "keep"),
        (tombstone(may_retune=False), {"bundle.json": 900}, {"forgets_quarantined": True}, "forget"),
        (None, {"claim.json": 31, "parts/1/pod-0.json": 31}, {}, "forget"),
        (None, {"claim.json": 31}, {}, "keep"),
        (None, {"claim.json": 3, "parts/1/pod-0.json": 31}, {}, "clean"),
        (None, {f"blobs/{BLOB}": 31}, {}, "forget"),
    ],
)
def test_what_is_forgotten(register, ages_d, rules, action):
    assert judged(replace(BARE, register=register), ages_d, **rules).action == action


def test_what_is_forgotten_goes_copies_first_and_both_registers_stay():
    ages_d = {"bundle.json": 90, "claim.json": 90, f"blobs/{BLOB}": 90, COPY: 90, "parts/1/pod-0.json": 90}
    found = Found(tombstone(), claim=claim(epoch=7), tags={"bundle.json": "t", "claim.json": "c"})

    verdict = judged(found, ages_d)

    assert tuple(verdict.going) == (COPY, "parts/1/pod-0.json", f"blobs/{BLOB}")
    assert verdict.freed_bytes == 300
    assert verdict.tags == found.tags
    assert verdict.epoch == 8


@pytest.mark.parametrize(
    ("held", "age_d"),
    [(claim("held"), 0), (claim("failed", cooldown_s=3 * DAY_S), 1), (UnreadableClaim("?"), 0)],
)
@pytest.mark.parametrize("register", [None, bundle(), tombstone()])
def test_where_somebody_tunes_nothing_is_touched(register, held, age_d):
    ages_d = {"claim.json": age_d, "bundle.json": 400, f"blobs/{BLOB}": 400, "parts/1/pod-0.json": 400}

    assert judged(Found(register, claim=held), ages_d, older_than_s=1.0).action == "keep"


def test_a_register_that_nobody_can_read_is_left_to_a_person():
    verdict = judged(Found(is_unreadable=True), {"bundle.json": 900, f"blobs/{BLOB}": 900}, older_than_s=1.0)

    assert verdict.action == "keep"
    assert "verify" in verdict.why


@pytest.mark.parametrize(
    ("name", "age_d", "found", "goes"),
    [
        ("parts/3/pod-1.json", 8, Found(bundle()), True),
        ("parts/3/pod-1.json", 6, Found(bundle()), False),
        (f"blobs/{BLOB}", 8, Found(bundle()), True),
        (f"blobs/{BLOB}", 6, Found(bundle()), False),
        (f"blobs/{BLOB}", 8, Found(bundle(), referenced=frozenset({BLOB})), False),
        (f"blobs/{BLOB}", 8, Found(bundle(), referenced=None), False),
        ("retired/x.json", 91, Found(bundle()), True),
        ("retired/x.json", 89, Found(bundle()), False),
        (
            "retired/x.json",
            900,
            Found(replace(tombstone(may_retune=False), retired_copy="retired/x.json")),
            False,
        ),
    ],
)
def test_which_leftovers_go(name, age_d, found, goes):
    verdict = judged(found, {"bundle.json": 400, name: age_d})

    assert (verdict.action, tuple(verdict.going)) == (("clean", (name,)) if goes else ("keep", ()))


def test_given_a_claim_of_this_week_when_contents_are_old_then_they_stay_for_its_sleeping_holder():
    ages_d = {"bundle.json": 400, "claim.json": 6, f"blobs/{BLOB}": 400, "parts/1/pod-0.json": 400}

    verdict = judged(Found(bundle(), claim=claim(), tags={"claim.json": "c"}), ages_d)

    assert tuple(verdict.going) == ("parts/1/pod-0.json",)


def test_the_copy_of_what_is_published_stays_for_whoever_is_about_to_retire_it():
    """it was kept by a retirement that never came to its swap"""
    verdict = judged(Found(bundle(nonce="n7")), {"bundle.json": 400, "retired/n7.json": 400, COPY: 400})

    assert tuple(verdict.going) == (COPY,)


def test_a_kept_address_is_never_touched():
    """on the command line it says "never touch": its old copies went all the same"""
    ages_d = {"bundle.json": 400, COPY: 400, f"blobs/{BLOB}": 400, "parts/1/pod-0.json": 400}

    assert judged(Found(bundle()), ages_d, kept=frozenset({PLACE})).action == "keep"


@pytest.mark.parametrize(("register", "action"), [(bundle(), "retire"), (tombstone(), "keep")])
def test_a_claim_that_is_too_large_to_be_read_is_nobodys_to_take_over(register, action):
    found = Found(register, claim=UnreadableClaim("more than 1048576 bytes"), tags={"bundle.json": "t"})

    verdict = judged(found, {"bundle.json": 400, "claim.json": 400, COPY: 400}, older_than_s=DAY_S)

    assert verdict.action == action
    assert verdict.action == "retire" or "too large" in verdict.why


@pytest.mark.parametrize(
    ("published_d", "used_d", "is_unused"),
    [(90, None, True), (90, 70, True), (90, 50, False), (50, 70, False), (50, None, False)],
)
def test_what_was_published_after_its_last_use_is_as_young_as_its_publication(published_d, used_d, is_unused):
    """given records of 100 days; a bundle that was retired and tuned anew keeps the records of the old one"""

    def ago(days):
        return NOW - timedelta(days=days)

    unused = Unused(60 * DAY_S, {} if used_d is None else {PLACE: ago(used_d)}, ago(100))

    assert unused.fits(PLACE, ago(published_d), NOW) is is_unused


def test_an_entry_that_does_not_tell_its_age_is_young():
    one = Objects(PLACE, {"bundle.json": Entry(f"{PLACE}/bundle.json", 1, None)})

    assert judge_address(one, Found(tombstone()), CollectRules(), NOW).action == "keep"


def test_objects_that_the_layout_does_not_know_are_in_no_address():
    keys = [
        f"{PLACE}/bundle.json", f"{PLACE}/notes.txt", f"{PLACE}/blobs/../x", "README", "_groups/a/roll.json",
        ".probe/x", "_resolved/y.json", "_other/z",
    ]  # fmt: skip

    found, folders, foreign = sort_out(Entry(key, 1, NOW) for key in keys)

    assert [set(one.entries) for one in found] == [{"bundle.json"}]
    assert {name: len(entries) for name, entries in folders.items()} == {
        "_groups/": 1, "_resolved/": 1, "_reports/": 0, ".probe/": 1,
    }  # fmt: skip
    assert foreign == 4


def test_what_lies_beside_goes_only_where_it_was_said_but_for_the_probes():
    folders = {
        name: [Entry(f"{name}old", 5, NOW - timedelta(days=40)), Entry(f"{name}new", 5, NOW)]
        for name in FOLDERS
    }

    assert judge_folders(folders, CollectRules(), NOW) == [(".probe/old", 5)]
    month = 30 * DAY_S
    every = CollectRules(groups_s=month, memos_s=month, reports_s=month)
    assert [key for key, _ in judge_folders(folders, every, NOW)] == [
        "_groups/old", "_resolved/old", "_reports/old", ".probe/old",
    ]  # fmt: skip
