"""`cache-store import`: the bundles of an export into a store."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import click

from cache_store.cli.carrying import deliver, refuse_unconfirmed
from cache_store.cli.help_text import ALWAYS, epilog
from cache_store.cli.operating import Request
from cache_store.cli.session import Problem, Session, store_options
from cache_store.exit_codes import ExitCode
from cache_store.export_file import BadExport
from cache_store.parcel import LeftOut, Parcel
from cache_store.read_export import read_parcels

_EXAMPLES = """
import bundles.tar --dry-run
import bundles.tar.gz --yes
"""


@click.command(
    "import",
    short_help="The bundles of a file into the store.",
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
@click.argument("file", metavar="FILE")
@click.option(
    "--over-retired", is_flag=True, help="Also where a bundle was retired (never over a quarantine)."
)
@click.option("--yes", "is_confirmed", is_flag=True, help="Do not ask. Needed where no terminal is.")
@click.option(
    "--dry-run", "is_dry", is_flag=True, help="Check all, say what would be done, and write nothing."
)
@store_options
@click.pass_obj
def import_(session: Session, file: str, *, over_retired: bool, is_confirmed: bool, is_dry: bool) -> int:
    """Put the bundles of FILE, which `export` wrote, into the store.

    All of FILE is checked before the first write. Each bundle is written whole or not at all, and only where none is
    published: another one stays (`occupied`), the same one is `unchanged`. Interrupted, it is run again and goes on.
    """
    request = Request("import", "imported", (), "", None, is_confirmed, is_dry)
    refuse_unconfirmed(request)
    path = Path(file)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise Problem("usage", f"{file} is no regular file; it is read more than once", ExitCode.USAGE)
        archive = path.open("rb")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise Problem("not-found", f"{file}: there is no such file", ExitCode.NOT_FOUND) from error
    except OSError as error:
        raise Problem("input", f"{file}: {error.strerror}", ExitCode.USAGE) from error
    with archive, session.plain_store() as adapter:

        def parcels() -> Iterator[Parcel | LeftOut]:
            return _parcels(archive, file)

        for _ in parcels():
            pass  # to its end, before anything is written
        return deliver(session, request, adapter, parcels, over_retired=over_retired, file=file)


def _parcels(archive: BinaryIO, file: str) -> Iterator[Parcel]:
    """Raises `Problem`."""
    try:
        yield from read_parcels(archive)
    except BadExport as problem:
        raise Problem(problem.reason, f"{file}: {problem.detail}", ExitCode.CORRUPT) from None
    except OSError as error:
        raise Problem("input", f"{file}: {error.strerror or error}", ExitCode.USAGE) from error
