"""Hypothesis drives a few participants step by step and looks for the shortest history that breaks something."""

import contextlib
import random

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from cache_store.bundle_json import parse_register
from cache_store.claim import Rules
from cache_store.clock import Cancelled
from cache_store.objects import StoredObject
from cache_store.operation_steps import KeepCopy, Order, ReadCopy, ReadRegister
from cache_store.operations import Operator
from cache_store.register import Unreachable, Vacant, classify
from cache_store.steps import (
    Absent,
    CheckStore,
    Done,
    Failed,
    Fit,
    ReadBlob,
    ReadBundle,
    ReadClaim,
    Seen,
    StillRunning,
    StopWork,
    Undone,
    Wait,
    Work,
    WriteBlob,
    WriteBundle,
    WriteClaim,
)
from cache_store.testing.simulation.checks import Checks, Violation
from cache_store.testing.simulation.mutants import MUTANTS
from cache_store.testing.simulation.pods import PodRun
from cache_store.testing.simulation.seats import ADDRESS, IDENTITY, Code, Disk, Seat, Setting
from cache_store.testing.simulation.store import Bucket, Network
from cache_store.testing.simulation.world import World

AWAY = Unreachable("store-unavailable", "reset", is_final=False)
PODS = st.integers(0, 2)
FATES = st.sampled_from(["done", "done", "done", "lost before", "lost after", "late", "409", "sent twice"])


class Machine(RuleBasedStateMachine):
    """Three pods, one bucket. A rule is one step of one pod, with what the network makes of it."""

    code = Code()

    @initialize()
    def begin(self):
        self.world = World(0)
        self.bucket = Bucket(self.world, Network())
        self.checks = Checks(lambda: self.world.now, network_is_stale=False)
        self.bucket.on_change = self.checks.changed
        self.pods = [None] * 3
        self.late = []
        self.born = 0
        for at in range(2):  # a third may come later
            self.start_one(at)

    # -- pods ----------------------------------------------------------------------------------------------------

    @rule(at=PODS)
    def start(self, at):
        self.start_one(at)

    def start_one(self, at):
        if self.pods[at] is not None:
            return
        self.born += 1
        seat = Seat(at, 0, 1, 0.0, Disk(f"pod-{self.born}"))
        setting = Setting(Rules(), 900.0, 1e9, 60.0, (5.0, 5.0), 0.0, False, False, False)
        run = PodRun(self.world, self.bucket, seat, setting, self.code, self.checks)
        first = self.register()
        participant = self.code.participant(
            holder=run.who,
            rules=setting.rules,
            rng=random.Random(self.born),
            nonce=self.world.nonce,
            monotonic=lambda: self.world.now,
            now=self.world.wall,
            wait_until=1e9,
            deadline=1e9,
        )
        if isinstance(first, Vacant):
            protocol = participant.run(first)
            self.pods[at] = [run, protocol, next(protocol)]

    @rule(at=PODS, fate=FATES, fails=st.booleans())
    def step_once(self, at, fate, fails):
        self.step(at, fate, fails=fails)

    def step(self, at, fate, *, fails):
        pod = self.pods[at]
        if pod is None:
            return
        run, protocol, step = pod
        try:
            pod[2] = protocol.send(self.answer(run, step, fate, fails=fails))
        except StopIteration as end:
            self.checks.took_part(run.who, end.value)
            self.pods[at] = None
        except Cancelled:  # it was told to stop, and has released its claim since
            self.pods[at] = None

    @rule(at=PODS, steps=st.sampled_from([2, 5, 12, 60]))
    def go_on(self, at, steps):
        """Without trouble, up to its next publish."""
        for _ in range(steps):
            if self.pods[at] is None or isinstance(self.pods[at][2], WriteBundle):
                return
            self.step(at, "done", fails=False)

    @rule(at=PODS)
    def kill(self, at):
        self.pods[at] = None

    @rule(at=PODS)
    def stop(self, at):
        pod = self.pods[at]
        if pod is None:
            return
        try:
            pod[2] = pod[1].throw(Cancelled())
        except Cancelled:
            self.pods[at] = None

    # -- the world -----------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([1.0, 30.0, 70.0, 2000.0]))
    def time_passes(self, seconds):
        self.world.now += seconds

    @rule()
    def a_late_write_arrives(self):
        if self.late:
            self.bucket.put(*self.late.pop(0))

    @rule(name=st.sampled_from(["retire", "quarantine", "restore", "unlock"]))
    def an_operator_acts(self, name):
        operator = Operator(
            ADDRESS, Order("ann", "x"), rng=self.world.rng, nonce=self.world.nonce, now=self.world.wall
        )
        options = {"even_quarantined": True} if name in ("retire", "restore") else {}
        operation = getattr(operator, name)(**options)
        with contextlib.suppress(StopIteration):
            step = next(operation)
            while True:
                step = operation.send(self.for_an_operator(step))

    def for_an_operator(self, step):
        is_copy = isinstance(step, KeepCopy | ReadCopy)
        key = key_of(step)
        if isinstance(step, ReadRegister | ReadCopy | ReadClaim | ReadBlob):
            found = self.bucket.peek(key)
            return Absent() if found is None else Seen(found.body, found.etag, None, None)
        return self.bucket.put(key, step.body, None if is_copy else step.base, "ops")

    @invariant()
    def everybody_agrees_about_what_is_published(self):
        if hasattr(self, "bucket"):
            found = self.bucket.peek(ADDRESS.bundle_key)
            assert found is None or parse_register(found.body) is not None

    # -- answers -------------------------------------------------------------------------------------------------

    def register(self):
        found = self.bucket.peek(ADDRESS.bundle_key)
        return Vacant(None) if found is None else classify(StoredObject(found.body, found.etag), IDENTITY)

    def answer(self, run, step, fate, *, fails):
        if isinstance(step, Wait):
            self.world.now += step.seconds
            return Done()
        if isinstance(step, StopWork):
            return Done()
        if isinstance(step, CheckStore):
            return Fit()
        if isinstance(step, Work):
            self.world.now += 5
            if fate in ("late", "lost before", "lost after"):
                return StillRunning()
            return Failed("tuner-crashed", "exit 3") if fails and fate == "409" else run.tuning.finished()
        if isinstance(step, ReadBundle):
            return AWAY if fate.startswith("lost") else self.register()
        if isinstance(step, ReadClaim | ReadBlob):
            found = self.bucket.peek(key_of(step))
            if fate.startswith("lost"):
                return AWAY
            return Absent() if found is None else Seen(found.body, found.etag, None, found.written_at)
        return self.write(run, step, fate)

    def write(self, run, step, fate):
        key = key_of(step)
        if isinstance(step, WriteBundle):
            self.checks.publishes(run.who, step.base)
            if run.code.writes_bundle_plainly:
                self.bucket.put_plainly(key, step.body, run.who)
                return Done("plain")
        asked = (key, step.body, step.base, run.who)
        if fate == "lost before":
            return AWAY
        if fate == "late":
            self.late.append(asked)
            return AWAY
        if fate == "409":
            return Undone(409)
        answer = self.bucket.put(*asked)
        if fate == "sent twice":
            return self.bucket.put(*asked)
        return AWAY if fate == "lost after" else answer


def key_of(step):
    if isinstance(step, KeepCopy | ReadCopy):
        return f"{ADDRESS}/{step.name}"
    if isinstance(step, WriteBlob | ReadBlob):
        return ADDRESS.blob_key(step.digest)
    return ADDRESS.claim_key if isinstance(step, ReadClaim | WriteClaim) else ADDRESS.bundle_key


QUICK = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


def test_no_short_history_breaks_the_protocol():
    run_state_machine_as_test(Machine, settings=QUICK)


class WithoutOperators(Machine):
    """Nobody interferes: more of the forty rules are the pods' own."""

    an_operator_acts = None


def test_a_mutant_is_found_in_at_most_forty_rules():
    [mutant] = [one for one in MUTANTS if one.name == "claims with equal bodies"]
    # the shortest history is for a person who has a failure before them; looking for it takes minutes. What is drawn
    # depends on the constants of all modules that other tests of the process have imported, so there must be room
    quick = settings(QUICK, max_examples=6000, report_multiple_bugs=False, phases=[Phase.generate])

    with mutant.applied(), pytest.raises(Violation, match="a claim that was there before"):
        run_state_machine_as_test(WithoutOperators, settings=quick)
