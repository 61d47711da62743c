"""What every command shares: the world it runs in, the settings of its store, and the options that set them.

The options are taken before and after the command's name; the later one wins.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import click

from cache_store.chance import Chance
from cache_store.clock import Clock
from cache_store.dataclass import dataclass, replace
from cache_store.errors import ADVICE, StoreError
from cache_store.exit_codes import OF_ERROR, ExitCode
from cache_store.objects import ObjectStore
from cache_store.objects.open_url import Adapter
from cache_store.objects.retrying import Backoff, Retrying
from cache_store.store_environ import DESTINATION_PREFIX, is_for_store

DEFAULT_TIMEOUT_S = 10.0
VARIABLES = ("AUTOTUNE_STORE", "AUTOTUNE_STORE_ADAPTER", "AUTOTUNE_REQUEST_TIMEOUT")
# how alike a name must be (difflib): AUTOTUNE_STORE_URL is AUTOTUNE_STORE, and none of the init container's is one of these
NEARLY = 0.86
# a store that is away must not keep a person waiting for minutes
PATIENCE = 3.0

F = TypeVar("F", bound=Callable[..., Any])


class Problem(Exception):  # noqa: N818 -- reads as what it is
    """Why there is no answer, for the person who asked. `kind` is stable: it goes into the JSON error."""

    def __init__(self, kind: str, message: str, exit_code: ExitCode) -> None:
        super().__init__(message)
        self.kind = kind
        self.exit_code = exit_code


class Opener(Protocol):
    """`objects.open_url.open_store`, or what a test puts in its place."""

    def __call__(
        self, url: str, *, environ: Mapping[str, str], adapter: Adapter, request_timeout_s: float
    ) -> ObjectStore:
        """Nothing is sent. Raises `StoreError` (INVALID)."""


@dataclass(frozen=True)
class Session:
    """Settings are None where no option was given; the environment is asked then."""

    environ: Mapping[str, str]
    clock: Clock
    rng: Chance
    nonce: Callable[[], str]
    opener: Opener
    store_option: str | None = None
    adapter_option: str | None = None
    timeout_option_s: float | None = None
    is_json: bool = False

    @property
    def store_url(self) -> str:
        """Raises `Problem`."""
        if self.store_option is not None:
            # never the variable instead: `gc --yes --store "$UNSET"` would empty another store than was meant
            return said("--store", self.store_option)
        url = self.environ.get("AUTOTUNE_STORE", "")
        if not url:
            raise Problem("no-store", "no store: pass --store URL or set AUTOTUNE_STORE", ExitCode.USAGE)
        return url

    def name_of(self, person: str | None) -> str:
        """Who does it, as it is written down: `person`, or whoever is logged in."""
        return person or self.environ.get("USER") or self.environ.get("LOGNAME") or "unknown"

    @property
    def adapter(self) -> Adapter:
        """Raises `Problem`."""
        if self.adapter_option is not None:
            name = said("--adapter", self.adapter_option)
        else:
            name = self.environ.get("AUTOTUNE_STORE_ADAPTER") or "auto"
        if name == "auto":
            return "auto"
        if name == "obstore":
            return "obstore"
        if name == "fsspec":
            return "fsspec"
        raise Problem(
            "usage", f"AUTOTUNE_STORE_ADAPTER is {name!r}; it may be auto, obstore or fsspec", ExitCode.USAGE
        )

    @property
    def timeout_s(self) -> float:
        """Raises `Problem`."""
        if self.timeout_option_s is not None:
            return self.timeout_option_s
        text = self.environ.get("AUTOTUNE_REQUEST_TIMEOUT")
        if not text:
            return DEFAULT_TIMEOUT_S
        try:
            seconds = float(text)
        except ValueError:
            seconds = math.nan
        if not 0 < seconds < math.inf:
            raise Problem(
                "usage", f"AUTOTUNE_REQUEST_TIMEOUT is {text!r}; it must be seconds above 0", ExitCode.USAGE
            )
        return seconds

    @contextmanager
    def plain_store(self) -> Iterator[ObjectStore]:
        """The store as it is, without patience: every failure shows. Raises `Problem` and `StoreError`."""
        _refuse_misspelt(self.environ)
        store = self.opener(
            self.store_url, environ=self.environ, adapter=self.adapter, request_timeout_s=self.timeout_s
        )
        try:
            yield store
        finally:
            store.close()

    @contextmanager
    def store(self) -> Iterator[ObjectStore]:
        """The store, with reads sent again that got no answer. Raises as `plain_store`."""
        with self.plain_store() as store:
            yield self.patient(store)

    @contextmanager
    def store_at(self, url: str) -> Iterator[ObjectStore]:
        """Another store with the same settings and credentials. Raises as `plain_store`."""
        with replace(self, store_option=url).store() as store:
            yield store

    def patient(self, store: ObjectStore) -> ObjectStore:
        """The store, with reads sent again that got no answer; a write is sent once. Raises `Problem`."""
        backoff = Backoff(attempts=4, total_s=PATIENCE * self.timeout_s)
        return Retrying(store, clock=self.clock, rng=self.rng, backoff=backoff)


def _refuse_misspelt(environ: Mapping[str, str]) -> None:
    """A variable that is nearly one of ours. Raises `Problem`.

    Another AUTOTUNE_* name is left alone: it is the init container's, of whose names this program knows none, and both
    may be in one shell.
    """
    for name in sorted(environ):
        if not name.startswith("AUTOTUNE_") or name in VARIABLES or _is_of_a_cloud(name):
            continue
        from difflib import get_close_matches

        if near := get_close_matches(name, VARIABLES, 1, NEARLY):
            raise Problem("usage", f"{name} is not read; is {near[0]} meant?", ExitCode.USAGE)


def _is_of_a_cloud(name: str) -> bool:
    return is_for_store(name) or name.startswith(DESTINATION_PREFIX)


def said(name: str, value: str) -> str:
    """What was said for `name`, which is something: an unset variable of the shell says nothing. Raises `Problem`."""
    if not value.strip():
        raise Problem("usage", f"{name} is empty; is the variable set that it comes from?", ExitCode.USAGE)
    return value


def _set(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(context: click.Context, _parameter: click.Parameter, value: Any) -> None:
        if value is None or value is False:
            return
        context.obj = replace(context.ensure_object(Session), **{name: value})

    return callback


def _seconds(context: click.Context, parameter: click.Parameter, value: float | None) -> None:
    if value is not None and not math.isfinite(value):
        raise click.BadParameter("it must be finite", context, parameter)
    _set("timeout_option_s")(context, parameter, value)


json_option = click.option(
    "--json",
    is_flag=True,
    expose_value=False,
    callback=_set("is_json"),
    help="One JSON object on stdout, errors as one JSON object on stderr.",
)
_OPTIONS = (
    click.option(
        "--store",
        metavar="URL",
        expose_value=False,
        callback=_set("store_option"),
        help="Where the bundles are: s3://bucket/prefix, gs://, az://, file:///dir or any fsspec URL.  [AUTOTUNE_STORE]",
    ),
    click.option(
        "--adapter",
        type=click.Choice(["auto", "obstore", "fsspec"]),
        expose_value=False,
        callback=_set("adapter_option"),
        help="Client library; default: auto.  [AUTOTUNE_STORE_ADAPTER]",
    ),
    click.option(
        "--timeout",
        metavar="S",
        type=click.FloatRange(min=0, min_open=True),
        expose_value=False,
        callback=_seconds,
        help="How long one request may take, in seconds; default: 10.  [AUTOTUNE_REQUEST_TIMEOUT]",
    ),
    json_option,
)


def store_options(function: F) -> F:
    """The options of the store, for the program and again for each command."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def problem_of(error: StoreError, advice: str | None = None) -> Problem:
    """`error` for a person: what to do about it, and what happened. Refused credentials lack no right: no `advice` then."""
    message = f"{error.hint or advice or ADVICE[error.kind]} ({error})"
    return Problem(f"store-{error.kind.value}", message, OF_ERROR[error.kind])
