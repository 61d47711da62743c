"""Which keys every store can hold: what S3 takes, a directory tree can mirror, and no URL library rewrites."""

from __future__ import annotations

from cache_store.errors import ErrorKind, StoreError

MAX_KEY_BYTES = 1024  # S3's limit
_NO_SEGMENTS = frozenset({"", ".", ".."})


def check_key(key: str) -> str:
    """`key`, if every adapter can store it. Raises INVALID."""
    if not _NO_SEGMENTS.isdisjoint(key.split("/")):
        raise StoreError(ErrorKind.INVALID, f"key {key!r} has an empty, '.' or '..' segment")
    if not key.isprintable() and any(ord(one) < 0x20 or ord(one) == 0x7F for one in key):
        raise StoreError(ErrorKind.INVALID, f"key {key!r} has a control character")
    if len(key.encode("utf-8", "surrogatepass")) > MAX_KEY_BYTES:
        raise StoreError(ErrorKind.INVALID, f"key {key[:80]!r}... is longer than {MAX_KEY_BYTES} bytes")
    return key


def folder_of(prefix: str) -> str:
    """The longest whole-segment part of a listing prefix: "a/b" -> "a/", "a/b/" -> "a/b/", "x" -> ""."""
    if prefix.startswith("/") or ".." in prefix.split("/"):
        raise StoreError(ErrorKind.INVALID, f"prefix {prefix!r} is not relative to the store's root")
    return prefix[: prefix.rfind("/") + 1]
