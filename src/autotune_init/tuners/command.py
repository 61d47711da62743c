"""--tuner command: any program that leaves the rank files behind. It is trusted to tune, not to be right.

The program runs without a shell in the scratch directory and gets AUTOTUNE_RANK_FILES (JSON list of absolute paths,
each of which it must write), AUTOTUNE_FACTS (path of the facts as JSON) and AUTOTUNE_DEADLINE_S. Where the engine uses
FlashInfer's own store, that list is empty, and FLASHINFER_AUTOTUNE_CACHE_DIR is where entries must appear.
"""

from __future__ import annotations

import json
import shlex
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from autotune_init.local_files import judge_metadata
from autotune_init.tuners import Coverage, TuneRequest, TuneResult, TunerFailed
from autotune_init.tuners.child import ChildNotStarted, run_child
from autotune_init.tuners.command_entries import EntriesWanted
from autotune_init.tuners.inside_call import Interpreter, ask_inside, raise_unless_done
from cache_store.clock import Clock
from cache_store.dataclass import dataclass, replace
from cache_store.rank_file import MAX_RANK_FILE_BYTES, BadRankFile, RankFile, parse_rank_file

_WORTH_A_CHECK_S = 5.0  # importing FlashInfer alone takes about that long


class Wanted(Protocol):
    """What the command is asked for, and what becomes of it."""

    def variables(self) -> dict[str, str]:
        """Of the environment, by which it is told."""

    def collect(self) -> tuple[dict[str, bytes], dict[str, RankFile]]:
        """(what it made, the same parsed), checked against this pod's environment. Raises `TunerFailed`."""

    def job(self) -> dict[str, object]:
        """For inside/verify.py, but for its `work`."""

    def judge(self, answer: Mapping[str, object]) -> str:
        """`TuneResult.verified`, from that program's answer. Raises `TunerFailed`."""


class CommandTuner:
    """Implements `Tuner`. `command` is split like a shell would; raises ValueError where it cannot be."""

    def __init__(self, command: str, *, clock: Clock, progress: Callable[[str], None] | None = None) -> None:
        self._argv = shlex.split(command)
        if not self._argv:
            raise ValueError("the tuner's command is empty")
        self._clock = clock
        self._progress = progress

    @property
    def name(self) -> str:
        return "command"

    def tune(self, request: TuneRequest, stop: threading.Event) -> TuneResult:
        until = self._clock.monotonic() + request.deadline_s
        wanted = wanted_of(request)
        self._run(request, wanted, stop)
        files, parsed = wanted.collect()
        if not any(rank_file.entries or rank_file.has_records for rank_file in parsed.values()):
            return TuneResult({}, Coverage(excluded={"everything": "the command tuned nothing"}), "metadata")
        left_s = until - self._clock.monotonic()
        verified = self._verify(request, wanted, stop, left_s) if left_s > _WORTH_A_CHECK_S else "metadata"
        return TuneResult(files, coverage_of(parsed), verified)

    def _run(self, request: TuneRequest, wanted: Wanted, stop: threading.Event) -> None:
        environ = {
            **request.environ,
            **wanted.variables(),
            "AUTOTUNE_FACTS": str(request.facts_path),
            "AUTOTUNE_DEADLINE_S": str(int(request.deadline_s)),
        }
        try:
            result = run_child(
                self._argv,
                environ=environ,
                cwd=request.scratch,
                deadline_s=request.deadline_s,
                stop=stop,
                clock=self._clock,
                progress=self._progress,
            )
        except ChildNotStarted as problem:
            raise TunerFailed("tuner-unavailable", f"the command does not start: {problem}") from None
        raise_unless_done(result, "the command")

    def _verify(self, request: TuneRequest, wanted: Wanted, stop: threading.Event, left_s: float) -> str:
        """FlashInfer's own loader, where the engine's Python has one and sees a GPU."""
        interpreter = Interpreter(
            request.python, request.environ, request.scratch, stop, self._clock, self._progress
        )
        job = {**wanted.job(), "work": str(request.scratch / "verify")}
        try:
            answer = ask_inside("verify.py", job, interpreter, left_s)
        except TunerFailed as failure:
            if failure.reason == "tuner-cancelled":
                raise
            return "metadata"  # the check could not be made, which says nothing about the files
        return wanted.judge(answer)


def wanted_of(request: TuneRequest) -> Wanted:
    if request.store_manifest is not None:
        return EntriesWanted(request.scratch / "store", request.store_manifest)
    return RankFilesWanted(request)


@dataclass(frozen=True)
class RankFilesWanted:
    """Implements `Wanted`: one file for each rank name."""

    request: TuneRequest

    def variables(self) -> dict[str, str]:
        paths = [str((self.request.scratch / name).resolve()) for name in self.request.rank_files]
        return {"AUTOTUNE_RANK_FILES": json.dumps(paths)}

    def collect(self) -> tuple[dict[str, bytes], dict[str, RankFile]]:
        files = collect_files(self.request.scratch, self.request.rank_files)
        return files, check_files(files, self.request.metadata)

    def job(self) -> dict[str, object]:
        return {
            "mode": "load",
            "files": [str(self.request.scratch / name) for name in self.request.rank_files],
        }

    def judge(self, answer: Mapping[str, object]) -> str:
        return judge_load(answer, self.request.metadata)


def collect_files(directory: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    """Rank file -> bytes. Raises `TunerFailed` naming what is not there or cannot be read."""
    files: dict[str, bytes] = {}
    missing: list[str] = []
    for name in names:
        path = directory / name
        if not path.is_file():
            missing.append(name)
            continue
        try:
            with path.open("rb") as file:
                files[name] = file.read(MAX_RANK_FILE_BYTES + 1)
        except OSError as error:
            raise TunerFailed("tuner-bad-file", f"{name}: {error.strerror}") from None
    if missing:
        shown = ", ".join(missing[:4]) + (" ..." if len(missing) > 4 else "")
        raise TunerFailed("tuner-wrote-nothing", f"{len(missing)} of {len(names)} are missing: {shown}")
    return files


def check_files(files: Mapping[str, bytes], metadata: Mapping[str, str]) -> dict[str, RankFile]:
    """Every file parses and was made in exactly this environment; wildcards match anything, so none may be published.

    Raises `TunerFailed`.
    """
    parsed: dict[str, RankFile] = {}
    for name, body in files.items():
        try:
            parsed[name] = parse_rank_file(body)
        except BadRankFile as problem:
            raise TunerFailed("tuner-bad-file", f"{name}: {problem}") from None
        made_in = dict(parsed[name].metadata)
        if made_in != dict(metadata):
            raise TunerFailed("tuner-environment", f"{name}: {difference(made_in, metadata)}")
    return parsed


def difference(made_in: Mapping[str, str], here: Mapping[str, str]) -> str:
    """The first field that differs, for a person."""
    wild = sorted(field for field, value in made_in.items() if value == "*")
    if wild:
        return f'{wild[0]} is "*", which would match any pod'
    _, detail = judge_metadata(made_in, here)
    return detail or f"it has fields that this pod has not: {', '.join(sorted(set(made_in) - set(here)))}"


def coverage_of(parsed: Mapping[str, RankFile]) -> Coverage:
    """Of the rank that covers most: ranks share their keys, or each has its own ones."""
    best = max(parsed.values(), key=lambda rank_file: len(rank_file.entries))
    return replace(Coverage(), ops=best.ops(), entries=len(best.entries), max_bucket=best.max_bucket())


def judge_load(answer: Mapping[str, object], metadata: Mapping[str, str]) -> str:
    """What FlashInfer's loader says of the files: "loads", "metadata" where it could not tell, or `TunerFailed`."""
    loaded, errors, collected = (answer.get(name) for name in ("loaded", "errors", "collected"))
    if isinstance(errors, dict) and errors:
        path, text = next(iter(errors.items()))
        raise TunerFailed("tuner-bad-file", f"FlashInfer fails on {Path(str(path)).name}: {text}")
    if not isinstance(loaded, dict) or not isinstance(collected, dict):
        return "metadata"  # no FlashInfer in the engine's Python
    refused = sorted(Path(str(path)).name for path, is_loaded in loaded.items() if is_loaded is not True)
    if not refused:
        return "loads"
    if collected.get("gpu") in (None, "unknown"):
        return "metadata"  # no GPU in sight: its loader then refuses every real file
    here = {str(name): str(value) for name, value in collected.items()}
    raise TunerFailed("tuner-environment", f"FlashInfer ignores {refused[0]}: {difference(metadata, here)}")
