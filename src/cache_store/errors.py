"""What can go wrong with a store, named after what the reader does next.

"Not found" is an answer (`objects.Missing`), not an error; a condition that did not hold is an answer too
(`objects.NotWritten`). Everything else that an adapter meets is raised as one `StoreError` with one `ErrorKind`.
"""

from __future__ import annotations

from enum import Enum


class ErrorKind(str, Enum):
    """Coarse on purpose: one kind for each different thing that a caller would do. Append only."""

    UNAVAILABLE = (
        "unavailable"  # 5xx, refused, reset, DNS, TLS, truncated answer: try again within the deadline
    )
    TIMEOUT = "timeout"  # no answer in time; a write may or may not have happened: read back
    DENIED = "denied"  # 401/403, read-only file system: an operator must act; trying again is pointless
    NOT_FOUND = "not-found"  # the bucket or container itself is missing: an operator must act
    INVALID = "invalid"  # the address, URL or settings are wrong
    UNSUPPORTED = "unsupported"  # the store rejects conditional writes (501/400 NotImplemented)
    TOO_LARGE = "too-large"  # the object is larger than the caller's limit; nothing was kept
    CORRUPT = "corrupt"  # bytes that do not parse, do not match their digest or have an unknown schema
    INTERNAL = "internal"  # a bug of ours


RETRYABLE = frozenset({ErrorKind.UNAVAILABLE, ErrorKind.TIMEOUT})

ADVICE = {
    ErrorKind.UNAVAILABLE: "the store did not answer properly; check the endpoint, the network policy and the CA",
    ErrorKind.TIMEOUT: "the store did not answer in time; check the endpoint and the network policy",
    ErrorKind.DENIED: "grant s3:GetObject (and s3:PutObject to pods that tune) on the prefix; without s3:ListBucket "
    "a missing object is answered 403, so grant that on the bucket too",
    ErrorKind.NOT_FOUND: "create the bucket, or correct its name in the store URL",
    ErrorKind.INVALID: "correct the store URL or its settings",
    ErrorKind.UNSUPPORTED: "this store rejects conditional writes: use it read-only, or another store for tuning",
    ErrorKind.TOO_LARGE: "the object is larger than a bundle may be; look at who wrote it",
    ErrorKind.CORRUPT: "run `cache-store verify`, then take the object out of service",
    ErrorKind.INTERNAL: "please report this",
}


_NEW_CREDENTIALS = "the credentials have expired: get new ones"
# a server's word for credentials that it does not take -> what to do. No right was looked at, so none is missing
CREDENTIALS = {
    "InvalidAccessKeyId": "the store does not know this access key: take one of this very store, or correct the endpoint",
    "SignatureDoesNotMatch": "the secret key does not belong to the access key: correct AWS_SECRET_ACCESS_KEY",
    "ExpiredToken": _NEW_CREDENTIALS,
    "TokenRefreshRequired": _NEW_CREDENTIALS,
    "InvalidToken": "the session token does not belong to the access key: correct AWS_SESSION_TOKEN, or unset it",
    "RequestTimeTooSkewed": "this computer's clock is far from the store's: set it (NTP); nothing is wrong with the keys",
    "AuthenticationFailed": "the store does not take these credentials, or this computer's clock is far from its own",
}
NO_CREDENTIALS = "no credentials were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give this machine a role"


class StoreError(Exception):
    """A store did not do what it was asked, and `kind` says what to do about it.

    `hint` says it better, where the very credentials were refused or none were found; else it is empty.
    """

    def __init__(self, kind: ErrorKind, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.hint = hint

    @property
    def is_retryable(self) -> bool:
        return self.kind in RETRYABLE

    def __str__(self) -> str:
        return f"{self.kind.value}: {super().__str__()}"
