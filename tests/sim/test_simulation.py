"""Thousands of histories of the product's own protocol code; and mutants of it, each of which must be caught."""

import dataclasses
import os
import subprocess
import sys

import pytest

from cache_store.testing.simulation.draws import Draws, Troubles
from cache_store.testing.simulation.fleet import Run, finish, run_seed
from cache_store.testing.simulation.mutants import MUTANTS
from cache_store.testing.simulation.seats import Code
from cache_store.testing.simulation.store import Network

SEEDS = int(os.environ.get("SIM_SEEDS", "2000"))
PARTS = 8
MOST = 3000  # seeds that a mutant may survive
COMPARED = 300


@pytest.mark.parametrize("part", range(PARTS))
def test_everything_holds_in_every_seed(part):
    share = SEEDS // PARTS
    broken = [one for one in map(run_seed, range(part * share, (part + 1) * share)) if one.violation]

    assert not broken, "\n".join(
        f"seed {one.seed}: {one.violation}\n    python -m cache_store.testing.simulation --tell {one.seed}"
        for one in broken[:5]
    )


def without_faults(draws):
    """A good store, healthy pods that may wait long enough, tunes that succeed."""
    setting = dataclasses.replace(
        draws.setting,
        failing_tunes=0.0,
        tune_s=(60.0, 200.0),
        wait_s=900.0,
        deadline_s=1800.0,
        patience_s=400.0,
        keeps_conditions=True,
    )
    return dataclasses.replace(draws, network=Network(), troubles=Troubles(), setting=setting)


def test_a_fleet_without_faults_tunes_exactly_once_and_is_warm_as_a_whole():
    for seed in range(300):
        run = Run(seed, code=Code(), redraw=without_faults)
        result = finish(run)

        assert result.violation == ""
        assert result.tunes == 1, f"seed {seed}"
        assert len(run.checks.published) == 1
        assert {seat.ending[0] for group in run.groups for seat in group.seats} == {"warm"}, f"seed {seed}"


@pytest.mark.parametrize(
    "mutant", [one for one in MUTANTS if one.shows == "breaks"], ids=lambda one: one.name
)
def test_a_mutant_that_breaks_something_is_caught(mutant, record_property):
    for seed in range(MOST):
        with mutant.applied():
            result = finish(mutant.run(seed))
        if result.violation:
            record_property("first_failing_seed", seed)
            print(f"{mutant.name}: seed {seed}: {result.violation}")
            return
    pytest.fail(f"{mutant.name} survived {MOST} seeds: a hole in the simulator")


@pytest.fixture(scope="module")
def tunes_of_the_protocol():
    return sum(run_seed(seed).tunes for seed in range(COMPARED))


@pytest.mark.parametrize("mutant", [one for one in MUTANTS if one.shows == "costs"], ids=lambda one: one.name)
def test_a_mutant_that_only_costs_shows_as_more_tunes(mutant, tunes_of_the_protocol):
    tunes = 0
    for seed in range(COMPARED):
        with mutant.applied():
            tunes += finish(mutant.run(seed)).tunes

    print(f"{mutant.name}: {tunes} tunes where the protocol needs {tunes_of_the_protocol}")
    assert tunes > tunes_of_the_protocol


def test_there_are_mutants_of_every_part():
    assert len(MUTANTS) >= 12
    assert len({one.name for one in MUTANTS}) == len(MUTANTS)


@pytest.mark.parametrize("seed", [0, 130, 813])
def test_one_seed_replays_everything_in_any_process(seed):
    def told(hash_seed):
        done = subprocess.run(
            [sys.executable, "-m", "cache_store.testing.simulation", "--tell", str(seed)],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            check=True,
            text=True,
        )
        return done.stdout

    first = told("1")
    assert first == told("2")
    assert first.count("\n") > 50
    assert first.endswith("everything held\n")


def test_the_command_says_how_many_and_how_fast():
    done = subprocess.run(
        [sys.executable, "-m", "cache_store.testing.simulation", "10-29", "--jobs", "2"],
        capture_output=True,
        check=True,
        text=True,
    )
    assert done.stdout.startswith("20 seeds, 0 broken; ")


def test_every_kind_of_trouble_happens():
    told = "\n".join(line for seed in range(120) for line in run_seed(seed, is_told=True).history)

    for what in (
        "is killed",
        "is told to stop",
        "cannot reach the store",
        "arrives late",
        "retire: Changed",
        "quarantine: Changed",
        "restore: Changed",
        "unlock: Changed",
        "retire: Refused",
        "gc: ",
        "Undone 412",
        "Undone 409",
        "ends torn",
        "ends terminated",
    ):
        assert what in told, what


def test_draws_reach_every_kind_of_trouble():
    """A fault that no seed draws proves nothing."""
    drawn = [Run(seed, code=Code()) for seed in range(400)]
    networks = [Draws.of(run.world.rng.__class__(seed)).network for seed, run in enumerate(drawn)]
    for name in (
        "lost_before",
        "lost_after",
        "resent",
        "late",
        "conflict",
        "refused",
        "stale",
        "storms_per_hour",
    ):
        assert any(getattr(network, name) > 0 for network in networks), name
    assert any(network.is_create_only for network in networks)
    assert any(network.is_full_from_s < 900 for network in networks)
    assert any(not network.tells_date for network in networks)
    for name in ("crash", "pause", "sigterm", "replaced_when_done", "full_disks", "operators", "cuts"):
        assert any(getattr(run.troubles, name) > 0 for run in drawn), name
    assert {len(group.seats) for run in drawn for group in run.groups} == {1, 2, 3, 4, 8}
