"""`cache-store export`: bundles as one file, for a site that no network reaches."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from cache_store.cli import output
from cache_store.cli.carrying import chosen, left_out_view, taken, tell_left_out
from cache_store.cli.help_text import ALWAYS, epilog
from cache_store.cli.operating import gravest, status_of
from cache_store.cli.progress import progress
from cache_store.cli.session import Problem, Session, store_options
from cache_store.cli.target_file import target_file, unwritten
from cache_store.exit_codes import ExitCode
from cache_store.export_file import BadExport, Manifest, is_nameable
from cache_store.parcel import LeftOut, Parcel
from cache_store.whole_file import whole_file
from cache_store.write_export import write_export

SCHEMA = "autotune-cache/export/v1"

_EXAMPLES = """
export bundles.tar
export bundles.tar.gz 0.7.2/sm90/0123456789abcdef/nvidia-h200-0123456789ab
export - 0123 > bundles.tar
"""


@click.command(
    short_help="Bundles into one file.",
    epilog=epilog(
        ExitCode.OK, ExitCode.CORRUPT, ExitCode.NOT_FOUND, ExitCode.REFUSED, *ALWAYS, examples=_EXAMPLES
    ),
)
@click.argument("file", metavar="FILE")
@click.argument("addresses", metavar="[ADDRESS]...", nargs=-1)
@store_options
@click.pass_obj
def export(session: Session, file: str, addresses: tuple[str, ...]) -> int:
    """Write bundles to FILE, all of them or those at ADDRESS (a full address, or the beginning of a key).

    One tar, compressed where FILE ends in .tar.gz or .tgz; "-" is stdout. The same bundles make the same bytes. Each is
    checked as `verify` does it; what is retired, quarantined, corrupt or unread is left out and told. FILE has its name
    when all of it is written, and not before.
    """
    if file == "-" and session.is_json:
        raise Problem("usage", "stdout cannot be both the file and the JSON: name a FILE", ExitCode.USAGE)
    if file == "-" and output.is_terminal():
        raise Problem("usage", "stdout is a terminal: name a FILE, or send it elsewhere", ExitCode.USAGE)
    if file != "-":
        target_file(file)
    left_out: list[LeftOut] = []
    with session.store() as store:
        wanted = chosen(store, addresses)
        with progress("export", len(wanted)) as advance:
            found = _counted(taken(store, wanted), advance)
            manifest = _write(session, file, _sound(session, found, left_out))
        url = store.url
    _tell(session, url, file, manifest, left_out)
    # what ops took out is no failure where everything was asked for
    return gravest(status_of(one.reason) for one in left_out if addresses or not one.is_out_of_service)


def _counted(found: Iterator[Parcel | LeftOut], advance: Callable[[], None]) -> Iterator[Parcel | LeftOut]:
    for one in found:
        advance()
        yield one


def _sound(session: Session, found: Iterator[Parcel | LeftOut], left_out: list[LeftOut]) -> Iterator[Parcel]:
    """The parcels; everything else goes to `left_out`. Raises `Problem` at the end where there is none."""
    count = 0
    for one in found:
        if isinstance(one, LeftOut):
            left_out.append(one)
        elif not is_nameable(one.address.bundle_key) or not all(
            is_nameable(one.address.blob_key(digest)) for digest in one.blobs
        ):
            left_out.append(LeftOut(one.address, "name-too-long", "a tar does not hold names of this length"))
        else:
            count += 1
            yield one
        if left_out and left_out[-1].address == one.address:
            tell_left_out(session, left_out[-1])
    if not count:
        code = gravest(status_of(one.reason) for one in left_out)
        raise Problem("nothing-to-export", "no bundle could be exported; nothing was written", code)


def _write(session: Session, file: str, parcels: Iterator[Parcel]) -> Manifest:
    """Raises `Problem`."""
    try:
        if file == "-":
            return write_export(parcels, sys.stdout.buffer, folder=None, is_packed=False)
        path = Path(file)
        with whole_file(path, session.nonce()) as target:
            is_packed = file.endswith((".tar.gz", ".tgz"))
            return write_export(parcels, target, folder=path.resolve().parent, is_packed=is_packed)
    except BadExport as problem:
        raise Problem(problem.reason, problem.detail, ExitCode.USAGE) from None
    except OSError as error:
        raise unwritten(file, error) from error


def _tell(session: Session, url: str, file: str, manifest: Manifest, left_out: list[LeftOut]) -> None:
    size = sum(one.size_bytes for one in manifest.members)
    if not session.is_json:
        told = f"{len(manifest.addresses)} bundles, {output.for_people_bytes(size)}, {len(left_out)} left out"
        output.tell(f"{url} -> {file}: {told}")
        return
    output.emit_json(
        {
            "schema": SCHEMA,
            "store": url,
            "file": file,
            "counts": {"exported": len(manifest.addresses), "left_out": len(left_out)},
            "members": len(manifest.members),
            "size_bytes": size,
            "addresses": list(manifest.addresses),
            "left_out": [left_out_view(one) for one in left_out],
        }
    )
