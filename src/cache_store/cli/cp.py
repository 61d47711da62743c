"""`cache-store cp`: bundles from this store into another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import click

from cache_store.cli.carrying import (
    chosen,
    deliver,
    left_out_view,
    refuse_unconfirmed,
    taken,
    tell_left_out,
)
from cache_store.cli.help_text import ALWAYS, epilog
from cache_store.cli.operating import Request
from cache_store.cli.session import Problem, Session, said, store_options
from cache_store.dataclass import replace
from cache_store.exit_codes import ExitCode
from cache_store.objects import ObjectStore
from cache_store.objects.open_url import settle_client
from cache_store.parcel import LeftOut, Parcel
from cache_store.process_environ import lent
from cache_store.store_environ import DESTINATION_PREFIX, is_for_store, s3_endpoint, store_environ
from cache_store.take_bundle import still_there

_EXAMPLES = """
cp s3://models/prod --dry-run
cp s3://models/prod 0.7.2/sm90/0123456789abcdef/nvidia-h200-0123456789ab --yes
"""


@click.command(
    short_help="Bundles into another store.",
    epilog=epilog(
        ExitCode.OK,
        ExitCode.CORRUPT,
        ExitCode.UNFIT,
        ExitCode.NOT_FOUND,
        ExitCode.REFUSED,
        *ALWAYS,
        examples=_EXAMPLES,
    ),
)
@click.argument("destination", metavar="DESTINATION_URL")
@click.argument("addresses", metavar="[ADDRESS]...", nargs=-1)
@click.option("--to-endpoint", metavar="URL", help="The destination's S3 server, where it is another one.")
@click.option(
    "--over-retired", is_flag=True, help="Also where a bundle was retired (never over a quarantine)."
)
@click.option("--yes", "is_confirmed", is_flag=True, help="Do not ask. Needed where no terminal is.")
@click.option(
    "--dry-run", "is_dry", is_flag=True, help="Check all, say what would be done, and write nothing."
)
@store_options
@click.pass_obj
def cp(
    session: Session,
    destination: str,
    addresses: tuple[str, ...],
    *,
    to_endpoint: str | None,
    over_retired: bool,
    is_confirmed: bool,
    is_dry: bool,
) -> int:
    """Copy bundles from the store (--store) to DESTINATION_URL: all of them or those at ADDRESS.

    ADDRESS is a full address, or the beginning of a key. Both stores are reached with the credentials of this
    environment; where the destination has others, they are AUTOTUNE_TO_AWS_ACCESS_KEY_ID and its like. Each bundle is
    checked and copied whole or not at all, and only where none is published: another one stays (`occupied`), the same
    one is `unchanged`. Interrupted, it is run again and goes on.
    """
    request = Request("cp", "copied", (), "", None, is_confirmed, is_dry)
    refuse_unconfirmed(request)
    there = _reaching(session, said("DESTINATION_URL", destination), to_endpoint)
    with _opened(there) as adapter, session.store() as source:
        if _place(session, source) == _place(there, adapter):
            raise Problem("usage", f"{source.url} is source and destination", ExitCode.USAGE)
        wanted = chosen(source, addresses)

        left_out: list[dict[str, Any]] = []

        def parcels() -> Iterator[Parcel | LeftOut]:
            left_out.clear()  # gone through twice where a person is asked
            for one in taken(source, wanted):
                if addresses or not isinstance(one, LeftOut) or not one.is_out_of_service:
                    yield one
                    continue
                # ops took it out, and nobody asked for it by name
                left_out.append(left_out_view(one))
                tell_left_out(session, one)

        return deliver(
            session,
            request,
            adapter,
            parcels,
            over_retired=over_retired,
            recheck=partial(still_there, source),
            source=source.url,
            left_out=left_out,
        )


def _reaching(session: Session, destination: str, endpoint: str | None) -> Session:
    """The destination's settings: those of the source, where nothing is said for it alone. Raises `Problem`."""
    unknown = sorted(
        name
        for name in session.environ
        if name.startswith(DESTINATION_PREFIX) and not is_for_store(name, DESTINATION_PREFIX)
    )
    if unknown:
        raise Problem(
            "usage",
            f"{unknown[0]} is not read: {DESTINATION_PREFIX} goes before a variable of the cloud's, as in"
            f" {DESTINATION_PREFIX}AWS_REGION",
            ExitCode.USAGE,
        )
    environ = store_environ(session.environ, DESTINATION_PREFIX)
    if endpoint is not None:
        environ["AWS_ENDPOINT_URL_S3"] = said("--to-endpoint", endpoint)
    return replace(session, store_option=destination, environ=environ)


@contextmanager
def _opened(there: Session) -> Iterator[ObjectStore]:
    """The destination, opened before the source, whose client may have threads."""
    with ExitStack() as open_until_done:
        with lent(there.environ):
            store = open_until_done.enter_context(there.plain_store())
            settle_client(store)
        yield store


def _place(session: Session, store: ObjectStore) -> tuple[str, str]:
    """Where the store is: the same URL at another endpoint is another store."""
    return store.url.rstrip("/"), (s3_endpoint(session.environ) or "").rstrip("/")
