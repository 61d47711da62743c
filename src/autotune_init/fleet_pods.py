"""What a cluster shows of pods that use the cache: nouns, read from the JSON of the API server. Pure.

Specs stay as the API server spells them: a prewarm Job is made of them word for word (fleet_prewarm.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cache_store.dataclass import dataclass

LABEL = "autotune-cache.dev/inject"
ANNOTATION = "autotune-cache.dev/"
INIT = "autotune-init"
PROGRAM = "autotune-program"
PRODUCT = "nvidia.com/gpu.product"  # set by GPU feature discovery; sharing and MIG rewrite it, so it is only a heading

Raw = Mapping[str, Any]


@dataclass(frozen=True)
class Owner:
    """The controller of an object, as its ownerReferences name it."""

    kind: str
    name: str
    uid: str


@dataclass(frozen=True)
class Template:
    """A pod's labels, annotations and spec: of a pod, or of what makes pods."""

    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    spec: Raw

    @property
    def is_attached(self) -> bool:
        """By the label, or by an init container of ours that the owner has put there himself."""
        return self.labels.get(LABEL) == "true" or self.init_container(INIT) is not None

    def init_container(self, name: str) -> Raw | None:
        return next((one for one in _list(self.spec, "initContainers") if one.get("name") == name), None)

    @property
    def containers(self) -> list[Raw]:
        return _list(self.spec, "containers")

    @property
    def product(self) -> str | None:
        """The GPU that the owner asks for, where he says so by the plain node selector."""
        return _map(self.spec, "nodeSelector").get(PRODUCT)


@dataclass(frozen=True)
class PodSeen:
    """One pod. `node` is None while it waits for one; `message` is what its init container left when it last ended.

    `init` says how far that container is: "terminated", "running", "waiting" or "absent".
    """

    namespace: str
    name: str
    uid: str
    owner: Owner | None
    template: Template
    created: str
    node: str | None = None
    phase: str = ""
    init: str = "absent"
    message: str | None = None

    @property
    def is_over(self) -> bool:
        """Finished or evicted: no replica any more."""
        return self.phase in ("Succeeded", "Failed")


@dataclass(frozen=True)
class Controller:
    """What makes pods, or stands between them and what does. `template` is None where it is of no interest."""

    kind: str
    namespace: str
    name: str
    uid: str
    owner: Owner | None = None
    template: Template | None = None
    replicas: int = 0


def pod_of(raw: Raw) -> PodSeen:
    metadata, status = _map(raw, "metadata"), _map(raw, "status")
    init = next((one for one in _list(status, "initContainerStatuses") if one.get("name") == INIT), {})
    state, last = _map(init, "state"), _map(init, "lastState")
    ended = _map(state, "terminated") or _map(last, "terminated")
    message = ended.get("message")
    return PodSeen(
        namespace=str(metadata.get("namespace", "")),
        name=str(metadata.get("name", "")),
        uid=str(metadata.get("uid", "")),
        owner=_owner(metadata),
        template=template_of(raw),
        created=str(metadata.get("creationTimestamp", "")),
        node=_map(raw, "spec").get("nodeName"),
        phase=str(status.get("phase", "")),
        init=next((name for name in ("terminated", "running", "waiting") if name in state), "absent"),
        message=message if isinstance(message, str) else None,
    )


def template_of(raw: Raw) -> Template:
    metadata = _map(raw, "metadata")
    return Template(_map(metadata, "labels"), _map(metadata, "annotations"), _map(raw, "spec"))


def controller_of(raw: Raw, kind: str) -> Controller:
    """A Deployment, StatefulSet, DaemonSet, ReplicaSet, Job or LeaderWorkerSet (of that: the workers' template)."""
    metadata, spec = _map(raw, "metadata"), _map(raw, "spec")
    template = spec.get("template")
    replicas = spec.get("replicas")
    if kind == "LeaderWorkerSet":
        group = _map(spec, "leaderWorkerTemplate")
        template = group.get("leaderTemplate") or group.get("workerTemplate")
        size = group.get("size")
        replicas = (replicas if isinstance(replicas, int) else 1) * (size if isinstance(size, int) else 1)
    return Controller(
        kind=kind,
        namespace=str(metadata.get("namespace", "")),
        name=str(metadata.get("name", "")),
        uid=str(metadata.get("uid", "")),
        owner=_owner(metadata),
        template=template_of(template) if isinstance(template, dict) else None,
        replicas=replicas if isinstance(replicas, int) else 0,
    )


def product_of(node: Raw) -> tuple[str, str | None]:
    """(node, its GPU by GPU feature discovery)."""
    metadata = _map(node, "metadata")
    return str(metadata.get("name", "")), _map(metadata, "labels").get(PRODUCT)


def _owner(metadata: Raw) -> Owner | None:
    for one in _list(metadata, "ownerReferences"):
        if one.get("controller"):
            return Owner(str(one.get("kind")), str(one.get("name")), str(one.get("uid")))
    return None


def _map(raw: Raw, name: str) -> dict[str, Any]:
    found = raw.get(name)
    return found if isinstance(found, dict) else {}


def _list(raw: Raw, name: str) -> list[Raw]:
    found = raw.get(name)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
