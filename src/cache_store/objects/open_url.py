"""From a URL to the adapter that serves it. Each adapter is imported only when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from cache_store.annotation import TYPE_CHECKING, Literal
from cache_store.clock import fresh_nonce
from cache_store.errors import ErrorKind, StoreError
from cache_store.objects import ObjectStore
from cache_store.objects.plain_url import PlainUrl, shown, split_url

if TYPE_CHECKING:
    from urllib.parse import SplitResult

Adapter = Literal["auto", "obstore", "fsspec"]
CLOUDS = ("s3", "gs", "az")


def open_store(
    url: str,
    *,
    environ: Mapping[str, str],
    adapter: Adapter = "auto",
    request_timeout_s: float = 10.0,
    nonce: Callable[[], str] = fresh_nonce,
) -> ObjectStore:
    """The store at `url`: s3://, gs://, az://, file:///dir or a plain path, else any fsspec URL (read-only).

    Nothing is sent. Raises INVALID with a sentence for the person who wrote the URL; no message and no `url` property
    shows user names, passwords or query strings.
    """
    parts = _split(url)
    if parts.scheme in {"", "file"} and adapter != "fsspec":
        from cache_store.objects.directory import DirectoryStore

        return DirectoryStore(_directory(parts, url), nonce=nonce)
    if parts.scheme in CLOUDS:
        return _open_cloud(parts, environ=environ, adapter=adapter, request_timeout_s=request_timeout_s)
    if adapter == "obstore":
        raise StoreError(
            ErrorKind.INVALID, f"obstore serves {', '.join(CLOUDS)}, not {parts.scheme or 'a path'}"
        )
    from cache_store.objects.fsspec_any import FsspecReader

    return FsspecReader(url, shown(parts), request_timeout_s=request_timeout_s)


def settle_client(store: ObjectStore) -> None:
    """Whatever the store's client would read from the process's environment with its first request, it reads now.

    obstore's has read it when it was made. Raises `StoreError`.
    """
    from cache_store.objects.fsspec_any import S3fsStore

    if isinstance(store, S3fsStore):
        store.connect()


def _split(url: str) -> PlainUrl | SplitResult:
    if not url.strip() or url != url.strip() or any(ord(character) < 0x20 for character in url):
        raise StoreError(
            ErrorKind.INVALID, "the store URL is empty, or has blanks or control characters around or in it"
        )
    try:
        parts = split_url(url)
    except ValueError as error:
        raise StoreError(ErrorKind.INVALID, f"the store URL cannot be read: {error}") from error
    if parts.scheme == "memory":
        raise StoreError(
            ErrorKind.INVALID, "memory: forgets everything when the process ends; use file:///directory"
        )
    if parts.scheme and parts.scheme not in {"file", *CLOUDS} and "://" not in url:
        raise StoreError(
            ErrorKind.INVALID, f"{shown(parts)!r} is no URL; write file:///directory or s3://bucket/prefix"
        )
    return parts


def _directory(parts: PlainUrl | SplitResult, url: str) -> Path:
    if not parts.scheme:
        return Path(url)
    if parts.netloc not in {"", "localhost"} or not parts.path.startswith("/"):
        raise StoreError(
            ErrorKind.INVALID, f"{shown(parts)!r}: a file URL has three slashes: file:///directory"
        )
    if parts.query or parts.fragment:
        raise StoreError(ErrorKind.INVALID, f"{shown(parts)!r}: write ? and # in a path as %3F and %23")
    if isinstance(parts, PlainUrl):
        return Path(parts.path)
    from urllib.parse import unquote

    return Path(unquote(parts.path))


def _open_cloud(
    parts: PlainUrl | SplitResult, *, environ: Mapping[str, str], adapter: Adapter, request_timeout_s: float
) -> ObjectStore:
    url = shown(parts)
    if "@" in parts.netloc:
        raise StoreError(
            ErrorKind.INVALID,
            f"{url!r}: credentials do not belong into the URL; pass them as the SDK reads them",
        )
    if not parts.netloc:
        raise StoreError(ErrorKind.INVALID, f"{url!r} names no bucket; write {parts.scheme}://bucket/prefix")
    if parts.query or parts.fragment:
        raise StoreError(
            ErrorKind.INVALID, f"{url!r}: options after ? or # are not read; use the SDK's variables"
        )
    if any(segment in {".", ".."} for segment in parts.path.split("/")) or "//" in parts.path:
        raise StoreError(ErrorKind.INVALID, f"{url!r}: the prefix has an empty, '.' or '..' segment")
    _check_settings(environ)
    # obstore does not read profiles; with keys in the environment it does not need to
    wants_profile = bool(environ.get("AWS_PROFILE")) and not environ.get("AWS_ACCESS_KEY_ID")
    if parts.scheme == "s3" and (adapter == "fsspec" or (adapter == "auto" and wants_profile)):
        from cache_store.objects.fsspec_any import S3fsStore

        return S3fsStore(url, environ=environ, request_timeout_s=request_timeout_s)
    if adapter == "fsspec":
        from cache_store.objects.fsspec_any import FsspecReader

        return FsspecReader(url, url, request_timeout_s=request_timeout_s)
    from cache_store.objects.obstore_cloud import open_cloud

    return open_cloud(url, environ=environ, request_timeout_s=request_timeout_s)


def _check_settings(environ: Mapping[str, str]) -> None:
    """What makes the libraries fail in ways that nobody can read (obstore 0.12.1 panics on the first two)."""
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        if value := environ.get(name):
            parts = split_url(value)
            if parts.scheme not in {"http", "https"} or not parts.hostname or any(c.isspace() for c in value):
                raise StoreError(ErrorKind.INVALID, f"{name} is not like http://host:port or https://host")
    ca_bundle = environ.get("AWS_CA_BUNDLE")
    if ca_bundle and not Path(ca_bundle).is_file():
        raise StoreError(ErrorKind.INVALID, f"AWS_CA_BUNDLE names {ca_bundle}, which is no file")
    for name in (
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
    ):
        if any(c.isspace() or not c.isprintable() for c in environ.get(name, "")):
            raise StoreError(
                ErrorKind.INVALID, f"{name} has a blank or a line end in it; was it read from a file?"
            )
