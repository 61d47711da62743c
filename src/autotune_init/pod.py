"""`autotune-init run`: learn what this pod is, settle its key, warm target and draft under supervision, report."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from autotune_init.ending import finish_pod
from autotune_init.engines import EngineCache, KeyAnswer
from autotune_init.engines.registry import ask
from autotune_init.expected_keys import expected_keys
from autotune_init.facts import Facts
from autotune_init.flow import warm
from autotune_init.incarnation import incarnation
from autotune_init.node import NodeUnknown, learn_facts, learn_group
from autotune_init.outcomes import ALWAYS_FAILS, Outcome
from autotune_init.place import Ownership
from autotune_init.plan import End, judge_group, judge_key, judge_worker, overridden
from autotune_init.pod_report import PROGRAM, ending_of, report_of
from autotune_init.pod_start import Ending, Membership, Pod, Tools
from autotune_init.replica_group import MEETING_FLAGS, ReplicaGroup, with_engine
from autotune_init.seen import Seen
from autotune_init.settings import Settings
from autotune_init.settled import Policy, Settled, needs_engine
from autotune_init.store_access import StoreAccess
from autotune_init.story import Story
from autotune_init.supervise import Stopped, Supervisor
from autotune_init.temporary import with_temporary
from autotune_init.workload import Workload, flag_value, learn_workload
from cache_store.annotation import TYPE_CHECKING, TextIO, cast
from cache_store.bundle import Provenance
from cache_store.chance import FreshChance
from cache_store.clock import SystemClock, fresh_nonce
from cache_store.dataclass import dataclass, replace
from cache_store.group_place import GroupPlace
from cache_store.identity import Environment, Identity

if TYPE_CHECKING:
    from autotune_init.tuners import Tuner, TuneRequest
    from cache_store.claim import Rules
    from cache_store.steps import Step

TUNE_MARGIN_S = 5.0  # a tune leaves this much to publish and place before the flow is told to stop


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
    seen = Seen(engine=settings.engine)
    with with_temporary(environ, settings.cache_dir) as lent:
        run = _Run(settings, lent, clock, supervisor, seen, story)
        ended = supervisor.run(run.to_the_end)
        ending = ending_of(ended)
        if isinstance(ended, Stopped) and ended.why == "deadline" and seen.bound is not None:
            from autotune_init.group_flow import torn_by_deadline

            ending = torn_by_deadline(*seen.bound)
        if seen.scratch is not None:
            import shutil

            shutil.rmtree(seen.scratch, ignore_errors=True)
    report = report_of(ending, seen, settings, seconds=round(clock.monotonic() - began, 3))
    return finish_pod(report, settings, environ, clock, stdout, story)


@dataclass(frozen=True)
class _Run:
    settings: Settings
    environ: Mapping[str, str]
    clock: SystemClock
    supervisor: Supervisor
    seen: Seen
    story: Story

    def to_the_end(self) -> Ending:
        """The ending of the worker that came last: of the target, or of its draft."""
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
        seen.engine, seen.warnings = workload.question.engine, workload.warnings
        if settings.store:
            seen.store = StoreAccess(settings, self.environ, self.clock)
        try:
            answer = self._key(workload, facts, group)
            if isinstance(answer, End):
                return _ended(answer)
            return self._warm_all(answer, workload, facts)
        finally:
            if seen.store is not None:
                seen.store.close()

    def _key(self, workload: Workload, facts: Facts, group: ReplicaGroup) -> EngineCache | End:
        settings, seen = self.settings, self.seen
        recipe = ask(workload.question)
        end = judge_group(recipe, _completed(group, recipe, workload))
        if end is not None:
            return end
        settled = Settled(recipe)
        policy = cast("Policy", settings.resolver)
        if needs_engine(recipe, policy):
            settled = self._ask_engine(workload, facts, recipe, policy)
        self._warn(settled.warnings)
        if isinstance(settled.answer, EngineCache):
            seen.cache = settled.answer
            seen.environment = self._environment(facts).name
        allowed = frozenset(settings.allow_known_bad)
        group = _completed(group, settled.answer, workload)
        answer = judge_key(settled.answer, group, allowed=allowed)
        seen.group = group if group.size > 1 else None
        if isinstance(answer, EngineCache):
            self._warn(overridden(answer, allowed))
        return answer

    def _ask_engine(self, workload: Workload, facts: Facts, recipe: KeyAnswer, policy: Policy) -> Settled:
        from autotune_init.key_means import EngineAsker  # only where the recipe cannot say
        from autotune_init.settle_key import settle

        settings, seen = self.settings, self.seen
        asker = EngineAsker(
            settings, self.environ, facts, workload, self.clock, self._left_s, self.story.tell
        )
        means = asker.means(
            seen.store.open if seen.store else None, remembers=True, holder=self._holder(), program=PROGRAM
        )
        return settle(workload.question, recipe, policy, means)

    def _warm_all(self, cache: EngineCache, workload: Workload, facts: Facts) -> Ending:
        seen = self.seen
        tuner = self._tuner(workload)
        ending = self._warm(cache, workload, facts, tuner)
        if cache.draft is None or ending.reason in ALWAYS_FAILS:
            return ending
        seen.target, seen.draft = ending, cache.draft
        return self._warm(cache.draft, workload, facts, tuner)

    def _tuner(self, workload: Workload) -> Tuner | None:
        if self.settings.tuner in ("none", "wait"):
            return None
        from autotune_init.choose_tuner import choose_tuner

        engine = workload.question.engine
        return choose_tuner(self.settings, engine, clock=self.clock, tell=self.story.tell)

    def _warm(self, cache: EngineCache, workload: Workload, facts: Facts, tuner: Tuner | None) -> Ending:
        end = judge_worker(cache, frozenset(self.settings.allow_known_bad))
        if end is not None:
            return _ended(end)
        identity = Identity(
            engine=cache.engine,
            flashinfer_version=cache.flashinfer_version,
            arch=cache.arch,
            key=cache.key,
            key_text=cache.key_text,
            key_inputs=dict(cache.resolved),
            environment=self._environment(facts),
        )
        whose = "'s draft worker" if cache is self.seen.draft else ""
        self.story.tell(f"{cache.engine} {cache.engine_version}{whose} will look in {cache.directory}")
        pod = self._pod(cache, identity, workload, facts)
        tools = self._tools(cache, workload, facts, tuner)
        if self.seen.group is not None:
            return self._warm_in_group(pod, self.seen.group, tools)
        return warm(pod, tools)

    def _warm_in_group(self, pod: Pod, group: ReplicaGroup, tools: Tools) -> Ending:
        settings, seen = self.settings, self.seen
        place = GroupPlace(
            settings.group_scope or "",
            group.name or "",
            group.size,
            pod.identity.address,
            restarts_alone=group.restarts_alone,
        )
        membership = Membership(
            place, group.node_rank, self._incarnation(), settings.group_wait_s, self._bind, self._release
        )
        pod = replace(pod, group=membership)
        seen.member = (pod, membership)
        self.story.tell(f"pod {group.node_rank} of {group.size} of {group.name} ({group.source})")
        from autotune_init.group_flow import warm_together  # most pods are alone

        return warm_together(pod, membership, tools)

    def _bind(self) -> None:
        self.seen.bound = self.seen.member

    def _release(self) -> None:
        self.seen.bound = None

    def _incarnation(self) -> str:
        return incarnation(self.settings.pod_uid, self.environ, fresh_nonce)

    def _warn(self, warnings: tuple[str, ...]) -> None:
        self.seen.warnings = (*self.seen.warnings, *warnings)
        for warning in warnings:
            self.story.tell(warning)

    def _environment(self, facts: Facts) -> Environment:
        return Environment(facts.metadata, self.settings.identity_extra)

    def _holder(self) -> str:
        return self.settings.holder or os.uname().nodename

    def _left_s(self) -> float:
        return max(0.1, self.supervisor.soft - self.clock.monotonic())

    def _pod(self, cache: EngineCache, identity: Identity, workload: Workload, facts: Facts) -> Pod:
        settings = self.settings
        return Pod(
            cache=cache,
            identity=identity,
            holder=self._holder(),
            ownership=Ownership(settings.file_mode, settings.dir_mode, settings.uid, settings.gid),
            provenance=Provenance(
                engine_version=cache.engine_version, driver=facts.gpu.driver or "", program=PROGRAM
            ),
            rules=self._rules,
            wait_until=self.clock.monotonic() + settings.wait_s,
            deadline=self.supervisor.soft,
            tune_time_s=settings.tune_time_s,
            expected=expected_keys(
                cache, self._config_of(cache, workload), settings.max_tokens, workload.question.environ
            ),
            allowed_bad=frozenset(settings.allow_known_bad),
            rechecks_local=settings.local == "recheck",
        )

    def _rules(self) -> Rules:
        from cache_store.claim import Rules

        return Rules(cooldown_s=self.settings.cooldown_s)

    def _config_of(self, cache: EngineCache, workload: Workload) -> Mapping[str, object] | None:
        """A draft is another model, or the target's own extra layer."""
        is_draft = cache is self.seen.draft
        return (workload.draft_config if is_draft else None) or workload.model_config

    def _tools(self, cache: EngineCache, workload: Workload, facts: Facts, tuner: Tuner | None) -> Tools:
        store = self.seen.store
        return Tools(
            open_store=store.open if store else None,
            check_store=store.check if store else StoreAccess.unfit,
            tuner=tuner,
            waits=self.settings.tuner == "wait",
            tune_request=lambda: self._request(cache, workload, facts),
            clock=self.clock,
            stop=self.clock.stop,
            rng=FreshChance(),
            nonce=fresh_nonce,
            on_step=lambda step: self._tell_step(step, cache),
        )

    def _request(self, cache: EngineCache, workload: Workload, facts: Facts) -> TuneRequest:
        from autotune_init.tune_request import TunePlace, tune_request

        if self.seen.scratch is None:
            # one for the whole run: the files of a draft may lie in what the target's tune left
            import tempfile

            self.seen.scratch = Path(tempfile.mkdtemp(prefix="autotune-"))
        root = self.seen.cache or cache
        place = TunePlace(self.seen.scratch, max(1.0, self._left_s() - TUNE_MARGIN_S))
        return tune_request(place, self.settings, workload, facts, target=root, cache=cache)

    def _tell_step(self, step: Step, cache: EngineCache) -> None:
        from cache_store.steps import CheckStore, Work, WriteBundle

        told = {CheckStore: "does the store keep conditions?", WriteBundle: "publishing"}
        if type(step) in told:
            self.story.tell(told[type(step)])
        elif isinstance(step, Work) and cache.key not in self.seen.told:
            self.seen.told.add(cache.key)
            self.story.tell(f"this pod tunes, with {self.settings.tuner}")


def _completed(group: ReplicaGroup, answer: KeyAnswer, workload: Workload) -> ReplicaGroup:
    if not isinstance(answer, EngineCache):
        return group
    return with_engine(
        group, flag_value(workload.command.argv, *MEETING_FLAGS), answer.nnodes, answer.node_rank
    )


def _ended(end: End) -> Ending:
    return Ending(end.outcome, end.reason, end.detail)
