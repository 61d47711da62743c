"""Tuners: child processes that leave rank files behind, all behind one protocol."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

from cache_store.annotation import Protocol
from cache_store.dataclass import dataclass, field


@dataclass(frozen=True)
class TuneRequest:
    """One tune.

    `scratch` is an empty directory on the pod's own disk; the tuner must leave each of `rank_files` in it.
    `facts_path` is the facts as JSON (the format of --facts). `deadline_s` is how long the whole tune may take,
    verification included. `resolved` are the engine's fields (tp_size, quantization, dtype, ...), `model_config` the
    parsed config.json or None. `environ` is the environment for the child. `python` runs the engine's packages.
    `metadata` is this pod's FlashInfer environment: what the tuned files must carry.

    The rest only concerns a tuner that starts the engine: its name and release, its flags (what follows the program's
    name on the pod's command line), `cache_folders`, the folders below the engine's cache root that one start fills
    (the first is the one that is asked for, the others belong to draft workers), `engine_cache_root`, where the pod's
    own engine will look ("" where that is not known), and `engine_directory`, where its relative paths begin (None for
    our own current directory). `gpu_count` is how many GPUs a process here is shown, None where that is not known.

    `store_manifest` is set where FlashInfer's own store is wanted (then `rank_files` is empty): the manifest of the
    environment whose entries are to be tuned.
    """

    scratch: Path
    rank_files: tuple[str, ...]
    facts_path: Path
    deadline_s: float
    max_tokens: int
    resolved: Mapping[str, str | int | bool | None]
    model_config: Mapping[str, object] | None
    environ: Mapping[str, str]
    python: str
    metadata: Mapping[str, str]
    engine: str = ""
    engine_version: str = ""
    engine_argv: tuple[str, ...] = ()
    cache_folders: tuple[str, ...] = ()
    engine_cache_root: str = ""
    engine_directory: str | None = None
    gpu_count: int | None = None
    store_manifest: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Coverage:
    """What a tune covered: op -> number of entries, the largest bucket (tokens), and what was left out and why."""

    ops: Mapping[str, int] = field(default_factory=dict)
    entries: int = 0
    max_bucket: int = 0
    excluded: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TuneResult:
    """What a tuner made. `files` is empty when there was nothing to tune, which is a result and is published.

    `verified` says how far it was checked: "profiles-zero" (a fresh process loaded it and profiled nothing),
    "loads" (FlashInfer's own loader took it) or "metadata" (only its form and environment were checked).
    """

    files: Mapping[str, bytes]
    coverage: Coverage
    verified: str


class TunerFailed(Exception):  # noqa: N818 -- reads as what happened
    """A tune that gave nothing usable.

    `reason`: "tuner-crashed", "tuner-timeout", "tuner-cancelled", "tuner-wrote-nothing", "tuner-bad-file",
    "tuner-retunes" (a fresh process profiled again), "tuner-environment" (the file's metadata is not this pod's),
    "tuner-wrong-key" (the engine itself looks in another folder than the one that was derived),
    "tuner-unavailable" (no GPU, no FlashInfer, no nvcc, model not understood). `tail`: the child's last lines.
    """

    def __init__(self, reason: str, detail: str, tail: tuple[str, ...] = ()) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.tail = tail


class Tuner(Protocol):
    """A way to make rank files."""

    @property
    def name(self) -> str:
        """As in --tuner."""

    def tune(self, request: TuneRequest, stop: threading.Event) -> TuneResult:
        """Run to the end, or raise `TunerFailed`. Ends soon after `stop` is set, with no child left behind."""
