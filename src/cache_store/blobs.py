"""A content beside bundle.json, without I/O: put there, and there byte for byte before anything names it.

A blob has the name of its digest, so that whoever comes second finds what it wanted to write; but neither 409 nor 412
says so, and what lies there may be half of another writer's. So whatever is answered but 200 is read back: a bundle
whose content is not there is worse than none, for nobody would tune again.
"""

from __future__ import annotations

from collections.abc import Callable, Generator

from cache_store.dataclass import dataclass
from cache_store.errors import RETRYABLE
from cache_store.register import Unreachable
from cache_store.steps import Absent, Answer, Done, ReadBlob, Seen, Wait, WriteBlob, unexpected

BLOB_TRIES = 6


@dataclass(frozen=True)
class NotKept:
    """`reason`: blob-missing | blob-differs | store-<kind>."""

    reason: str
    detail: str


_PASSING = frozenset({"blob-missing", *(f"store-{kind.value}" for kind in RETRYABLE)})


def keep_blob(
    digest: str, body: bytes, pause: Callable[[int], Wait | None]
) -> Generator[WriteBlob | ReadBlob | Wait, Answer, NotKept | None]:
    """None when it is there, byte for byte. `pause` of the attempts so far: before the next one; None: no more of them."""
    problem = NotKept("store-unavailable", f"blobs/{digest}: the write was never settled")
    for attempt in range(BLOB_TRIES):
        answer = yield WriteBlob(digest, body)
        if isinstance(answer, Done):
            return None
        if isinstance(answer, Unreachable):
            problem = NotKept(answer.reason, answer.detail)
            if answer.is_final:
                return problem
        seen = yield from look_at_blob(digest, body)
        if seen is None:
            return None  # the answer was lost, or somebody has put it there
        if seen.reason not in _PASSING:
            return seen
        if seen.reason != "blob-missing":
            problem = seen
        wait = pause(attempt)
        if wait is None:
            break
        yield wait
    return problem


def look_at_blob(digest: str, body: bytes) -> Generator[ReadBlob, Answer, NotKept | None]:
    """None where it is there, byte for byte."""
    answer = yield ReadBlob(digest, len(body))
    if isinstance(answer, Absent):
        return NotKept("blob-missing", f"blobs/{digest} is not there")
    if isinstance(answer, Unreachable):
        if answer.reason == "store-too-large":
            return NotKept("blob-differs", f"blobs/{digest} is there, and larger than the content is")
        return NotKept(answer.reason, answer.detail)
    if not isinstance(answer, Seen):
        return unexpected(answer)
    if answer.body != body:
        return NotKept("blob-differs", f"blobs/{digest} is there with a content that is not its digest's")
    return None
