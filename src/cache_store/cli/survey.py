"""Reads many objects at once, in bounded numbers, so that a large bucket takes seconds and not the machine's memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count, islice
from typing import TypeVar

from cache_store.cli.views import ObjectAnswer, Unread
from cache_store.errors import ErrorKind, StoreError
from cache_store.inventory import Inventory, Row, take_inventory
from cache_store.objects import MIB, Entry, ObjectStore

# a GET is 10 to 30 ms away where the store is a cloud's: 10,000 of them in less than 10 s
THREADS = 32
# what one object's content, name or rights can cause; with anything else the store itself is in trouble
_ABOUT_ONE_OBJECT = frozenset({ErrorKind.TOO_LARGE, ErrorKind.CORRUPT, ErrorKind.DENIED, ErrorKind.INVALID})

PAGE = 1000
# where an answer is small, handing an item over to a thread costs 0.1 of the 0.4 ms that reading it takes: so many at once
MANY = 8
# a register may be 32 MiB, and reading one takes three times that while it is parsed: many small ones at once, or one large
IN_FLIGHT_BYTES = 32 * MIB
GROUP_BYTES = MIB

T = TypeVar("T")
R = TypeVar("R")


def read_object(store: ObjectStore, key: str, *, limit_bytes: int) -> ObjectAnswer:
    """One GET. Raises `StoreError` where going on with other objects is pointless."""
    try:
        return store.get(key, limit_bytes=limit_bytes)
    except StoreError as error:
        if error.kind in _ABOUT_ONE_OBJECT:
            return Unread(error.kind, str(error))
        raise


def list_inventory(store: ObjectStore, prefix: str) -> Inventory:
    """One LIST, sorted out. Raises `StoreError`."""
    return next(in_parallel(lambda one: take_inventory(store.list(one)), [prefix]))


def listed(store: ObjectStore, prefix: str) -> Iterator[Entry]:
    """The listing, one page ahead of its reader, and never more. Raises `StoreError`."""
    rows: Iterator[Entry] = iter(())

    def page(number: int) -> list[Entry]:
        nonlocal rows
        if number == 0:
            rows = store.list(prefix)
        return list(islice(rows, PAGE))

    # one thread: pages come one after the other
    for entries in in_parallel(page, count(), threads=1):
        if not entries:
            return
        yield from entries


def listed_bytes(item: object) -> int:
    """How much reading `item` takes, where a listing tells it; else 0."""
    if isinstance(item, Row):
        return sum(entry.size_bytes for entry in (item.bundle, item.claim) if entry is not None)
    return item.size_bytes if isinstance(item, Entry) else 0


def in_parallel(
    work: Callable[[T], R],
    items: Iterable[T],
    threads: int = THREADS,
    *,
    at_once: int = 1,
    weigh: Callable[[T], int] = listed_bytes,
) -> Iterator[R]:
    """`work(item)` for each item, in order, at most `2 * threads` groups of `at_once` items ahead of the reader.

    And at most IN_FLIGHT_BYTES of what `weigh` says of them; what is larger goes alone. The first of them go one by one
    all the same, as few items need. The first exception ends it. Ctrl-C is noticed at once, since only worker threads
    ever wait for the store.

    Where items are many, let `work` ask and the reader look: threads that take turns at looking do so on different cores,
    and none finds in its core's cache what it needs.
    """
    pool = ThreadPoolExecutor(threads)
    ahead: deque[tuple[Future[list[R]], int]] = deque()
    in_flight = 0
    try:
        for group, weight in _groups(items, 2 * threads, at_once, weigh):
            while ahead and in_flight + weight > IN_FLIGHT_BYTES:
                yield from ahead[0][0].result()
                in_flight -= ahead.popleft()[1]
            ahead.append((pool.submit(_each, work, group), weight))
            in_flight += weight
            if len(ahead) >= 2 * threads:
                yield from ahead[0][0].result()
                in_flight -= ahead.popleft()[1]
        while ahead:
            yield from ahead.popleft()[0].result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _groups(
    items: Iterable[T], singles: int, at_once: int, weigh: Callable[[T], int]
) -> Iterator[tuple[list[T], int]]:
    """(items, what they weigh together)."""
    group: list[T] = []
    weight = handed_out = 0
    for item in items:
        group.append(item)
        weight += weigh(item)
        if handed_out < singles or len(group) == at_once or weight >= GROUP_BYTES:
            yield group, weight
            handed_out += 1
            group, weight = [], 0
    if group:
        yield group, weight


def _each(work: Callable[[T], R], group: list[T]) -> list[R]:
    return [work(item) for item in group]
