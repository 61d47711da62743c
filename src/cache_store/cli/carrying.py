"""What export, import and cp share: which bundles are asked for, and bringing them into a store."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from cache_store.cli import output
from cache_store.cli.addressing import NEEDS_LIST, parse
from cache_store.cli.asking import agree
from cache_store.cli.operating import (
    Request,
    is_asking_possible,
    outcome_line,
    refuse_unfit,
    tell_outcomes,
)
from cache_store.cli.session import Problem, Session, problem_of
from cache_store.cli.survey import in_parallel, list_inventory
from cache_store.cli.views import address_view
from cache_store.clock import Cancelled
from cache_store.errors import ErrorKind, StoreError
from cache_store.exit_codes import ExitCode
from cache_store.identity import Address
from cache_store.inventory import is_key_prefix, with_key_prefix
from cache_store.objects import ObjectStore
from cache_store.operation_steps import Changed, OperationOutcome, Refused
from cache_store.parcel import LeftOut, Parcel
from cache_store.placing_bundles import Placer
from cache_store.take_bundle import take_bundle

# twice as many bundles are ahead of the reader, each held in memory
THREADS = 4

# each was asked for with patience; a store that is away must not cost that once for every bundle of an archive
UNANSWERED = 3
_AWAY = frozenset(f"store-{kind.value}" for kind in (ErrorKind.UNAVAILABLE, ErrorKind.TIMEOUT))

Parcels = Callable[[], Iterator[Parcel | LeftOut]]


def chosen(store: ObjectStore, texts: Sequence[str]) -> list[Address]:
    """The addresses that `texts` name, all that have a bundle.json for none, in the order of an export.

    The beginning of a key stands for every bundle that has it: one key may live in several environments.
    Raises `Problem` (not-found where there is none at all) and `StoreError`.
    """
    found: set[Address] = {parse(text) for text in texts if not is_key_prefix(text)}
    if not texts or any(map(is_key_prefix, texts)):
        try:
            inventory = list_inventory(store, "")
        except StoreError as error:
            if error.kind is ErrorKind.DENIED:
                raise problem_of(error, NEEDS_LIST) from error
            raise
        if not texts:
            found |= {row.address for row in inventory.rows if row.bundle is not None}
        for text in filter(is_key_prefix, texts):
            fits = with_key_prefix(inventory, text)
            if not fits:
                raise Problem("not-found", f"no bundle's key begins with {text}", ExitCode.NOT_FOUND)
            found |= set(fits)
    if not found:
        raise Problem("not-found", f"there is no bundle in {store.url}", ExitCode.NOT_FOUND)
    return sorted(found, key=lambda address: address.bundle_key)


def taken(store: ObjectStore, addresses: Sequence[Address]) -> Iterator[Parcel | LeftOut]:
    """Each bundle, or why it is none to carry; in order. Raises `StoreError`."""
    return in_parallel(lambda address: take_bundle(store, address), addresses, THREADS)


def tell_left_out(session: Session, one: LeftOut) -> None:
    """With --json stderr is for one error at most; the answer has it."""
    if not session.is_json:
        output.tell(f"left out  {one.address}  ({one.reason}: {one.detail})")


def left_out_view(one: LeftOut) -> dict[str, Any]:
    return {**address_view(one.address), "reason": one.reason, "detail": one.detail}


def deliver(
    session: Session,
    request: Request,
    adapter: ObjectStore,
    parcels: Parcels,
    *,
    over_retired: bool,
    recheck: Callable[[Parcel], Refused | None] | None = None,
    **more: Any,
) -> int:
    """Each of `parcels` into the store behind `adapter`; one that is refused does not stop the others.

    Where a person is asked, `parcels` is gone through twice, unless nothing would change. Raises `Problem`, `StoreError` and
    what `parcels` raises.
    """
    store = session.patient(adapter)
    if not (request.is_confirmed or request.is_dry):
        found = _looked_at(session, request, store, parcels, over_retired=over_retired)
        changes = sum(isinstance(outcome, Changed) for _, outcome in found)
        if not changes:  # nothing to be asked
            return tell_outcomes(session, request, store.url, found, **more)
        which = f"{changes}" if changes == len(found) else f"{changes} of {len(found)}"
        agree(f"{request.name} {which} into {store.url}?")
    if not request.is_dry:
        refuse_unfit(store, adapter, session.nonce())
    placer = _placer(session, store, over_retired=over_retired, is_dry=request.is_dry, recheck=recheck)
    outcomes: list[tuple[Address, OperationOutcome]] = []
    unanswered = 0
    try:
        for parcel in parcels():
            outcome = _placed(placer, parcel)
            outcomes.append((parcel.address, outcome))
            if sys.stderr.isatty() and not (request.is_dry or session.is_json):
                output.tell(outcome_line(request, parcel.address, outcome))
            unanswered = unanswered + 1 if isinstance(outcome, Refused) and outcome.reason in _AWAY else 0
            if unanswered == UNANSWERED:
                more["is_cut_short"] = True
                if not session.is_json:
                    output.tell("the store does not answer; what follows was not tried: run it again")
                break
    except (KeyboardInterrupt, Cancelled, StoreError):
        if not session.is_json:  # whose stderr is one JSON object
            output.tell(
                f"ended after {len(outcomes)} bundles, each whole or not there; run again, it goes on"
            )
        raise
    return tell_outcomes(session, request, store.url, outcomes, **more)


def refuse_unconfirmed(request: Request) -> None:
    """Raises `Problem` where nobody said yes and nobody can be asked."""
    if not (request.is_confirmed or request.is_dry) and not is_asking_possible():
        raise Problem("usage", f"{request.name} changes things: pass --yes (or --dry-run)", ExitCode.USAGE)


def _looked_at(
    session: Session, request: Request, store: ObjectStore, parcels: Parcels, *, over_retired: bool
) -> list[tuple[Address, OperationOutcome]]:
    """What would come of each, told as it is found."""
    placer = _placer(session, store, over_retired=over_retired, is_dry=True, recheck=None)
    found = []
    for parcel in parcels():
        found.append((parcel.address, _placed(placer, parcel)))
        output.tell(outcome_line(request, *found[-1]))
    return found


def _placer(
    session: Session,
    store: ObjectStore,
    *,
    over_retired: bool,
    is_dry: bool,
    recheck: Callable[[Parcel], Refused | None] | None,
) -> Placer:
    return Placer(
        store,
        clock=session.clock,
        rng=session.rng,
        nonce=session.nonce,
        over_retired=over_retired,
        is_dry=is_dry,
        recheck=recheck,
    )


def _placed(placer: Placer, parcel: Parcel | LeftOut) -> OperationOutcome:
    if isinstance(parcel, LeftOut):
        return Refused(parcel.reason, parcel.detail)
    return placer.place(parcel)
