"""Which ranks one pod holds. Kubernetes knows a node rank at best; everything else comes from the engine's sizes.

Formulas: SGLang 0.5.12 to 0.5.23, srt/entrypoints/engine.py `_calculate_rank_ranges`; the dp rank under DP attention
is srt/layers/dp_attention.py `compute_dp_attention_world_info` without context parallelism.
"""

from __future__ import annotations

from cache_store.dataclass import dataclass


class BadRanks(ValueError):  # noqa: N818 -- reads as what it is
    """The sizes do not fit each other; the message says which."""


@dataclass(frozen=True, order=True)
class Rank:
    """One worker's place. `dp` is 0 where there is no data parallelism."""

    pp: int
    tp: int
    dp: int = 0


@dataclass(frozen=True)
class Sizes:
    """Sizes of one replica. `dp_attention` says that `dp` divides each TP group instead of repeating it."""

    tp: int = 1
    pp: int = 1
    dp: int = 1
    dp_attention: bool = False
    nnodes: int = 1

    def __post_init__(self) -> None:
        for name in ("tp", "pp", "dp", "nnodes"):
            if getattr(self, name) < 1:
                raise BadRanks(f"{name} is {getattr(self, name)}; it is at least 1")
        if self.dp_attention and self.tp % self.dp:
            raise BadRanks(f"with DP attention tp ({self.tp}) must be divisible by dp ({self.dp})")
        if self.nnodes > 1 and self.dp > 1 and not self.dp_attention:
            raise BadRanks("plain data parallelism over several nodes is several replicas, not one")
        if self.nnodes > self.pp:
            if self.nnodes % self.pp:
                raise BadRanks(f"{self.nnodes} nodes cannot be shared by {self.pp} pipeline stages")
            if self.tp % (self.nnodes // self.pp):
                raise BadRanks(f"tp ({self.tp}) cannot be split over {self.nnodes // self.pp} nodes")
        elif self.pp % self.nnodes:
            raise BadRanks(f"{self.pp} pipeline stages cannot be split over {self.nnodes} nodes")


def ranks_of_node(sizes: Sizes, node_rank: int) -> tuple[Rank, ...]:
    """The ranks on one node, in order. Raises `BadRanks` for a node rank outside [0, nnodes)."""
    if not 0 <= node_rank < sizes.nnodes:
        raise BadRanks(f"node rank {node_rank} is outside of {sizes.nnodes} nodes")
    pp_per_node = max(sizes.pp // sizes.nnodes, 1)
    nodes_per_stage = max(sizes.nnodes // sizes.pp, 1)
    tp_per_node = sizes.tp // nodes_per_stage
    first_pp = pp_per_node * (node_rank // nodes_per_stage)
    first_tp = tp_per_node * (node_rank % nodes_per_stage)
    ranks = (
        Rank(pp, tp, dp)
        for pp in range(first_pp, first_pp + pp_per_node)
        for tp in range(first_tp, first_tp + tp_per_node)
        for dp in _dp_ranks(sizes, tp)
    )
    return tuple(sorted(ranks))


def all_ranks(sizes: Sizes) -> tuple[Rank, ...]:
    """Every rank of the replica, in order."""
    return tuple(sorted(rank for node in range(sizes.nnodes) for rank in ranks_of_node(sizes, node)))


def _dp_ranks(sizes: Sizes, tp: int) -> tuple[int, ...]:
    if sizes.dp_attention:
        return (tp // (sizes.tp // sizes.dp),)
    return tuple(range(sizes.dp))
