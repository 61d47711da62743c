"""How replica groups agree, wrong on purpose in one place each."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from cache_store import group_roll, settling
from cache_store.group_roll import Follow, Put, Roll
from cache_store.settling import Settling, Together
from cache_store.testing.simulation.fleet import Run
from cache_store.testing.simulation.mutant import Mutant
from cache_store.testing.simulation.seats import Code

Steps = Generator[Any, Any, Any]


def _ignores_conditions_on_rolls(run: Run) -> None:
    run.bucket.ignores_conditions = lambda key: key.endswith("/roll.json")


class DecidesAlone(Settling):
    """Cold when its own patience is over, without telling the others."""

    def run(self) -> Steps:
        settling_ = super().run()
        step = next(settling_)
        try:
            while True:
                if self.monotonic() >= self.patience_until:
                    return settling.Apart("group-cold", "by myself")
                step = settling_.send((yield step))
        except StopIteration as end:
            return end.value


class ColdWhenUndecided(Settling):
    """Starts cold where it cannot learn the decision, although the others may count on it."""

    def _without_decision(self, reason: str, detail: str) -> settling.Apart:
        return settling.Apart(reason, detail)


class WarmWhenReady(Settling):
    """Believes its own word: warm as soon as it is on the roll."""

    def _put(self, roll: Roll, base: str | None) -> Steps:
        end = yield from super()._put(roll, base)
        return Together(self.offer.token) if end is None and self._joined and self.offer.token else end


class TrustsEveryRead(Settling):
    """Takes a stale read for news."""

    def _read(self, seen: Any) -> Any:
        self._newest = 0
        return super()._read(seen)


_REAL_DECISION = group_roll._decision  # noqa: SLF001 -- as above
_REAL_NEXT = group_roll.next_step


def _first_word_counts(roll: Roll, place: Any, *, is_over: bool) -> Any:
    members = {rank: one.model_copy(update={"confirmed": True}) for rank, one in roll.members.items()}
    return _REAL_DECISION(roll.model_copy(update={"members": members}), place, is_over=is_over)


def _majority(roll: Roll, place: Any, *, is_over: bool) -> Any:
    decision = _REAL_DECISION(roll, place, is_over=is_over)
    tokens = {one.token for one in roll.members.values() if one.token}
    if is_over and decision is not None and decision.verdict == "cold" and len(tokens) == 1:
        return decision.model_copy(update={"verdict": "warm", "token": tokens.pop()})
    return decision


def _any_incarnation(seen: Any, place: Any, offer: Any, **more: Any) -> Any:
    if seen is not None and seen.decision is not None and seen.decision.verdict == "warm":
        return Follow(seen.decision)
    return _REAL_NEXT(seen, place, offer, **more)


def _reopens(seen: Any, place: Any, offer: Any, **more: Any) -> Any:
    step = _REAL_NEXT(seen, place, offer, **more)
    if (
        isinstance(step, Follow)
        and offer.token
        and step.decision.verdict == "cold"
        and seen.decision == step.decision
    ):
        again = {"decision": None, "counter": seen.counter + 1, "nonce": more["nonce"]}
        return Put(seen.model_copy(update=again))
    return step


GROUP_MUTANTS = (
    Mutant("install before the decision", "breaks", Code(installs_before_decision=True)),
    Mutant("warm when ready", "breaks", Code(settling=WarmWhenReady)),
    Mutant("cold by its own patience", "breaks", Code(settling=DecidesAlone)),
    Mutant("cold when the decision is unknown", "breaks", Code(settling=ColdWhenUndecided)),
    Mutant("a stale roll is believed", "breaks", Code(settling=TrustsEveryRead)),
    Mutant("the mark is forgotten by a restart", "breaks", Code(forgets_that_it_is_bound=True)),
    Mutant("the first word counts", "breaks", patches=((group_roll, "_decision", _first_word_counts),)),
    Mutant("warm without those who are missing", "breaks", patches=((group_roll, "_decision", _majority),)),
    Mutant("a decision binds whoever comes", "breaks", patches=((settling, "next_step", _any_incarnation),)),
    Mutant("a decision is taken back", "breaks", patches=((settling, "next_step", _reopens),)),
    Mutant("rolls without conditions", "breaks", prepare=_ignores_conditions_on_rolls),
)
