"""The whole cluster: up, down, status, fake GPUs. Its parts are in the modules beside this one."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tools.cluster import images, node
from tools.cluster.certificates import Authority
from tools.cluster.control_plane import (
    READY_WITHIN_S,
    Addresses,
    ApiOptions,
    is_api_ready,
    start_api_server,
    start_etcd,
    token_of,
)
from tools.cluster.daemons import Daemons
from tools.cluster.debian import CONTAINERD, ETCD, ensure, install, run
from tools.cluster.errors import ClusterError
from tools.cluster.layout import (
    API_ADDRESS,
    API_PORT,
    BIN,
    CONTROLLER_MANAGER_PORT,
    ETCD_PEER_PORT,
    ETCD_PORT,
    LISTENERS,
    LONGEST_RUN_PATH,
    NODE,
    NODE_ADDRESS,
    SCHEDULER_PORT,
    Layout,
)
from tools.cluster.teardown import kill_containers, save_sysctls, tear_down

_PARTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "containerd", "kubelet")
_PACKAGES = {
    "buildah": "buildah",
    "runc": "runc",
    "ip": "iproute2",
    "ss": "iproute2",
    "setpriv": "util-linux",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
}


class Cluster:
    """One node, one control plane, everything below `layout.run`. Idempotent: each call finds what is there."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.daemons = Daemons(layout.pids, layout.logs)

    def is_up(self) -> bool:
        return self.daemons.are_alive(_PARTS) and self._is_node_ready()

    def up(self) -> bool:
        """Starts it; False where it was up. Cleans up first after a crash, and after its own failure."""
        if os.getuid() != 0:
            raise ClusterError("root is needed: it makes a bridge, mounts and cgroups")
        if len(str(self.layout.run)) > LONGEST_RUN_PATH:
            raise ClusterError(f"{self.layout.run} is too long for unix sockets below it; set CLUSTER_DIR")
        with self._lock():
            if self.is_up():
                return False
            if self.layout.run.exists():
                tear_down(self.daemons, self.layout)
            prepare()
            self._start()
        return True

    def down(self) -> None:
        with self._lock():
            if self.layout.run.exists():
                tear_down(self.daemons, self.layout)

    def kubectl(self, *arguments: str) -> str:
        """Its stdout; ClusterError with its stderr."""
        environ = {**os.environ, **self.layout.exports(os.environ)}
        done = subprocess.run(
            [BIN / "kubectl", *arguments], env=environ, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise ClusterError(f"kubectl {' '.join(arguments[:3])}: {done.stderr.strip()}")
        return done.stdout

    def set_gpus(self, count: int) -> None:
        """The node claims to have that many nvidia.com/gpu: pods that ask for them are scheduled and run, without."""
        patch = [{"op": "add", "path": "/status/capacity/nvidia.com~1gpu", "value": str(count)}]
        self.kubectl("patch", "node", NODE, "--subresource=status", "--type=json", "-p", json.dumps(patch))
        # the kubelet copies capacity to allocatable with its next status; do not make the caller wait for it
        patch[0]["path"] = "/status/allocatable/nvidia.com~1gpu"
        self.kubectl("patch", "node", NODE, "--subresource=status", "--type=json", "-p", json.dumps(patch))

    def reboot_node(self) -> None:
        """What a reboot means to the pods of a node: every container is gone at once, their volumes are not.

        The kubelet stays, as the API server and everything else of this machine does; it makes the pods' sandboxes anew.
        """
        self.daemons.stop("containerd")
        kill_containers(self.layout)
        node.start_containerd(self.daemons, self.layout)
        self.daemons.wait_until(
            "containerd", 30, lambda: node.is_containerd_ready(self.layout), needs=["containerd"]
        )

    def memory_bytes(self) -> dict[str, int | None]:
        return {name: self.daemons.resident_bytes(name) for name in (*_PARTS, "minio")}

    def _start(self) -> None:
        layout, daemons = self.layout, self.daemons
        layout.run.mkdir(parents=True)
        save_sysctls(layout)
        authority = Authority(layout.keys)
        tokens = {
            "admin": authority.user("admin", "system:masters"),
            "controller-manager": authority.user("system:kube-controller-manager"),
            "scheduler": authority.user("system:kube-scheduler"),
            "kubelet": authority.user(f"system:node:{NODE}", "system:nodes"),
        }
        for name, token in tokens.items():
            authority.write_kubeconfig(layout.run / f"{name}.kubeconfig", layout.api_url, token)
        node.bring_bridge_up(layout)
        at = Addresses(API_ADDRESS, API_PORT, ETCD_PORT, ETCD_PEER_PORT)
        etcd = start_etcd(daemons, authority, at, layout.run / "etcd")
        node.start_containerd(daemons, layout)
        client = authority.issue(
            "to-kubelet", "kube-apiserver-kubelet-client", [], organization="system:masters"
        )
        to_kubelet = [
            f"--advertise-address={NODE_ADDRESS}",
            f"--kubelet-client-certificate={client.certificate}",
            f"--kubelet-client-key={client.key}",
            f"--kubelet-certificate-authority={authority.ca_file}",
            "--kubelet-preferred-address-types=InternalIP",
        ]
        start_api_server(daemons, authority, at, etcd, options=ApiOptions(), node=to_kubelet)
        daemons.wait_until("containerd", 30, lambda: node.is_containerd_ready(layout), needs=["containerd"])
        images.load(layout, images.ensure_pause_archive())
        server = authority.issue("kubelet", NODE, [NODE_ADDRESS, NODE])
        node.start_kubelet(daemons, layout, authority, server)  # it retries until the API server answers
        daemons.wait_until(
            "the API server",
            READY_WITHIN_S,
            lambda: is_api_ready(at.url, authority.ca_file, tokens["admin"]),
            needs=["etcd", "kube-apiserver"],
        )
        self._start_controllers(authority)
        daemons.wait_until("the node", READY_WITHIN_S, self._is_node_ready, needs=_PARTS)
        daemons.wait_until("scheduling", READY_WITHIN_S, self._is_schedulable, needs=_PARTS)

    def _start_controllers(self, authority: Authority) -> None:
        common = ["--bind-address=127.0.0.1", "--leader-elect=false", "--profiling=false"]
        run_folder = self.layout.run
        self.daemons.start(
            "kube-controller-manager",
            [
                BIN / "kube-controller-manager",
                *common,
                f"--kubeconfig={run_folder / 'controller-manager.kubeconfig'}",
                f"--secure-port={CONTROLLER_MANAGER_PORT}",
                "--use-service-account-credentials=true",
                f"--service-account-private-key-file={self.layout.keys / 'accounts.key'}",
                f"--root-ca-file={authority.ca_file}",
            ],
        )
        self.daemons.start(
            "kube-scheduler",
            [
                BIN / "kube-scheduler",
                *common,
                f"--kubeconfig={run_folder / 'scheduler.kubeconfig'}",
                f"--secure-port={SCHEDULER_PORT}",
            ],
        )

    def _is_node_ready(self) -> bool:
        keys = self.layout.keys / "ca.crt"
        if not keys.exists() or not is_api_ready(self.layout.api_url, keys, token_of(self.layout.kubeconfig)):
            return False
        ready = 'jsonpath={.status.conditions[?(@.type=="Ready")].status}'
        return self._told("get", "node", NODE, "-o", ready) == "True"

    def _is_schedulable(self) -> bool:
        """The not-ready taint is gone and pods get their service account."""
        return (
            self._told("get", "node", NODE, "-o", "jsonpath={.spec.taints}") == ""
            and self._told("get", "serviceaccount", "default", "-o", "name") == "serviceaccount/default"
        )

    def _told(self, *arguments: str) -> str | None:
        try:
            return self.kubectl(*arguments).strip()
        except ClusterError:
            return None

    @contextmanager
    def _lock(self) -> Iterator[None]:
        # beside the run folder, which `down` removes
        with Path(f"{self.layout.run}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
            finally:
                fcntl.flock(lock, fcntl.LOCK_UN)


def prepare() -> None:
    """Everything that is fetched or built once; ClusterError where a part is missing or a port is another's."""
    for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl"):
        if not (BIN / name).exists():
            raise ClusterError(f"{BIN / name} is missing; run `make servers`")
    install(_PACKAGES)
    for package in (ETCD, CONTAINERD):
        ensure(package)
    images.ensure_pause_archive()
    # the listeners themselves: a connection proves nothing where a transparent proxy answers for every address
    taken = taken_of(LISTENERS, run(["ss", "-Hltn"]))
    if taken:
        raise ClusterError(
            f"{', '.join(taken)} are taken: another cluster on this machine? Only one runs at a time"
        )


def taken_of(wanted: Sequence[tuple[str, int]], listeners: str) -> list[str]:
    """Which of the wanted sockets one of `ss -Hltn`'s lines stands in the way of."""
    local = {line.split()[3] for line in listeners.splitlines()}
    return [
        f"{address}:{port}"
        for address, port in wanted
        if local & {f"{at}:{port}" for at in (address, "0.0.0.0", "*", "[::]")}
    ]
