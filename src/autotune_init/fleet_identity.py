"""Which bundle a workload's pods want: what they said themselves, else the recipe, else a reason. Pure.

A pod's own word is best, since it knows its FlashInfer. The recipe stands in where no pod has spoken yet, and only with
stated facts of the GPU and the model's config.json.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from autotune_init.collector_rules import rules_for
from autotune_init.engines import EngineCache, Question
from autotune_init.engines.command_line import Unreadable, read_command
from autotune_init.engines.registry import ask
from autotune_init.engines.sglang import Refused as KeyRefused
from autotune_init.engines.sglang_versions import BY_VERSION
from autotune_init.engines.sglang_words import read_argv
from autotune_init.engines.spelling import read_words
from autotune_init.facts import BadFacts, Facts, load_facts
from autotune_init.fleet_template import Engine, Unclear
from autotune_init.outcomes import Outcome
from autotune_init.plan import judge_key, judge_worker
from autotune_init.replica_group import BadReplicaGroup, replica_group
from autotune_init.report import REPORT_SCHEMA
from cache_store.dataclass import dataclass, field
from cache_store.identity import Address, BadAddress, Environment

NOT_INJECTED = "not-injected"
_LONGEST_S = 1e9
# a bundle would not be used, whatever the bucket holds
_NEVER = ("engine-", "known-bad-", "bound-to-gpu", "replica-group")


@dataclass(frozen=True)
class Wanted:
    """The bundle of the target, and of its draft worker where that has one. `source`: "report" or "recipe"."""

    address: Address
    draft: Address | None
    engine: str
    source: str


@dataclass(frozen=True)
class Refused:
    """No bundle can be named, or none would be used.

    `reason` is one of outcomes.REASONS, or no-report, not-a-report, not-injected.
    """

    reason: str
    detail: str
    engine: str = ""


@dataclass(frozen=True)
class Reported:
    """What is needed of a pod's own report (docs/schemas/run-report.json), which may have been shortened."""

    outcome: str
    reason: str
    detail: str
    engine: str
    wanted: Wanted | None
    saved_s: float


@dataclass(frozen=True)
class ModelConfig:
    """The small files of one model that were given by hand."""

    config: Mapping[str, object]
    quant: Mapping[str, object] | None = None


@dataclass(frozen=True)
class Stated:
    """What the person at the terminal added: facts by GPU (as the node's label spells it), model files by name."""

    facts: Mapping[str, Facts] = field(default_factory=dict)
    models: Mapping[str, ModelConfig] = field(default_factory=dict)


def reported_of(message: str) -> Reported | Refused:
    """A termination message, as a report."""
    try:
        document = json.loads(message)
    except (ValueError, RecursionError):
        return Refused("not-a-report", f"the termination message is no JSON: {message[:120]!r}")
    if not isinstance(document, dict) or document.get("schema") != REPORT_SCHEMA:
        return Refused("not-a-report", "the termination message is another program's")
    outcome, reason = document.get("outcome"), document.get("reason")
    if outcome not in {one.value for one in Outcome} or not isinstance(reason, str):
        return Refused("not-a-report", f"the termination message has the outcome {outcome!r}"[:200])
    engine = " ".join(filter(None, (_text(document, "engine"), _text(document, "engine_version"))))
    return Reported(
        outcome=str(outcome),
        reason=reason,
        detail=_text(document, "detail"),
        engine=engine,
        wanted=_wanted_of(document, engine),
        saved_s=_seconds(document.get("saved_s")),
    )


def identify(report: Reported | Refused | None, recipe: Wanted | Refused) -> Wanted | Refused:
    """The pod's own word, else the recipe's, else why not."""
    if isinstance(report, Refused) and report.reason == NOT_INJECTED:
        return report
    if isinstance(report, Reported):
        if report.reason.startswith(_NEVER):
            return Refused(report.reason, report.detail, report.engine)
        if report.wanted is not None:
            return report.wanted
    if isinstance(recipe, Wanted):
        return recipe
    if isinstance(report, Reported):
        return Refused(report.reason, report.detail, report.engine)
    return report or recipe


def by_recipe(engine: Engine, names: tuple[str, ...], product: str, stated: Stated) -> Wanted | Refused:
    """As a pod would compute it, on a GPU called `product`. `names` are those that model files may be given under."""
    try:
        facts = _facts(engine, product, stated)
        question = _question(engine, names, facts, stated)
        group = replica_group(engine.variables.known, nnodes=engine.settings.group_size, node_rank=None)
        allowed = frozenset(engine.settings.allow_known_bad)
        answer = ask(question)
        if max(group.size, answer.nnodes if isinstance(answer, EngineCache) else 1) > 1:
            return Refused(
                "replica-group", "a replica of several pods is looked up, and tuned, by its pods alone"
            )
        cache = judge_key(answer, group, allowed=allowed)
        if not isinstance(cache, EngineCache):
            return Refused(cache.reason, cache.detail)
        end = judge_worker(cache, allowed)
        if end is not None:
            return Refused(end.reason, end.detail)
        environment = Environment(facts.metadata, engine.settings.identity_extra).name
        return Wanted(
            address=Address(cache.flashinfer_version, cache.arch, cache.key, environment),
            draft=_draft(cache, environment, allowed),
            engine=f"{cache.engine} {cache.engine_version}",
            source="recipe",
        )
    except Unclear as unclear:
        return Refused(unclear.reason, unclear.detail)
    except KeyRefused as refused:
        return Refused(refused.refusal.reason, refused.refusal.detail)
    except BadReplicaGroup as problem:
        return Refused(problem.reason, str(problem))
    except BadAddress as problem:
        return Refused("key-inputs", str(problem))


def _draft(cache: EngineCache, environment: str, allowed: frozenset[str]) -> Address | None:
    draft = cache.draft
    if draft is None or judge_worker(draft, allowed) is not None:
        return None
    return Address(draft.flashinfer_version, draft.arch, draft.key, environment)


def _facts(engine: Engine, product: str, stated: Stated) -> Facts:
    """Complete facts of a pod there. Raises `Unclear`: a field too few would name another environment."""
    own = engine.settings.facts
    if own is not None and own.lstrip().startswith("{"):
        try:
            facts = load_facts(own)
        except BadFacts as problem:
            raise Unclear(f"facts-{problem.reason}", problem.detail) from None
    elif product in stated.facts:
        facts = stated.facts[product]
    else:
        raise Unclear("no-report", f"no pod has reported a key yet; state --facts {product}=FILE")
    metadata = dict(facts.metadata)
    if facts.gpu.name is not None:
        metadata.setdefault("gpu", facts.gpu.name)
    rules = rules_for(metadata.get("flashinfer_version", ""))
    if rules is None or set(rules.fields) != set(metadata) or facts.gpu.capability is None:
        raise Unclear("facts-bad-value", "the facts are not complete: take what `autotune-init facts` prints")
    if engine.settings.gpu_name not in (None, metadata["gpu"]):
        raise Unclear(
            "facts-bad-value", f"they are of {metadata['gpu']}, the pod says {engine.settings.gpu_name}"
        )
    return Facts(facts.gpu, facts.packages, metadata)


def _question(engine: Engine, names: tuple[str, ...], facts: Facts, stated: Stated) -> Question:
    """Raises `Unclear` and the engine's `Refused`."""
    settings, variables = engine.settings, engine.variables
    if variables.deciding:
        raise Unclear("undecidable", f"only the pod knows {variables.deciding}; it has not reported yet")
    try:
        name = settings.engine or read_command(engine.words, variables.known, None).engine
    except Unreadable as unreadable:
        raise Unclear("key-argv", f"{unreadable.reason}: {unreadable.detail}") from None
    if name != "sglang":
        raise Unclear("undecidable", f"only a pod of {name} can say; it has not reported yet")
    version = _version(engine, name, facts)
    command = read_words(engine.words, variables.known, name, version, _no_file)
    typed = read_argv(command.argv, BY_VERSION[version]) if version in BY_VERSION else None
    model = typed.text("model_path") if typed else None
    draft = typed.text("speculative_draft_model_path") if typed else None
    target = _model((*names, *filter(None, (settings.field.get("model_path"), model))), stated)
    drafted = _model((draft,) if draft else (), stated)
    if facts.gpu.capability is None:
        raise Unclear("facts-bad-value", "the facts say no compute capability")
    return Question(
        engine=name,
        engine_version=version,
        flashinfer_version=facts.metadata["flashinfer_version"],
        capability=facts.gpu.capability,
        argv=command.argv,
        model_config=target.config if target else None,
        environ=command.environ,
        fields=dict(settings.field),
        cache_dir=settings.cache_dir or "/",  # no part of the address
        gpu_uuids=facts.gpu.uuids,
        driver=facts.gpu.driver,
        quant_config=target.quant if target else None,
        draft_config=drafted.config if drafted else None,
        draft_quant_config=drafted.quant if drafted else None,
        metadata=facts.metadata,
    )


def _version(engine: Engine, name: str, facts: Facts) -> str:
    """Raises `Unclear`: facts of another image name another environment."""
    stated, found = engine.settings.engine_version, facts.packages.get(name)
    if stated is not None and found is not None and stated != found:
        raise Unclear("facts-bad-value", f"they are of {name} {found}, the pod has {stated}")
    version = stated or found
    if version is None:
        detail = "state it by the annotation autotune-cache.dev/engine-version"
        raise Unclear("unknown-engine-version", detail)
    return version


def _no_file(path: str) -> NoReturn:
    raise OSError(f"{path[:200]} lies in the pod")


def _model(names: tuple[str, ...], stated: Stated) -> ModelConfig | None:
    return next((stated.models[name] for name in names if name in stated.models), None)


def _wanted_of(document: Mapping[str, Any], engine: str) -> Wanted | None:
    draft = document.get("draft")
    draft_key = _text(draft, "key") if isinstance(draft, dict) else ""
    parts = [_text(document, name) for name in ("flashinfer_version", "arch", "key", "environment")]
    try:
        address = Address(*parts)
        other = Address(parts[0], parts[1], draft_key, parts[3]) if draft_key else None
    except BadAddress:
        return None
    if isinstance(draft, dict) and _text(draft, "reason").startswith(_NEVER):
        other = None
    return Wanted(address, other, engine, "report")


def _seconds(found: object) -> float:
    """0 for what no program of ours would say."""
    if not isinstance(found, (int, float)) or isinstance(found, bool):
        return 0.0
    return float(found) if 0 <= found < _LONGEST_S else 0.0


def _text(document: Mapping[str, Any], name: str) -> str:
    found = document.get(name)
    return found if isinstance(found, str) else ""
