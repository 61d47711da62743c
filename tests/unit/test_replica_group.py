"""Which pod of which replica this is, for every controller that tells."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune_init.replica_group import BadReplicaGroup, ReplicaGroup, replica_group

LWS = {"LWS_WORKER_INDEX": "1", "LWS_GROUP_SIZE": "2", "LWS_LEADER_ADDRESS": "vllm-0.vllm.default"}
RBG = {
    "RBG_LWP_WORKER_INDEX": "3",
    "RBG_LWP_GROUP_SIZE": "4",
    "RBG_LWP_LEADER_ADDRESS": "decode-0.svc",
    "RBG_ROLE_NAME": "decode",
}
GROVE = {
    "GROVE_PCLQ_POD_INDEX": "1",
    "GROVE_PCLQ_NAME": "graph-0-decode-0-decode-wkr",
    "GROVE_PCSG_NAME": "graph-0-decode",
    "GROVE_PCSG_INDEX": "0",
    "GROVE_PCSG_TEMPLATE_NUM_PODS": "3",
}
LEADER = {**GROVE, "GROVE_PCLQ_POD_INDEX": "0", "GROVE_PCLQ_NAME": "graph-0-decode-0-decode-ldr"}
JOB = {"JOB_COMPLETION_INDEX": "5"}

PLACES = [
    ("a pod on its own", {}, {}, (None, 1, 0)),
    ("empty variables say nothing", {"LWS_WORKER_INDEX": "", "LWS_GROUP_SIZE": " "}, {}, (None, 1, 0)),
    ("LeaderWorkerSet", LWS, {}, ("vllm-0.vllm.default", 2, 1)),
    ("LeaderWorkerSet of one pod", {**LWS, "LWS_WORKER_INDEX": "0", "LWS_GROUP_SIZE": "1"}, {}, (LWS["LWS_LEADER_ADDRESS"], 1, 0)),
    ("RoleBasedGroup", RBG, {}, ("decode-0.svc", 4, 3)),
    ("an older RoleBasedGroup", {"LWS_WORKER_INDEX": "1", "RBG_LWP_GROUP_SIZE": "2", "RBG_LWP_LEADER_ADDRESS": "a"}, {}, ("a", 2, 1)),
    ("LeaderWorkerSet goes above all others", {**JOB, **GROVE, **RBG, **LWS}, {}, ("vllm-0.vllm.default", 2, 1)),
    ("RoleBasedGroup goes above Grove", {**JOB, **GROVE, **RBG}, {}, ("decode-0.svc", 4, 3)),
    ("a worker of Grove comes after the leader", GROVE, {}, ("graph-0-decode-0", 3, 2)),
    ("the leader of Grove", LEADER, {}, ("graph-0-decode-0", 3, 0)),
    ("a Grove clique without a scaling group", {"GROVE_PCLQ_POD_INDEX": "7", "GROVE_PCLQ_NAME": "g-0-agg"}, {}, (None, 1, 0)),
    ("a Grove clique of another name, rank stated", {**GROVE, "GROVE_PCLQ_NAME": "x"}, {"node_rank": 2}, ("graph-0-decode-0", 3, 2)),
    ("an Indexed Job alone is many replicas", JOB, {}, (None, 1, 0)),
    ("an Indexed Job of a stated size", JOB, {"nnodes": 8}, (None, 8, 5)),
    ("all stated", {}, {"nnodes": 4, "node_rank": 3}, (None, 4, 3)),
    ("the stated size goes above the controller's", LWS, {"nnodes": 1}, ("vllm-0.vllm.default", 1, 0)),
    ("the stated rank goes above the controller's", LWS, {"node_rank": 0}, ("vllm-0.vllm.default", 2, 0)),
    ("a stated size lets an index alone count", {"LWS_WORKER_INDEX": "2"}, {"nnodes": 4}, (None, 4, 2)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("environ", "stated", "expected"), [p[1:] for p in PLACES], ids=[p[0] for p in PLACES]
)
def test_place(environ, stated, expected):
    group = replica_group(environ, **stated)
    assert (group.name, group.size, group.node_rank) == expected


REFUSALS = [
    ("a number that is none", {**LWS, "LWS_WORKER_INDEX": "one"}, {}, "LWS_WORKER_INDEX"),
    ("a negative number", {**LWS, "LWS_GROUP_SIZE": "-2"}, {}, "LWS_GROUP_SIZE"),
    ("digits of another script", {**LWS, "LWS_GROUP_SIZE": "٢"}, {}, "LWS_GROUP_SIZE"),
    ("a group of no pods", {**LWS, "LWS_GROUP_SIZE": "0"}, {}, "LWS_GROUP_SIZE"),
    ("a rank outside its group", {**LWS, "LWS_WORKER_INDEX": "2"}, {}, "node-rank"),
    ("an index without a size", {"LWS_WORKER_INDEX": "0"}, {}, "LWS_GROUP_SIZE"),
    ("a size without an index", {"RBG_LWP_GROUP_SIZE": "2"}, {}, "RBG_LWP_WORKER_INDEX"),
    ("a Grove clique that is neither leader nor worker", {**GROVE, "GROVE_PCLQ_NAME": "g-0-x-0-prefill"}, {}, "GROVE_PCLQ_NAME"),
    ("a completion index beyond the stated size", JOB, {"nnodes": 4}, "node-rank"),
    ("a stated size without any rank", {}, {"nnodes": 2}, "node-rank"),
    ("a stated rank without any size", {}, {"node_rank": 1}, "node-rank"),
    ("a stated size of nothing", LWS, {"nnodes": 0}, "group-size"),
    ("a job's index that is none", {"JOB_COMPLETION_INDEX": "x"}, {"nnodes": 2}, "JOB_COMPLETION_INDEX"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("environ", "stated", "variable"), [r[1:] for r in REFUSALS], ids=[r[0] for r in REFUSALS]
)
def test_refusal_names_the_variable(environ, stated, variable):
    with pytest.raises(BadReplicaGroup) as refused:
        replica_group(environ, **stated)
    assert refused.value.variable == variable
    assert str(refused.value).startswith(f"{variable}: ")


def test_the_source_says_who_told_what():
    assert replica_group(LWS).source == "LeaderWorkerSet"
    assert replica_group(LWS, nnodes=2, node_rank=1).source == "LeaderWorkerSet; stated: size and rank"


@given(size=st.integers(1, 64), data=st.data())
def test_the_pods_of_a_grove_group_have_all_ranks_once(size, data):
    workers = [
        {**GROVE, "GROVE_PCLQ_POD_INDEX": str(i), "GROVE_PCSG_TEMPLATE_NUM_PODS": str(size)}
        for i in range(size - 1)
    ]
    pods = [{**LEADER, "GROVE_PCSG_TEMPLATE_NUM_PODS": str(size)}, *workers]
    groups: list[ReplicaGroup] = [replica_group(pod) for pod in pods]
    assert sorted(g.node_rank for g in groups) == list(range(size))
    assert len({g.name for g in groups}) == 1
