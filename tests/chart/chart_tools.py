"""helm and an API server, as the chart's tests use them."""

import copy
import http.client
import itertools
import json
import ssl
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from tools.cluster.layout import BIN, ROOT

CHART = ROOT / "helm" / "autotune-cache"
LABEL = "autotune-cache.dev/inject"
STATUS = "autotune-cache.dev/status"
MUTATING = "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy"
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
STORE = {"store": {"url": "s3://models/autotune"}, "image": {"repository": "autotune-cache"}}
_numbers = itertools.count(1)


def tool(name, *arguments, cwd=ROOT, **more):
    """The finished process of one of the test tools; whether it failed is for the caller to ask."""
    return subprocess.run(
        [str(BIN / name), *map(str, arguments)],
        cwd=cwd, capture_output=True, text=True, timeout=120, check=False, **more,
    )  # fmt: skip


def merged(*parts):
    made = {}
    for part in parts:
        for name, value in part.items():
            made[name] = (
                merged(made[name], value)
                if isinstance(value, dict) and isinstance(made.get(name), dict)
                else copy.deepcopy(value)
            )
    return made  # fmt: skip


def render(values, *, release="atc", namespace="autotune-system", apis=(MUTATING,), chart=CHART, more=()):
    """The objects that helm makes of the chart; AssertionError with helm's words where it refuses."""
    done = render_text(values, release=release, namespace=namespace, apis=apis, chart=chart, more=more)
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.safe_load_all(done.stdout) if one]


def render_text(
    values, *, release="atc", namespace="autotune-system", apis=(MUTATING,), chart=CHART, more=()
):
    options = [option for api in apis for option in ("--api-versions", api)]
    return tool(
        "helm", "template", release, chart, "--namespace", namespace, "--values", "-", *options, *more, input=json.dumps(values)
    )  # fmt: skip


@dataclass
class Answer:
    """What the API server said: `made` is the object, or its Status; `warnings` are sentences."""

    status: int
    made: dict
    warnings: list = field(default_factory=list)

    @property
    def is_admitted(self):
        return self.status in (200, 201)

    @property
    def told(self):
        return self.made["metadata"].get("annotations", {}).get(STATUS)

    def container(self, name):
        spec = self.made["spec"]
        return next(
            one for one in [*spec.get("initContainers", []), *spec["containers"]] if one["name"] == name
        )

    def env(self, name):
        return {
            one["name"]: one.get("value", one.get("valueFrom")) for one in self.container(name).get("env", [])
        }


class Api:
    """One keep-alive connection with an administrator's rights."""

    def __init__(self, server):
        self.server = server
        self._connection = None

    def request(self, method, path, body=None, content_type="application/json"):
        if self._connection is None:
            trust = ssl.create_default_context(cafile=str(self.server.ca_file))
            self._connection = http.client.HTTPSConnection(
                self.server.url.partition("//")[2], context=trust, timeout=60
            )
        headers = {"Authorization": f"Bearer {self.server.token}", "Content-Type": content_type}
        self._connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = self._connection.getresponse()
        # 299 - "text"
        warnings = [
            one.partition('"')[2].rpartition('"')[0].replace('\\"', '"')
            for one in answer.headers.get_all("Warning", [])
        ]
        return Answer(answer.status, json.loads(answer.read()), warnings)

    def close(self):
        if self._connection is not None:
            self._connection.close()

    def pod(self, pod, namespace):
        """A dry-run create: everything but keeping it."""
        return self.request("POST", f"/api/v1/namespaces/{namespace}/pods?dryRun=All", pod)

    def kubectl(self, *arguments, body=None):
        given = {} if body is None else {"input": json.dumps(body)}
        done = subprocess.run(
            [str(BIN / "kubectl"), *arguments], env=self.server.environ, capture_output=True, text=True, timeout=60, check=False, **given
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def apply(self, objects):
        self.kubectl("apply", "-f", "-", body={"apiVersion": "v1", "kind": "List", "items": objects})

    def namespace(self, **labels):
        name = f"models-{next(_numbers)}"
        labels = {"autotune-test": name, **labels}
        self.request(
            "POST",
            "/api/v1/namespaces",
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}},
        )
        return name

    def attached(self, values=None, *, apis=(MUTATING,), **labels):
        """A namespace in which a release of its own attaches pods."""
        namespace = self.namespace(**labels)
        selector = {"policy": {"namespaceSelector": {"matchLabels": {"autotune-test": namespace}}}}
        policies = render(merged(STORE, values or {}, selector), release=namespace, apis=apis)
        self.apply([one for one in policies if "AdmissionPolicy" in one["kind"]])
        self.wait_until_active(namespace)
        return namespace

    def wait_until_active(self, namespace):
        """A policy is active a moment after it was made, and so is its warning."""
        probe = labelled(
            pod(
                "probe",
                engine(securityContext=RESTRICTED),
                annotations={"autotune-cache.dev/container": "nobody"},
            )
        )
        until(
            lambda: self.pod(probe, namespace),
            lambda answer: answer.is_admitted and answer.told and answer.warnings,
        )


def until(ask, is_it, within_s=20):
    """The first answer that is it: the API server's plugins see a new object a moment later."""
    deadline = time.monotonic() + within_s
    while not is_it(answer := ask()):
        assert time.monotonic() < deadline, answer
        time.sleep(0.1)
    return answer


def engine(name="engine", **more):
    made = {
        "name": name,
        "image": "lmsysorg/sglang:v0.5.23",
        "command": ["python3", "-m", "sglang.launch_server"],
        "args": ["--model-path", "/models/qwen3"],
        "resources": {"limits": {"nvidia.com/gpu": "1", "cpu": "4", "memory": "32Gi"}},
        **more,
    }
    return {key: value for key, value in made.items() if value is not None}


def pod(name, *containers, annotations=None, labels=None, **spec):
    metadata = {"name": name, "labels": {"app": "engine", **(labels or {})}}
    if annotations:
        metadata["annotations"] = dict(annotations)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"containers": list(containers), **spec},
    }


def labelled(given, value="true"):
    made = copy.deepcopy(given)
    made["metadata"].setdefault("labels", {})[LABEL] = value
    return made


def read_values(path: Path):
    return yaml.safe_load(path.read_text())
