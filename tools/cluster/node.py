"""The node: its bridge, containerd and kubelet, configured for a machine without systemd and with hybrid cgroups."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

from tools.cluster.certificates import Authority, Pair
from tools.cluster.daemons import Daemons
from tools.cluster.debian import CONTAINERD, ensure, run
from tools.cluster.layout import (
    API_ADDRESS,
    BIN,
    BRIDGE,
    KUBELET_HEALTH_PORT,
    KUBELET_PORT,
    NETWORK,
    NODE,
    NODE_ADDRESS,
    PAUSE_IMAGE,
    Layout,
)

_CNI_PLUGINS = "/usr/lib/cni"  # where Debian's containernetworking-plugins puts them
# Not on every kernel, and nothing here uses them; each would warn at every start.
_UNUSED_PLUGINS = [
    "io.containerd.nri.v1.nri",
    *(f"io.containerd.snapshotter.v1.{name}" for name in ("erofs", "devmapper", "btrfs", "zfs", "blockfile")),
]


def bring_bridge_up(layout: Layout) -> None:
    """The bridge exists before the API server, which listens there; the CNI plugin finds and uses it."""
    if not Path(f"/sys/class/net/{BRIDGE}").exists():
        run(["ip", "link", "add", BRIDGE, "type", "bridge"])
    has = run(["ip", "addr", "show", "dev", BRIDGE])
    for address, length in ((NODE_ADDRESS, 24), (API_ADDRESS, 32)):
        if f"inet {address}/" not in has:
            run(["ip", "addr", "add", f"{address}/{length}", "dev", BRIDGE])
    run(["ip", "link", "set", BRIDGE, "up"])
    # No isGateway and no ipMasq: then the plugin changes neither ip_forward nor iptables. Pods reach each other and
    # the node; what they send elsewhere goes to the node, which does not forward it.
    addresses = {
        "type": "host-local",
        "dataDir": str(layout.run / "ipam"),
        "routes": [{"dst": "0.0.0.0/0"}],
        "ranges": [[{"subnet": f"{NETWORK}.0/24", "rangeStart": f"{NETWORK}.10", "gateway": NODE_ADDRESS}]],
    }
    bridge = {"type": "bridge", "bridge": BRIDGE, "isGateway": False, "hairpinMode": True, "ipam": addresses}
    folder = layout.run / "cni"
    folder.mkdir(exist_ok=True)
    (folder / "10-bridge.conflist").write_text(
        json.dumps({"cniVersion": "1.0.0", "name": BRIDGE, "plugins": [bridge]})
    )


def start_containerd(daemons: Daemons, layout: Layout) -> None:
    program = ensure(CONTAINERD)
    runc = shutil.which("runc") or "/usr/sbin/runc"
    # Sockets, network namespaces, runc's root and plugins all lie below the run folder. restrict_oom_score_adj:
    # without CAP_SYS_RESOURCE a score below one's own cannot be set.
    (layout.run / "containerd.toml").write_text(f"""version = 3
root = '{layout.run}/containerd'
state = '{layout.run}/ctd'
disabled_plugins = {_UNUSED_PLUGINS}
[grpc]
  address = '{layout.containerd_socket}'
[plugins.'io.containerd.internal.v1.opt']
  path = '{layout.run}/opt'
[plugins.'io.containerd.cri.v1.images']
  snapshotter = 'overlayfs'
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = '{PAUSE_IMAGE}'
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ['{_CNI_PLUGINS}']
  use_internal_loopback = true
  conf_dir = '{layout.run}/cni'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = 'io.containerd.runc.v2'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
  BinaryName = '{runc}'
  Root = '{layout.run}/runc'
  SystemdCgroup = false
""")
    # containerd looks for its shim on PATH
    environ = {"PATH": f"{program.parent}:/usr/sbin:/usr/bin:/sbin:/bin"}
    daemons.start("containerd", [program, "-c", layout.run / "containerd.toml"], environ=environ)


def ctr(layout: Layout, *arguments: str) -> str:
    """containerd's own client, in the kubelet's namespace; returns its stdout. The socket's path must be absolute."""
    return run(
        [str(CONTAINERD.path.parent / "ctr"), "-a", str(layout.containerd_socket), "-n", "k8s.io", *arguments]
    )


def is_containerd_ready(layout: Layout) -> bool:
    command = [str(CONTAINERD.path.parent / "ctr"), "-a", str(layout.containerd_socket), "version"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def start_kubelet(daemons: Daemons, layout: Layout, authority: Authority, server: Pair) -> None:
    resolv = "/etc/resolv.conf"
    everything_may_fill = dict.fromkeys(
        (
            "memory.available",
            "nodefs.available",
            "nodefs.inodesFree",
            "imagefs.available",
            "imagefs.inodesFree",
        ),
        "0%",
    )
    config = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": NODE_ADDRESS,
        "port": KUBELET_PORT,
        "healthzBindAddress": "127.0.0.1",
        "healthzPort": KUBELET_HEALTH_PORT,
        "readOnlyPort": 0,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(authority.ca_file)},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(server.certificate),
        "tlsPrivateKeyFile": str(server.key),
        "containerRuntimeEndpoint": f"unix://{layout.containerd_socket}",
        "podLogsDir": str(layout.run / "podlogs"),
        "resolvConf": resolv if os.access(resolv, os.R_OK) else "",
        "clusterDomain": "cluster.local",
        # a machine without systemd, with hybrid cgroups and without CAP_SYS_RESOURCE
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "cgroupsPerQOS": False,
        "enforceNodeAllocatable": [],
        "makeIPTablesUtilChains": False,
        "localStorageCapacityIsolation": False,
        # tests must not depend on how full the disk is
        "evictionHard": everything_may_fill,
        "imageGCHighThresholdPercent": 100,
        # tests wait for these
        "syncFrequency": "10s",
        "nodeStatusUpdateFrequency": "5s",
        "shutdownGracePeriod": "0s",
        "serializeImagePulls": False,
    }
    (layout.run / "kubelet.yaml").write_text(json.dumps(config, indent=1))  # JSON is YAML
    command: list[str | Path] = [BIN / "kubelet", "--config", layout.run / "kubelet.yaml"]
    command += ["--kubeconfig", layout.run / "kubelet.kubeconfig", "--root-dir", layout.run / "kubelet"]
    command += [
        "--cert-dir",
        layout.run / "kubelet-certs",
        "--hostname-override",
        NODE,
        "--node-ip",
        NODE_ADDRESS,
    ]
    daemons.start("kubelet", [*command, "--v", "1"])
