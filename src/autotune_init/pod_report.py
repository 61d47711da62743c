"""What a pod's run becomes in the report: the endings of the target and of its draft worker, and what was learned."""

from __future__ import annotations

from collections.abc import Mapping

from autotune_init import __version__
from autotune_init.engines import EngineCache
from autotune_init.outcomes import ALWAYS_FAILS, Outcome
from autotune_init.pod_start import Ending
from autotune_init.report import Report
from autotune_init.seen import Seen
from autotune_init.settings import Settings
from autotune_init.supervise import Completed, Crashed, Stopped
from cache_store.dataclass import dataclass, replace

PROGRAM = f"autotune-cache {__version__}"
DOES_NOT_TUNE = "engine-does-not-tune"

# from the best for the engine's start to the worst
_WORSE = (Outcome.LOCAL, Outcome.HIT, Outcome.WAITED, Outcome.TUNED, Outcome.SKIPPED, Outcome.COLD)
_SAVED = (Outcome.HIT, Outcome.WAITED)


@dataclass(frozen=True)
class Draft:
    """The draft worker's cache and how its warming ended."""

    cache: EngineCache
    ending: Ending

    def as_dict(self) -> dict[str, object]:
        return {
            "key": self.cache.key,
            "outcome": self.ending.outcome.value,
            "reason": self.ending.reason,
            "detail": self.ending.detail,
            "ranks": list(self.cache.rank_files),
        }


def together(target: Ending, draft: Draft | None) -> Ending:
    """The worse of both, with the target's bundle; a worker that does not tune counts for nothing beside one that does."""
    if draft is None or draft.ending.reason == DOES_NOT_TUNE:
        return target
    other = draft.ending
    moved_aside = {**target.moved_aside, **other.moved_aside}
    warnings = tuple(dict.fromkeys((*target.warnings, *other.warnings)))
    is_worse = _WORSE.index(other.outcome) > _WORSE.index(target.outcome) or other.reason in ALWAYS_FAILS
    if not is_worse and target.reason != DOES_NOT_TUNE:
        return replace(target, moved_aside=moved_aside, warnings=warnings)
    detail = f"draft worker: {other.detail}" if other.detail else "draft worker"
    return replace(
        target,
        outcome=other.outcome,
        reason=other.reason,
        detail=detail,
        tail=other.tail,
        moved_aside=moved_aside,
        warnings=warnings,
    )


def saved_s(*endings: Ending | None) -> float:
    """Seconds of tuning that this pod did not have to do."""
    return sum(
        one.bundle.provenance.tune_s or 0.0
        for one in endings
        if one is not None and one.bundle is not None and one.outcome in _SAVED
    )


def with_cache(report: Report, cache: EngineCache, environment: str | None) -> Report:
    return replace(
        report,
        engine=cache.engine,
        engine_version=cache.engine_version,
        flashinfer_version=cache.flashinfer_version,
        arch=cache.arch,
        key=cache.key,
        key_source=cache.source,
        environment=environment,
        directory=cache.directory,
        ranks=cache.rank_files,
    )


def with_bundle(report: Report, ending: Ending) -> Report:
    bundle = ending.bundle
    if bundle is None:
        return report
    coverage: Mapping[str, object] = bundle.coverage.brief()
    return replace(
        report,
        tuner=bundle.provenance.tuner,
        tune_s=bundle.provenance.tune_s,
        verified=bundle.provenance.verified,
        coverage=coverage,
        epoch=bundle.epoch,
        nonce=bundle.nonce,
    )


def ending_of(ended: Completed[Ending] | Crashed | Stopped) -> Ending:
    if isinstance(ended, Completed):
        return ended.value
    if isinstance(ended, Stopped):
        return Ending(Outcome.COLD, ended.why, "a call did not return" if ended.is_stuck else "")
    if not isinstance(ended.error, Exception):
        raise ended.error
    detail = f"{type(ended.error).__name__}: {ended.error}"[:500]
    return Ending(Outcome.COLD, "internal", detail)


def report_of(ending: Ending, seen: Seen, settings: Settings, *, seconds: float) -> Report:
    """The report, but for the exit code."""
    draft = Draft(seen.draft, ending) if seen.draft is not None and seen.target is not None else None
    target = seen.target if draft is not None and seen.target is not None else ending
    whole = together(target, draft)
    report = Report(
        outcome=whole.outcome,
        reason=whole.reason,
        detail=whole.detail,
        engine=seen.engine,
        engine_version=settings.engine_version,
        seconds=seconds,
        saved_s=saved_s(target, draft.ending if draft is not None else None),
        draft=draft.as_dict() if draft is not None else None,
        moved_aside=whole.moved_aside,
        warnings=(*seen.warnings, *whole.warnings),
        tail=whole.tail,
        program=PROGRAM,
    )
    if seen.store is not None:
        report = replace(report, requests=seen.store.requests, bytes=seen.store.bytes)
    if seen.cache is not None:
        report = with_cache(report, seen.cache, seen.environment)
    return with_bundle(report, whole)
