"""What a tuner is told: of this pod, of its engine, and of the one worker whose files are wanted."""

from __future__ import annotations

import sys
from pathlib import Path, PurePosixPath

from autotune_init.engines import EngineCache
from autotune_init.engines.flashinfer_store import manifest_of
from autotune_init.facts import Facts, to_json
from autotune_init.settings import Settings
from autotune_init.tuners import TuneRequest
from autotune_init.workload import Workload
from cache_store.dataclass import dataclass


@dataclass(frozen=True)
class TunePlace:
    """Where a tune may write, for the whole run, and how many seconds it may take."""

    scratch: Path
    deadline_s: float


def tune_request(
    place: TunePlace,
    settings: Settings,
    workload: Workload,
    facts: Facts,
    *,
    target: EngineCache,
    cache: EngineCache,
) -> TuneRequest:
    """`cache` is the worker's that is to be tuned: the target's own, or that of its draft."""
    facts_path = place.scratch / "facts.json"
    facts_path.write_text(to_json(facts))
    files = place.scratch / f"files-{cache.key}"
    files.mkdir()
    question, command = workload.question, workload.command
    is_draft = cache is not target
    own_draft = workload.draft_config if workload.draft_config is not None else workload.model_config
    others = [one for one in (target, target.draft) if one is not None and one is not cache]
    return TuneRequest(
        scratch=files,
        rank_files=cache.all_rank_files,
        facts_path=facts_path,
        deadline_s=place.deadline_s,
        max_tokens=settings.max_tokens,
        resolved=cache.resolved,
        model_config=own_draft if is_draft else workload.model_config,
        # a tuner may run our own programs, which would refuse variables that were meant for this one
        environ={name: text for name, text in command.environ.items() if not name.startswith("AUTOTUNE_")},
        python=settings.python or sys.executable,
        metadata=facts.metadata,
        engine=question.engine,
        engine_version=cache.engine_version,
        engine_argv=command.argv,
        cache_folders=tuple(
            folder
            for one in (cache, *(one for one in others if one.tunes is not False))
            for folder in _below(one)
        ),
        engine_cache_root=_root(cache),
        engine_directory=command.directory,
        gpu_count=facts.gpu.count,
        store_manifest=manifest_of(facts.metadata, cache.resolved) if cache.kind == "entries" else None,
    )


def _root(cache: EngineCache) -> str:
    return next((str(one.value) for one in cache.inputs if one.name == "cache_root"), "")


def _below(cache: EngineCache) -> tuple[str, ...]:
    """The folder below the engine's cache root; none for FlashInfer's own store, which is not the engine's."""
    root = _root(cache)
    return (str(PurePosixPath(cache.directory).relative_to(root)),) if root else ()
