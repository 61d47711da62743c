"""What an engine's log says about its autotuning. Pure: fed line by line, nothing is read here.

Texts, as the releases write them:
  SGLang 0.5.12 to 0.5.23, every rank: `Running FlashInfer autotune with cache: <file>` and `FlashInfer autotune
    completed.` (0.5.12 srt/model_executor/model_runner.py; 0.5.23 runner/flashinfer_autotune.py), behind a stamp that
    names the rank, `[2026-11-22 10:00:00 TP0]`, where there is more than one (srt/utils/common.py `configure_logger`).
  SGLang 0.5.19 and later: `per-rank caches disagree, discarding them`. `The server is fired up and ready to roll!` in all.
  vLLM 0.33.0, the first rank: `Using FlashInfer autotune cache file: <file>. Pass ...`, or `Using FlashInfer managed
    autotune cache` (model_executor/warmup/kernel_warmup.py); no line says that it ended.
  FlashInfer 0.6.18 and 0.7.2: tqdm's `[AutoTuner]: Tuning <op>:  30%|### | 12/40 [00:31<01:12, 2.58s/profile]`, and
    `was created in a different environment` (autotuner/autotuner.py). SGLang silences FlashInfer's logger but for
    errors, so that of these two only the bar is to be seen there.
A progress bar ends without a line feed, so that any text may follow one in the same line.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import PurePosixPath

from cache_store.dataclass import dataclass, field

_STAMP = r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?(?P<rank>[^\]]*)\] "
_BEGUN = re.compile(_STAMP + r"Running FlashInfer autotune with cache: (?P<path>\S.*?\.json)")
_ENDED = re.compile(_STAMP + r"FlashInfer autotune completed\.")
_VLLM_FILE = re.compile(r"Using FlashInfer autotune cache file: (?P<path>\S.*?\.json)\. Pass ")
_VLLM_MANAGED = "Using FlashInfer managed autotune cache"
_BAR = re.compile(
    r"\[Auto(?:Tuner|tuner)\]: Tuning (?P<op>\S+?):\s+\d+%\|[^|]*\| (?P<done>\d+)/(?P<total>\d+) "
    r"\[(?P<elapsed>\d+(?::\d\d)+)"
)
_READY = ("The server is fired up and ready to roll!", "Application startup complete")
_DISAGREE = "per-rank caches disagree, discarding them"
_FOREIGN = "was created in a different environment"
# the engine tears itself down after one of these: SGLang's managers/scheduler.py and entrypoints/engine.py, vLLM's
# v1/engine/core.py
_LETHAL = (
    "Scheduler hit an exception",
    "Received sigquit from a child process",
    "EngineCore failed to start",
)
_MEMORY = ("OutOfMemoryError", "CUDA out of memory", "CUDA error: out of memory", "Not enough memory")
_TRACEBACK = "Traceback (most recent call last)"
_ERROR_LINE = re.compile(
    r"^(?:\([^)]*\) )?(?:ERROR [^\]]*\] )?(?P<text>[A-Za-z_][\w.]*(?:Error|Exception|Interrupt)\b.*)$"
)
_DETAIL_LIMIT = 300


@dataclass
class EngineLog:
    """The engine's log so far.

    `files` are the cache files that its ranks named, in the order of their first mention. `error` is the last line that
    looks like the reason of a failure ("" for none); `is_lethal` says that the engine announced its own end.
    """

    files: list[PurePosixPath] = field(default_factory=list)
    is_ready: bool = False
    is_lethal: bool = False
    has_managed_store: bool = False
    ranks_disagreed: bool = False
    found_foreign_file: bool = False
    error: str = ""
    progress: str = ""
    _begun: Counter[str] = field(default_factory=Counter)
    _ended: Counter[str] = field(default_factory=Counter)
    _profiles: dict[str, int] = field(default_factory=dict)
    _is_memory_error: bool = False

    @property
    def is_autotune_over(self) -> bool:
        """Every rank that began has ended as often as it began. Says nothing of a pass that has yet to begin."""
        return bool(self._begun) and all(self._ended[rank] >= begun for rank, begun in self._begun.items())

    @property
    def has_autotuned(self) -> bool:
        """It began to tune, whatever came of it."""
        return bool(self.files) or bool(self._profiles)

    def feed(self, line: str) -> str | None:
        """Take one line. Returns one for a person to read where there is news, e.g. `autotune: op mm 12/40 profiles`."""
        news = self._feed_bars(line)
        for match in _BEGUN.finditer(line):
            self._begun[match["rank"]] += 1
            news = self._name_file(match["path"]) or news
        for match in _ENDED.finditer(line):
            self._ended[match["rank"]] += 1
            news = f"autotune: done{_of(match['rank'])}"
        for match in _VLLM_FILE.finditer(line):
            news = self._name_file(match["path"]) or news
        self._feed_flags(line)
        self._feed_errors(line)
        return news

    def _feed_bars(self, line: str) -> str | None:
        """Every rank draws the same bars over one another, so only what is further on is news."""
        news = None
        for match in _BAR.finditer(line):
            op, done = match["op"], int(match["done"])
            if done <= self._profiles.get(op, -1):
                continue
            self._profiles[op] = done
            self.progress = f"op {op} {done}/{match['total']} profiles"
            news = f"autotune: {self.progress}, {_seconds(match['elapsed'])} s"
        return news

    def _name_file(self, path: str) -> str | None:
        file = PurePosixPath(path)
        if file in self.files:
            return None
        self.files.append(file)
        return f"autotune: {file.name} in {file.parent.name}"

    def _feed_flags(self, line: str) -> None:
        self.is_ready = self.is_ready or any(text in line for text in _READY)
        self.has_managed_store = self.has_managed_store or _VLLM_MANAGED in line
        self.ranks_disagreed = self.ranks_disagreed or _DISAGREE in line
        self.found_foreign_file = self.found_foreign_file or _FOREIGN in line

    def _feed_errors(self, line: str) -> None:
        if any(text in line for text in _LETHAL):
            self.is_lethal = True
        if "falling back to default tactic" in line:
            return  # FlashInfer goes on after running out of memory for one profile
        is_memory = any(text in line for text in _MEMORY)
        if self._is_memory_error and not is_memory:
            return  # what follows running out of memory only hides it
        match = _ERROR_LINE.match(line)
        if is_memory:
            self._is_memory_error = True
            self.error = (match["text"] if match else line.strip())[:_DETAIL_LIMIT]
        elif match:
            self.error = match["text"][:_DETAIL_LIMIT]
        elif _TRACEBACK in line and not self.error:
            self.error = "it printed a traceback"


def _of(rank: str) -> str:
    return f" ({rank.strip()})" if rank.strip() else ""


def _seconds(elapsed: str) -> int:
    """As tqdm writes them: 31 s is 00:31, an hour 1:00:00."""
    seconds = 0
    for part in elapsed.split(":"):
        seconds = 60 * seconds + int(part)
    return seconds
