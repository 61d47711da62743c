"""`autotune-init run`: learn what this pod is, run the flow under supervision, report."""

from __future__ import annotations

import random
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

from autotune_init import __version__
from autotune_init.ending import finish
from autotune_init.engines import EngineCache
from autotune_init.engines.flashinfer_store import manifest_of
from autotune_init.engines.registry import ask
from autotune_init.facts import Facts, to_json
from autotune_init.flow import Ending, Pod, Tools, warm
from autotune_init.node import NodeUnknown, Workload, learn_facts, learn_group, learn_workload
from autotune_init.outcomes import Outcome
from autotune_init.place import Ownership
from autotune_init.plan import End, judge_key
from autotune_init.report import Report
from autotune_init.settings import Settings
from autotune_init.store_access import StoreAccess
from autotune_init.story import Story
from autotune_init.supervise import Completed, Crashed, Stopped, Supervisor
from autotune_init.tuners import Tuner, TuneRequest
from cache_store.bundle import Provenance
from cache_store.claim import Rules
from cache_store.clock import SystemClock, fresh_nonce
from cache_store.identity import Environment, Identity
from cache_store.steps import CheckStore, Step, Work, WriteBundle

PROGRAM = f"autotune-cache {__version__}"
TUNE_MARGIN_S = 5.0  # a tune leaves this much to publish and place before the flow is told to stop


@dataclass
class Seen:
    """What the flow has learned so far, so that an ending at any moment can tell it."""

    facts: Facts | None = None
    cache: EngineCache | None = None
    identity: Identity | None = None
    store: StoreAccess | None = None
    scratch: Path | None = None
    warnings: tuple[str, ...] = ()


def run_pod(
    settings: Settings,
    environ: Mapping[str, str],
    stdout: TextIO,
    story: Story,
    *,
    install_signals: Callable[[Supervisor], None],
) -> int:
    """Exit code."""
    clock = SystemClock()
    began = clock.monotonic()
    supervisor = Supervisor(clock, settings.deadline_s)
    install_signals(supervisor)
    seen = Seen()
    run = _Run(settings, environ, clock, supervisor, seen, story)
    ending = ending_of(supervisor.run(run.to_the_end))
    if seen.scratch is not None:
        shutil.rmtree(seen.scratch, ignore_errors=True)
    report = report_of(ending, seen, settings, seconds=round(clock.monotonic() - began, 3))
    return finish(
        report,
        is_strict=settings.strict,
        termination_log=settings.termination_log,
        stdout=stdout,
        story=story,
    )


@dataclass(frozen=True)
class _Run:
    settings: Settings
    environ: Mapping[str, str]
    clock: SystemClock
    supervisor: Supervisor
    seen: Seen
    story: Story

    def to_the_end(self) -> Ending:
        settings, seen = self.settings, self.seen
        try:
            group = learn_group(settings, self.environ)
            seen.facts = facts = learn_facts(settings, self.environ, self._left_s(), self.clock)
            workload = learn_workload(settings, self.environ, facts, group)
        except NodeUnknown as unknown:
            self.clock.sleep(
                0
            )  # told to stop while a child was asked: that is the reason, not the child's end
            return Ending(Outcome.SKIPPED, unknown.reason, unknown.detail)
        seen.warnings = workload.warnings
        answer = judge_key(ask(workload.question), group_size=group.size)
        if isinstance(answer, End):
            return Ending(answer.outcome, answer.reason, answer.detail)
        seen.cache = answer
        seen.identity = identity = Identity(
            engine=answer.engine,
            flashinfer_version=answer.flashinfer_version,
            arch=answer.arch,
            key=answer.key,
            key_text=answer.key_text,
            key_inputs=dict(answer.resolved),
            environment=Environment(facts.metadata, settings.identity_extra),
        )
        self.story.tell(f"{answer.engine} {answer.engine_version} will look in {answer.directory}")
        if settings.store:
            seen.store = StoreAccess(settings, self.environ, self.clock)
        return warm(self._pod(answer, identity, facts), self._tools(answer, workload, facts))

    def _left_s(self) -> float:
        return max(0.1, self.supervisor.soft - self.clock.monotonic())

    def _pod(self, cache: EngineCache, identity: Identity, facts: Facts) -> Pod:
        settings = self.settings
        return Pod(
            cache=cache,
            identity=identity,
            holder=settings.holder or socket.gethostname(),
            ownership=Ownership(settings.file_mode, settings.dir_mode, settings.uid, settings.gid),
            provenance=Provenance(
                engine_version=cache.engine_version, driver=facts.gpu.driver or "", program=PROGRAM
            ),
            rules=Rules(cooldown_s=settings.cooldown_s),
            wait_until=self.clock.monotonic() + settings.wait_s,
            deadline=self.supervisor.soft,
        )

    def _tools(self, cache: EngineCache, workload: Workload, facts: Facts) -> Tools:
        store = self.seen.store
        return Tools(
            open_store=store.open if store else None,
            check_store=store.check if store else StoreAccess.unfit,
            tuner=self._tuner(),
            tune_request=lambda: self._request(cache, workload, facts),
            clock=self.clock,
            stop=self.clock.stop,
            rng=random.Random(fresh_nonce()),  # noqa: S311 -- jitter, not secrets
            nonce=fresh_nonce,
            on_step=self._tell_step,
        )

    def _tuner(self) -> Tuner | None:
        settings = self.settings
        if settings.tuner == "command":
            from autotune_init.tuners.command import CommandTuner

            return CommandTuner(settings.tuner_command or "", clock=self.clock, progress=self.story.tell)
        if settings.tuner == "flashinfer-ops":
            from autotune_init.tuners.flashinfer_ops import FlashinferOpsTuner

            return FlashinferOpsTuner(engine=settings.engine, clock=self.clock, progress=self.story.tell)
        return None

    def _request(self, cache: EngineCache, workload: Workload, facts: Facts) -> TuneRequest:
        self.seen.scratch = scratch = Path(tempfile.mkdtemp(prefix="autotune-"))
        facts_path = scratch / "facts.json"
        facts_path.write_text(to_json(facts))
        files = scratch / "files"
        files.mkdir()
        return TuneRequest(
            scratch=files,
            rank_files=cache.all_rank_files,
            facts_path=facts_path,
            deadline_s=max(1.0, self._left_s() - TUNE_MARGIN_S),
            max_tokens=self.settings.max_tokens,
            resolved=cache.resolved,
            model_config=workload.model_config,
            # a tuner may run our own programs, which would refuse variables that were meant for this one
            environ={name: text for name, text in self.environ.items() if not name.startswith("AUTOTUNE_")},
            python=self.settings.python or sys.executable,
            metadata=facts.metadata,
            store_manifest=(manifest_of(facts.metadata, cache.resolved) if cache.kind == "entries" else None),
        )

    def _tell_step(self, step: Step) -> None:
        told = {CheckStore: "does the store keep conditions?", WriteBundle: "publishing"}
        if type(step) in told:
            self.story.tell(told[type(step)])
        elif isinstance(step, Work) and self.seen.scratch is None:
            self.story.tell(f"this pod tunes, with {self.settings.tuner}")


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
    cache, bundle = seen.cache, ending.bundle
    report = Report(
        outcome=ending.outcome,
        reason=ending.reason,
        detail=ending.detail,
        engine=settings.engine,
        engine_version=settings.engine_version,
        seconds=seconds,
        moved_aside=ending.moved_aside,
        warnings=seen.warnings,
        tail=ending.tail,
        program=PROGRAM,
    )
    if seen.store is not None:
        report = replace(report, requests=seen.store.requests, bytes=seen.store.bytes)
    if cache is not None:
        report = replace(
            report,
            engine_version=cache.engine_version,
            flashinfer_version=cache.flashinfer_version,
            arch=cache.arch,
            key=cache.key,
            key_source=cache.source,
            directory=cache.directory,
            ranks=cache.rank_files,
        )
    if seen.identity is not None:
        report = replace(report, environment=seen.identity.environment.name)
    if bundle is None:
        return report
    has_saved = ending.outcome in (Outcome.HIT, Outcome.WAITED)
    return replace(
        report,
        saved_s=bundle.provenance.tune_s if has_saved else 0.0,
        tuner=bundle.provenance.tuner,
        tune_s=bundle.provenance.tune_s,
        verified=bundle.provenance.verified,
        coverage=bundle.coverage.model_dump(),
        epoch=bundle.epoch,
        nonce=bundle.nonce,
    )
