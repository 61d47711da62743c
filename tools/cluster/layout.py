"""Where everything lies and which addresses it has. Values only.

Two folders, kept apart: `CACHE` (.tools/cluster) survives `down`, `Layout.run` is wiped by it. The run folder must
have a short path, because unix sockets (at most 107 bytes) lie below it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BIN = ROOT / ".tools" / "bin"  # what tools/servers/build.py builds
CACHE = ROOT / ".tools" / "cluster"
DEBIAN = CACHE / "debian"  # unpacked .debs: etcd and containerd
LONGEST_RUN_PATH = 60

BRIDGE = "atcbr0"
NODE = "node1"
NETWORK = "10.201.0"
SERVICES = "10.202.0"
NODE_ADDRESS = f"{NETWORK}.1"  # the bridge, the node and the S3 server: what pods can reach
# The API server listens on the very address of its Service, so that pods find it as in any cluster, though nothing
# here (no kube-proxy) makes Service addresses work.
API_ADDRESS = f"{SERVICES}.1"
PAUSE_IMAGE = "localhost/pause:local"

API_PORT = 443
ETCD_PORT = 12379
ETCD_PEER_PORT = 12380
KUBELET_PORT = 11250
KUBELET_HEALTH_PORT = 11248
CONTROLLER_MANAGER_PORT = 11257
SCHEDULER_PORT = 11259
S3_PORT = 19000
LISTENERS = (
    (API_ADDRESS, API_PORT),
    ("127.0.0.1", ETCD_PORT),
    ("127.0.0.1", ETCD_PEER_PORT),
    (NODE_ADDRESS, KUBELET_PORT),
    ("127.0.0.1", KUBELET_HEALTH_PORT),
    ("127.0.0.1", CONTROLLER_MANAGER_PORT),
    ("127.0.0.1", SCHEDULER_PORT),
)


@dataclass(frozen=True)
class Layout:
    """The folders of one cluster; `run` holds all of its state."""

    run: Path

    @classmethod
    def of(cls, environ: Mapping[str, str], uid: int) -> Layout:
        """CLUSTER_DIR, or /tmp/autotune-cluster-UID. No AUTOTUNE_ name: the product would refuse to start beside it."""
        return cls(Path(environ.get("CLUSTER_DIR") or f"/tmp/autotune-cluster-{uid}"))

    @property
    def pids(self) -> Path:
        return self.run / "pids"

    @property
    def logs(self) -> Path:
        return self.run / "logs"

    @property
    def keys(self) -> Path:
        return self.run / "pki"

    @property
    def containerd_socket(self) -> Path:
        return self.run / "containerd.sock"

    @property
    def kubeconfig(self) -> Path:
        return self.run / "admin.kubeconfig"

    @property
    def api_url(self) -> str:
        return f"https://{API_ADDRESS}:{API_PORT}"

    def exports(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """What a shell or a child process needs to speak with this cluster (a proxy must not get its addresses)."""
        own = f"127.0.0.1,{API_ADDRESS},{NODE_ADDRESS},{NETWORK}.0/24"
        names = {
            "KUBECONFIG": str(self.kubeconfig),
            "PATH": f"{BIN}:{inherited.get('PATH', '/usr/bin:/bin')}",
        }
        for name in ("NO_PROXY", "no_proxy"):
            names[name] = ",".join(part for part in (inherited.get(name, ""), own) if part)
        return {**names, "CLUSTER_IP": NODE_ADDRESS}
