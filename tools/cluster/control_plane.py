"""The command lines of etcd and the API server, and when the latter is ready. Shared by the cluster and bare_api."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.cluster.certificates import Authority, Pair
from tools.cluster.daemons import Daemons
from tools.cluster.debian import ETCD, ensure
from tools.cluster.errors import ClusterError
from tools.cluster.layout import BIN, SERVICES

READY_WITHIN_S = 90  # 4 s on a quiet machine; a busy one with two cores has needed 40


@dataclass(frozen=True)
class Addresses:
    """Where etcd and the API server listen; never on all interfaces."""

    api: str
    api_port: int
    etcd_port: int
    etcd_peer_port: int

    @property
    def url(self) -> str:
        return f"https://{self.api}:{self.api_port}"


@dataclass(frozen=True)
class ApiOptions:
    """What a test may want otherwise. `emulated_version` "1.34": behave as that minor does (this binary: 1.33 to 1.36)."""

    emulated_version: str = ""
    feature_gates: Mapping[str, bool] | None = None
    runtime_config: Mapping[str, bool] | None = None
    extra: Sequence[str] = ()

    def flags(self) -> list[str]:
        flags = []
        if self.emulated_version:
            # without forward compatibility a gate that is newer than the emulated version keeps it from getting ready
            flags += [f"--emulated-version={self.emulated_version}", "--emulation-forward-compatible"]
        for flag, switches in (
            ("feature-gates", self.feature_gates),
            ("runtime-config", self.runtime_config),
        ):
            if switches:
                flags.append(
                    f"--{flag}=" + ",".join(f"{name}={str(on).lower()}" for name, on in switches.items())
                )
        return [*flags, *self.extra]


def start_etcd(
    daemons: Daemons, authority: Authority, at: Addresses, folder: Path, *, is_tied: bool = False
) -> Pair:
    """Returns the certificate that the API server shows it."""
    pair = authority.issue("etcd", "etcd", ["127.0.0.1"])
    client = f"https://127.0.0.1:{at.etcd_port}"
    peer = f"https://127.0.0.1:{at.etcd_peer_port}"
    command: list[str | Path] = [ensure(ETCD), "--name=e", f"--data-dir={folder}", "--unsafe-no-fsync"]
    command += ["--logger=zap", "--log-level=warn"]
    command += [f"--listen-client-urls={client}", f"--advertise-client-urls={client}"]
    command += [
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=e={peer}",
    ]
    for prefix in ("", "peer-"):
        command += [f"--{prefix}client-cert-auth", f"--{prefix}trusted-ca-file={authority.ca_file}"]
        command += [f"--{prefix}cert-file={pair.certificate}", f"--{prefix}key-file={pair.key}"]
    daemons.start("etcd", command, is_tied=is_tied)
    return pair


def start_api_server(
    daemons: Daemons,
    authority: Authority,
    at: Addresses,
    etcd: Pair,
    *,
    options: ApiOptions,
    node: Sequence[str] = (),
    is_tied: bool = False,
) -> None:
    """With RBAC, tokens of `authority.users`, PodSecurity and MutatingAdmissionPolicy (both on by default)."""
    server = authority.issue(
        "apiserver",
        "kube-apiserver",
        sorted({at.api, "127.0.0.1", f"{SERVICES}.1"})
        + [f"kubernetes{more}" for more in ("", ".default", ".default.svc")],
    )
    accounts = authority.signing_key("accounts")
    command: list[str | Path] = [BIN / "kube-apiserver"]
    command += [f"--bind-address={at.api}", f"--secure-port={at.api_port}"]
    command += [f"--tls-cert-file={server.certificate}", f"--tls-private-key-file={server.key}"]
    command += [f"--client-ca-file={authority.ca_file}", f"--token-auth-file={authority.write_tokens()}"]
    command += [f"--etcd-servers=https://127.0.0.1:{at.etcd_port}", f"--etcd-cafile={authority.ca_file}"]
    command += [f"--etcd-certfile={etcd.certificate}", f"--etcd-keyfile={etcd.key}"]
    command += [
        "--authorization-mode=Node,RBAC",
        "--anonymous-auth=false",
        f"--service-cluster-ip-range={SERVICES}.0/24",
    ]
    command += ["--service-account-issuer=https://kubernetes.default.svc"]
    command += [f"--service-account-key-file={accounts}", f"--service-account-signing-key-file={accounts}"]
    command += ["--allow-privileged=true", "--profiling=false", *node, *options.flags()]
    daemons.start("kube-apiserver", command, is_tied=is_tied)


def is_api_ready(url: str, authority: Path, token: str) -> bool:
    """It says ready and has made the namespace `default`: from then on everything can be created."""
    return all(answers(url, authority, token, path) for path in ("/readyz", "/api/v1/namespaces/default"))


def answers(url: str, authority: Path, token: str, path: str) -> bool:
    request = urllib.request.Request(url + path, headers={"Authorization": f"Bearer {token}"})
    # no proxy: these addresses mean this machine
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}),
        urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=authority)),
    )
    try:
        with opener.open(request, timeout=5):
            return True
    except (OSError, urllib.error.URLError):
        return False


def token_of(kubeconfig: Path) -> str:
    """The token in a kubeconfig that certificates.py wrote."""
    try:
        told = json.loads(kubeconfig.read_text())["users"][0]["user"]["token"]
    except (OSError, ValueError, LookupError) as error:
        raise ClusterError(f"{kubeconfig} is no kubeconfig of ours") from error
    return str(told)
