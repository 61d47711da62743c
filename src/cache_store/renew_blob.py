"""Makes a blob that was found in place young again, before something that names it is published.

A blob's name is its content's, so a tune (or an import) finds what an earlier one has left, which nothing may have named
for long: `cache-store gc` deletes such ones by their age. Written anew it is as young as if it had just been made.
"""

from __future__ import annotations

from cache_store.objects import Missing, ObjectStore, Written

TRIES = 4


def put_blob(store: ObjectStore, key: str, content: bytes) -> bool:
    """Whether it is there and young when this returns: False where others write and delete it all the time. Raises `StoreError`."""
    for _ in range(TRIES):
        if isinstance(store.put_if_absent(key, content), Written):
            return True
        if renew_blob(store, key, content):
            return True
    return False


def renew_blob(store: ObjectStore, key: str, content: bytes) -> bool:
    """Write it over itself; False where it is gone or somebody was faster. Raises `StoreError`, TOO_LARGE for another content."""
    found = store.get(key, limit_bytes=len(content))
    return not isinstance(found, Missing) and isinstance(
        store.put_if_match(key, content, found.etag), Written
    )
