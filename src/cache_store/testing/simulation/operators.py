"""Somebody who looks after the bucket: the product's own operations, driven against the same bad network."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from cache_store.bundle import Bundle
from cache_store.bundle_json import parse_register
from cache_store.objects import Missing
from cache_store.operation_steps import Changed, KeepCopy, Operation, Order, ReadCopy, ReadRegister, Refused
from cache_store.register import Unreachable
from cache_store.steps import Absent, Done, ReadBlob, ReadClaim, Seen, Wait, WriteBundle, WriteClaim
from cache_store.testing.simulation.checks import OPERATOR
from cache_store.testing.simulation.seats import ADDRESS
from cache_store.testing.simulation.world import Life

if TYPE_CHECKING:
    from cache_store.testing.simulation.fleet import Run


def operator_of(run: Run) -> Life:
    """Comes once, does one thing or two, and thinks between any two requests as long as people do."""
    world, rng, bucket = run.world, run.world.rng, run.bucket
    yield rng.uniform(0, 30)
    if run.troubles.deletes:
        key = ADDRESS.claim_key if run.troubles.deletes == "claim" else ADDRESS.bundle_key
        bucket.delete(key, OPERATOR)
        return
    if rng.random() < 0.3:
        yield from _carry_out(run, "unlock")
    found = bucket.peek(ADDRESS.bundle_key)
    if found is None:
        return
    if isinstance(parse_register(found.body), Bundle):
        yield from _carry_out(run, "retire" if rng.random() < 0.6 else "quarantine")
        if rng.random() < 0.4:  # thinks again
            yield rng.uniform(1, 300)
            yield from _carry_out(run, "restore", even_quarantined=True)
        return
    world.tell(OPERATOR, "finds a tombstone")
    yield from _carry_out(
        run, rng.choice(["retire", "quarantine", "restore"]), even_quarantined=rng.random() < 0.5
    )


def _carry_out(run: Run, name: str, **options: bool) -> Generator[float, None, None]:
    world = run.world
    operator = run.code.operator(
        ADDRESS, Order("ann", "bad tactic"), rng=world.rng, nonce=world.nonce, now=world.wall
    )
    if name in ("quarantine", "unlock"):
        options = {}
    operation: Operation = getattr(operator, name)(**options)
    written: set[str] = set()
    try:
        step = next(operation)
        while True:
            # hurried or called to the phone
            yield world.rng.choice([0.0, 0.0, 0.1, 40.0]) * world.rng.random()
            if isinstance(step, WriteBundle | WriteClaim):
                written.add(json.loads(step.body)["nonce"])
            answer = yield from _answer(run, step)
            step = operation.send(answer)
    except StopIteration as end:
        outcome = end.value
    told = type(outcome).__name__
    world.tell(OPERATOR, f"{name}: {told} {getattr(outcome, 'reason', '')}")
    run.checks.counts[f"{name}: {told}"] += 1
    if isinstance(outcome, Changed):
        run.checks.operation_is_done(name, outcome.nonce)
    elif isinstance(outcome, Refused) and not outcome.is_unsettled:
        run.checks.operation_is_not_done(name, outcome.reason, written)


def _answer(run: Run, step: Any) -> Generator[float, None, Any]:
    bucket = run.bucket
    if isinstance(step, Wait):
        yield step.seconds
        return Done()
    if isinstance(step, ReadRegister | ReadClaim | ReadCopy | ReadBlob):
        seen = yield from bucket.get(_key_of(step))
        if isinstance(seen, Missing):
            return Absent()
        if isinstance(seen, Unreachable):
            return seen
        return Seen(seen.body, seen.etag, seen.age_s, seen.last_modified)
    base = None if isinstance(step, KeepCopy) else step.base
    return (yield from bucket.write(_key_of(step), step.body, base, OPERATOR))


def _key_of(step: Any) -> str:
    if isinstance(step, ReadBlob):
        return ADDRESS.blob_key(step.digest)
    if isinstance(step, KeepCopy | ReadCopy):
        return f"{ADDRESS}/{step.name}"
    return ADDRESS.bundle_key if isinstance(step, ReadRegister | WriteBundle) else ADDRESS.claim_key
