"""Is this store honest? A few conditional writes on an object of our own show what it makes of conditions.

Ask the very bucket and prefix that will be used: Ceph RGW 16 keeps `If-None-Match` on a plain bucket and ignores it on a
versioned one. Honoured is not yet atomic: that takes `race_probe`, which belongs into `doctor` and not into a pod.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from enum import Enum

from cache_store.dataclass import dataclass
from cache_store.errors import ErrorKind, StoreError
from cache_store.layout import PROBES
from cache_store.objects import KIB, Missing, NotWritten, ObjectStore, StoredObject, Written


class StoreClass(str, Enum):
    """What a store does with conditions on PUT."""

    FULL = "full"  # creates once, compares and swaps: fit for tuning
    CREATE_ONLY = "create-only"  # creates once, but If-Match is refused or ignored
    REJECTS = "rejects"  # says that it does not know conditions
    IGNORES = "ignores"  # overwrites, and says that all is well


@dataclass(frozen=True)
class ProbeResult:
    """`detail` is a sentence for people. `has_dates`: an object's age can be told by the server's clock.

    `etag_form` is "quoted", or "unquoted" where If-Match wants the ETag without quotes (Ceph RGW 16): set it on the
    S3 adapter. `left_behind` names the probe object where it could not be deleted.
    """

    store_class: StoreClass
    detail: str
    etag_form: str = "quoted"
    has_dates: bool = False
    left_behind: str | None = None


def probe_store(store: ObjectStore, nonce: str) -> ProbeResult:
    """Six PUTs and two GETs on `.probe/<nonce>`, then its deletion. `nonce` must be fresh.

    Raises `StoreError` where the store cannot be asked (denied, unavailable, ...). A pod that may not delete leaves
    some bytes behind.
    """
    key = PROBES + nonce
    found = _probe(store, key, nonce)
    try:
        store.delete(key)
    except StoreError:
        return ProbeResult(found.store_class, found.detail, found.etag_form, found.has_dates, key)
    return found


def _probe(store: ObjectStore, key: str, nonce: str) -> ProbeResult:
    one, two, three, four = (f"{nonce} {number}".encode() for number in range(1, 5))
    try:
        _not_a_conflict(store.put_if_absent(key, one))
        again = store.put_if_absent(key, two)
    except StoreError as error:
        if error.kind is ErrorKind.UNSUPPORTED:
            return ProbeResult(StoreClass.REJECTS, str(error))
        raise
    if isinstance(again, Written):
        return ProbeResult(StoreClass.IGNORES, "a second create of the same object succeeded")
    seen = store.get(key, limit_bytes=KIB)
    if isinstance(seen, Missing):
        return ProbeResult(
            StoreClass.REJECTS, f"creating an object that is not there was answered {again.status}"
        )
    # `created` itself proves nothing: a client that sent it twice reports its own success as 412
    if seen.body != one:
        return ProbeResult(
            StoreClass.IGNORES, f"a second create was answered {again.status}, and yet it overwrote"
        )
    has_dates = seen.age_s is not None
    try:
        form, problem = _probe_match(store, key, seen.etag, three, four)
    except StoreError as error:
        if error.kind is not ErrorKind.UNSUPPORTED:
            raise
        form, problem = "quoted", str(error)
    if problem:
        return ProbeResult(StoreClass.CREATE_ONLY, problem, form, has_dates)
    last = store.get(key, limit_bytes=KIB)
    if isinstance(last, Missing) or last.body != three:
        return ProbeResult(
            StoreClass.CREATE_ONLY, "a refused replacement changed the object", form, has_dates
        )
    return ProbeResult(StoreClass.FULL, "creates once, compares and swaps", form, has_dates)


def _probe_match(store: ObjectStore, key: str, etag: str, three: bytes, four: bytes) -> tuple[str, str]:
    """The form of ETag that works, and what is wrong ("" for nothing)."""
    if isinstance(_not_a_conflict(store.put_if_match(key, four, _other(etag))), Written):
        return "quoted", "replacing with a wrong ETag succeeded"
    form = "quoted"
    answer = _not_a_conflict(store.put_if_match(key, three, etag))
    if isinstance(answer, NotWritten) and not _is_there(store, key, three):
        form = "unquoted"
        answer = _not_a_conflict(store.put_if_match(key, three, etag.strip('"')))
    if isinstance(answer, NotWritten) and not _is_there(store, key, three):
        return "quoted", f"replacing with the right ETag was answered {answer.status}"
    stale = etag if form == "quoted" else etag.strip('"')
    if isinstance(_not_a_conflict(store.put_if_match(key, four, stale)), Written):
        return form, "replacing with a stale ETag succeeded"
    return form, ""


def _not_a_conflict(answer: Written | NotWritten) -> Written | NotWritten:
    """A 409 says "try again" (S3's ConditionalRequestConflict) and no word about conditions."""
    if isinstance(answer, NotWritten) and answer.status == 409:
        raise StoreError(ErrorKind.UNAVAILABLE, "a conditional write was answered 409")
    return answer


def _is_there(store: ObjectStore, key: str, body: bytes) -> bool:
    """Whether a write that was answered 412 is ours all the same: some clients send it twice."""
    seen = store.get(key, limit_bytes=KIB)
    return isinstance(seen, StoredObject) and seen.body == body


def _other(etag: str) -> str:
    """A tag of the same form that names nothing. A generation (GCS) must stay a number."""
    if etag.isdigit():
        return "1"
    return "".join("0" if character.isalnum() else character for character in etag)


@dataclass(frozen=True)
class RaceReport:
    """How many rounds each verb was raced, and what went wrong in those that did not have exactly one winner.

    A round in which a request got no answer proves nothing and counts as `unanswered`.
    """

    rounds: int
    problems: tuple[str, ...]
    unanswered: int

    @property
    def is_atomic(self) -> bool:
        return not self.problems and self.unanswered < self.rounds


def race_probe(store: ObjectStore, nonce: str, *, threads: int = 32, rounds: int = 50) -> RaceReport:
    """Race `threads` writers for one object, `rounds` times for each verb, on objects of our own that are deleted.

    Raises the first `StoreError` that is not about getting no answer in time.
    """
    problems: list[str] = []
    unanswered = 0
    for number in range(rounds):
        key = f"{PROBES}{nonce}-{number}"

        def create(me: int, key: str = key) -> Written | NotWritten:
            return store.put_if_absent(key, f"{nonce} create {me}".encode())

        found, missing = _race(store, key, f"{nonce} create", threads, create)
        seen = store.get(key, limit_bytes=KIB)
        if isinstance(seen, StoredObject):

            def replace(me: int, key: str = key, etag: str = seen.etag) -> Written | NotWritten:
                return store.put_if_match(key, f"{nonce} replace {me}".encode(), etag)

            more, also_missing = _race(store, key, f"{nonce} replace", threads, replace)
            found, missing = found + more, missing or also_missing
        unanswered += missing
        problems.extend(f"round {number}: {problem}" for problem in found)
        with suppress(StoreError):  # a pod may not be allowed to delete
            store.delete(key)
    return RaceReport(rounds, tuple(problems), unanswered)


def _race(
    store: ObjectStore, key: str, body: str, threads: int, call: Callable[[int], Written | NotWritten]
) -> tuple[list[str], bool]:
    """What was wrong, and whether somebody got no answer."""
    barrier = threading.Barrier(threads)
    answers: dict[int, Written | NotWritten | StoreError] = {}

    def work(me: int) -> None:
        barrier.wait()
        try:
            answers[me] = call(me)
        except StoreError as error:
            answers[me] = error

    workers = [threading.Thread(target=work, args=(me,), daemon=True) for me in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    errors = [answer for answer in answers.values() if isinstance(answer, StoreError)]
    for error in errors:
        if not error.is_retryable:
            raise error
    winners = [me for me, answer in answers.items() if isinstance(answer, Written)]
    verb = body.rpartition(" ")[2]
    if len(winners) > 1:
        return [f"{len(winners)} of {threads} writers were told that their {verb} won"], False
    if errors or len(answers) < threads:
        return [], True
    if not winners:
        return [f"nobody's {verb} won"], False
    seen = store.get(key, limit_bytes=KIB)
    if isinstance(seen, Missing) or seen.body != f"{body} {winners[0]}".encode():
        return [f"the object is not what the winner of the {verb} wrote"], False
    return [], False
