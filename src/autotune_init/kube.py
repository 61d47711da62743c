"""The cluster, for people at a terminal. The only file that imports `kubernetes`, lazily; nothing in a pod comes here.

The client brings kubeconfigs and their login plugins. Answers are read as plain JSON: its models cost a second of
CPU, and drop fields that are newer than they are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from autotune_init.fleet_pods import Controller, PodSeen, controller_of, pod_of, product_of
from cache_store.dataclass import dataclass

PAGE = 200
CONNECT_S, READ_S = 5.0, 30.0
_MOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_CONTROLLERS = (
    ("/apis/apps/v1", "deployments", "Deployment"),
    ("/apis/apps/v1", "replicasets", "ReplicaSet"),
    ("/apis/apps/v1", "statefulsets", "StatefulSet"),
    ("/apis/apps/v1", "daemonsets", "DaemonSet"),
    ("/apis/batch/v1", "jobs", "Job"),
    ("/apis/leaderworkerset.x-k8s.io/v1", "leaderworkersets", "LeaderWorkerSet"),
)

T = TypeVar("T")


class KubeProblem(Exception):  # noqa: N818 -- reads as what it is
    """Why the cluster did not do it. `reason`:

    cluster-client (the package is not installed), cluster-config (no kubeconfig, or no such context),
    cluster-unreachable, cluster-unauthorized (401), cluster-denied (403; the detail names the missing right),
    cluster-not-found (404), cluster-answer (anything else).
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class FleetSeen:
    """One look at a cluster. `products`: node -> GPU. `warnings`: what could not be seen, and which right was missing."""

    pods: tuple[PodSeen, ...]
    controllers: tuple[Controller, ...]
    products: Mapping[str, str]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Kube:
    """An API server. `namespace` is the one that the kubeconfig's context prefers."""

    client: Any
    namespace: str

    @classmethod
    def open(cls, environ: Mapping[str, str], context: str | None) -> Kube:
        """By KUBECONFIG, ~/.kube/config, or a pod's own service account. Raises `KubeProblem`; asks the cluster nothing."""
        try:
            # the package has no type information
            from kubernetes import client, config  # type: ignore[import-untyped]
        except ImportError as error:
            detail = f"{error}; install autotune-cache with [kubernetes]"
            raise KubeProblem("cluster-client", detail) from None
        configuration = client.Configuration()
        home = environ.get("HOME")
        files = environ.get("KUBECONFIG") or (str(Path(home) / ".kube" / "config") if home else "")
        try:
            if context is None and not environ.get("KUBECONFIG") and not Path(files).is_file():
                namespace = _in_cluster(config, configuration, environ)
            else:
                # nothing is written back: a login that is renewed here is renewed again next time
                config.load_kube_config(files, context, configuration, persist_config=False)
                namespace = _preferred(config, files, context)
        # the loader lets through whatever a file with odd contents makes of its own code
        except Exception as error:
            if isinstance(error, KubeProblem):
                raise
            raise KubeProblem("cluster-config", f"{files}: {error}"[:500]) from None
        # urllib3 would log three more tries with a cluster that is not there
        configuration.retries = False
        return cls(client.ApiClient(configuration), namespace)

    def look(self, namespace: str | None) -> FleetSeen:
        """Attached pods, what makes pods, and the GPUs of nodes; `namespace` None: all. Raises `KubeProblem`.

        Only pods must be readable. All are read, since one attached by hand carries no label.
        """
        warnings: list[str] = []
        pods = tuple(
            pod
            for pod in map(pod_of, self._list("/api/v1", "pods", namespace))
            # a LeaderWorkerSet's leader stands between its workers and the set
            if pod.template.is_attached or _leads(pod)
        )
        controllers: list[Controller] = []
        for group, plural, kind in _CONTROLLERS:
            controllers += self._where_allowed(
                warnings, group, plural, namespace, partial(controller_of, kind=kind)
            )
        nodes = self._where_allowed(warnings, "/api/v1", "nodes", None, product_of)
        return FleetSeen(pods, tuple(controllers), {name: gpu for name, gpu in nodes if gpu}, tuple(warnings))

    def create_job(self, job: Mapping[str, Any]) -> bool:
        """False where one of that name exists. Raises `KubeProblem`."""
        namespace = job["metadata"]["namespace"]
        path = f"/apis/batch/v1/namespaces/{namespace}/jobs"
        try:
            self._ask("POST", path, f"create jobs in namespace {namespace}", body=job)
        except _Exists:
            return False
        return True

    def _where_allowed(
        self, warnings: list[str], group: str, plural: str, namespace: str | None, read: Callable[[Any], T]
    ) -> list[T]:
        try:
            return [read(raw) for raw in self._list(group, plural, namespace)]
        except KubeProblem as problem:
            if problem.reason == "cluster-denied":
                warnings.append(problem.detail)
            elif problem.reason != "cluster-not-found":  # LeaderWorkerSet is not installed everywhere
                raise
            return []

    def _list(self, group: str, plural: str, namespace: str | None) -> Iterator[Mapping[str, Any]]:
        where = f"/namespaces/{namespace}" if namespace else ""
        scope = f"in namespace {namespace}" if namespace else "in the whole cluster"
        query = [("limit", str(PAGE))]
        while True:
            page = self._ask("GET", f"{group}{where}/{plural}", f"list {plural} {scope}", query)
            yield from page.get("items") or ()
            following = (page.get("metadata") or {}).get("continue")
            if not following:
                return
            query = [("limit", str(PAGE)), ("continue", following)]

    def _ask(
        self,
        method: str,
        path: str,
        what: str,
        query: list[tuple[str, str]] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """One request. `what` is the right that it takes, for people."""
        # the package has no type information
        from kubernetes.client.exceptions import ApiException  # type: ignore[import-untyped]
        from urllib3.exceptions import HTTPError

        try:
            answer = self.client.call_api(
                path,
                method,
                query_params=query or [],
                header_params={"Accept": "application/json", "Content-Type": "application/json"},
                body=body,
                auth_settings=["BearerToken"],
                _preload_content=False,
                _return_http_data_only=True,
                _request_timeout=(CONNECT_S, READ_S),
            )
            document = json.loads(answer.data)
        except ApiException as error:
            raise _problem(error.status, error.body or error.reason, what) from None
        except AttributeError as error:
            # api_client.py of 36.0.3 trips over its own exception where there was no answer at all: TLS
            if not isinstance(error.__context__, ApiException):
                raise
            raise _problem(error.__context__.status, error.__context__.reason, what) from None
        except (HTTPError, OSError) as error:
            raise KubeProblem("cluster-unreachable", f"{self.client.configuration.host}: {error}") from None
        except ValueError as error:
            raise KubeProblem("cluster-answer", f"the API server's answer is no JSON: {error}") from None
        if not isinstance(document, dict):
            raise KubeProblem("cluster-answer", "the API server's answer is no JSON object")
        return document


class _Exists(Exception):  # noqa: N818 -- an answer, and never leaves this file
    pass


def _problem(status: int, body: object, what: str) -> Exception:
    if status == 409:
        return _Exists()
    text = body.decode(errors="replace") if isinstance(body, bytes) else str(body)
    try:
        text = str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        pass  # not the API server's own words: a proxy's, or TLS
    told = text[:500]
    if status == 0:  # how the client spells a failed TLS handshake
        return KubeProblem("cluster-unreachable", " ".join(told.split()))
    if status == 401:
        return KubeProblem(
            "cluster-unauthorized", "the cluster does not take these credentials; log in again"
        )
    if status == 403:
        return KubeProblem("cluster-denied", f"no right to {what}")
    if status == 404:
        return KubeProblem("cluster-not-found", f"{what}: {told}")
    return KubeProblem("cluster-answer", f"{what}: {status} {told}")


def _in_cluster(config: Any, configuration: Any, environ: Mapping[str, str]) -> str:
    if not environ.get("KUBERNETES_SERVICE_HOST"):
        raise KubeProblem("cluster-config", "no kubeconfig: set KUBECONFIG, or log in to a cluster")
    loader = config.incluster_config.InClusterConfigLoader(
        str(_MOUNT / "token"), str(_MOUNT / "ca.crt"), environ=environ
    )
    loader.load_and_set(configuration)
    return (_MOUNT / "namespace").read_text().strip()


def _preferred(config: Any, files: str, context: str | None) -> str:
    contexts, active = config.list_kube_config_contexts(files)
    chosen = next((one for one in contexts if one["name"] == context), active)
    return str(chosen.get("context", {}).get("namespace") or "default")


def _leads(pod: PodSeen) -> bool:
    return "leaderworkerset.sigs.k8s.io/name" in pod.template.labels
