"""What a number means when a program of this project ends with it. One table, append only: scripts rely on it.

`autotune-init --strict` gives the same numbers the same meaning (autotune_init/outcomes.py has more of them).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType

from cache_store.errors import ErrorKind


class ExitCode(IntEnum):
    """Named after what the caller does next. A number that is not listed means failure."""

    OK = 0
    INTERNAL = 1
    USAGE = 2
    UNAVAILABLE = 10
    CORRUPT = 13
    DENIED = 14
    OUTPUT = 16
    UNFIT = 21
    NOT_FOUND = 22
    REFUSED = 27
    INTERRUPTED = 130


MEANINGS: Mapping[ExitCode, str] = MappingProxyType(
    {
        ExitCode.OK: "the answer is on stdout",
        ExitCode.INTERNAL: "a bug of ours; please report it",
        ExitCode.USAGE: "wrong usage or settings: an unknown option, no store, a URL that is none, an ambiguous prefix",
        ExitCode.UNAVAILABLE: "the store did not answer properly or in time, or the bucket does not exist",
        ExitCode.CORRUPT: "a bundle is corrupt, foreign, too large or of an unknown schema",
        ExitCode.DENIED: "the store refused: the credentials lack a right",
        ExitCode.OUTPUT: "the answer or a file could not be written on this side: a full disk, no right to write",
        ExitCode.UNFIT: "the store does not keep conditional writes: it can be read, but not tuned into",
        ExitCode.NOT_FOUND: "there is no such bundle, or no such file in it",
        ExitCode.REFUSED: "not done: it is quarantined, has no copy, somebody changed it meanwhile, something else is in its place, or you said no",
        ExitCode.INTERRUPTED: "interrupted (Ctrl-C)",
    }
)

OF_ERROR: Mapping[ErrorKind, ExitCode] = MappingProxyType(
    {
        ErrorKind.UNAVAILABLE: ExitCode.UNAVAILABLE,
        ErrorKind.TIMEOUT: ExitCode.UNAVAILABLE,
        ErrorKind.NOT_FOUND: ExitCode.UNAVAILABLE,
        ErrorKind.DENIED: ExitCode.DENIED,
        ErrorKind.INVALID: ExitCode.USAGE,
        ErrorKind.UNSUPPORTED: ExitCode.UNFIT,
        ErrorKind.TOO_LARGE: ExitCode.CORRUPT,
        ErrorKind.CORRUPT: ExitCode.CORRUPT,
        ErrorKind.INTERNAL: ExitCode.INTERNAL,
    }
)
