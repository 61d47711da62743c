"""`cache-store restore`: put retired bundles back."""

from __future__ import annotations

import click

from cache_store.cli.help_text import ALWAYS, epilog
from cache_store.cli.operating import Request, carry_out, operation_options
from cache_store.cli.session import Session, store_options
from cache_store.exit_codes import ExitCode

_EXAMPLES = """
restore 0.7.2/sm90/0123456789abcdef/nvidia-h200-0123456789ab --reason "it was the driver" --yes
restore 0123 --reason "false alarm" --even-quarantined --dry-run
"""


@click.command(
    short_help="Put retired bundles back.",
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
@operation_options
@click.option("--even-quarantined", is_flag=True, help="Also where it is quarantined.")
@click.option("--copy", metavar="NAME", help="Another copy than the tombstone's, e.g. retired/0a1b.json.")
@store_options
@click.pass_obj
def restore(
    session: Session,
    addresses: tuple[str, ...],
    reason: str,
    by: str | None,
    *,
    is_confirmed: bool,
    is_dry: bool,
    even_quarantined: bool,
    copy: str | None,
) -> int:
    """Put back what a tombstone took out of service.

    The copy is checked, gets a nonce of its own (equal bytes would satisfy conditions of before) and a note of who put
    it back and why, and replaces the tombstone in one conditional write. Where something was published meanwhile,
    nothing is done.
    """
    request = Request("restore", "restored", addresses, reason, by, is_confirmed, is_dry)
    return carry_out(
        session, request, lambda operator: operator.restore(even_quarantined=even_quarantined, copy=copy)
    )
