"""An API server without a node, for admission tests: etcd and kube-apiserver on loopback, ready in seconds.

No controller runs: a namespace gets no service account and never finishes deleting, a Deployment makes no pods, and
pods stay Pending. Several can run at once; each has its own folder and ports.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tools.cluster.certificates import Authority
from tools.cluster.control_plane import (
    READY_WITHIN_S,
    Addresses,
    ApiOptions,
    is_api_ready,
    start_api_server,
    start_etcd,
)
from tools.cluster.daemons import Daemons
from tools.cluster.errors import ClusterError
from tools.cluster.layout import BIN

_NAMES = ("kube-apiserver", "etcd")
_TRIES = 3


@dataclass(frozen=True)
class ApiServer:
    """A running one. `token` is a cluster administrator's; `kubeconfig` holds it."""

    url: str
    token: str
    ca_file: Path
    kubeconfig: Path
    folder: Path

    @property
    def environ(self) -> dict[str, str]:
        """For kubectl, helm and the program: this process's environment with KUBECONFIG and our PATH."""
        local = ",".join(part for part in (os.environ.get("NO_PROXY", ""), "127.0.0.1") if part)
        path = f"{BIN}:{os.environ.get('PATH', '/usr/bin:/bin')}"
        return {
            **os.environ,
            "KUBECONFIG": str(self.kubeconfig),
            "PATH": path,
            "NO_PROXY": local,
            "no_proxy": local,
        }


@contextmanager
def api_server(
    *,
    emulated_version: str = "",
    feature_gates: Mapping[str, bool] | None = None,
    runtime_config: Mapping[str, bool] | None = None,
    flags: Sequence[str] = (),
) -> Iterator[ApiServer]:
    """Starts one and ends it. Call it from the thread that outlives the server: its end kills the server too.

    MutatingAdmissionPolicy as a beta: emulated_version="1.34", feature_gates={"MutatingAdmissionPolicy": True},
    runtime_config={"admissionregistration.k8s.io/v1beta1": True}.
    """
    options = ApiOptions(emulated_version, feature_gates, runtime_config, flags)
    folder = Path(tempfile.mkdtemp(prefix="atc-api-"))
    try:
        yield start(folder, options, is_tied=True)
    finally:
        stop(folder)


def start(folder: Path, options: ApiOptions, *, is_tied: bool = False) -> ApiServer:
    """Starts one whose state lies in `folder`; ClusterError with the logs' ends where it does not get ready."""
    daemons = daemons_in(folder)
    for attempt in range(_TRIES):
        authority = Authority(folder / "pki")
        token = authority.user("admin", "system:masters")
        at = Addresses("127.0.0.1", *free_ports(3))
        etcd = start_etcd(daemons, authority, at, folder / f"etcd{attempt}", is_tied=is_tied)
        # the ServiceAccount plugin wants accounts that a controller would make
        extra = ["--disable-admission-plugins=ServiceAccount", "--endpoint-reconciler-type=none"]
        start_api_server(daemons, authority, at, etcd, options=options, node=extra, is_tied=is_tied)
        server = ApiServer(at.url, token, authority.ca_file, folder / "kubeconfig", folder)
        authority.write_kubeconfig(server.kubeconfig, at.url, token)
        try:
            daemons.wait_until(
                "the API server",
                READY_WITHIN_S,
                lambda server=server: is_api_ready(server.url, server.ca_file, server.token),  # type: ignore[misc] # bound now
                needs=_NAMES,
            )
        except ClusterError:
            # a port that was free may be another server's by now
            was_taken = any("address already in use" in daemons.tail(name) for name in _NAMES)
            daemons.stop(*_NAMES)
            if attempt == _TRIES - 1 or not was_taken:
                raise
        else:
            return server
    raise AssertionError("the last attempt returns or raises")


def stop(folder: Path) -> None:
    """Ends what `start` started there and removes the folder. All its state goes, so nothing needs to end gracefully."""
    daemons_in(folder).stop(*_NAMES)
    shutil.rmtree(folder, ignore_errors=True)


def daemons_in(folder: Path) -> Daemons:
    return Daemons(folder / "pids", folder / "logs")


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody has now; all are held until the last is known, so they differ."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()
