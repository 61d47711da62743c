"""Everything that is rendered, before a real API server with the projects' own definitions, as a dry run."""

import re
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from examples.overlays import check
from tests.overlays.rendering import OVERLAYS, charts, program, read
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


def test_the_settings_are_accepted(api):
    answer = api.dry_run(read(OVERLAYS / "settings.yaml"), OPEN)
    assert answer.returncode == 0, answer.stderr


def pods_of(rendered):
    """Every attached pod template as a Pod: what the controllers of these kinds create, for the checks of Pods."""
    return [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe"}, "spec": spec}
        for document in rendered
        for _, spec in check.pod_specs(document)
        if check.is_attached(spec)
    ]


def test_every_document_is_accepted(api, target_with_schema, tmp_path):
    rendered = [
        {**document, "metadata": {**document["metadata"], "namespace": OPEN}}
        for document in target_with_schema.attached_documents(tmp_path)
    ]
    answer = api.dry_run(rendered, OPEN)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.count("created (server dry run)") == len(rendered)


def test_a_field_that_the_definition_does_not_know_is_noticed(api, target_with_schema, tmp_path):
    """So that the test above means something for custom resources, which may keep unknown fields."""
    rendered = target_with_schema.attached_documents(tmp_path)
    specs = [spec for one in rendered for _, spec in check.pod_specs(one) if check.is_attached(spec)]
    specs[0]["initContainers"][-1]["unheardOf"] = ["typo"]
    for document in rendered:
        document["metadata"]["namespace"] = OPEN
    answer = api.dry_run(rendered, OPEN)
    assert answer.returncode != 0
    assert "unheardOf" in answer.stderr


def test_the_pods_are_accepted(api, target, tmp_path):
    pods = pods_of(target.attached_documents(tmp_path))
    assert len(pods) == target.pods
    for pod in pods:
        answer = api.dry_run([pod], OPEN)
        assert answer.returncode == 0, answer.stderr


# Our own manifests set what `restricted` wants; a chart's pods are as their project made them.
PASSES_RESTRICTED = {"deployment", "kserve InferenceService", "dynamo", "kserve LLMInferenceService"}


def test_restricted_refuses_nothing_for_our_sake(api, target, tmp_path):
    """Where the project's own pods pass PodSecurity `restricted` ours do too; where not, we add no violation."""
    for pod in pods_of(target.attached_documents(tmp_path)):
        answer = api.dry_run([pod], RESTRICTED)
        if target.name in PASSES_RESTRICTED:
            assert answer.returncode == 0, answer.stderr
            continue
        assert "violates PodSecurity" in answer.stderr, answer.stderr
        theirs = api.dry_run([without_our_containers(pod)], RESTRICTED)
        assert controls(theirs.stderr)
        assert controls(answer.stderr) == controls(theirs.stderr)


def without_our_containers(pod):
    theirs = [one for one in pod["spec"]["initContainers"] if not one["name"].startswith("autotune-")]
    return {**pod, "spec": {**pod["spec"], "initContainers": theirs}}


def controls(refusal):
    """The names of the violated controls: `runAsNonRoot != true (...), seccompProfile (...)`."""
    text = refusal.split('restricted:latest": ', 1)[1]
    return set(re.findall(r"(?:^|, )([a-zA-Z]+[^(,]*?) \(", text))
