"""How much is read at once: bounded in number and in bytes."""

import threading
from datetime import datetime, timezone

from cache_store.cli.gc import _judge, _read_bytes
from cache_store.cli.survey import IN_FLIGHT_BYTES, in_parallel
from cache_store.collecting import CollectRules, Objects
from cache_store.identity import Address
from cache_store.objects import MIB, Entry, StoredObject


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


class Watched:
    """A store that notes how many bytes of registers are on their way at once."""

    def __init__(self, size_bytes):
        self.size_bytes, self.now, self.most, self.lock = size_bytes, 0, 0, threading.Lock()

    def get(self, key, *, limit_bytes):
        assert key.endswith("/bundle.json")
        with self.lock:
            self.now += self.size_bytes
            self.most = max(self.most, self.now)
        threading.Event().wait(0.01)
        with self.lock:
            self.now -= self.size_bytes
        return StoredObject(b"no bundle", '"tag"')


def test_given_large_bundles_when_gc_judges_them_then_it_reads_as_few_at_once_as_fit():
    """A CronJob has a memory limit, and 64 bundles of 28 MiB at once are more than any."""
    size_bytes, now = 28 * MIB, datetime(2026, 11, 29, tzinfo=timezone.utc)
    store = Watched(size_bytes)
    addresses = [
        Address("0.7.2", "sm90", f"{number:016x}", "nvidia-h200-0123456789ab") for number in range(6)
    ]
    objects = [
        Objects(one, {"bundle.json": Entry(one.bundle_key, size_bytes, now, '"tag"')}) for one in addresses
    ]

    verdicts = _judge(store, objects, CollectRules(), now)

    assert [one.address for one in verdicts] == addresses
    assert store.most == size_bytes


def test_what_gc_holds_of_an_address_is_its_register_and_one_copy_at_a_time():
    one = Address("0.7.2", "sm90", "0" * 16, "nvidia-h200-0123456789ab")
    sizes = {
        "bundle.json": 5,
        "claim.json": 1,
        "retired/a.json": 7,
        "retired/b.json": 3,
        f"blobs/{'0' * 64}": 100,
    }

    assert (
        _read_bytes(Objects(one, {name: Entry(name, size, None, "") for name, size in sizes.items()})) == 12
    )
