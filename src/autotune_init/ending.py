"""The one place where an ending becomes a report and an exit code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from autotune_init.options import BY_NAME
from autotune_init.outcomes import Outcome, exit_code
from autotune_init.report import Report, publish_report
from autotune_init.settings import BadSettings, Settings, wants_strict
from autotune_init.story import Story
from cache_store.annotation import TextIO
from cache_store.clock import Clock
from cache_store.dataclass import replace


def finish(report: Report, *, is_strict: bool, termination_log: str, stdout: TextIO, story: Story) -> int:
    """Write the report, tell the last line of the story, and return the exit code."""
    code = exit_code(report.outcome, report.reason, is_strict=is_strict)
    report = replace(report, exit_code=code)
    publish_report(report, stdout, Path(termination_log) if termination_log else None)
    detail = f": {report.detail}" if report.detail else ""
    story.tell(f"{report.outcome.value} ({report.reason}){detail}")
    return code


def finish_pod(
    report: Report,
    settings: Settings,
    environ: Mapping[str, str],
    clock: Clock,
    stdout: TextIO,
    story: Story,
) -> int:
    """As `finish`, with the Event and the record last where they are wanted, because nothing waits for them.

    Metrics go before, so that the report can say that they did not arrive.
    """
    ended_at = clock.monotonic()
    if settings.otlp_endpoint:
        report = _with_metrics_sent(report, settings, settings.otlp_endpoint, environ, clock)
    code = finish(
        report,
        is_strict=settings.strict,
        termination_log=settings.termination_log,
        stdout=stdout,
        story=story,
    )
    if settings.event:
        from autotune_init.kube_event import post_event

        post_event(report, environ, clock, story)
    if settings.report_to_store:
        from autotune_init.send_record import send_record

        # as of now: whoever collects metrics may have taken its time
        left_s = settings.deadline_s - (report.seconds + clock.monotonic() - ended_at)
        send_record(report, settings, environ, clock, story, left_s=left_s)
    return code


def _with_metrics_sent(
    report: Report, settings: Settings, endpoint: str, environ: Mapping[str, str], clock: Clock
) -> Report:
    from autotune_init import __version__
    from autotune_init.send_metrics import send_metrics

    left_s = settings.deadline_s - report.seconds
    problem = send_metrics(report, endpoint, environ, clock, version=__version__, left_s=left_s)
    return replace(report, warnings=(*report.warnings, f"no metrics: {problem}")) if problem else report


def end_with_bad_settings(
    problem: BadSettings, argv: Sequence[str], environ: Mapping[str, str], stdout: TextIO, story: Story
) -> int:
    return _finish_without_settings(
        Outcome.SKIPPED, "bad-settings", str(problem), argv, environ, stdout, story
    )


def end_with_bug(
    error: Exception, argv: Sequence[str], environ: Mapping[str, str], stdout: TextIO, story: Story
) -> int:
    detail = f"{type(error).__name__}: {error}"[:500]
    return _finish_without_settings(Outcome.COLD, "internal", detail, argv, environ, stdout, story)


def _finish_without_settings(
    outcome: Outcome,
    reason: str,
    detail: str,
    argv: Sequence[str],
    environ: Mapping[str, str],
    stdout: TextIO,
    story: Story,
) -> int:
    option = BY_NAME["termination-log"]
    return finish(
        Report(outcome, reason, detail),
        is_strict=wants_strict(argv, environ),
        termination_log=environ.get(option.variable) or option.default or "",
        stdout=stdout,
        story=story,
    )
