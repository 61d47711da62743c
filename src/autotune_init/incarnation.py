"""Which pod this very one is, also when its containers run again: a pod's name may be its predecessor's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from cache_store.pattern import pattern

MOUNTS = Path("/proc/self/mountinfo")
_LIMIT_BYTES = 1024 * 1024
# Kubernetes 1.36 pkg/kubelet/kubelet_getters.go getPodDir: <root>/pods/<uid>/{volumes,etc-hosts,containers/...}. The UID
# of a static pod is 32 hex characters, of any other one a UUID
_POD_DIR = pattern(
    r"/pods/([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{32})/"
    r"(?:volumes|etc-hosts|containers)(?:/|\s)"
)


def incarnation(
    stated: str | None, environ: Mapping[str, str], nonce: Callable[[], str], mounts: Path = MOUNTS
) -> str:
    """The pod's UID: as stated, by the downward API (POD_UID), or as the kubelet's mounts spell it; else a fresh name."""
    return stated or environ.get("POD_UID") or _from_mounts(mounts) or f"run-{nonce()}"


def _from_mounts(mounts: Path) -> str | None:
    """The kubelet mounts /etc/hosts and the termination log of every container from the pod's own directory."""
    try:
        with mounts.open("rb") as file:
            text = file.read(_LIMIT_BYTES).decode(errors="replace")
    except OSError:
        return None
    found = set(_POD_DIR.findall(text))
    return found.pop() if len(found) == 1 else None
