"""From pods and what makes them to workloads: what a person has installed, whatever stands between. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from autotune_init.fleet_pods import Controller, Owner, PodSeen, Template
from cache_store.dataclass import dataclass

# these only stand between a pod and what its owner wrote, if something owns them
_BETWEEN = frozenset({"ReplicaSet", "StatefulSet", "Pod", "Job"})
_HIGHEST = 8


@dataclass(frozen=True)
class Workload:
    """`template` is its newest attached pod's, or what its next pod would be made of. `replicas`: its pods, else wanted."""

    namespace: str
    kind: str
    name: str
    template: Template
    pods: tuple[PodSeen, ...]
    replicas: int

    @property
    def path(self) -> str:
        return f"{self.namespace}/{self.name}"


def gather(pods: Iterable[PodSeen], controllers: Iterable[Controller]) -> tuple[Workload, ...]:
    """Every workload that is attached, by namespace and name; one whose pods are gone, or are still to come, too."""
    seen = [pod for pod in pods if not pod.is_over]
    known: dict[str, Controller | PodSeen] = {one.uid: one for one in controllers}
    makers = [one for one in known.values() if isinstance(one, Controller)]
    known.update((pod.uid, pod) for pod in seen)
    found: dict[tuple[str, str, str], list[PodSeen]] = {}
    for pod in seen:
        if pod.template.is_attached:
            kind, name = _top(pod, known)
            found.setdefault((pod.namespace, kind, name), []).append(pod)
    workloads = [
        _with_pods(namespace, kind, name, attached) for (namespace, kind, name), attached in found.items()
    ]
    for maker in makers:
        is_top = _top(maker, known) == (maker.kind, maker.name)
        is_new = (maker.namespace, maker.kind, maker.name) not in found
        if is_top and is_new and maker.template is not None and maker.template.is_attached:
            workloads.append(
                Workload(maker.namespace, maker.kind, maker.name, maker.template, (), maker.replicas)
            )
    return tuple(sorted(workloads, key=lambda one: (one.namespace, one.name, one.kind)))


def _with_pods(namespace: str, kind: str, name: str, pods: list[PodSeen]) -> Workload:
    newest = max(pods, key=lambda pod: (pod.created, pod.name))
    ordered = tuple(sorted(pods, key=lambda pod: pod.name))
    return Workload(namespace, kind, name, newest.template, ordered, len(pods))


def _top(one: PodSeen | Controller, known: Mapping[str, Controller | PodSeen]) -> tuple[str, str]:
    """(kind, name) of the highest owner that is more than a step in between."""
    kind = one.kind if isinstance(one, Controller) else "Pod"
    name, owner = one.name, one.owner
    for _ in range(_HIGHEST):
        if owner is None or kind not in _BETWEEN:
            break
        kind, name = owner.kind, owner.name
        owner = _owner_of(owner, known)
    return kind, name


def _owner_of(owner: Owner, known: Mapping[str, Controller | PodSeen]) -> Owner | None:
    above = known.get(owner.uid)
    return above.owner if above is not None else None
