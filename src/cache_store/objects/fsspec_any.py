"""Stores through fsspec: S3 by s3fs (AWS_PROFILE, SSO and whatever else botocore knows), any other URL read-only.

S3 uses nothing of fsspec's file interface but its raw calls, because the rest loses conditions: `open("xb")` without a
write truncates, `exists` is HEAD + LIST and may be cached, a 412 becomes OSError(22) or FileExistsError depending on
the server, and unknown arguments are dropped in silence. tests/stores/test_s3fs_traps.py shows each. Known and not to
be turned off: aiohttp sends a PUT again when a reused connection drops, so a write that succeeded can be answered 412;
the protocol reads back.

Not fork-safe (fsspec runs one loop thread a process): open the store after forking.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit

from cache_store.errors import ErrorKind, StoreError
from cache_store.objects import Entry, Missing, NotWritten, StoredObject, Written
from cache_store.objects.fsspec_errors import Refused, refusal, store_error
from cache_store.objects.keys import check_key, folder_of
from cache_store.sha256 import sha256_hex
from cache_store.store_environ import s3_endpoint

T = TypeVar("T")
CONNECT_S = 15.0  # botocore reads its service model on first use: seconds on a slow disk


class S3fsStore:
    """`s3://bucket[/prefix]`. Connected by the first request. `etag_form` as in the obstore adapter.

    Read from `environ`: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, AWS_REGION, AWS_DEFAULT_REGION, AWS_PROFILE,
    AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_CA_BUNDLE; botocore reads the rest of its chain
    (files, web identity, container, instance) itself.
    """

    def __init__(self, url: str, *, environ: Mapping[str, str], request_timeout_s: float) -> None:
        parts = urlsplit(url)
        self._url = url
        self._bucket = parts.netloc
        prefix = parts.path.strip("/")
        self._prefix = prefix and prefix + "/"
        self._environ = environ
        self._timeout_s = request_timeout_s
        self._fs: Any = None
        self._lock = threading.Lock()
        self.etag_form = "quoted"

    @property
    def url(self) -> str:
        return self._url

    def connect(self) -> None:
        """What the first request does, and the credentials are fetched: nothing is read from the process's environment
        from here on, but where credentials run out. Raises `StoreError`.
        """

        async def settle(fs: Any) -> None:
            if credentials := await fs.session.get_credentials():
                await credentials.get_frozen_credentials()

        self._ask(self._url, settle)

    def get(self, key: str, *, limit_bytes: int) -> StoredObject | Missing:
        name = self._prefix + check_key(key)

        async def fetch(fs: Any) -> StoredObject:
            answer = await _send(fs, "get_object", Bucket=self._bucket, Key=name)
            size, stream = int(answer["ContentLength"]), answer["Body"]
            try:
                if size > limit_bytes:
                    raise StoreError(ErrorKind.TOO_LARGE, f"{key}: {size} bytes, limit {limit_bytes}")
                body = await stream.read()
            finally:
                stream.close()  # a connection in the middle of a body cannot be used again
            if len(body) != size:
                raise StoreError(
                    ErrorKind.UNAVAILABLE, f"{key}: the answer was cut: {len(body)} of {size} bytes"
                )
            headers = answer["ResponseMetadata"]["HTTPHeaders"]
            return StoredObject(body, answer["ETag"], _date(headers), answer.get("LastModified"))

        answer = self._ask(key, fetch)
        if not isinstance(answer, Refused):
            return answer
        if answer.status == 404:
            return Missing(_date(answer.headers))
        raise StoreError(ErrorKind.UNAVAILABLE, f"{key}: GET was answered {answer.status} {answer.code}")

    def put_if_absent(self, key: str, body: bytes) -> Written | NotWritten:
        answer = self._put(key, body, IfNoneMatch="*")
        if isinstance(answer, NotWritten) and answer.status == 404:
            raise StoreError(ErrorKind.NOT_FOUND, f"{key}: a create was answered 404")
        return answer

    def put_if_match(self, key: str, body: bytes, etag: str) -> Written | NotWritten:
        return self._put(key, body, IfMatch=etag.strip('"') if self.etag_form == "unquoted" else etag)

    def list(self, prefix: str) -> Iterator[Entry]:
        folder_of(prefix)
        asked = {"Bucket": self._bucket, "Prefix": self._prefix + prefix}
        while True:
            page = self._ask(prefix, partial(_send, operation="list_objects_v2", **asked))
            if isinstance(page, Refused):
                raise StoreError(
                    ErrorKind.UNAVAILABLE, f"{prefix}: LIST was answered {page.status} {page.code}"
                )
            for row in page.get("Contents", ()):
                yield Entry(row["Key"].removeprefix(self._prefix), row["Size"], row["LastModified"])
            if not page.get("IsTruncated"):
                return
            asked = {**asked, "ContinuationToken": page["NextContinuationToken"]}

    def delete(self, key: str) -> None:
        name = self._prefix + check_key(key)
        answer = self._ask(key, lambda fs: _send(fs, "delete_object", Bucket=self._bucket, Key=name))
        if isinstance(answer, Refused) and answer.status != 404:
            raise StoreError(
                ErrorKind.UNAVAILABLE, f"{key}: DELETE was answered {answer.status} {answer.code}"
            )

    def close(self) -> None:
        with self._lock:
            fs, self._fs = self._fs, None
        if fs is not None:
            fs.close_session(fs.loop, fs._s3creator)  # noqa: SLF001 -- there is no public way to name the session

    def _put(self, key: str, body: bytes, **condition: str) -> Written | NotWritten:
        name = self._prefix + check_key(key)
        answer = self._ask(
            key, lambda fs: _send(fs, "put_object", Bucket=self._bucket, Key=name, Body=body, **condition)
        )
        return NotWritten(answer.status) if isinstance(answer, Refused) else Written(answer["ETag"])

    def _ask(self, key: str, call: Callable[[Any], Awaitable[T]]) -> T | Refused:
        """Run `call` on fsspec's loop, for at most the request timeout. The one place where foreign errors end."""
        from fsspec.asyn import sync

        try:
            with self._lock:
                if self._fs is None:
                    self._fs = connect_s3(self._environ, self._timeout_s)
                fs = self._fs
            answer: T = sync(fs.loop, call, fs, timeout=self._timeout_s)
            return answer
        except Exception as error:  # noqa: BLE001 -- botocore, aiohttp and fsspec share no root
            refused = refusal(error)
            if refused.is_answer:
                return refused
            ours = store_error(key, error)
            raise ours from (None if ours is error else error)


def connect_s3(environ: Mapping[str, str], timeout_s: float) -> Any:
    """An S3FileSystem with a live session, without caches and (as far as it can be told) without retries."""
    from fsspec.asyn import sync
    from s3fs import S3FileSystem

    endpoint = s3_endpoint(environ)
    region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION")
    client = {"region_name": region, "verify": environ.get("AWS_CA_BUNDLE")}
    fs = S3FileSystem(
        key=environ.get("AWS_ACCESS_KEY_ID") or None,
        secret=environ.get("AWS_SECRET_ACCESS_KEY") or None,
        token=environ.get("AWS_SESSION_TOKEN") or None,
        endpoint_url=endpoint,
        skip_instance_cache=True,
        use_listings_cache=False,
        client_kwargs={name: value for name, value in client.items() if value},
        config_kwargs={
            "retries": {"mode": "standard", "total_max_attempts": 1},
            "connect_timeout": min(5.0, timeout_s),
            "read_timeout": timeout_s,
            "s3": {"addressing_style": "path" if endpoint else "auto"},
            # newer defaults add checksum trailers, which S3-compatible stores need not know
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
        },
        **({"profile": environ["AWS_PROFILE"]} if environ.get("AWS_PROFILE") else {}),
    )
    fs.retries = 1
    s3 = sync(fs.loop, fs.set_session, timeout=max(CONNECT_S, timeout_s))
    known = set(s3.meta.service_model.operation_model("PutObject").input_shape.members)
    if not {"IfNoneMatch", "IfMatch"} <= known:
        # s3fs drops arguments that botocore does not know: every write would be unconditional
        raise StoreError(ErrorKind.UNSUPPORTED, "this botocore knows no conditional PutObject; it is too old")
    return fs


async def _send(fs: Any, operation: str, **arguments: Any) -> Any:
    return await fs._call_s3(operation, **arguments)  # noqa: SLF001 -- the public call_s3 is its blocking twin


def _date(headers: Mapping[str, str]) -> datetime | None:
    return parsedate_to_datetime(headers["date"]) if headers.get("date") else None


class FsspecReader:
    """Any other fsspec URL (sftp, hdfs, http, ...), for reading: none of them is known to create atomically.

    Conditional writes are UNSUPPORTED, so such a store is refused for tuning. `url` is shown to people, `address` (it
    may hold a password) is not.
    """

    def __init__(self, address: str, url: str, *, request_timeout_s: float) -> None:
        self._address = address
        self._url = url
        self._timeout_s = request_timeout_s
        self._opened: tuple[Any, str] | None = None

    @property
    def url(self) -> str:
        return self._url

    def get(self, key: str, *, limit_bytes: int) -> StoredObject | Missing:
        check_key(key)

        def fetch(fs: Any, root: str) -> StoredObject | Missing:
            path = f"{root}/{key}"
            try:
                size = fs.info(path)["size"] or 0  # http servers need not say
                if size > limit_bytes:
                    raise StoreError(ErrorKind.TOO_LARGE, f"{key}: {size} bytes, limit {limit_bytes}")
                with fs.open(path, "rb") as file:
                    body = file.read(limit_bytes + 1)
            except FileNotFoundError:
                if fs.exists(root):
                    return Missing()
                raise
            if len(body) > limit_bytes:
                raise StoreError(ErrorKind.TOO_LARGE, f"{key}: more than {limit_bytes} bytes")
            return StoredObject(body, sha256_hex(body))

        return self._ask(key, fetch)

    def put_if_absent(self, key: str, body: bytes) -> Written | NotWritten:
        raise self._refusal(check_key(key), body)

    def put_if_match(self, key: str, body: bytes, etag: str) -> Written | NotWritten:
        raise self._refusal(check_key(key), body, etag)

    def list(self, prefix: str) -> Iterator[Entry]:
        folder_of(prefix)
        found = self._ask(prefix, lambda fs, root: [(root, fs.find(root, detail=True))])
        for root, rows in found:
            entries = {path.removeprefix(root).lstrip("/"): row["size"] for path, row in rows.items()}
            yield from (Entry(key, entries[key], None) for key in sorted(entries) if key.startswith(prefix))

    def delete(self, key: str) -> None:
        raise self._refusal(check_key(key))

    def close(self) -> None:
        self._opened = None

    def _refusal(self, key: str, *_: object) -> StoreError:
        return StoreError(ErrorKind.UNSUPPORTED, f"{key}: {self._url} can only be read")

    def _ask(self, key: str, call: Callable[[Any, str], T]) -> T:
        """Run `call` in a thread of its own, which is abandoned when the request timeout is over."""
        answers: list[T] = []
        errors: list[Exception] = []

        def work() -> None:
            try:
                if self._opened is None:
                    import fsspec

                    fs, root = fsspec.core.url_to_fs(self._address, skip_instance_cache=True)
                    self._opened = fs, root.rstrip("/")
                answers.append(call(*self._opened))
            except Exception as error:  # noqa: BLE001 -- carried to the caller's thread
                errors.append(error)

        worker = threading.Thread(target=work, daemon=True, name=f"fsspec {key}")
        worker.start()
        worker.join(self._timeout_s)
        if errors:
            ours = store_error(key, errors[0])
            raise ours from (None if ours is errors[0] else errors[0])
        if not answers:
            raise StoreError(ErrorKind.TIMEOUT, f"{key}: no answer within {self._timeout_s} s")
        return answers[0]
