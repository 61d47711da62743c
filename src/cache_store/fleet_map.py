"""The heat map: what is there for each model on each GPU. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from cache_store.dataclass import dataclass
from cache_store.fleet_page import COVERAGES, GRAVEST, OTHERS, STATES, Workload, percent_of

MAX_MODELS, MAX_GPUS = 40, 12


@dataclass(frozen=True)
class Cell:
    """All workloads of one model on one GPU: `counts` by state, `coverages` of the published ones.

    `percent`: of the entries that their models will ask for, those that are there; None where no bundle says.
    """

    counts: Mapping[str, int]
    coverages: Mapping[str, int]
    percent: int | None
    versions: tuple[str, ...]

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def published(self) -> int:
        return self.counts.get("published", 0)

    @property
    def main(self) -> str:
        """The cell in a few words."""
        if not self.published:
            return "none published"
        if self.coverages.get("unknown", 0) == self.published:
            return f"{self.published} published"
        return f"{self.coverages.get('complete', 0)} of {self.published} complete"

    @property
    def beside(self) -> str:
        """What the first words do not say: gaps, and what is there but not published."""
        told = (
            [f"{self.percent} % of expected entries"]
            if self.percent is not None and self.percent < 100
            else []
        )
        if self.coverages.get("unknown"):
            told.append(f"{self.coverages['unknown']} unknown")
        told += [f"{count} {state}" for state, count in self.counts.items() if state != "published"]
        return ", ".join(told)

    @property
    def is_marked(self) -> bool:
        """Whether somebody should look."""
        grave = GRAVEST[: GRAVEST.index("retired")]
        return bool(self.coverages.get("incomplete")) or any(self.counts.get(state) for state in grave)

    @property
    def kind(self) -> str:
        """The colour's name: how many tenths of what is published are complete, or what else there is."""
        if not self.published:
            return "s-" + next(state for state in GRAVEST if self.counts.get(state)).replace(" ", "-")
        if self.coverages.get("unknown", 0) == self.published:
            return "s-unknown"
        quarters = 4 * self.coverages.get("complete", 0) // self.published
        return f"share-{quarters}"


@dataclass(frozen=True)
class HeatMap:
    """`cells[model][gpu]`; a pair without any workload is absent. `left_out`: models beyond the first MAX_MODELS."""

    models: tuple[str, ...]
    gpus: tuple[str, ...]
    cells: Mapping[str, Mapping[str, Cell]]
    left_out: int = 0


def heat_map(workloads: Sequence[Workload]) -> HeatMap:
    """The models that have most workloads, in the order of their names; the GPUs that have most, most first.

    Models beyond the limit are counted, not shown; GPUs beyond it share the column OTHERS. A key that no bundle names a
    model for does not push out one that has a name.
    """
    named = {one.model for one in workloads if one.is_named}
    ranked = sorted(
        Counter(one.model for one in workloads).items(), key=lambda item: (item[0] not in named, -item[1])
    )
    models = sorted(
        (name for name, _ in ranked[:MAX_MODELS]), key=lambda name: (name not in named, name.casefold())
    )
    # a bucket may call a GPU as we call the rest
    gpus = [name for name, _ in Counter(one.gpu for one in workloads).most_common() if name != OTHERS][
        :MAX_GPUS
    ]
    shown_models, shown_gpus = set(models), set(gpus)
    gathered: dict[str, dict[str, list[Workload]]] = {}
    for one in workloads:
        if one.model in shown_models:
            gpu = one.gpu if one.gpu in shown_gpus else OTHERS
            gathered.setdefault(one.model, {}).setdefault(gpu, []).append(one)
    cells = {model: {gpu: _cell(some) for gpu, some in by_gpu.items()} for model, by_gpu in gathered.items()}
    rest = [OTHERS] if any(one.gpu not in shown_gpus for one in workloads) else []
    return HeatMap(tuple(models), (*gpus, *rest), cells, max(0, len(ranked) - MAX_MODELS))


def _cell(workloads: Sequence[Workload]) -> Cell:
    states = Counter(one.state for one in workloads)
    coverages = Counter(one.coverage for one in workloads if one.state == "published")
    measured = [one for one in workloads if one.percent is not None]
    return Cell(
        counts={state: states[state] for state in STATES if states[state]},
        coverages={name: coverages[name] for name in COVERAGES if coverages[name]},
        percent=percent_of(
            sum(one.expected or 0 for one in measured), sum(one.missing or 0 for one in measured)
        ),
        versions=tuple(sorted({one.flashinfer_version for one in workloads})),
    )
