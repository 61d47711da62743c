"""A tuner running in a thread beside the protocol, so that heartbeats never wait for it; and what becomes a bundle."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from autotune_init.coverage import coverage_of
from autotune_init.expected_keys import Expected
from autotune_init.tuners import Tuner, TuneRequest, TuneResult, TunerFailed
from cache_store.bundle import BadBundle, Bundle, CoverageRecord, IdentityRecord, Provenance, pack
from cache_store.bundle_json import parse_register
from cache_store.clock import Clock
from cache_store.dataclass import dataclass, field, replace
from cache_store.identity import Identity
from cache_store.rank_file import BadRankFile, RankFile
from cache_store.steps import Failed, Finished, StillRunning

T = TypeVar("T")
_LOOK_S = 0.1
_CANCEL_S = 6.0  # a child gets 3 s between SIGTERM and SIGKILL (tuners/child.py)


@dataclass(frozen=True)
class Recipe:
    """All that a bundle says besides the tuned files; and `check`, which raises `BadRankFile` for files of no use."""

    identity: Identity
    provenance: Provenance
    check: Callable[[Mapping[str, bytes]], Mapping[str, RankFile]]
    expected: Expected = field(default_factory=Expected)


class BackgroundTune(Generic[T]):
    """Implements `cache_store.participate.Tune` where `finish` makes a `Finished` of the result and its seconds.

    `finish` may raise `BadRankFile` and `BadBundle` for a result that is of no use.
    """

    def __init__(
        self,
        tuner: Tuner,
        request: Callable[[], TuneRequest],
        finish: Callable[[TuneResult, float], T],
        *,
        clock: Clock,
        stop: threading.Event,
    ) -> None:
        self._tuner = tuner
        self._request = request
        self._finish = finish
        self._clock = clock
        self._pod_stop = stop
        self._cancel = threading.Event()
        self._over = threading.Event()
        self._answer: T | Failed | None = None
        self._thread: threading.Thread | None = None

    def run_for(self, max_s: float, epoch: int) -> StillRunning | T | Failed:  # noqa: ARG002 -- one pod's tune is the same in every epoch
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="tune", daemon=True)
            self._thread.start()
        until = self._clock.monotonic() + max_s
        while not self._over.wait(_LOOK_S):
            if self._pod_stop.is_set() or self._clock.monotonic() >= until:
                return StillRunning()
        return self._answer or Failed("internal", "the tune ended without an answer")

    def cancel(self) -> None:
        self._cancel.set()
        if self._thread is not None:
            self._thread.join(_CANCEL_S)

    def _run(self) -> None:
        try:
            self._answer = self._tune()
        except TunerFailed as failure:
            self._answer = Failed(failure.reason, failure.detail, failure.tail)
        except (BadRankFile, BadBundle) as problem:
            reason = "tuner-environment" if problem.reason == "foreign-environment" else "tuner-bad-file"
            self._answer = Failed(reason, f"{problem.reason}: {problem.detail}")
        except Exception as error:  # noqa: BLE001 -- a thread has nobody above it; the protocol must hear of it
            self._answer = Failed("tuner-crashed", f"{type(error).__name__}: {error}"[:500])
        finally:
            self._over.set()

    def _tune(self) -> T:
        began = self._clock.monotonic()
        request = self._request()
        result = self._tuner.tune(request, self._cancel)
        return self._finish(result, round(self._clock.monotonic() - began, 3))


def compose_later(result: TuneResult, tune_s: float, recipe: Recipe) -> Finished:
    """The bundle but for its epoch and nonce, which only the protocol knows. Raises `BadBundle` and `BadRankFile`."""
    parsed = recipe.check(result.files) if result.files else {}
    ranks, files, blobs = pack(result.files)
    provenance = replace(recipe.provenance, tune_s=tune_s, verified=result.verified)
    if (
        result.files and not parsed
    ):  # entries of FlashInfer's own store: nobody knows what the engine will need
        coverage = CoverageRecord(
            ops=dict(result.coverage.ops),
            entries=result.coverage.entries,
            max_bucket=result.coverage.max_bucket,
            excluded=dict(result.coverage.excluded),
        )
    else:
        coverage = coverage_of(parsed, result.coverage.excluded, recipe.expected)

    def compose(epoch: int, nonce: str) -> Bundle:
        return Bundle(
            identity=IdentityRecord.of(recipe.identity),
            ranks=ranks,
            files=files,
            blobs={digest: len(body) for digest, body in blobs.items()},
            epoch=epoch,
            nonce=nonce,
            provenance=provenance,
            coverage=coverage,
        )

    parse_register(compose(0, "").encode())  # what readers would refuse is not published
    return Finished(compose, blobs)
