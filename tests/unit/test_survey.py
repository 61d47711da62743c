"""How much is read at once: bounded in number and in bytes."""

import threading

from cache_store.cli.survey import IN_FLIGHT_BYTES, in_parallel
from cache_store.objects import MIB


def most_at_once(weights, **options):
    """The answers, and the most bytes that were in work at any time."""
    lock = threading.Lock()
    now = most = 0

    def work(weight):
        nonlocal now, most
        with lock:
            now += weight
            most = max(most, now)
        threading.Event().wait(0.002)
        with lock:
            now -= weight
        return weight

    answers = list(in_parallel(work, iter(weights), weigh=lambda one: one, **options))
    return answers, most


def test_large_objects_are_read_as_few_at_once_as_fit():
    weights = [12 * MIB] * 20

    answers, most = most_at_once(weights, at_once=8)

    assert answers == weights
    assert most <= IN_FLIGHT_BYTES


def test_one_that_is_larger_than_all_that_may_be_read_at_once_goes_alone():
    weights = [1, 40 * MIB, 1, 40 * MIB]

    answers, most = most_at_once(weights)

    assert answers == weights
    assert most == 40 * MIB


def test_a_group_of_many_is_no_way_around_it():
    weights = [1] * 100 + [10 * MIB] * 16

    _, most = most_at_once(weights, threads=2, at_once=8)

    assert most <= IN_FLIGHT_BYTES


def test_small_ones_are_read_in_parallel():
    assert most_at_once([1] * 200, at_once=1)[1] > 4
