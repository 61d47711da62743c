"""Everything that is rendered, before a real API server with the projects' own definitions, as a dry run."""

import re

from examples.overlays import check
from tests.overlays.definitions import OPEN, RESTRICTED
from tests.overlays.rendering import OVERLAYS, read


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
