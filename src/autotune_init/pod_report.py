"""What a pod's run becomes in the report: the endings of the target and of its draft worker, and what was learned. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from autotune_init.engines import EngineCache
from autotune_init.flow import Ending
from autotune_init.outcomes import ALWAYS_FAILS, Outcome
from autotune_init.report import Report

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
