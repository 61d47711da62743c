"""What retire, quarantine, restore and unlock share: look, ask a person, do it at each address, say what came of it."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

import click

from cache_store.cli import output
from cache_store.cli.addressing import resolve
from cache_store.cli.asking import agree
from cache_store.cli.session import Problem, Session
from cache_store.cli.views import address_view
from cache_store.dataclass import dataclass, replace
from cache_store.errors import ErrorKind
from cache_store.exit_codes import OF_ERROR, ExitCode
from cache_store.fitness import check_fitness
from cache_store.identity import Address
from cache_store.json_checks import MAX_TEXT
from cache_store.objects import ObjectStore
from cache_store.operate import operate
from cache_store.operation_steps import Changed, Operation, OperationOutcome, Order, Refused, Unchanged
from cache_store.operations import Operator
from cache_store.register import Unreachable
from cache_store.steps import Unfit

# what decides the exit status when several addresses went wrong
_GRAVEST_FIRST = (
    ExitCode.UNAVAILABLE,
    ExitCode.DENIED,
    ExitCode.CORRUPT,
    ExitCode.REFUSED,
    ExitCode.NOT_FOUND,
)

# how the findings of `verify` begin
_CORRUPT = ("bundle-", "blob-", "rank-file-")

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Request:
    """What a person wants: `name` is the command's, `past` what it says when it is done."""

    name: str
    past: str
    addresses: tuple[str, ...]
    reason: str
    by: str | None
    is_confirmed: bool
    is_dry: bool


_OPTIONS = (
    click.argument("addresses", metavar="ADDRESS...", nargs=-1, required=True),
    click.option("--reason", metavar="TEXT", required=True, help="Why; it is written down."),
    click.option("--by", metavar="NAME", help="Who; it is written down. Default: $USER."),
    click.option("--yes", "is_confirmed", is_flag=True, help="Do not ask. Needed where no terminal is."),
    click.option("--dry-run", "is_dry", is_flag=True, help="Say what would be done, and write nothing."),
)


def operation_options(function: F) -> F:
    """The options that every operation has."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def carry_out(session: Session, request: Request, choose: Callable[[Operator], Operation]) -> int:
    """At each address in turn; one that is refused does not stop the others. Raises `Problem` and `StoreError`."""
    if not (request.is_confirmed or request.is_dry) and not is_asking_possible():
        raise Problem("usage", f"{request.name} changes things: pass --yes (or --dry-run)", ExitCode.USAGE)
    order = order_of(session, request.by, request.reason)
    with session.plain_store() as adapter:
        store = session.patient(adapter)
        addresses = list(dict.fromkeys(resolve(store, text) for text in request.addresses))
        if not (request.is_confirmed or request.is_dry):
            would_change = _ask(session, request, order, store, addresses, choose)
            # to what comes meanwhile nobody agreed
            request = request if would_change else replace(request, is_dry=True)
        if not request.is_dry:
            refuse_unfit(store, adapter, session.nonce())
        outcomes = [
            (address, _one(session, replace(order, is_dry=request.is_dry), store, address, choose))
            for address in addresses
        ]
        url = store.url
    return tell_outcomes(session, request, url, outcomes)


def is_asking_possible() -> bool:
    return sys.stdin.isatty()


def order_of(session: Session, by: str | None, reason: str) -> Order:
    """Who wants it and why, so that every reader can read it. Raises `Problem`, before anything is read or written."""
    by = session.name_of(by)
    for name, text in (("--reason", reason), ("--by", by)):
        if len(text) > MAX_TEXT:
            told = f"{name} has {len(text)} characters; the limit is {MAX_TEXT}"
            raise Problem("usage", told, ExitCode.USAGE)
        try:
            text.encode()
        except UnicodeEncodeError:
            raise Problem("usage", f"{name} is not UTF-8", ExitCode.USAGE) from None
    return Order(by, reason)


def _one(
    session: Session,
    order: Order,
    store: ObjectStore,
    address: Address,
    choose: Callable[[Operator], Operation],
) -> OperationOutcome:
    operator = Operator(
        address,
        order,
        rng=session.rng,
        nonce=session.nonce,
        now=session.clock.now,
    )
    return operate(store, address, choose(operator), session.clock)


def _ask(
    session: Session,
    request: Request,
    order: Order,
    store: ObjectStore,
    addresses: Sequence[Address],
    choose: Callable[[Operator], Operation],
) -> bool:
    """Whether there is something to do; nobody is asked where not. Raises `Problem` for a no, `click.Abort` for Ctrl-C."""
    dry = replace(order, is_dry=True)
    would_change = False
    for address in addresses:
        outcome = _one(session, dry, store, address, choose)
        would_change = would_change or isinstance(outcome, Changed)
        output.tell(outcome_line(request, address, outcome))
    if would_change:
        agree(f"{request.name} {len(addresses)} of {store.url}?")
    return would_change


def refuse_unfit(store: ObjectStore, adapter: ObjectStore, nonce: str) -> None:
    """A store that ignores conditions would let a step overwrite what somebody else writes. Raises `Problem`."""
    fitness = check_fitness(store, adapter, nonce)
    if isinstance(fitness, Unfit):
        raise Problem(fitness.reason, fitness.detail, ExitCode.UNFIT)
    if isinstance(fitness, Unreachable):
        raise Problem(fitness.reason, fitness.detail, _of_store(fitness.reason))


def tell_outcomes(
    session: Session,
    request: Request,
    url: str,
    outcomes: Sequence[tuple[Address, OperationOutcome]],
    **more: Any,
) -> int:
    """The answer, and the exit status: the gravest of all. `more` are fields of the command's own."""
    counts = Counter(_verdict(outcome) for _, outcome in outcomes)
    if session.is_json:
        output.emit_json(
            {
                "schema": f"autotune-cache/{request.name}/v1",
                "store": url,
                **more,
                "is_dry": request.is_dry,
                "counts": {name: counts[name] for name in ("changed", "unchanged", "refused")},
                "results": [
                    {**address_view(address), **outcome_view(outcome)} for address, outcome in outcomes
                ],
            }
        )
    else:
        output.emit_lines(outcome_line(request, *one) for one in outcomes)
    return gravest(exit_code_of(outcome) for _, outcome in outcomes)


def outcome_line(request: Request, address: Address, outcome: OperationOutcome) -> str:
    if isinstance(outcome, Changed):
        copy = f", copy at {outcome.copy}" if outcome.copy else ""
        done = f"would be {request.past}" if outcome.is_dry else request.past
        return f"{done}  {address}  ({outcome.before} -> {outcome.after}{copy})"
    if isinstance(outcome, Unchanged):
        return f"unchanged  {address}  (it is {outcome.state}: {outcome.detail})"
    unsettled = "; whether it was done is not known: run it again" if outcome.is_unsettled else ""
    return f"refused  {address}  ({outcome.reason}: {outcome.detail}{unsettled})"


def _verdict(outcome: OperationOutcome) -> str:
    return {Changed: "changed", Unchanged: "unchanged", Refused: "refused"}[type(outcome)]


def outcome_view(outcome: OperationOutcome) -> dict[str, Any]:
    view: dict[str, Any] = {
        "verdict": _verdict(outcome),
        "before": None,
        "after": None,
        "nonce": None,
        "copy": None,
        "reason": None,
        "detail": None,
        "is_unsettled": False,
    }
    if isinstance(outcome, Changed):
        return view | {name: value for name, value in asdict(outcome).items() if name != "is_dry"}
    if isinstance(outcome, Unchanged):
        return view | {"before": outcome.state, "after": outcome.state, "detail": outcome.detail}
    return view | asdict(outcome)


def exit_code_of(outcome: OperationOutcome) -> ExitCode:
    return status_of(outcome.reason) if isinstance(outcome, Refused) else ExitCode.OK


def status_of(reason: str) -> ExitCode:
    """What one refusal, or one bundle that was left out, makes of the exit status."""
    if reason == "not-found":
        return ExitCode.NOT_FOUND
    if reason.startswith("store-"):
        return _of_store(reason)
    return ExitCode.CORRUPT if reason.startswith(_CORRUPT) else ExitCode.REFUSED


def gravest(codes: Iterable[ExitCode]) -> ExitCode:
    found = set(codes)
    return next((code for code in _GRAVEST_FIRST if code in found), ExitCode.OK)


def _of_store(reason: str) -> ExitCode:
    return OF_ERROR[ErrorKind(reason.removeprefix("store-"))]
