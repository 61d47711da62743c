"""Rounds of 16 pods whose claim holder is killed or stopped. `make test-processes` plays hundreds; these are one of each."""

import os

import pytest
from tests.image.trees import open_to_all
from tests.processes import gates, minio
from tests.processes.checks import Tally
from tests.processes.play import STAGES, play_rounds, steps_of
from tests.processes.rounds import STEPS, plan_of

SEED = "kill-9"
# even numbers kill, odd ones stop: every step once, half of them each way
OF_EACH_STEP = tuple(number if number % 2 == 0 else number + len(STEPS) for number in range(len(STEPS)))


def play(name, tmp_path, numbers, share=0.0):
    with STAGES[name](tmp_path, seed=SEED, share=share) as stage:
        tally = play_rounds(stage, numbers, tmp_path, seed=SEED, side_by_side=4)
    assert tally.problems == []
    assert tally.rounds == len(numbers)
    return tally


def struck(tally: Tally):
    return sum(tally.killed.values()), sum(tally.stopped.values())


def test_given_faults_on_the_wire_when_the_holder_is_killed_or_stopped_at_each_step_then_one_bundle_and_nothing_torn(
    tmp_path,
):
    if not minio.MINIO.exists():
        reason = "MinIO is not built: run `make servers`"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    assert {plan_of(number, SEED).at for number in OF_EACH_STEP} == set(STEPS)

    tally = play("minio", tmp_path, OF_EACH_STEP, share=0.1)

    killed, stopped = struck(tally)
    assert min(killed, stopped) >= 3, tally
    assert 0 < tally.rounds_over_a_tombstone < tally.rounds
    assert tally.outcomes["tuned/published"] <= tally.rounds


def test_given_a_directory_when_the_holder_is_killed_between_fsync_and_link_then_the_others_go_on(tmp_path):
    steps = (*STEPS, *gates.BEFORE_LINK_OF)
    of_claim, of_bundle = map(steps.index, gates.BEFORE_LINK_OF)
    numbers = [of_claim, of_bundle, len(steps) + of_bundle]

    tally = play("directory", tmp_path, numbers)

    assert set(tally.killed) == set(gates.BEFORE_LINK_OF)
    assert set(tally.stopped) == {gates.BEFORE_LINK_OF[1]}
    assert set(tally.outcomes) <= {"tuned/published", "waited/found", "hit/found"}


def test_given_a_shared_volume_and_pods_of_two_users_with_its_group_then_all_find_one_bundle(tmp_path):
    if os.getuid() != 0:
        pytest.skip("not root: two users cannot be played")
    open_to_all(tmp_path)  # pytest makes it, and what is above it, for one user

    tally = play("directory-two-uids", tmp_path, [1, 2])

    assert set(tally.outcomes) <= {"tuned/published", "waited/found", "hit/found"}, tally.cold


def test_a_round_comes_from_its_seed_alone():
    assert plan_of(7, "a") == plan_of(7, "a")
    assert plan_of(7, "a") != plan_of(7, "b")


def test_every_step_is_both_killed_and_stopped_in_two_rounds_of_all():
    plans = [plan_of(number, SEED) for number in range(2 * len(STEPS))]

    assert {(plan.at, plan.stops) for plan in plans} == {
        (step, stops) for step in STEPS for stops in (False, True)
    }
    assert steps_of(None) == STEPS
