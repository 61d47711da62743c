"""`gc` with rules that nobody should use: what is published is too old at once, and what was retired is forgotten as soon.

The product's own steps, driven against the same bad network. Its rules about ages are left out, so that it meets pods.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from cache_store.bundle import Bundle, copy_name
from cache_store.bundle_json import parse_register
from cache_store.claim import CoolingDown, MustWait, Rules, judge, parse_claim
from cache_store.collecting import Verdict
from cache_store.emptying import BY, LookAt, Remove
from cache_store.identity import BUNDLE_NAME, CLAIM_NAME
from cache_store.layout import kind_of
from cache_store.operation_steps import Changed, Order
from cache_store.steps import Absent
from cache_store.testing.simulation.checks import OPERATOR
from cache_store.testing.simulation.operators import answer_of
from cache_store.testing.simulation.seats import ADDRESS
from cache_store.testing.simulation.world import Life

if TYPE_CHECKING:
    from cache_store.testing.simulation.fleet import Run


def collector_of(run: Run) -> Life:
    """Comes three times, and stands still between any two requests now and then."""
    rng = run.world.rng
    for _ in range(3):
        yield rng.uniform(0, 400)
        verdict = _judge(run)
        if verdict is None:
            continue
        judged = run.bucket.peek(ADDRESS.bundle_key)
        # the rest of the bucket is judged meanwhile
        yield rng.choice([0.0, 0.1, 30.0, 2000.0]) * rng.random()
        if verdict.action == "retire" and judged is not None:
            yield from _retire(run, verdict, parse_register(judged.body).nonce)
        else:
            yield from _empty(run, verdict)


def _judge(run: Run) -> Verdict | None:
    bucket = run.bucket
    found, claimed = bucket.peek(ADDRESS.bundle_key), bucket.peek(ADDRESS.claim_key)
    if found is None:
        return None
    tags, epoch = {BUNDLE_NAME: found.etag}, 1
    if claimed is not None:
        tags[CLAIM_NAME] = claimed.etag
        claim = parse_claim(claimed.body)
        age_s = (run.world.wall() - claimed.written_at).total_seconds()
        if isinstance(judge(claim, age_s, Rules()), MustWait | CoolingDown):
            return None
        epoch = (claim.epoch or 0) + 1
    register = parse_register(found.body)
    if isinstance(register, Bundle):
        return Verdict(ADDRESS, "retire", "gc: 200 days old", tags=tags)
    if not register.may_retune:
        return None
    entries = {key.removeprefix(f"{ADDRESS}/"): bucket.entry(key) for key in bucket.all_keys()}
    going = {name: entry for name, entry in entries.items() if entry and kind_of(name) == "copy"}
    return Verdict(ADDRESS, "forget", "retired", going, tags, epoch) if going else None


def _retire(run: Run, verdict: Verdict, judged: str) -> Generator[float, None, None]:
    world, tag = run.world, verdict.tags[BUNDLE_NAME]
    operator = run.code.operator(
        ADDRESS, Order(BY, verdict.why), rng=world.rng, nonce=world.nonce, now=world.wall
    )
    outcome = yield from _drive(
        run, run.code.only_over(operator.retire(), lambda seen: seen.etag == tag, "changed")
    )
    if isinstance(outcome, Changed):
        run.checks.collected(outcome.copy, copy_name(judged, ""))


def _empty(run: Run, verdict: Verdict) -> Generator[float, None, None]:
    world = run.world
    emptier = run.code.emptier(
        verdict, rng=world.rng, nonce=world.nonce, monotonic=lambda: world.now, now=world.wall
    )
    swept = yield from _drive(run, emptier.run())
    run.checks.counts[f"forget: {swept.problem or 'done'}"] += 1


def _drive(run: Run, steps: Any) -> Generator[float, None, Any]:
    rng = run.world.rng
    try:
        step = next(steps)
        while True:
            yield rng.choice([0.0, 0.0, 0.0, 60.0]) * rng.random()
            if isinstance(step, LookAt):
                answer: Any = run.bucket.entry(f"{ADDRESS}/{step.name}") or Absent()
            elif isinstance(step, Remove):
                answer = yield from run.bucket.remove(f"{ADDRESS}/{step.name}", OPERATOR)
            else:
                answer = yield from answer_of(run, step)
            step = steps.send(answer)
    except StopIteration as end:
        run.world.tell(OPERATOR, f"gc: {end.value}"[:300])
        return end.value
