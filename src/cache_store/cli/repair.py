"""Takes out of service what `verify` found corrupt: exactly what it looked at, and nothing that came since."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from cache_store.bundle import digest_of
from cache_store.cli import output
from cache_store.cli.asking import agree
from cache_store.cli.operating import Request, is_asking_possible, order_of, outcome_line
from cache_store.cli.session import Problem, Session
from cache_store.cli.verdicts import Verdict
from cache_store.dataclass import dataclass, replace
from cache_store.exit_codes import ExitCode
from cache_store.identity import Address
from cache_store.objects import ObjectStore
from cache_store.only_over import only_over
from cache_store.operate import operate
from cache_store.operation_steps import OperationOutcome
from cache_store.operations import Operator

REASON_LENGTH = 500


@dataclass(frozen=True)
class Repair:
    """Whether and how. `reason` None: what was found."""

    reason: str | None
    by: str | None
    is_confirmed: bool
    is_dry: bool

    def check(self, session: Session) -> None:
        """Raises `Problem` where nobody could be asked, or what is to be written down could not be read."""
        order_of(session, self.by, self.reason or "")
        if not (self.is_confirmed or self.is_dry) and not is_asking_possible():
            raise Problem("usage", "--repair changes things: pass --yes (or --dry-run)", ExitCode.USAGE)

    def request(self) -> Request:
        return Request("retire", "retired", (), self.reason or "", self.by, self.is_confirmed, self.is_dry)

    def reason_for(self, verdict: Verdict) -> str:
        first = next((one for one in verdict.findings if one.is_corrupt), None)
        found = f"{first.code}: {first.where}: {first.detail}" if first else "unknown"
        return self.reason or f"verify found it corrupt: {found}"[:REASON_LENGTH]


def retire_corrupt(
    session: Session, store: ObjectStore, repair: Repair, verdicts: Sequence[Verdict]
) -> list[tuple[Address, OperationOutcome]]:
    """At each address in turn; one that is refused does not stop the others. Raises `Problem` for a no."""
    if not verdicts:
        return []
    retire = partial(_retire, session, store, repair)
    if not (repair.is_confirmed or repair.is_dry):
        for verdict in verdicts:
            output.tell(outcome_line(repair.request(), verdict.address, retire(verdict, is_dry=True)))
        agree(f"retire {len(verdicts)} of {store.url}?")
    return [(verdict.address, retire(verdict, is_dry=repair.is_dry)) for verdict in verdicts]


def _retire(
    session: Session, store: ObjectStore, repair: Repair, verdict: Verdict, *, is_dry: bool
) -> OperationOutcome:
    operator = Operator(
        verdict.address,
        replace(order_of(session, repair.by, repair.reason_for(verdict)), is_dry=is_dry),
        rng=session.rng,
        nonce=session.nonce,
        now=session.clock.now,
    )
    operation = only_over(
        operator.retire(),
        lambda seen: digest_of(seen.body) == verdict.digest,
        "it is not what verify looked at; verify it again",
    )
    return operate(store, verdict.address, operation, session.clock)
