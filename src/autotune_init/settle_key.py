"""Recipe, memo, engine: who says where the engine will look, and what holds when two of them say it.

    recipe (pure) -> memo (one GET) -> the engine itself (a child, some 30 s) -> memo written (create-only)

The engine is asked once for the fleet. Only an answer that fits the question is believed or remembered, whoever gave it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from autotune_init.ask_engine import EngineCannotSay
from autotune_init.engines import EngineCache, KeyAnswer, NotCached, Question, Refusal, sglang, vllm
from autotune_init.engines.flashinfer_store import store_below
from autotune_init.engines.resolution import BadResolution, workers_of
from autotune_init.engines.sglang_cache import from_workers
from autotune_init.memo_inputs import shown_argv
from autotune_init.ranks import BadRanks
from autotune_init.settled import Policy, Settled, needs_engine
from cache_store.dataclass import dataclass, field, replace
from cache_store.errors import StoreError
from cache_store.memo import MAX_MEMO_BYTES, BadMemo, Memo, memo_key, parse_memo
from cache_store.objects import Missing, NotWritten, ObjectStore


class WrongAnswer(ValueError):  # noqa: N818 -- never leaves this file but for tests
    """An answer that does not fit the question or itself."""


@dataclass(frozen=True)
class Means:
    """What settling acts with. Each is called at most once, and only where the policy needs it.

    `ask` raises `EngineCannotSay`. `inputs` are those of the memo; `EngineCannotSay` where the engine's code cannot be
    told apart from other code, which is no reason not to ask it. `open_store` is None where there is no store;
    `remembers` is False for one who only wants to know.
    """

    ask: Callable[[], Mapping[str, object]]
    inputs: Callable[[], Mapping[str, object]]
    open_store: Callable[[], ObjectStore] | None = None
    remembers: bool = True
    holder: str = ""
    program: str = ""


def settle(question: Question, recipe: KeyAnswer, policy: Policy, means: Means) -> Settled:
    """Raises `Cancelled` where this pod is told to stop meanwhile, and nothing else."""
    if not needs_engine(recipe, policy):
        return Settled(recipe)
    memos = _Memos(question, means)
    answer = memos.read()
    if answer is not None:
        return Settled(agreed(recipe, answer), memos.warnings)
    try:
        given = means.ask()
        answer = cache_of(question, given, "resolver")
    except EngineCannotSay as silence:
        return Settled(unanswered(recipe, silence.detail), memos.warnings, asked=True)
    except WrongAnswer as wrong:
        return Settled(unanswered(recipe, f"its answer does not fit: {wrong}"), memos.warnings, asked=True)
    memos.write(given)
    return Settled(agreed(recipe, answer), memos.warnings, asked=True)


def agreed(recipe: KeyAnswer, engine: EngineCache | NotCached) -> KeyAnswer:
    """What holds when the engine has answered: it, unless the recipe says something else."""
    if not isinstance(recipe, EngineCache) or not isinstance(engine, EngineCache):
        return engine
    if engine.draft is not None and recipe.draft is not None:
        draft = agreed(recipe.draft, engine.draft)
        if isinstance(draft, Refusal):
            return Refusal(draft.reason, f"of the draft worker: {draft.detail}")
    if _places(recipe) == _places(engine):
        return engine
    return Refusal(
        "key-mismatch",
        f"the recipe says {recipe.key_text} in {recipe.directory} ({', '.join(recipe.all_rank_files[:4])}), "
        f"the engine ({engine.source}) says {engine.key_text} in {engine.directory} "
        f"({', '.join(engine.all_rank_files[:4])})",
    )


def unanswered(recipe: KeyAnswer, why: str) -> Refusal:
    """Neither of the two has a believable answer. A recipe that should have been confirmed is not used alone."""
    if isinstance(recipe, Refusal):
        return Refusal(recipe.reason, f"the recipe: {recipe.detail}; the engine itself: {why}")
    return Refusal("undecidable", f"the recipe was to be confirmed, and the engine itself could not: {why}")


def cache_of(question: Question, given: Mapping[str, object], source: str) -> EngineCache | NotCached:
    """An answer as caches, every claim checked. Raises `WrongAnswer`."""
    try:
        if question.engine == "vllm":
            return _vllms(question, vllm.cache_from(question, given, source), source)
        return from_workers(question, workers_of(given, question), source)
    except (BadResolution, BadRanks) as wrong:
        raise WrongAnswer(str(wrong)) from None
    except sglang.Refused as refused:
        raise WrongAnswer(f"{refused.refusal.reason}: {refused.refusal.detail}") from None


def _vllms(
    question: Question, answer: EngineCache | vllm.ManagedStore | Refusal | NotCached, source: str
) -> EngineCache | NotCached:
    """With one rank vLLM uses FlashInfer's own store, whose name the engine does not decide."""
    if isinstance(answer, vllm.ManagedStore):
        below = store_below(question, answer.root, source)
        answer = replace(below, source=source) if isinstance(below, EngineCache) else below
    if isinstance(answer, Refusal):
        raise WrongAnswer(f"{answer.reason}: {answer.detail}")
    return answer


def to_remember(question: Question, given: Mapping[str, object]) -> dict[str, object]:
    """The answer as it may lie in the bucket: its echo of the command line without secrets."""
    return {**given, "argv": list(shown_argv(question.argv))}


def as_asked(question: Question, remembered: Mapping[str, object]) -> dict[str, object]:
    """The reverse, for a reader who has the same command line. Raises `WrongAnswer` for another one."""
    if remembered.get("argv") != list(shown_argv(question.argv)):
        raise WrongAnswer("it is about another command line")
    return {**remembered, "argv": list(question.argv)}


def _places(cache: EngineCache) -> tuple[object, ...]:
    return cache.key, cache.directory, cache.rank_files, cache.all_rank_files


@dataclass
class _Memos:
    """The memo of one question; whatever goes wrong with it is a warning, since the engine can still be asked."""

    question: Question
    means: Means
    warnings: tuple[str, ...] = ()
    store: ObjectStore | None = None
    inputs: Mapping[str, object] = field(default_factory=dict)
    was_bad: bool = False

    def read(self) -> EngineCache | NotCached | None:
        if self.means.open_store is None:
            return None
        try:
            self.inputs = self.means.inputs()
            self.store = self.means.open_store()
            answer = self.store.get(memo_key(self.inputs), limit_bytes=MAX_MEMO_BYTES)
        except EngineCannotSay as unknown:
            self._without(f"no memo is kept: {unknown.detail}")
            return None
        except StoreError as error:
            self._without(f"the memo cannot be read: {error}")
            return None
        if isinstance(answer, Missing):
            return None
        try:
            memo = parse_memo(answer.body, self.inputs)
            return cache_of(self.question, as_asked(self.question, memo.answer), "memo")
        except (BadMemo, WrongAnswer) as problem:
            self.was_bad = True
            self._warn(f"the memo {memo_key(self.inputs)} is of no use and should be deleted: {problem}")
            return None

    def write(self, given: Mapping[str, object]) -> None:
        """Create-only, so a bad one stays until somebody deletes it: it may be another program's good one."""
        if self.store is None or self.was_bad or not self.means.remembers:
            return
        memo = Memo(
            inputs=dict(self.inputs),
            answer=to_remember(self.question, given),
            holder=self.means.holder,
            program=self.means.program,
        )
        try:
            if isinstance(self.store.put_if_absent(memo_key(self.inputs), memo.encode()), NotWritten):
                self._warn("another pod remembered the engine's answer first")
        except (StoreError, ValueError) as error:  # an answer that JSON cannot hold
            self._warn(f"the engine's answer is not remembered for others: {error}")

    def _without(self, warning: str) -> None:
        self.store = None
        self._warn(warning)

    def _warn(self, warning: str) -> None:
        self.warnings = (*self.warnings, warning[:500])
