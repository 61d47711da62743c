"""`cache-store retire`: take bundles out of service; pods tune them again."""

from __future__ import annotations

import click

from cache_store.cli.help_text import ALWAYS, epilog
from cache_store.cli.operating import Request, carry_out, operation_options
from cache_store.cli.session import Session, store_options
from cache_store.exit_codes import ExitCode

_EXAMPLES = """
retire 0.7.2/sm90/0123456789abcdef/nvidia-h200-0123456789ab --reason "driver 580 is slower with it" --yes
retire 0123 --reason "tuned on a throttled GPU" --dry-run
"""


@click.command(
    short_help="Take bundles out of service; pods tune them again.",
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
@click.option(
    "--even-quarantined", is_flag=True, help="Also where it is quarantined; that ends its quarantine."
)
@store_options
@click.pass_obj
def retire(
    session: Session,
    addresses: tuple[str, ...],
    reason: str,
    by: str | None,
    *,
    is_confirmed: bool,
    is_dry: bool,
    even_quarantined: bool,
) -> int:
    """Take bundles out of service. The next pod that wants one tunes it again.

    A copy is kept below retired/, then bundle.json is swapped for a tombstone, in one conditional write over what was
    looked at: a pod that has been tuning meanwhile discards its result. Pods that run keep what they have. ADDRESS is
    a full address as `ls` prints it, or the beginning of a key that fits one bundle only. A bundle that cannot be read
    can be retired, too.
    """
    request = Request("retire", "retired", addresses, reason, by, is_confirmed, is_dry)
    return carry_out(session, request, lambda operator: operator.retire(even_quarantined=even_quarantined))
