"""`cache-store pull`: the files of one bundle into a directory."""

from __future__ import annotations

from pathlib import Path

import click

from cache_store.cli import output
from cache_store.cli.addressing import resolve
from cache_store.cli.help_text import ALWAYS, epilog
from cache_store.cli.operating import status_of
from cache_store.cli.session import Problem, Session, store_options
from cache_store.cli.views import address_view
from cache_store.exit_codes import ExitCode
from cache_store.parcel import LeftOut, Parcel
from cache_store.place_files import FilePlan, Unplaceable, place_files
from cache_store.take_bundle import take_bundle

SCHEMA = "autotune-cache/pull/v1"

_EXAMPLES = """
pull 0.7.2/sm90/0123456789abcdef/nvidia-h200-0123456789ab ./h200
pull 0123 ~/.cache/flashinfer/autotune/0.7.2/sm90/0123456789abcdef --dry-run
"""


@click.command(
    short_help="The files of one bundle into a directory.",
    epilog=epilog(
        ExitCode.OK, ExitCode.CORRUPT, ExitCode.NOT_FOUND, ExitCode.REFUSED, *ALWAYS, examples=_EXAMPLES
    ),
)
@click.argument("address")
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace files that differ.")
@click.option("--dry-run", "is_dry", is_flag=True, help="Say what would be done, and write nothing.")
@store_options
@click.pass_obj
def pull(session: Session, address: str, directory: Path, *, force: bool, is_dry: bool) -> int:
    """Write the files of the bundle at ADDRESS into DIRECTORY, as the init container would into the engine's own: rank
    files, or entries/ and manifest.json of FlashInfer's own store (DIRECTORY is its v2/<hash>).

    The bundle is checked as `verify` does it. All files are written or none; where one is there and differs, nothing is
    done without --force. What else is in DIRECTORY stays. ADDRESS is a full address, or the beginning of a key that fits
    one bundle only.
    """
    with session.store() as store:
        found = take_bundle(store, resolve(store, address))
        url = store.url
    if isinstance(found, LeftOut):
        raise Problem(found.reason, f"{found.address}: {found.detail}", status_of(found.reason))
    try:
        plan = place_files(directory, found.placed, nonce=session.nonce(), may_replace=force, is_dry=is_dry)
    except Unplaceable as problem:
        code = ExitCode.REFUSED if problem.reason == "file-differs" else ExitCode.OUTPUT
        raise Problem(problem.reason, problem.detail, code) from None
    _tell(session, url, directory, found, plan, is_dry=is_dry)
    return ExitCode.OK


def _tell(
    session: Session, url: str, directory: Path, parcel: Parcel, plan: FilePlan, *, is_dry: bool
) -> None:
    if session.is_json:
        output.emit_json(
            {
                "schema": SCHEMA,
                "store": url,
                **address_view(parcel.address),
                "directory": str(directory),
                "is_dry": is_dry,
                "nonce": parcel.bundle.nonce,
                "written": list(plan.write),
                "kept": list(plan.keep),
                "replaced": list(plan.replace),
            }
        )
        return
    done = "would be written" if is_dry else "written"
    output.emit_lines(
        f"{done if name in plan.write else 'kept'}  {directory / name}"
        for name in sorted((*plan.write, *plan.keep))
    )
    if parcel.bundle.is_empty:
        output.tell("the bundle is empty: there was nothing to tune, and no file belongs to it")
