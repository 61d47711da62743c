"""Which ranks a pod holds: the nodes share all ranks, and share none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune_init.ranks import BadRanks, Rank, Sizes, all_ranks, ranks_of_node

powers = st.sampled_from([1, 2, 4, 8, 16])


@given(powers, st.sampled_from([1, 2, 4]), powers, st.booleans(), powers)
def test_the_nodes_of_a_replica_share_out_every_rank_exactly_once(tp, pp, dp, dp_attention, nnodes):
    try:
        sizes = Sizes(tp, pp, dp, dp_attention, nnodes)
    except BadRanks:
        return
    shares = [ranks_of_node(sizes, node) for node in range(nnodes)]
    together = [rank for share in shares for rank in share]

    assert len(together) == len(set(together)) == tp * pp * (1 if dp_attention else dp)
    assert tuple(sorted(together)) == all_ranks(sizes)
    assert len({len(share) for share in shares}) == 1


@pytest.mark.parametrize(
    ("sizes", "node", "expected"),
    [
        (Sizes(tp=2), 0, [Rank(0, 0), Rank(0, 1)]),
        (Sizes(tp=2, pp=2), 0, [Rank(0, 0), Rank(0, 1), Rank(1, 0), Rank(1, 1)]),
        (Sizes(tp=4, nnodes=2), 1, [Rank(0, 2), Rank(0, 3)]),
        (Sizes(tp=2, pp=2, nnodes=2), 1, [Rank(1, 0), Rank(1, 1)]),
        (Sizes(tp=4, pp=2, nnodes=4), 3, [Rank(1, 2), Rank(1, 3)]),
        (Sizes(dp=2), 0, [Rank(0, 0, 0), Rank(0, 0, 1)]),
        (
            Sizes(tp=4, dp=2, dp_attention=True),
            0,
            [Rank(0, 0, 0), Rank(0, 1, 0), Rank(0, 2, 1), Rank(0, 3, 1)],
        ),
        (Sizes(tp=8, dp=4, dp_attention=True, nnodes=2), 1, [Rank(0, t, t // 2) for t in range(4, 8)]),
    ],
    ids=str,
)
def test_ranks_of_one_node(sizes, node, expected):
    assert list(ranks_of_node(sizes, node)) == expected


@pytest.mark.parametrize(
    "wrong",
    [
        {"tp": 0},
        {"tp": 3, "nnodes": 2},
        {"pp": 3, "nnodes": 2},
        {"pp": 2, "nnodes": 3},
        {"tp": 4, "dp": 3, "dp_attention": True},
        {"dp": 2, "nnodes": 2},
    ],
    ids=str,
)
def test_sizes_that_do_not_fit_are_refused(wrong):
    with pytest.raises(BadRanks):
        Sizes(**wrong)


@pytest.mark.parametrize("node", [-1, 2])
def test_a_node_outside_the_replica_is_refused(node):
    with pytest.raises(BadRanks):
        ranks_of_node(Sizes(tp=2, nnodes=2), node)
