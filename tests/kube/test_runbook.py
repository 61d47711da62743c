"""The runbook has a row for every reason, and every command in it exists."""

import re
import shlex
import subprocess

import pytest
from tests.docs.our_parsers import parses
from tests.kube import manifests as m
from tests.pods import ROOT

from autotune_init.outcomes import REASONS

PAGE = (ROOT / "docs" / "runbook.md").read_text()
FENCED = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
PROSE = re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL)
BY_REASON = PAGE[PAGE.index("## By reason") : PAGE.index("## By symptom")]
TOLD = sorted(
    {line for block in FENCED for line in block.splitlines()} | set(re.findall(r"`([^`]+)`", PROSE))
)
OURS = [line for line in TOLD if re.match(r"(autotune-init|cache-store) [a-z-]", line)]
KUBECTL = [line for line in TOLD if re.match(r"kubectl [a-z]", line)]


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_has_a_row(reason):
    name = f"{reason}*" if reason.endswith("-") else reason
    rows = [
        line
        for line in BY_REASON.splitlines()
        if line.startswith("| ") and f"`{name}`" in line.split(" | ")[0]
    ]

    assert len(rows) == 1, name


def test_no_row_is_about_a_reason_that_is_none():
    names = [
        name
        for line in BY_REASON.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`([^`]+)`", line.split(" | ")[0])
    ]

    assert sorted(names) == sorted(f"{one}*" if one.endswith("-") else one for one in REASONS)


@pytest.mark.parametrize("line", OURS)
def test_every_command_of_ours_is_one(line):
    parses(line)


@pytest.mark.parametrize(
    "line",
    ["cache-store sweep", "cache-store ls --deep", "autotune-init fleet --all", "autotune-init key --jsn"],
)
def test_a_command_that_is_none_would_be_noticed(line):
    with pytest.raises(Exception, match=r"(?i)no such|unrecognized|gc|--deep"):
        parses(line)


def test_both_programs_are_named():
    assert len([line for line in OURS if line.startswith("cache-store")]) >= 6
    assert len([line for line in OURS if line.startswith("autotune-init fleet")]) >= 3


@pytest.mark.parametrize("line", [line for line in KUBECTL if " logs " not in line])
def test_kubectl_takes_what_is_written(api, namespace, line):
    made = m.pod("POD".lower(), namespace, message=m.report())
    del made["metadata"]["uid"]
    api.create_pod(made)
    words = [
        word.replace("NS", namespace).replace("POD", "pod") if word in ("NS", "POD") else word
        for word in shlex.split(line)
    ]

    api.kubectl(*words[1:])


@pytest.mark.parametrize("line", [line for line in KUBECTL if " logs " in line])
def test_kubectl_logs_finds_the_container(api, namespace, line):
    container = {"name": "autotune-init", "image": "engine"}
    template = {"spec": {"containers": [container], "restartPolicy": "Never"}}
    metadata = {"name": "workload", "namespace": namespace}
    job = api.create(
        {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {"template": template}}
    )
    labels = job["spec"]["selector"]["matchLabels"]
    made = m.pod("pod", namespace, message=m.report())
    made["metadata"] = {"name": "pod", "namespace": namespace, "labels": labels}
    api.create_pod(made)
    words = line.replace("NS", namespace).replace("POD", "pod").replace("JOB", "workload")

    # a pod on no node has said nothing yet; a container that it has not got is refused
    assert api.kubectl(*shlex.split(words)[1:]) == ""
    with pytest.raises(subprocess.CalledProcessError):
        api.kubectl(*shlex.split(words.replace("autotune-init", "x"))[1:], "--container", "x")


def test_the_first_command_shows_what_each_pod_said(api, namespace):
    made = m.pod(
        "qwen3-0", namespace, message=m.report(), annotations={"autotune-cache.dev/status": "injected"}
    )
    del made["metadata"]["uid"]
    api.create_pod(made)
    (line,) = [one for one in KUBECTL if "custom-columns" in one]

    told = api.kubectl(*[namespace if word == "NS" else word for word in shlex.split(line)[1:]]).splitlines()

    assert told[0].split() == ["POD", "ATTACHED", "ENDED"]
    assert told[1].startswith("qwen3-0   injected   {")
    assert '"reason": "miss"' in told[1]
