"""A content beside bundle.json, without I/O: put there, and there byte for byte before anything names it.

A blob has the name of its digest, so that whoever comes second finds what it wanted to write; but neither 409 nor 412
says so, and what lies there may be half of another writer's. So whatever is answered but 200 is read back: a bundle
whose content is not there is worse than none, for nobody would tune again.

And what is found in place is written anew: an earlier tune or import may have left it, nothing may have named it for
long, and `cache-store gc` deletes such ones by their age.
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


# the condition did not hold, which says nothing of what is there
_REFUSED = NotKept("blob-missing", "the write was refused")
_PASSING = frozenset({_REFUSED.reason, *(f"store-{kind.value}" for kind in RETRYABLE)})


def keep_blob(
    digest: str, body: bytes, pause: Callable[[int], Wait | None]
) -> Generator[WriteBlob | ReadBlob | Wait, Answer, NotKept | None]:
    """None when it is there, byte for byte, and young. `pause` of the attempts so far: before the next one; None: no more of them."""
    problem = NotKept("store-unavailable", f"blobs/{digest}: the write was never settled")
    for attempt in range(BLOB_TRIES):
        kept = yield from _try_once(digest, body)
        if kept is None or kept.reason not in _PASSING:
            return kept
        if kept is not _REFUSED:
            problem = kept
        wait = pause(attempt)
        if wait is None:
            break
        yield wait
    return problem


def _try_once(digest: str, body: bytes) -> Generator[WriteBlob | ReadBlob, Answer, NotKept | None]:
    created = yield from _written(WriteBlob(digest, body))
    if created is None or created.reason not in _PASSING:
        return created
    seen = yield from _found(digest, body)
    if isinstance(seen, Seen):  # the answer was lost, or somebody has put it there
        return (yield from _written(WriteBlob(digest, body, seen.etag)))
    return created if seen.reason == _REFUSED.reason else seen


def _written(step: WriteBlob) -> Generator[WriteBlob, Answer, NotKept | None]:
    answer = yield step
    if isinstance(answer, Done):
        return None
    return NotKept(answer.reason, answer.detail) if isinstance(answer, Unreachable) else _REFUSED


def look_at_blob(digest: str, body: bytes) -> Generator[ReadBlob, Answer, NotKept | None]:
    """None where it is there, byte for byte."""
    seen = yield from _found(digest, body)
    return None if isinstance(seen, Seen) else seen


def _found(digest: str, body: bytes) -> Generator[ReadBlob, Answer, Seen | NotKept]:
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
    return answer
