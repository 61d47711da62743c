"""Simultaneous writers on every real server: one winner, one chain of versions, and a checker that is checked itself."""

import contextlib

import pytest
from tests.stores.live.racing import WRITERS, Operation, history, not_linearizable, problems_of, race
from tests.stores.live.real_servers import ADAPTERS

ROUNDS = 40
PLACES = [("minio", False), ("minio", True), ("versitygw", False), ("radosgw", False), ("ministack", False)]
IDS = [f"{name}{'-versioned' * is_versioned}" for name, is_versioned in PLACES]
real_places = pytest.mark.parametrize(("name", "is_versioned"), PLACES, ids=IDS)
with_adapters = pytest.mark.parametrize("adapter", ADAPTERS)


@with_adapters
@real_places
def test_given_32_writers_at_once_then_exactly_one_wins_40_times(park, name, is_versioned, adapter):
    server = park.get(name)
    bucket = server.create_bucket(is_versioned=is_versioned)

    shots = race(server, bucket, adapter, ROUNDS)

    assert len(shots) == 2 * ROUNDS * WRITERS
    assert problems_of(shots) == []
    if is_versioned:  # a create and a replacement of each key, and not one version more
        assert len(server.versions_of(bucket, "")) == 2 * ROUNDS


@contextlib.contextmanager
def stores_on(server, adapter, count):
    bucket = server.create_bucket()
    stores = [server.open(bucket, adapter) for _ in range(count)]
    try:
        yield stores
    finally:
        for store in stores:
            store.close()


@with_adapters
@pytest.mark.parametrize("name", ["minio", "versitygw", "radosgw", "ministack"])
def test_given_8_clients_that_read_and_swap_then_there_is_an_order_that_explains_it(park, name, adapter):
    with stores_on(park.get(name), adapter, 8) as stores:
        first = stores[0].put_if_absent("chain", b"first").etag

        operations = history(stores, "chain", first, each=40)

    swaps = [one for one in operations if one.base]
    assert len(swaps) > 40, "hardly anything was swapped"
    assert not_linearizable(operations, first) == ""


def test_given_a_store_that_ignores_conditions_then_both_checks_say_so(park):
    server = park.get("fauxqs")

    shots = race(server, server.create_bucket(), "obstore", 3)
    with stores_on(server, "obstore", 4) as stores:
        first = stores[0].put_if_absent("chain", b"first").etag
        why = not_linearizable(history(stores, "chain", first, each=10), first)

    assert len(problems_of(shots)) == 6
    assert f"{WRITERS} winners" in problems_of(shots)[0]
    assert why


@pytest.mark.parametrize(
    ("operations", "why"),
    [
        ([Operation(0, 1, "a"), Operation(2, 3, "b", "a"), Operation(4, 5, "b")], ""),
        ([Operation(2, 5, "b", "a"), Operation(3, 4, "a")], ""),
        ([Operation(2, 5, "b", "a"), Operation(3, 4, "b")], ""),
        ([Operation(0, 1, "b", "a"), Operation(0, 1, "c", "a")], "2 swaps replaced one version (a)"),
        ([Operation(0, 1, "x")], "1 operations saw or wrote a version outside of the chain"),
        ([Operation(0, 1, "c", "b")], "1 operations saw or wrote a version outside of the chain"),
        ([Operation(0, 1, "b", "a"), Operation(2, 3, "a")], "version 0 was current after version 1"),
        ([Operation(2, 3, "b", "a"), Operation(0, 1, "b")], "version 1 was current after version 1"),
    ],
)
def test_the_checker_knows_an_order_from_none(operations, why):
    assert not_linearizable(operations, "a") == why
