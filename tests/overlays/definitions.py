"""A real API server with the namespaces of an owner and the projects' own definitions."""

import subprocess
import time
from pathlib import Path

import pytest
import yaml
from tests.overlays.rendering import charts, program
from tests.overlays.targets import TARGETS
from tools.cluster import api_server

OPEN, RESTRICTED = "models", "models-restricted"
NAMESPACES = f"""
apiVersion: v1
kind: Namespace
metadata: {{name: {OPEN}}}
---
apiVersion: v1
kind: Namespace
metadata:
  name: {RESTRICTED}
  labels: {{pod-security.kubernetes.io/enforce: restricted, pod-security.kubernetes.io/enforce-version: latest}}
"""


class Api:
    def __init__(self, server):
        self.environ = server.environ

    def kubectl(self, *arguments, text=""):
        return subprocess.run(
            [program("kubectl"), *arguments],
            input=text,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def dry_run(self, documents, namespace):
        """Server-side, unknown fields refused; nothing is kept."""
        text = yaml.safe_dump_all(documents)
        arguments = ("create", "--dry-run=server", "--validate=strict", "--namespace", namespace)
        return self.kubectl(*arguments, "--filename", "-", text=text)


@pytest.fixture(scope="session")
def api():
    definitions = sorted({crd for target in TARGETS for crd in target.crds})
    for source in {crd.split("/")[0] for crd in definitions}:
        charts(source)
    with api_server() as server:
        api = Api(server)
        made = api.kubectl("create", "--filename", "-", text=NAMESPACES)
        assert made.returncode == 0, made.stderr
        for crd in definitions:
            source, path = crd.split("/", 1)
            # server side: these are larger than the annotation in which `apply` keeps its last document
            applied = api.kubectl("apply", "--server-side", "--filename", str(charts(source) / path))
            assert applied.returncode == 0, applied.stderr
        waited = api.kubectl("wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")
        assert waited.returncode == 0, waited.stderr
        for crd in definitions:
            until_served(api, crd)
        yield api


def until_served(api, crd):
    """Established is said a moment before the server answers for the kind."""
    group, plural = Path(crd).stem.split("_")
    until = time.monotonic() + 60
    while (answer := api.kubectl("get", f"{plural}.{group}", "--all-namespaces")).returncode:
        assert time.monotonic() < until, answer.stderr
        time.sleep(0.2)
