"""`cache-store import`: the bundles of an export into a store."""

from __future__ import annotations

import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, cast

import click

from cache_store.cli.carrying import deliver, refuse_unconfirmed
from cache_store.cli.help_text import ALWAYS, epilog
from cache_store.cli.operating import Request
from cache_store.cli.progress import progress
from cache_store.cli.session import Problem, Session, store_options
from cache_store.exit_codes import ExitCode
from cache_store.export_file import BadExport
from cache_store.objects import MIB
from cache_store.parcel import LeftOut, Parcel
from cache_store.read_export import read_parcels

_EXAMPLES = """
import bundles.tar --dry-run
import bundles.tar.gz --yes
"""

# an export has 16 GiB of members at most; headers, padding and a manifest come to it
MAX_STDIN_BYTES = 17 * 1024 * MIB


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
    """Put the bundles of FILE, which `export` wrote, into the store. "-" is stdin, of which a temporary copy is made.

    All of FILE is checked before the first write. Each bundle is written whole or not at all, and only where none is
    published: another one stays (`occupied`), the same one is `unchanged`. Interrupted, it is run again and goes on.
    """
    request = Request("import", "imported", (), "", None, is_confirmed, is_dry)
    refuse_unconfirmed(request)
    with _opened(file) as archive, session.plain_store() as adapter:

        def parcels() -> Iterator[Parcel | LeftOut]:
            return _parcels(archive, file)

        with progress("check", None) as advance:
            for _ in parcels():  # to its end, before anything is written
                advance()
        return deliver(session, request, adapter, parcels, over_retired=over_retired, file=file)


def _opened(file: str) -> BinaryIO:
    """What can be read more than once: stdin is copied beside first. Raises `Problem`."""
    if file == "-":
        return _spooled(sys.stdin.buffer)
    path = Path(file)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise Problem("usage", f"{file} is no regular file; it is read more than once", ExitCode.USAGE)
        return path.open("rb")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise Problem("not-found", f"{file}: there is no such file", ExitCode.NOT_FOUND) from error
    except OSError as error:
        raise Problem("input", f"{file}: {error.strerror}", ExitCode.USAGE) from error


def _spooled(stream: BinaryIO) -> BinaryIO:
    """A file without a name that is gone with this process. Raises `Problem`."""
    if stream.isatty():
        raise Problem("usage", "stdin is a terminal: name a FILE, or send one there", ExitCode.USAGE)
    copy = cast("BinaryIO", TemporaryFile())  # noqa: SIM115 -- the caller closes it
    try:
        while block := stream.read(MIB):
            if copy.tell() + len(block) > MAX_STDIN_BYTES:
                told = f"stdin has more than {MAX_STDIN_BYTES // MIB} MiB, and no export has"
                raise Problem("export-too-large", told, ExitCode.CORRUPT)
            copy.write(block)
    except OSError as error:
        copy.close()
        told = f"stdin could not be copied to a temporary file: {error.strerror}"
        raise Problem("output", told, ExitCode.OUTPUT) from error
    except BaseException:
        copy.close()
        raise
    return copy


def _parcels(archive: BinaryIO, file: str) -> Iterator[Parcel]:
    """Raises `Problem`."""
    try:
        yield from read_parcels(archive)
    except BadExport as problem:
        raise Problem(problem.reason, f"{file}: {problem.detail}", ExitCode.CORRUPT) from None
    except OSError as error:
        raise Problem("input", f"{file}: {error.strerror or error}", ExitCode.USAGE) from error
