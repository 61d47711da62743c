"""Writers in processes of their own that race for one object, again and again.

Processes, because threads would not race: all requests of one process through s3fs leave from one thread, and the
interpreter lock lines up the rest. Each process has a few threads, each with a client of its own.
"""

import multiprocessing
import threading
import time
from collections import defaultdict
from dataclasses import dataclass

from cache_store.errors import StoreError
from cache_store.objects import StoredObject, Written

PROCESSES = 4
THREADS = 8
WRITERS = PROCESSES * THREADS
PATIENCE_S = 180.0
_FORKLESS = multiprocessing.get_context("spawn")  # s3fs is not fork-safe


@dataclass(frozen=True)
class Shot:
    """What one writer was answered in one round. `won`: the tag of what it wrote, or "". `seen`: the body after it."""

    verb: str
    number: int
    body: bytes
    won: str
    answer: str
    seen: bytes
    seen_etag: str


def race(server, bucket, adapter, rounds):
    """All shots. Each round is a create of a new key by all writers at once, then a replacement by all at once."""
    barrier = _FORKLESS.Barrier(WRITERS)
    told = _FORKLESS.Queue()
    address = (server.name, server.endpoint, server.access, server.secret, server.etag_form)
    children = [
        _FORKLESS.Process(target=_writers, args=(address, bucket, adapter, rounds, number, barrier, told))
        for number in range(PROCESSES)
    ]
    for child in children:
        child.start()
    try:
        return [shot for _ in children for shot in told.get(timeout=PATIENCE_S)]
    finally:
        for child in children:
            child.join(10)
            if child.is_alive():
                child.kill()


def _writers(address, bucket, adapter, rounds, number, barrier, told):
    from tests.stores.live.real_servers import Server

    server = Server(*address)
    store = server.open(bucket, adapter)
    shots = []

    def write(me):
        shots.extend(_shots(store, me, rounds, barrier))

    threads = [threading.Thread(target=write, args=(number * THREADS + one,)) for one in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.close()
    told.put(shots)


def _shots(store, me, rounds, barrier):
    store.get("warm", limit_bytes=10)  # its connection stands before the first round
    for number in range(rounds):
        key = f"race/{number}"
        body = b"create %d by %d" % (number, me)
        barrier.wait(PATIENCE_S)
        answer = _answer(store.put_if_absent, key, body)
        barrier.wait(PATIENCE_S)
        seen = store.get(key, limit_bytes=1000)
        yield _shot("create", number, body, answer, seen)
        body = b"replace %d by %d" % (number, me)
        barrier.wait(PATIENCE_S)
        answer = _answer(store.put_if_match, key, body, seen.etag)
        barrier.wait(PATIENCE_S)
        yield _shot("replace", number, body, answer, store.get(key, limit_bytes=1000))


def _answer(call, *arguments):
    try:
        return call(*arguments)
    except StoreError as error:
        return error


def _shot(verb, number, body, answer, seen):
    assert isinstance(seen, StoredObject), f"nothing there after a {verb}"
    won = answer.etag if isinstance(answer, Written) else ""
    return Shot(verb, number, body, won, str(answer), seen.body, seen.etag)


def problems_of(shots):
    """What no correct store answers: sentences, empty for a correct one."""
    by_round = defaultdict(list)
    for shot in shots:
        by_round[shot.verb, shot.number].append(shot)
    found = []
    for (verb, number), tries in sorted(by_round.items()):
        winners = [shot for shot in tries if shot.won]
        if len(winners) != 1:
            others = sorted({shot.answer for shot in tries if not shot.won})
            found.append(f"{verb} {number}: {len(winners)} winners; the others: {others}")
        elif {(shot.seen, shot.seen_etag) for shot in tries} != {(winners[0].body, winners[0].won)}:
            found.append(f"{verb} {number}: what is there is not what the winner wrote")
    return found


# -- a chain of compare-and-swaps --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Operation:
    """A read, or a swap that succeeded, of the one register. `began` and `ended` on one monotonic clock.

    `value` is the tag that was read or written, `base` that of the version that the swap replaced ("" for a read).
    """

    began: float
    ended: float
    value: str
    base: str = ""


def history(stores, key, first, each):
    """Every writer reads, or swaps what it saw last; all bodies differ.

    A swap that ended in an error counts as one that did not happen (Ceph 16 answers losers 500); if it did, the chain has a
    hole and `not_linearizable` says so.
    """
    operations = []
    barrier = threading.Barrier(len(stores))

    def play(me, store):
        known = first
        barrier.wait()
        for step in range(each):
            began = time.monotonic()
            if (me + step) % 3:
                answer = _answer(store.put_if_match, key, b"%d-%d" % (me, step), known)
                if isinstance(answer, Written):
                    operations.append(Operation(began, time.monotonic(), answer.etag, known))
                    known = answer.etag
                    continue
                began = time.monotonic()
            known = store.get(key, limit_bytes=1000).etag
            operations.append(Operation(began, time.monotonic(), known))

    threads = [threading.Thread(target=play, args=pair) for pair in enumerate(stores)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return operations


def not_linearizable(operations, first):
    """Why no order of these operations explains what they saw; "" where there is one.

    Every value is written once, so the swaps must form one chain from `first`, and the place in that chain may never go
    back in time: an operation that began after another had ended is not before it, and a swap is strictly after it.
    """
    children = defaultdict(list)
    for one in operations:
        if one.base:
            children[one.base].append(one.value)
    for base, values in children.items():
        if len(values) > 1:
            return f"{len(values)} swaps replaced one version ({base})"
    place, value = {first: 0}, first
    while value in children:
        value = children[value][0]
        place[value] = len(place)
    if lost := [one for one in operations if one.value not in place]:
        return f"{len(lost)} operations saw or wrote a version outside of the chain"
    ends = sorted(operations, key=lambda one: one.ended)
    newest, done = -1, 0
    for one in sorted(operations, key=lambda one: one.began):
        while done < len(ends) and ends[done].ended < one.began:
            newest = max(newest, place[ends[done].value])
            done += 1
        if place[one.value] < newest or (one.base and place[one.value] == newest):
            return f"version {place[one.value]} was current after version {newest}"
    return ""
