"""The program's own reading of the command line that each chart builds, with the facts of an H100."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from examples.overlays import check
from tests.overlays.rendering import OVERLAYS, ROOT, charts, output_of, read
from tests.overlays.targets import TARGETS

from autotune_init.replica_group import replica_group

FACTS = ROOT / "examples" / "facts-h100.json"
MODEL = ROOT / "examples" / "model"
PROGRAM = Path(sys.executable).parent / "autotune-init"
# what LWS and RBG put into every container of a group's first pod
GROUP = {"LWS_LEADER_ADDRESS": "sglang-0.sglang", "LWS_GROUP_SIZE": "2", "LWS_WORKER_INDEX": "0"}


def init_container(name, tmp_path):
    (target,) = (one for one in TARGETS if one.name == name)
    for document in target.attached_documents(tmp_path):
        for _, spec in check.pod_specs(document):
            if check.is_attached(spec):
                return spec["initContainers"][-1]
    raise AssertionError(f"{name} has no autotune-init")


def as_the_kubelet_starts_it(container, extra):
    """(words behind --, environment): `$(NAME)` is expanded where the container has that variable."""
    own = {one["name"]: one["value"] for one in container["env"] if "value" in one}
    known = {**own, **extra}
    words = [*container["command"], *container.get("args", [])]
    expanded = [
        re.sub(r"\$\((\w+)\)", lambda found: known.get(found[1], found[0]), str(word)) for word in words
    ]
    return expanded[expanded.index("--") + 1 :], {**known, "PATH": os.environ["PATH"], "HOME": "/nonexistent"}


def key(container, *options, extra=None, refused=False):
    words, environ = as_the_kubelet_starts_it(container, extra or {})
    command = [str(PROGRAM), "key", "--json", "--facts", str(FACTS), "--model-config", str(MODEL)]
    done = subprocess.run(
        [*command, "--resolver", "never", *options, "--", *words],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == (17 if refused else 0), done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("deployment", "/models/qwen3"),
        ("kserve InferenceService", "/models/qwen3"),
        ("rbg", "Qwen/Qwen3-0.6B"),
        ("rbg, prefill and decode", "Qwen/Qwen3-0.6B"),
    ],
)
def test_sglangs_line_is_read(name, model, tmp_path):
    answer = key(init_container(name, tmp_path))
    assert answer["source"] == "recipe"
    assert answer["key_text"].split("|")[0] == model
    assert answer["directory"].startswith("/autotune-cache/sglang/flashinfer/autotune/")


@pytest.mark.parametrize(
    "name",
    [
        "production-stack",
        "production-stack, volume",
        "production-stack, kustomized",
        "llm-d",
        "llm-d, kustomized",
        "kserve LLMInferenceService",
    ],
)
def test_vllms_line_is_left_to_vllm(name, tmp_path):
    """vLLM's key is a hash over its whole configuration: the engine's image has to answer, and the line is read."""
    answer = key(init_container(name, tmp_path), "--engine-version", "0.33.0", refused=True)
    assert answer["refused"] == "undecidable"
    assert "only vLLM itself can say (--resolver auto)" in answer["detail"]


def test_a_dynamo_worker_is_refused_by_name(tmp_path):
    answer = key(init_container("dynamo", tmp_path), refused=True)
    assert answer["refused"] == "key-argv"
    assert "dynamo.sglang" in answer["detail"]


def test_vllms_ray_script_of_lws_is_refused_by_name(tmp_path):
    answer = key(
        init_container("lws, vllm", tmp_path), "--engine-version", "0.33.0", extra=GROUP, refused=True
    )
    assert answer["refused"] == "key-argv"
    assert "script" in answer["detail"]


def test_a_group_of_several_pods_finds_itself_by_the_variables_of_lws(tmp_path):
    words, environ = as_the_kubelet_starts_it(init_container("lws", tmp_path), GROUP)
    assert words[words.index("--nnodes") + 1] == "2"
    group = replica_group(environ)
    assert (group.name, group.size, group.source) == (environ["LWS_LEADER_ADDRESS"], 2, "LeaderWorkerSet")


def test_the_line_of_the_preset_of_kserve_is_refused_by_name(tmp_path):
    """Why llm-inference-service.yaml writes vLLM's command line out."""
    preset = read(charts("kserve") / "config/llmisvcconfig/config-llm-template.yaml")[0]
    container = preset["spec"]["template"]["containers"][0]
    words = {"env": [], "command": ["start", "run", "--"], "args": container["command"]}
    answer = key(words, "--engine-version", "0.33.0", refused=True)
    assert (answer["refused"], answer["detail"].split(":")[0]) == ("key-argv", "shell-compound")


def test_the_settings_are_the_programs_own(tmp_path):
    """Every name in settings.yaml is one that the program takes (an unknown AUTOTUNE_ name is refused)."""
    settings = read(OVERLAYS / "settings.yaml")[0]["data"]
    words, environ = as_the_kubelet_starts_it(init_container("deployment", tmp_path), {})
    environ = {**environ, **settings, "AUTOTUNE_STORE": f"file://{tmp_path}", "AUTOTUNE_TUNER": "none"}
    options = ["--facts", str(FACTS), "--model-config", str(MODEL), "--resolver", "never"]
    report = json.loads(output_of([str(PROGRAM), "run", *options, "--", *words], env=environ))
    assert report["reason"] == "engine-does-not-tune"  # a small bf16 Qwen3 on an H100
