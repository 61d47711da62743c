"""`cache-store report`: the fleet on one page, for people who do not run commands."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from cache_store.cli import output
from cache_store.cli.help_text import ALWAYS, epilog
from cache_store.cli.report_gathering import gather
from cache_store.cli.session import Problem, Session, problem_of, store_options
from cache_store.cli.target_file import target_file, unwritten
from cache_store.errors import ErrorKind, StoreError
from cache_store.exit_codes import ExitCode
from cache_store.whole_file import whole_file

SCHEMA = "autotune-cache/fleet-page/v1"
NEEDS_LIST = "report needs the right to list (s3:ListBucket on the bucket), which pods do not need"

_EXAMPLES = """
report --html fleet.html
report --html - > fleet.html
report --html fleet.html --json | jq .troubles
"""


@click.command(
    short_help="The fleet as one HTML page.",
    epilog=epilog(ExitCode.OK, *ALWAYS, examples=_EXAMPLES),
)
@click.option("--html", "file", metavar="FILE", required=True, help='Where the page goes; "-" is stdout.')
@store_options
@click.pass_obj
def report(session: Session, file: str) -> int:
    """Write one self-contained HTML page: what is there for which model and GPU, what needs attention, what was written
    when, how pods' starts ended, and an inventory with search and filters.

    The page loads nothing and sends nothing, so that it may be opened from a disk or served from anywhere. FILE has its
    name when all of it is written. Two LISTs, and one GET for each bundle, each claim and each record.
    """
    if file == "-" and session.is_json:
        raise Problem("usage", "stdout cannot be both the page and the JSON: name a FILE", ExitCode.USAGE)
    if file == "-" and output.is_terminal():
        raise Problem("usage", "stdout is a terminal: name a FILE, or send it elsewhere", ExitCode.USAGE)
    if file != "-":
        target_file(file)
    from cache_store.cli.page_html import render

    with session.store() as store:
        try:
            gathered = gather(store, session.clock.now())
        except StoreError as error:
            raise problem_of(error, NEEDS_LIST if error.kind is ErrorKind.DENIED else None) from error
    body = render(gathered.page).encode("utf-8", "backslashreplace")
    _write(session, file, body)
    page = gathered.page
    if session.is_json:
        output.emit_json({
            "schema": SCHEMA,
            "store": page.store,
            "file": file,
            "size_bytes": len(body),
            "states": [{"name": name, "count": count} for name, count in page.counts.items()],
            "troubles": [
                {"kind": one.kind, "address": one.address, "detail": one.detail} for one in page.troubles
            ],
            "starts": page.starts.records,
            "unread_starts": page.starts.unread,
        })  # fmt: skip
    else:
        told = f"workloads: {len(page.workloads)}, need attention: {page.needs_attention}"
        output.tell(f"{file}: {output.for_people_bytes(len(body))}, {told}")
    return ExitCode.DENIED if gathered.is_denied else ExitCode.OK


def _write(session: Session, file: str, body: bytes) -> None:
    """Raises `Problem`."""
    if file == "-":
        sys.stdout.buffer.write(body)
        sys.stdout.buffer.flush()
        return
    try:
        with whole_file(Path(file), session.nonce()) as target:
            target.write(body)
    except OSError as error:
        raise unwritten(file, error) from error
