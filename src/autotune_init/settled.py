"""Whether the engine itself is to be asked for its key, and the one answer when that is settled. Pure."""

from __future__ import annotations

from autotune_init.engines import EngineCache, KeyAnswer, Refusal
from cache_store.annotation import Literal
from cache_store.dataclass import dataclass

Policy = Literal["auto", "always", "never"]

# refusals of a recipe that the engine itself may be able to answer
_ASKABLE = frozenset({"undecidable", "unknown-engine-version"})


@dataclass(frozen=True)
class Settled:
    """The one answer, and what people should know of how it came about. `asked` says that a child was started."""

    answer: KeyAnswer
    warnings: tuple[str, ...] = ()
    asked: bool = False


def needs_engine(recipe: KeyAnswer, policy: Policy) -> bool:
    """`auto`: where the recipe cannot say. `always`: also where it can. What switches the cache off needs nobody."""
    if policy == "never":
        return False
    if isinstance(recipe, Refusal):
        return recipe.reason in _ASKABLE
    return policy == "always" and isinstance(recipe, EngineCache) and recipe.kind == "rank-files"
