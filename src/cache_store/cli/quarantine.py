"""`cache-store quarantine`: take bundles out of service; nobody uses or tunes them."""

from __future__ import annotations

import click

from cache_store.cli.help_text import ALWAYS, epilog
from cache_store.cli.operating import Request, carry_out, operation_options
from cache_store.cli.session import Session, store_options
from cache_store.exit_codes import ExitCode

_EXAMPLES = """
quarantine 0.7.2/sm90/0123456789abcdef/nvidia-h200-0123456789ab --reason "illegal memory access in tactic 7" --yes
quarantine 0123 --reason "wrong results" --dry-run --json
"""


@click.command(
    short_help="Take bundles out of service; nobody uses or tunes them.",
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
@store_options
@click.pass_obj
def quarantine(
    session: Session,
    addresses: tuple[str, ...],
    reason: str,
    by: str | None,
    *,
    is_confirmed: bool,
    is_dry: bool,
) -> int:
    """Take bundles out of service for good: pods start cold, and nobody tunes them, until one is restored or retired.

    As retire, and stronger: pods whose own volume holds these files (with --local recheck, which the chart sets for
    persistent volumes) move them out of the engine's way at their next start. For a bundle that crashes an engine or
    gives wrong results.
    """
    request = Request("quarantine", "quarantined", addresses, reason, by, is_confirmed, is_dry)
    return carry_out(session, request, lambda operator: operator.quarantine())
