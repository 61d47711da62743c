"""Drives `settling.Settling` against a store."""

from __future__ import annotations

from collections.abc import Callable

from cache_store.clock import Clock
from cache_store.errors import StoreError
from cache_store.group_place import GroupPlace
from cache_store.group_roll import MAX_ROLL_BYTES, BadRoll, Offer, as_torn, parse_roll
from cache_store.lookup import unreachable
from cache_store.objects import Missing, ObjectStore, Written
from cache_store.register import Unreachable
from cache_store.settling import (
    Bind,
    ReadRoll,
    SettleAnswer,
    SettleOutcome,
    SettleStep,
    Settling,
    WriteRoll,
)
from cache_store.steps import Absent, CheckStore, Done, Fit, Seen, Undone, Unfit, Wait


def settle(
    store: ObjectStore,
    settling: Settling,
    clock: Clock,
    *,
    bind: Callable[[], Done | Unreachable],
    check_store: Callable[[], Fit | Unfit | Unreachable],
    on_step: Callable[[SettleStep], None] | None = None,
) -> SettleOutcome:
    """To the outcome. `bind` remembers that others may count on this pod. Raises `Cancelled`."""
    protocol = settling.run()
    try:
        step = next(protocol)
        while True:
            if on_step is not None:
                on_step(step)
            if isinstance(step, Wait):
                clock.sleep(step.seconds)
                answer: SettleAnswer = Done()
            elif isinstance(step, Bind):
                answer = bind()
            elif isinstance(step, CheckStore):
                answer = check_store()
            else:
                answer = _ask(store, settling.place.key, step)
            step = protocol.send(answer)
    except StopIteration as end:
        outcome: SettleOutcome = end.value
        return outcome


def leave_torn(store: ObjectStore, place: GroupPlace, offer: Offer, nonce: str) -> None:
    """Tell the group's next start that this one failed, if the store lets us: one attempt, since the pod is ending."""
    try:
        seen = store.get(place.key, limit_bytes=MAX_ROLL_BYTES)
        if isinstance(seen, Missing):
            return
        roll = as_torn(parse_roll(seen.body, place), offer, nonce)
        if roll is not None:
            store.put_if_match(place.key, roll.encode(), seen.etag)
    except (StoreError, BadRoll):
        return


def _ask(store: ObjectStore, key: str, step: ReadRoll | WriteRoll) -> SettleAnswer:
    try:
        if isinstance(step, ReadRoll):
            seen = store.get(key, limit_bytes=MAX_ROLL_BYTES)
            return (
                Absent()
                if isinstance(seen, Missing)
                else Seen(seen.body, seen.etag, seen.age_s, seen.last_modified)
            )
        if step.base is None:
            answer = store.put_if_absent(key, step.body)
        else:
            answer = store.put_if_match(key, step.body, step.base)
        return Done(answer.etag) if isinstance(answer, Written) else Undone(answer.status)
    except StoreError as error:
        return unreachable(error)
