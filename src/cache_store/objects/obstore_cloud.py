"""s3://, gs:// and az:// through obstore: the adapter of the hot path (77 ms to import, typed conditional writes).

What its errors look like was checked against obstore 0.11.1 (the last for Python 3.10) and 0.12.1: the class tells a
condition from the rest, the text carries the status, the server's <Code> and, in its debug half, why a connection
failed. obstore does not hand out the Date header, so `date` is None here and a claim's age is "unchanged on my own
clock" (`coordination`): never wrong, but a pod that has just arrived waits one whole lease for a dead holder.

obstore also reads AWS_* from the process's environment; whatever `environ` names is set over that.
AWS_PROFILE is not supported by obstore: `open_url` sends that to s3fs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import AzureStore, GCSStore, S3Store

from cache_store.annotation import TYPE_CHECKING, Any, TypeVar, cast
from cache_store.dataclass import dataclass
from cache_store.errors import CREDENTIALS, NO_CREDENTIALS, ErrorKind, StoreError
from cache_store.objects import Entry, Missing, NotWritten, StoredObject, Written
from cache_store.objects.keys import check_key, folder_of
from cache_store.objects.plain_url import split_url
from cache_store.objects.root_certificates import made_with_roots
from cache_store.store_environ import s3_endpoint

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Config

T = TypeVar("T")

# obstore retries ten times for three minutes unless told otherwise; the one retry policy is `retrying`
NO_RETRIES: RetryConfig = {"max_retries": 0, "retry_timeout": timedelta(seconds=1)}
BUCKET_IS_MISSING = frozenset({"NoSuchBucket", "ContainerNotFound"})
# where obstore looks for credentials when it was given none: the instance's, the task's, GCE's
CREDENTIAL_REQUESTS = ("/latest/api/token", "/latest/meta-data/", "169.254.170.", "metadata.google.internal")

# obstore's own names for what the AWS tools read; the first name that is set wins
_S3_SETTINGS = {
    "access_key_id": ("AWS_ACCESS_KEY_ID",),
    "secret_access_key": ("AWS_SECRET_ACCESS_KEY",),
    "session_token": ("AWS_SESSION_TOKEN",),
    "region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
    "web_identity_token_file": ("AWS_WEB_IDENTITY_TOKEN_FILE",),
    "role_arn": ("AWS_ROLE_ARN",),
    "role_session_name": ("AWS_ROLE_SESSION_NAME",),
    "container_credentials_relative_uri": ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",),
    "container_credentials_full_uri": ("AWS_CONTAINER_CREDENTIALS_FULL_URI",),
    "container_authorization_token_file": ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",),
    "endpoint_url_sts": ("AWS_ENDPOINT_URL_STS", "AWS_STS_ENDPOINT"),
    "skip_signature": ("AWS_SKIP_SIGNATURE",),
}


def open_cloud(url: str, *, environ: Mapping[str, str], request_timeout_s: float) -> ObstoreStore:
    """A store at `s3://bucket[/prefix]`, `gs://...` or `az://container[/prefix]` (an URL that is known to be good).

    Read from `environ` for S3: _S3_SETTINGS, AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL (path-style unless
    AWS_VIRTUAL_HOSTED_STYLE_REQUEST is true), AWS_CA_BUNDLE. Raises INVALID for settings that cannot be.
    """
    parts = split_url(url)
    bucket, prefix = parts.netloc, parts.path.strip("/")
    endpoint = s3_endpoint(environ)
    client: ClientConfig = {
        "timeout": timedelta(seconds=request_timeout_s),
        "connect_timeout": timedelta(seconds=min(5.0, request_timeout_s)),
        "allow_http": parts.scheme == "s3" and (endpoint or "").startswith("http://"),
    }
    try:
        if ca_bundle := environ.get("AWS_CA_BUNDLE"):
            client["root_certificate"] = Path(ca_bundle).read_bytes()
        kind: Any = {"s3": S3Store, "gs": GCSStore}.get(parts.scheme, AzureStore)
        config = {"config": s3_settings(environ, bucket, endpoint)} if parts.scheme == "s3" else {}
        make = partial(
            kind, bucket, prefix=prefix or None, client_options=client, retry_config=NO_RETRIES, **config
        )
        store = made_with_roots(make, environ, is_plain_http=client["allow_http"], failure=BaseError)
    except (BaseError, ValueError, OSError) as error:
        raise StoreError(ErrorKind.INVALID, f"{url}: {_first_sentence(str(error))}") from error
    return ObstoreStore(store, url, uses_generations=parts.scheme == "gs")


def s3_settings(environ: Mapping[str, str], bucket: str, endpoint: str | None) -> S3Config:
    """What `environ` says about S3, in obstore's words."""
    found: dict[str, Any] = {}
    for setting, names in _S3_SETTINGS.items():
        if value := next((environ[name] for name in names if environ.get(name)), None):
            found[setting] = value
    is_virtual = environ.get("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "").lower() in {"1", "true", "yes", "on"}
    if endpoint:
        if is_virtual:  # obstore wants the bucket in the endpoint's name then
            from urllib.parse import urlsplit

            parts = urlsplit(endpoint)
            endpoint = parts._replace(netloc=f"{bucket}.{parts.netloc}").geturl()
        found["endpoint"] = endpoint
        found.setdefault("region", "us-east-1")  # it is part of the signature, and most stores take any
    found["virtual_hosted_style_request"] = is_virtual
    found["disable_bulk_delete"] = True  # one DELETE: DeleteObjects is missing in Alibaba OSS and others
    return cast("S3Config", found)


class ObstoreStore:
    """`etag_form` "unquoted" sends If-Match without quotes, which Ceph RGW 16 wants; `probe` finds that out."""

    def __init__(self, store: Any, url: str, *, uses_generations: bool) -> None:
        self._store = store
        self._url = url
        self._uses_generations = uses_generations
        self.etag_form = "quoted"

    @property
    def url(self) -> str:
        return self._url

    def get(self, key: str, *, limit_bytes: int) -> StoredObject | Missing:
        def fetch() -> StoredObject:
            result = obstore.get(self._store, key)
            meta = result.meta  # made anew at each access
            size = meta["size"]
            if size > limit_bytes:
                raise StoreError(ErrorKind.TOO_LARGE, f"{key}: {size} bytes, limit {limit_bytes}")
            body = bytes(result.bytes())
            if len(body) != size:
                raise StoreError(
                    ErrorKind.UNAVAILABLE, f"{key}: the answer was cut: {len(body)} of {size} bytes"
                )
            etag = self._etag(meta["e_tag"], meta["version"])
            return StoredObject(body, etag, None, meta["last_modified"])

        answer = _ask(check_key(key), fetch)
        if not isinstance(answer, _Status):
            return answer
        if answer.status == 404:
            return Missing()
        raise _unexpected(key, answer)

    def put_if_absent(self, key: str, body: bytes) -> Written | NotWritten:
        return self._put(key, body, "create")

    def put_if_match(self, key: str, body: bytes, etag: str) -> Written | NotWritten:
        tag = etag.strip('"') if self.etag_form == "unquoted" else etag
        return self._put(key, body, {"version": tag} if self._uses_generations else {"e_tag": tag})

    def list(self, prefix: str) -> Iterator[Entry]:
        # obstore's prefixes are whole segments, ours are strings
        folder = folder_of(prefix).rstrip("/") or None
        pages = obstore.list(self._store, folder)
        while True:
            page = _ask(prefix, lambda: next(pages, None))
            if isinstance(page, _Status):
                raise _unexpected(prefix, page)
            if page is None:
                return
            for meta in page:
                if meta["path"].startswith(prefix):
                    yield Entry(meta["path"], meta["size"], meta["last_modified"], meta["e_tag"])

    def delete(self, key: str) -> None:
        answer = _ask(check_key(key), lambda: obstore.delete(self._store, key))
        if isinstance(answer, _Status) and answer.status != 404:
            raise _unexpected(key, answer)

    def close(self) -> None:
        """Nothing to do: connections end when the store is collected."""

    def _put(self, key: str, body: bytes, mode: Any) -> Written | NotWritten:
        answer = _ask(
            check_key(key), lambda: obstore.put(self._store, key, body, mode=mode, use_multipart=False)
        )
        if not isinstance(answer, _Status):
            return Written(self._etag(answer["e_tag"], answer["version"]))
        if answer.status == 404 and mode == "create":
            raise StoreError(ErrorKind.NOT_FOUND, f"{key}: {answer.text}")
        return NotWritten(answer.status)

    def _etag(self, e_tag: str | None, version: str | None) -> str:
        """GCS compares generations, which obstore calls version; everybody else compares ETags."""
        tag = version if self._uses_generations else e_tag
        if not tag:
            raise StoreError(ErrorKind.UNSUPPORTED, f"{self._url} answers without an ETag")
        return tag


@dataclass(frozen=True)
class _Status:
    """An HTTP status that means something to the caller: 404, 409 or 412."""

    status: int
    text: str


def _ask(key: str, call: Callable[[], T]) -> T | _Status:
    """The one place where obstore's exceptions end."""
    try:
        return call()
    except (BaseError, OSError, ValueError) as error:
        text = str(error)
        verdict = judge(error)
        if isinstance(verdict, int):
            return _Status(verdict, _first_sentence(text))
        raise StoreError(verdict, f"{key}: {_story(verdict, text)}", _hint(text)) from error
    except BaseException as error:
        if (
            type(error).__name__ != "PanicException"
        ):  # what Rust code raises is no Exception and has no public class
            raise
        raise StoreError(ErrorKind.INTERNAL, f"{key}: obstore panicked: {str(error)[:200]}") from error


def judge(error: Exception) -> int | ErrorKind:
    """404, 409 or 412, or the kind of error that this is."""
    text = str(error)
    status_found = re.search(r"status code: (\d{3})", text)
    status = int(status_found[1]) if status_found else 0
    code = _code(text)
    # some of them with status 400
    if code in CREDENTIALS or any(place in text for place in CREDENTIAL_REQUESTS):
        return ErrorKind.DENIED
    if code in BUCKET_IS_MISSING:
        return ErrorKind.NOT_FOUND
    if code == "NotImplemented" or status == 501:
        return ErrorKind.UNSUPPORTED
    if status in {404, 409, 412}:
        return status
    if isinstance(error, AlreadyExistsError | PreconditionError):
        return 412
    if isinstance(error, FileNotFoundError):
        return 404
    if status in {401, 403}:
        return ErrorKind.DENIED
    # a bare redirect is how S3 says that the bucket lives in another region
    is_refused = 400 <= status < 500 and status not in {408, 429}
    if is_refused or "BareRedirect" in text or isinstance(error, ValueError):
        return ErrorKind.INVALID
    return ErrorKind.TIMEOUT if "TimedOut" in text or "kind: Timeout" in text else ErrorKind.UNAVAILABLE


def _story(kind: ErrorKind, text: str) -> str:
    if kind is ErrorKind.DENIED and any(place in text for place in CREDENTIAL_REQUESTS):
        return f"no credentials were found ({_first_sentence(text)})"
    if "InvalidCertificate" in text or "InvalidMessage" in text or "AlertReceived" in text:
        why = re.search(r"Invalid(?:Certificate|Message)\(\s*(\w+)", text)
        return f"TLS failed ({why[1] if why else 'handshake'}): {_first_sentence(text)}"
    return _first_sentence(text)


def _hint(text: str) -> str:
    if any(place in text for place in CREDENTIAL_REQUESTS):
        return NO_CREDENTIALS
    return CREDENTIALS.get(_code(text), "")


def _code(text: str) -> str:
    found = re.search(r"<Code>(\w+)</Code>", text)
    return found[1] if found else ""


def _first_sentence(text: str) -> str:
    """What a person can use: the server's own code and message instead of its XML, nothing of the client's debug half."""
    plain = " ".join(text.partition("\n\nDebug source")[0].split())
    status = re.search(r"status code: (\d{3})", plain)
    if status and (code := _code(plain)):
        said = re.search(r"<Message>(.*?)</Message>", plain)
        return f"{status[1]} {code}" + (f": {said[1][:200]}" if said else "")
    return re.split(r"[:\s]*<(?:\?xml|!DOCTYPE|html|Error)\b", plain, maxsplit=1, flags=re.IGNORECASE)[0][
        :400
    ]


def _unexpected(key: str, answered: _Status) -> StoreError:
    return StoreError(ErrorKind.UNAVAILABLE, f"{key}: {answered.text}")
