"""Which replica this pod belongs to and which of its pods it is, from what the controllers put into the environment.

Kubernetes knows a node rank at best; tp and pp ranks come from the engine's arguments. Read order: what the operator
stated (--node-rank, --group-size, or the engine's own --nnodes and --node-rank), LeaderWorkerSet, RoleBasedGroup,
Grove, Indexed Job, else a pod on its own. The pod-index label of a StatefulSet is no variable: hand it over as
AUTOTUNE_NODE_RANK by the downward API.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from cache_store.dataclass import dataclass, replace
from cache_store.pattern import pattern

# flags with the address at which an engine's nodes meet: SGLang's two spellings, and vLLM's
MEETING_FLAGS = ("--dist-init-addr", "--nccl-init-addr", "--master-addr")
_NUMBER = pattern(r"[0-9]{1,6}\Z", re.ASCII)
_GROVE_LEADER = "-ldr"
_GROVE_WORKER = "-wkr"


class BadReplicaGroup(ValueError):  # noqa: N818 -- reads as what it is
    """The variables contradict themselves or say too little. `variable` is the one to correct."""

    reason = "replica-group"

    def __init__(self, variable: str, detail: str) -> None:
        super().__init__(f"{variable}: {detail}")
        self.variable = variable
        self.detail = detail


@dataclass(frozen=True)
class ReplicaGroup:
    """The pods that serve one replica together.

    `name` is the same in every pod of the replica and differs between replicas of one namespace; None where nothing
    names it (then its members cannot find each other). `size` is in pods, `node_rank` in [0, size). `source` says
    who told us.
    """

    name: str | None
    size: int
    node_rank: int
    source: str
    restarts_alone: bool = True


def replica_group(
    environ: Mapping[str, str], *, nnodes: int | None = None, node_rank: int | None = None
) -> ReplicaGroup:
    """The pod's place in its replica.

    `nnodes` and `node_rank` are stated by the operator or the engine's argv and win over every variable. A size of 1
    means a replica per pod, whatever the controller numbers, so the rank is 0.
    Raises `BadReplicaGroup`: a number that is none, a rank outside its group, or an index without a size where the
    controller's index means "one of several" (guessing 1 would let half a group warm up, which can hang an engine).
    """
    if nnodes is not None and nnodes < 1:
        raise BadReplicaGroup("group-size", f"a replica has at least one pod, not {nnodes}")
    stated = _Stated(nnodes, node_rank)
    found = (
        _leader_worker_set(environ, stated)
        or _role_based_group(environ, stated)
        or _grove(environ, stated)
        or _indexed_job(environ, stated)
        or _group("no controller's variables", None, ("node-rank", None), ("group-size", 1), stated)
    )
    if not 0 <= found.node_rank < found.size:
        raise BadReplicaGroup(
            "node-rank", f"{found.node_rank} is not below the group's size {found.size} ({found.source})"
        )
    return found


@dataclass(frozen=True)
class _Stated:
    nnodes: int | None
    node_rank: int | None


def _group(
    controller: str,
    name: str | None,
    rank: tuple[str, int | None],
    size: tuple[str, int | None],
    stated: _Stated,
) -> ReplicaGroup:
    """`rank` and `size` are (variable, what it says); what is stated goes above both."""
    pods = size[1] if stated.nnodes is None else stated.nnodes
    if pods is None:
        raise BadReplicaGroup(size[0], f"not set, but {rank[0]} is; state --group-size")
    number = rank[1] if stated.node_rank is None else stated.node_rank
    if stated.node_rank is None and pods <= 1:
        number = 0
    if number is None:
        raise BadReplicaGroup(
            rank[0], f"the replica has {pods} pods and nothing says which this is; state --node-rank"
        )
    told = [
        what for what, value in (("size", stated.nnodes), ("rank", stated.node_rank)) if value is not None
    ]
    source = f"{controller}; stated: {' and '.join(told)}" if told else controller
    if pods < 1:
        raise BadReplicaGroup(size[0], f"a replica has at least one pod, not {pods}")
    return ReplicaGroup(name, pods, number, source)


def named(group: ReplicaGroup, name: str | None, namespace: str | None) -> ReplicaGroup:
    """With the name that the operator states, else the controller's; names are unique within a namespace at best."""
    chosen = name or group.name
    return replace(group, name=f"{namespace}/{chosen}" if chosen and namespace else chosen)


def with_engine(group: ReplicaGroup, meeting: str | None, nnodes: int, node_rank: int) -> ReplicaGroup:
    """Completed by what the engine's own command line says of its nodes, where no controller has said anything.

    `meeting` is the address at which they meet: the same on all of them, and of no other replica.
    """
    if group.size > 1 or nnodes <= 1:
        return group
    return ReplicaGroup(group.name or meeting, nnodes, node_rank, "the engine's command line")


def _leader_worker_set(environ: Mapping[str, str], stated: _Stated) -> ReplicaGroup | None:
    """Injected into init containers too. Older RoleBasedGroups set LWS_WORKER_INDEX beside RBG_LWP_GROUP_SIZE."""
    rank, size = _number(environ, "LWS_WORKER_INDEX"), _number(environ, "LWS_GROUP_SIZE")
    if rank is None and size is None:
        return None
    name = environ.get("LWS_LEADER_ADDRESS") or environ.get("RBG_LWP_LEADER_ADDRESS") or None
    if size is None:
        size = _number(environ, "RBG_LWP_GROUP_SIZE")
    found = _group("LeaderWorkerSet", name, ("LWS_WORKER_INDEX", rank), ("LWS_GROUP_SIZE", size), stated)
    return replace(found, restarts_alone=False)  # restartPolicy RecreateGroupOnPodRestart, its default


def _role_based_group(environ: Mapping[str, str], stated: _Stated) -> ReplicaGroup | None:
    rank, size = _number(environ, "RBG_LWP_WORKER_INDEX"), _number(environ, "RBG_LWP_GROUP_SIZE")
    if rank is None and size is None:
        return None
    name = environ.get("RBG_LWP_LEADER_ADDRESS") or None
    variables = ("RBG_LWP_WORKER_INDEX", rank), ("RBG_LWP_GROUP_SIZE", size)
    return _group("RoleBasedGroup", name, *variables, stated)


def _grove(environ: Mapping[str, str], stated: _Stated) -> ReplicaGroup | None:
    """A replica is one PodCliqueScalingGroup: the leader's clique ("...-ldr") and the workers' ("...-wkr").

    Grove numbers pods within a clique, so a worker's rank is its index + 1: the rule of the Dynamo operator, which
    names the cliques so. Any other clique's index is no rank. A clique outside a scaling group says nothing of a
    size: its pods are replicas.
    """
    index = _number(environ, "GROVE_PCLQ_POD_INDEX")
    if index is None:
        return None
    size = _number(environ, "GROVE_PCSG_TEMPLATE_NUM_PODS")
    group, number = environ.get("GROVE_PCSG_NAME"), environ.get("GROVE_PCSG_INDEX")
    name = f"{group}-{number}" if group and number else None
    clique = environ.get("GROVE_PCLQ_NAME", "")
    rank = {_GROVE_LEADER: 0, _GROVE_WORKER: index + 1}.get(clique[-4:])
    variables = ("GROVE_PCLQ_NAME", rank), ("GROVE_PCSG_TEMPLATE_NUM_PODS", 1 if size is None else size)
    return _group("Grove", name, *variables, stated)


def _indexed_job(environ: Mapping[str, str], stated: _Stated) -> ReplicaGroup | None:
    """JOB_COMPLETION_INDEX numbers the pods of a Job, which may be one replica or many independent workers.

    No variable says which (parallelism and a JobSet's sizes are in the Job's spec only), so without a stated size
    each pod is a replica of its own; with one, the index is the rank. A Job's name is in no variable either.
    """
    index = _number(environ, "JOB_COMPLETION_INDEX")
    if index is None:
        return None
    return _group("Indexed Job", None, ("JOB_COMPLETION_INDEX", index), ("group-size", 1), stated)


def _number(environ: Mapping[str, str], variable: str) -> int | None:
    """None where the variable is absent or empty (a downward-API field that does not exist gives an empty one)."""
    text = environ.get(variable, "").strip()
    if not text:
        return None
    if not _NUMBER.match(text):
        raise BadReplicaGroup(variable, f"not a number: {text[:40]!r}")
    return int(text)
