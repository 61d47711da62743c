"""`cache-store unlock`: end claims: somebody else may tune at once."""

from __future__ import annotations

import click

from cache_store.cli.help_text import ALWAYS, epilog
from cache_store.cli.operating import Request, carry_out, operation_options
from cache_store.cli.session import Session, store_options
from cache_store.exit_codes import ExitCode

_EXAMPLES = """
unlock 0.7.2/sm90/0123456789abcdef/nvidia-h200-0123456789ab --reason "node is gone" --yes
unlock 0123 --reason "tuner is fixed" --dry-run
"""


@click.command(
    short_help="End claims: somebody else may tune at once.",
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
def unlock(
    session: Session,
    addresses: tuple[str, ...],
    reason: str,
    by: str | None,
    *,
    is_confirmed: bool,
    is_dry: bool,
) -> int:
    """End claims, also failed ones that are cooling down, and such as cannot be read. The next pod may tune at once.

    A stale claim needs no unlock: the next pod takes it over by itself. A holder that lives is not stopped: it goes on
    tuning, and publishes where nobody has published before it.
    """
    request = Request("unlock", "unlocked", addresses, reason, by, is_confirmed, is_dry)
    return carry_out(session, request, lambda operator: operator.unlock())
