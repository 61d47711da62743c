"""One start of the engine, watched: what it logged, which rank files it left, and when it has done enough."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath

from autotune_init.tuners import TuneRequest, TunerFailed
from autotune_init.tuners.engine_log import EngineLog
from cache_store.clock import Clock
from cache_store.dataclass import dataclass
from cache_store.rank_file import MAX_RANK_FILE_BYTES, BadRankFile, parse_rank_file

# no file changed and no rank began anew for so long; an EXTEND pass begins at once (SGLang 0.5.18)
SETTLE_S = 5.0
LETHAL_S = 30.0  # what an engine that announced its end gets to end
_LOOK_S = 0.5
_TRUE = frozenset({"1", "true", "yes", "y", "t", "on"})


@dataclass(frozen=True)
class FinishedStart:
    """One start that came to its end: where its files lie, what it logged."""

    root: Path
    log: EngineLog
    tail: tuple[str, ...]

    def files_of(self, request: TuneRequest) -> dict[str, bytes]:
        """The rank files of the first folder; none where the engine had nothing to tune there. Raises `TunerFailed`."""
        [folder, *_] = request.cache_folders
        directory = self.root / folder_below(request, folder)
        detail = elsewhere(request, self.root, self.log)
        if detail:
            raise TunerFailed("tuner-wrong-key", detail, self.tail)
        found = [name for name in request.rank_files if (directory / name).is_file()]
        is_named = any(Path(file).parent == directory for file in self.log.files)
        # a bar without a file's name may have been this folder's
        has_tuned_here = is_named or (self.log.has_autotuned and not self.log.files)
        if not found and not has_tuned_here:
            return {}
        if len(found) < len(request.rank_files):
            missing = [name for name in request.rank_files if name not in found]
            detail = f"{len(missing)} of {len(request.rank_files)} are missing: {', '.join(missing[:4])}"
            raise TunerFailed("tuner-wrote-nothing", detail, self.tail)
        return {name: _read(directory / name) for name in found}

    def left_out(self, request: TuneRequest) -> dict[str, str]:
        """Folders that the engine filled and nobody asked for: drafts whose key is not derived yet."""
        known = {self.root / folder_below(request, folder) for folder in request.cache_folders}
        others = {Path(file).parent for file in self.log.files} - known
        return {
            path.name: "the engine tunes here as well, under a key that was not asked for" for path in others
        }


class Watch:
    """Looks at log and files while the engine runs, and says when to end it."""

    def __init__(
        self, request: TuneRequest, root: Path, clock: Clock, tell: Callable[[str], None], settle_s: float
    ) -> None:
        self.log = EngineLog()
        self.failure: TunerFailed | None = None
        self._request = request
        self._root = root
        self._clock = clock
        self._tell = tell
        self._settle_s = settle_s
        self._paths = [
            root / folder_below(request, folder) / name
            for folder in request.cache_folders
            for name in request.rank_files
        ]
        self._ends_early = may_end_early(request)
        self._looked_at = self._changed_at = clock.monotonic()
        self._seen: object = None
        self._are_complete = False
        self._lethal_at: float | None = None

    def line(self, text: str) -> None:
        news = self.log.feed(text)
        self._tell(news or text)

    def is_enough(self) -> bool:
        now = self._clock.monotonic()
        if now - self._looked_at < _LOOK_S:
            return False
        self._looked_at = now
        self._look(now)
        self.failure = self._failed(now)
        if self.failure is not None:
            return True
        is_over = self.log.is_ready or (self._ends_early and self._are_complete and self._is_autotune_over())
        return is_over and now - self._changed_at >= self._settle_s

    def _failed(self, now: float) -> TunerFailed | None:
        """Why there is no point in waiting any longer."""
        if self.log.has_managed_store:
            detail = "this engine keeps its results in FlashInfer's own store, not in rank files"
            return TunerFailed("tuner-unavailable", detail)
        # the target's folder is the first that an engine without drafts names
        detail = elsewhere(self._request, self._root, self.log) if self._ends_early else ""
        if detail:
            return TunerFailed("tuner-wrong-key", detail)
        if self.log.is_lethal and not self.log.is_ready:
            self._lethal_at = now if self._lethal_at is None else self._lethal_at
            if now - self._lethal_at >= LETHAL_S:
                detail = f"the engine failed and did not end; its log: {self.log.error or 'no reason given'}"
                return TunerFailed("tuner-crashed", detail)
        return None

    def _is_autotune_over(self) -> bool:
        return self.log.is_autotune_over and {Path(file) for file in self.log.files} >= set(self._paths)

    def _look(self, now: float) -> None:
        """What counts as news: a file that came or changed, a rank that began or ended, the server that is ready."""
        stats = {str(path): _state(path) for path in self._paths}
        seen = (stats, len(self.log.files), self.log.is_autotune_over, self.log.is_ready)
        if seen != self._seen:
            self._seen, self._changed_at = seen, now
            self._are_complete = all(state is not None for state in stats.values()) and all(
                _parses(path) for path in self._paths
            )


def may_end_early(request: TuneRequest) -> bool:
    """Whether the end of the one autotune pass is the end of all tuning, so that CUDA graphs need not be waited for.

    Drafts tune phase by phase with graph captures in between; SGLANG_FLASHINFER_AUTOTUNE_EXTEND asks for a second pass
    (SGLang 0.5.23, srt/model_executor/runner/flashinfer_autotune.py). vLLM does not log the end.
    """
    asks_extend = request.environ.get("SGLANG_FLASHINFER_AUTOTUNE_EXTEND", "").lower() in _TRUE
    has_draft = any(word.startswith("--spec") for word in request.engine_argv)
    return (
        request.engine == "sglang" and len(request.cache_folders) == 1 and not asks_extend and not has_draft
    )


def folder_below(request: TuneRequest, folder: str) -> str:
    """Below the root of this start. vLLM's own variable for the root leaves only the hash of its longer path."""
    return PurePosixPath(folder).name if request.engine == "vllm" else folder


def elsewhere(request: TuneRequest, root: Path, log: EngineLog) -> str:
    """Where the engine looks instead; "" unless it named files, none of the first folder, and some of no expected one."""
    expected = [root / folder_below(request, folder) for folder in request.cache_folders]
    named = {Path(file) for file in log.files}
    strange = sorted(file for file in named if file.parent not in expected)
    misnamed = sorted(f for f in named if f.parent == expected[0] and f.name not in request.rank_files)
    if misnamed or (strange and not any(file.parent == expected[0] for file in named)):
        actual = (misnamed or strange)[0]
        shown = actual.relative_to(root) if actual.is_relative_to(root) else actual
        return f"the engine looks for {shown}, derived was {request.cache_folders[0]}/{request.rank_files[0]}"
    return ""


def _state(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_RANK_FILE_BYTES + 1)
    except OSError as error:
        raise TunerFailed("tuner-bad-file", f"{path.name}: {error.strerror}") from None


def _parses(path: Path) -> bool:
    try:
        parse_rank_file(_read(path))
    except (BadRankFile, TunerFailed):
        return False
    return True
