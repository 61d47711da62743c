"""What the exceptions of botocore, aiohttp and fsspec backends mean, told by name: they share no root class.

Checked against s3fs 2026.9.0 (s3fs/errors.py), botocore 1.43.117 and aiohttp 3.14.5. s3fs hides botocore's answer behind
an OSError that depends on the server's error text, so the HTTP status is taken from the chain of causes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cache_store.dataclass import dataclass, field
from cache_store.errors import CREDENTIALS, NO_CREDENTIALS, ErrorKind, StoreError

BUCKET_IS_MISSING = frozenset({"NoSuchBucket"})
# what botocore raises before it sends anything
_CREDENTIALS_BY_NAME = {
    "NoCredentialsError": NO_CREDENTIALS,
    "PartialCredentialsError": "half of the credentials is missing: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY both",
    "CredentialRetrievalError": "where the credentials should come from gave none: look at the role, or the profile's program",
    "ProfileNotFound": "there is no such profile: correct AWS_PROFILE, or AWS_CONFIG_FILE",
    "SSOTokenLoadError": "nobody is logged in: run `aws sso login`",
    "UnauthorizedSSOTokenError": "the login has expired: run `aws sso login`",
}

_BY_NAME = {
    **dict.fromkeys((*_CREDENTIALS_BY_NAME, "PermissionError"), ErrorKind.DENIED),
    **dict.fromkeys(
        (
            "ParamValidationError",
            "InvalidEndpointURLError",
            "InvalidRegionError",
            "ImportError",
            "ModuleNotFoundError",
            "ValueError",
            "RecursionError",  # s3fs follows a redirect without a Location for ever
        ),
        ErrorKind.INVALID,
    ),
    "FileNotFoundError": ErrorKind.NOT_FOUND,
    **dict.fromkeys(
        ("FSTimeoutError", "ReadTimeoutError", "ConnectTimeoutError", "TimeoutError", "SocketTimeoutError"),
        ErrorKind.TIMEOUT,
    ),
}


@dataclass(frozen=True)
class Refused:
    """The server's answer where it was not success; `status` 0 where there was none."""

    status: int = 0
    code: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_answer(self) -> bool:
        """A condition that did not hold, or an object that is not there: for the caller to read."""
        return self.status in {404, 409, 412} and self.code not in BUCKET_IS_MISSING


def refusal(error: BaseException) -> Refused:
    """The HTTP answer in `error` or in what caused it."""
    for one in _causes(error):
        response = getattr(one, "response", None)
        if isinstance(response, Mapping) and "ResponseMetadata" in response:
            meta = response["ResponseMetadata"]
            code = str(response.get("Error", {}).get("Code", ""))
            return Refused(int(meta.get("HTTPStatusCode", 0)), code, meta.get("HTTPHeaders", {}))
    return Refused()


def store_error(key: str, error: BaseException) -> StoreError:
    """`error` in our words."""
    if isinstance(error, StoreError):
        return error
    text = " ".join(str(error).split())[:400] or type(error).__name__
    names = [type(one).__name__ for one in _causes(error)]
    if any(name in {"SSLError", "SSLCertVerificationError", "ClientConnectorSSLError"} for name in names):
        return StoreError(ErrorKind.UNAVAILABLE, f"{key}: TLS failed: {text}")
    refused = refusal(error)
    by_name = next((_CREDENTIALS_BY_NAME[name] for name in names if name in _CREDENTIALS_BY_NAME), "")
    return StoreError(
        _kind(refused, names), f"{key}: {text} ({names[0]})", CREDENTIALS.get(refused.code, by_name)
    )


def _kind(refused: Refused, names: list[str]) -> ErrorKind:
    status = refused.status
    if refused.code in BUCKET_IS_MISSING or status == 404:
        return ErrorKind.NOT_FOUND
    if refused.code == "NotImplemented" or status == 501:
        return ErrorKind.UNSUPPORTED
    if refused.code in CREDENTIALS or status in {401, 403}:  # some of them come with status 400
        return ErrorKind.DENIED
    if status in {301, 302, 307} or (400 <= status < 500 and status not in {408, 409, 429}):
        return ErrorKind.INVALID
    if status:
        return ErrorKind.UNAVAILABLE
    return next((_BY_NAME[name] for name in names if name in _BY_NAME), ErrorKind.UNAVAILABLE)


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__
