"""What one pod of a group does about the roll that it sees: every branch, and every story that a group can have."""

import dataclasses
import itertools
import re

import pytest
from tests.bundles import identity

from cache_store.group_place import GroupPlace
from cache_store.group_roll import (
    KEPT_ATTEMPTS,
    MAX_ROLL_BYTES,
    Await,
    BadRoll,
    Follow,
    Offer,
    Put,
    Superseded,
    as_torn,
    next_step,
    parse_roll,
)

PLACE = GroupPlace("cluster-a", "lws-0.lws.default", 2, identity().address)
ALONE = dataclasses.replace(PLACE, restarts_alone=True)


def offer(rank, who=None, token="N", problem=""):
    return Offer(rank, who or f"pod-{rank}", token, problem)


def step(roll, what, *, joined=0, is_recent=False, is_over=False, place=PLACE):
    nonce = f"n{next(NONCES)}"
    return next_step(roll, place, what, nonce=nonce, joined=joined, is_recent=is_recent, is_over=is_over)


NONCES = itertools.count()


def put(roll, what, **more):
    done = step(roll, what, **more)
    assert isinstance(done, Put), done
    return parse_roll(done.roll.encode(), more.get("place", PLACE))


def settled(*offers, roll=None, **more):
    """A group that has settled on what they offer: each comes, each confirms, the last one decides."""
    for _ in range(2):
        for one in offers:
            if not isinstance(step(roll, one, **more), Await | Follow):
                roll = put(roll, one, **more)
    return roll


WARM = settled(offer(0), offer(1))
COLD = settled(offer(0), offer(1, token=None, problem="disk full"))


def test_everybody_comes_everybody_confirms_and_the_last_one_decides():
    alone = put(None, offer(0))
    assert alone.decision is None
    assert step(alone, offer(0)) == Await((1,))

    both = put(alone, offer(1))
    assert both.decision is None, "pod 0 may have been killed since it came"
    assert [both.members[rank].confirmed for rank in "01"] == [False, True]
    assert step(both, offer(1)) == Await(())

    decided = put(both, offer(0))
    assert (decided.decision.verdict, decided.decision.token, decided.decision.presumed) == ("warm", "N", ())
    assert step(decided, offer(0)) == step(decided, offer(1)) == Follow(decided.decision)


def test_a_pod_that_was_killed_after_its_first_word_is_not_counted():
    """Found by the simulator: its peer installed, and its successor found nobody to start with."""
    both = put(put(None, offer(0, "killed")), offer(1))

    anew = put(both, offer(0, "new"))

    assert anew.decision is None
    assert [anew.members[rank].confirmed for rank in "01"] == [True, False], (
        "who had confirmed had seen another pod"
    )
    assert put(anew, offer(1)).decision.verdict == "warm"


def test_a_pod_that_came_and_was_not_heard_of_again_leaves_the_others_cold():
    both = put(put(None, offer(0)), offer(1))

    over = put(both, offer(1), is_over=True)

    assert (over.decision.verdict, over.decision.reason) == ("cold", "pod 0 came and was not heard of again")


def test_one_who_cannot_be_warm_makes_all_cold_and_nobody_waits_for_the_rest():
    place = dataclasses.replace(PLACE, size=8)
    first = put(None, offer(3, token=None, problem="disk full"), place=place)

    assert (first.decision.verdict, first.decision.reason) == ("cold", "pod 3: disk full")
    # those who come at once join what is decided; nobody opens another attempt for it
    late = put(first, offer(5), is_recent=True, place=place)
    assert late.attempt == 1
    assert step(late, offer(5), place=place) == Follow(first.decision)


def test_different_bundles_are_no_agreement():
    decision = settled(offer(0, token="N"), offer(1, token="M")).decision

    assert (decision.verdict, decision.token) == ("cold", None)
    assert "M, N" in decision.reason


def test_who_does_not_come_in_time_leaves_the_group_cold():
    over = put(put(None, offer(0)), offer(0), is_over=True)

    assert (over.decision.verdict, over.decision.reason) == ("cold", "pod 1 did not come in time")
    late = put(over, offer(1), is_recent=True)
    assert step(late, offer(1)) == Follow(over.decision)


def test_a_restarted_group_opens_another_attempt():
    first = put(WARM, offer(0, "new-0", token="M"))

    assert (first.attempt, first.decision, set(first.members)) == (2, None, {"0"})
    both = settled(offer(0, "new-0", token="M"), offer(1, "new-1", token="M"), roll=first)
    assert (both.attempt, both.decision.token) == (2, "M")
    # a pod of the first start that slept since then still learns what was decided for it
    assert step(both, offer(1)) == Follow(WARM.decision)


def test_where_pods_are_replaced_alone_one_joins_what_its_peers_run():
    alone = put(WARM, offer(1, "new-1"), place=ALONE)
    assert step(alone, offer(1, "new-1"), place=ALONE) == Await((0,))

    over = put(alone, offer(1, "new-1"), is_over=True, place=ALONE)

    assert (over.decision.verdict, over.decision.token, over.decision.presumed) == ("warm", "N", (0,))
    again = put(put(over, offer(1, "third-1"), place=ALONE), offer(1, "third-1"), is_over=True, place=ALONE)
    assert (again.decision.verdict, again.decision.presumed) == ("warm", (0,))


def test_where_groups_are_made_anew_a_missing_pod_is_a_new_one_that_cannot_speak_and_will_be_cold():
    alone = put(WARM, offer(1, "new-1"))
    over = put(alone, offer(1, "new-1"), is_over=True)

    assert (over.decision.verdict, over.decision.presumed) == ("cold", ())


@pytest.mark.parametrize(
    "changed", [{"token": "M"}, {"token": None, "problem": "disk full"}], ids=["other", "none"]
)
def test_a_pod_that_is_replaced_alone_and_cannot_have_its_peers_bundle_is_torn(changed):
    alone = put(WARM, offer(1, "new-1", **changed), place=ALONE)
    assert alone.decision is None, "its peer, if it comes, may say otherwise"

    over = put(alone, offer(1, "new-1", **changed), is_over=True, place=ALONE)

    assert (over.decision.verdict, over.decision.presumed) == ("cold", (0,))
    both = put(alone, offer(0, "new-0"), place=ALONE)
    assert (both.decision.verdict, both.decision.presumed) == ("cold", ()), "both came: nobody runs warm"


def test_after_a_cold_start_a_pod_that_is_replaced_alone_is_cold():
    alone = put(COLD, offer(1, "new-1"), place=ALONE)
    over = put(alone, offer(1, "new-1"), is_over=True, place=ALONE)

    assert (over.decision.verdict, over.decision.presumed) == ("cold", ())


@pytest.mark.parametrize("place", [PLACE, ALONE], ids=["anew", "alone"])
def test_after_a_torn_start_the_next_one_is_cold_and_the_one_after_it_is_not(place):
    torn = as_torn(WARM, offer(0), "torn")

    assert step(torn, offer(1)) == Follow(WARM.decision), "what was decided stays decided"
    second = put(put(torn, offer(0, "new-0"), place=place), offer(1, "new-1"), is_recent=True, place=place)
    assert second.decision.verdict == "cold"
    third = settled(offer(0, "third-0"), offer(1, "third-1"), roll=second, place=place)
    assert third.decision.verdict == "warm"


def test_only_a_pod_of_a_warm_start_can_leave_it_torn_and_only_once():
    assert as_torn(COLD, offer(0), "n") is None
    assert as_torn(WARM, offer(0, "stranger"), "n") is None
    assert as_torn(put(None, offer(0)), offer(0), "n") is None
    assert as_torn(as_torn(WARM, offer(0), "n"), offer(1), "m") is None


def test_a_stale_pod_on_an_open_roll_is_replaced_and_sees_it():
    roll = put(put(None, offer(0, "old")), offer(0, "new"))

    assert roll.members["0"].incarnation == "new"
    assert step(roll, offer(0, "old"), joined=1) == Superseded("new")


def test_another_offer_of_the_same_pod_counts_until_it_is_decided():
    changed = put(put(None, offer(0)), offer(0, token=None, problem="disk full"))

    assert changed.decision.reason == "pod 0: disk full"


def test_a_late_pod_joins_only_a_decision_that_is_young():
    over = put(put(None, offer(0)), offer(0), is_over=True)

    assert put(over, offer(1), is_recent=False).attempt == 2


def test_the_history_is_bounded_and_no_two_bodies_are_equal():
    roll, bodies = WARM, set()
    for start in range(3 * KEPT_ATTEMPTS):
        for rank in (0, 1, 0):
            roll = put(roll, offer(rank, f"{start}-{rank}"))
            bodies.add(roll.encode())
    assert len(roll.earlier) == KEPT_ATTEMPTS
    assert len(bodies) == 9 * KEPT_ATTEMPTS
    assert roll.attempt == 1 + 3 * KEPT_ATTEMPTS


def test_the_largest_group_fits():
    place = dataclasses.replace(PLACE, size=256)
    roll = None
    for start in range(KEPT_ATTEMPTS + 1):
        everybody = [offer(rank, f"0f8fad5b-d9cb-469f-a165-70867728{start}{rank:03}") for rank in range(256)]
        for one in (*everybody, *everybody[:-1]):
            roll = step(roll, one, place=place).roll
        assert roll.decision.verdict == "warm"
    assert len(roll.encode()) < MAX_ROLL_BYTES


@pytest.mark.parametrize(
    "other",
    [
        {"scope": "cluster-b"},
        {"name": "lws-1.lws.default"},
        {"size": 4},
        {"address": identity(key="f" * 16).address},
    ],
    ids=["cluster", "replica", "size", "bundle"],
)
def test_every_part_of_a_place_makes_another_register(other):
    assert dataclasses.replace(PLACE, **other).key != PLACE.key


def test_a_place_is_a_valid_key_whatever_the_name():
    for name in ("", "../../x", "ä" * 300, "a b\n"):
        key = dataclasses.replace(PLACE, name=name).key
        assert re.fullmatch(r"_groups/[a-z0-9-]{1,40}-[0-9a-f]{16}/roll\.json", key)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "JSON"),
        (b"{}", "group"),
        (b"[" * 100, "deeper"),
        (b"x" * (MAX_ROLL_BYTES + 1), "larger"),
        (WARM.encode().replace(b"/v1", b"/v9"), "schema"),
        (WARM.encode().replace(b"lws-0", b"lws-7"), "lws-7"),
        (WARM.encode().replace(b'"size": 2', b'"size": 3'), "3 pods"),
    ],
    ids=["empty", "fields", "deep", "large", "schema", "group", "size"],
)
def test_bytes_that_are_no_roll_of_this_group_are_refused(body, says):
    with pytest.raises(BadRoll, match=says):
        parse_roll(body, PLACE)
