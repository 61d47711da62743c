"""Drives `coordination.Participant` against a store: asks its questions, runs the tune beside them, reports the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from cache_store.blobs_on_store import answer_blob
from cache_store.claim import MAX_READ_BYTES
from cache_store.clock import Cancelled, Clock
from cache_store.coordination import Participant
from cache_store.errors import StoreError
from cache_store.identity import Identity
from cache_store.lookup import look_up, unreachable
from cache_store.objects import Missing, NotWritten, ObjectStore, Written
from cache_store.register import RegisterState, Unreachable
from cache_store.steps import (
    Absent,
    Answer,
    CheckStore,
    Done,
    Failed,
    Finished,
    Fit,
    Outcome,
    ReadBlob,
    ReadBundle,
    ReadClaim,
    Seen,
    Step,
    StillRunning,
    StopWork,
    Undone,
    Unfit,
    Wait,
    Work,
    WriteBlob,
    WriteBundle,
    WriteClaim,
)


class Tune(Protocol):
    """A tune that runs beside the protocol, so that a heartbeat never waits for it."""

    def run_for(self, max_s: float, epoch: int) -> StillRunning | Finished | Failed:
        """Begin if not begun; answer as soon as it is over, or after `max_s`. `epoch` as in `steps.Work`."""

    def cancel(self) -> None:
        """End it and everything it started. Idempotent; safe if it never began."""


class NoTune:
    """For a participant that may not tune."""

    def run_for(self, max_s: float, epoch: int) -> StillRunning | Finished | Failed:
        raise AssertionError(f"a participant that may not tune was about to, for {max_s} s (epoch {epoch})")

    def cancel(self) -> None:
        """There is nothing to cancel."""


class Driver:
    """Answers the participant's steps on a real (or faulty) store."""

    def __init__(
        self,
        store: ObjectStore,
        identity: Identity,
        *,
        tune: Tune,
        check_store: Callable[[], Fit | Unfit | Unreachable],
        clock: Clock,
        on_step: Callable[[Step], None] | None = None,
    ) -> None:
        self._store = store
        self._identity = identity
        self._address = identity.address
        self._tune = tune
        self._check_store = check_store
        self._clock = clock
        self._on_step = on_step

    def drive(self, participant: Participant, first: RegisterState) -> Outcome:
        """To the outcome. Raises `Cancelled` after the claim was released, if the pod is told to stop."""
        protocol = participant.run(first)
        try:
            step = next(protocol)
            while True:
                try:
                    answer = self._answer(step)
                except Cancelled:
                    self._tune.cancel()
                    step = protocol.throw(Cancelled())
                    continue
                step = protocol.send(answer)
        except StopIteration as end:
            outcome: Outcome = end.value
            return outcome
        finally:
            self._tune.cancel()

    def _answer(self, step: Step) -> Answer:
        if self._on_step is not None:
            self._on_step(step)
        if isinstance(step, Wait):
            self._clock.sleep(step.seconds)
            return Done()
        if isinstance(step, Work):
            self._clock.sleep(0)  # a stop that came while nothing slept is noticed here
            answer = self._tune.run_for(step.max_s, step.epoch)
            self._clock.sleep(0)
            return answer
        if isinstance(step, StopWork):
            self._tune.cancel()
            return Done()
        if isinstance(step, CheckStore):
            return self._check_store()
        if isinstance(step, ReadBundle):
            return look_up(self._store, self._identity)
        try:
            return self._claim_or_write(step)
        except StoreError as error:
            return unreachable(error)

    def _claim_or_write(self, step: ReadClaim | WriteClaim | WriteBundle | WriteBlob | ReadBlob) -> Answer:
        if isinstance(step, ReadClaim):
            seen = self._store.get(self._address.claim_key, limit_bytes=MAX_READ_BYTES)
            return (
                Absent()
                if isinstance(seen, Missing)
                else Seen(seen.body, seen.etag, seen.age_s, seen.last_modified)
            )
        if isinstance(step, WriteBlob | ReadBlob):
            return answer_blob(self._store, self._address, step)
        key = self._address.claim_key if isinstance(step, WriteClaim) else self._address.bundle_key
        return self._write(key, step.body, step.base)

    def _write(self, key: str, body: bytes, base: str | None) -> Done | Undone:
        answer: Written | NotWritten
        if base is None:
            answer = self._store.put_if_absent(key, body)
        else:
            answer = self._store.put_if_match(key, body, base)
        return Done(answer.etag) if isinstance(answer, Written) else Undone(answer.status)
