"""docs/attach-overlays.md, line by line, as a reader would copy it: the projects' own charts, a real API server."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tests.docs.reading_pages import fences, statements
from tests.overlays import targets
from tests.overlays.rendering import BIN, ROOT, charts, production_stack, without_copies

PAGE = (ROOT / "docs" / "attach-overlays.md").read_text()


def typed(section):
    """The lines of one section, in order. Building an image is not for this machine (tests/image_e2e does it)."""
    text = PAGE.split(f"\n## {section}\n")[1].split("\n## ")[0]
    lines = [line for one in fences(text) if one.language == "sh" for _, line in statements(one.body)]
    return [line for line in lines if not line.startswith("docker ")]


SECTIONS = (
    "Before all of them", "vLLM production-stack", "llm-d-modelservice", "Any Deployment, with kustomize",
    "A Deployment of your own", "RoleBasedGroup", "KServe", "Did it work?",
)  # fmt: skip
TYPED = [line for section in SECTIONS for line in typed(section)]


class Reader:
    """Somebody's folder, with our examples in it and a kubeconfig that leads to the API server."""

    def __init__(self, folder, api):
        self.folder = folder
        (folder / "examples").symlink_to(ROOT / "examples")
        programs = f"{Path(sys.executable).parent}:{BIN}:{os.environ['PATH']}"
        own = {"HELM_CACHE_HOME": str(folder / "helm"), "HELM_CONFIG_HOME": str(folder / "helm")}
        self.environ = {**api.environ, **own, "PATH": programs, "HELM_NAMESPACE": "models"}
        shutil.copy(api.environ["KUBECONFIG"], folder / "kubeconfig")
        self.environ["KUBECONFIG"] = str(folder / "kubeconfig")
        self.types("kubectl config set-context --current --namespace models")

    def types(self, line):
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", line],
            cwd=self.folder, env=self.environ, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def write(self, name, documents):
        (self.folder / name).write_text(yaml.safe_dump_all(documents))

    def installs(self, chart, name, values):
        """What the reader has already: the release, and the chart under the name that the page gives it."""
        at = self.folder / name
        at.parent.mkdir(exist_ok=True)
        shutil.copytree(chart, at)
        self.write("values.yaml", [values])
        self.types(f"helm install my-release {name} --values values.yaml")


@pytest.fixture
def reader(tmp_path, api):
    folder = tmp_path / "reader"
    folder.mkdir()
    made = Reader(folder, api)
    yield made
    made.types("helm uninstall my-release --ignore-not-found")
    made.types("kubectl --namespace models delete deployments,services,secrets,configmaps --all --wait=false")


def test_the_settings_and_the_secret(reader):
    for line in typed("Before all of them"):
        reader.types(line)

    names = reader.types("kubectl --namespace models get configmap,secret --output name").split()
    assert {"configmap/autotune-settings", "secret/autotune-store"} <= set(names)


def containers_of(reader, kind, name):
    words = f"kubectl --namespace models get {kind} {name} --output jsonpath="
    return reader.types(f"{words}'{{.spec.template.spec.initContainers[*].name}}'").split()


ATTACHED = ["autotune-program", "autotune-init"]


def our_keys(file):
    return yaml.safe_load((ROOT / "examples" / "overlays" / file).read_text())


def test_production_stack(reader, tmp_path):
    values = targets._production_stack_values()
    reader.installs(production_stack(tmp_path), "vllm/vllm-stack", values)
    models = values["servingEngineSpec"]["modelSpec"]
    models[0] = targets.with_ours(models[0], our_keys("production-stack/model-spec.yaml"))
    reader.write("values.yaml", [values])

    told = [reader.types(line) for line in typed("vLLM production-stack")]

    assert told[0] == "", "check.py has nothing to say where all is well"
    assert containers_of(reader, "deployment", "my-release-opt125m-deployment-vllm") == ["autotune-init"]


def test_llm_d(reader, tmp_path):
    chart, values = charts("llm-d-modelservice") / "charts" / "llm-d-modelservice", targets._llm_d_values()
    reader.installs(chart, "llm-d-modelservice/llm-d-modelservice", values)
    values["decode"] = targets.with_ours(values["decode"], our_keys("llm-d-modelservice/decode.yaml"))
    reader.write("values.yaml", [values])

    told = [reader.types(line) for line in typed("llm-d-modelservice")]

    assert told[0] == ""
    made = containers_of(reader, "deployment", "my-release-llm-d-modelservice-decode")
    assert made[-2:] == ATTACHED


def test_any_deployment_with_kustomize_and_what_check_says_of_a_chart_with_ours(reader, tmp_path):
    values = targets._production_stack_values()
    values["servingEngineSpec"]["modelSpec"][0]["name"] = "qwen3"
    shutil.copytree(production_stack(tmp_path), reader.folder / "CHART")
    reader.write("values.yaml", [values])
    copy, *rest = typed("Any Deployment, with kustomize")

    reader.types(copy)
    component = reader.folder / "autotune-cache" / "kustomization.yaml"
    # what kustomize would stop at: the page says to delete it
    component.write_text(without_copies(component.read_text(), ("args",)))
    for line in rest:
        reader.types(line)

    assert containers_of(reader, "deployment", "my-release-qwen3-deployment-vllm") == ATTACHED

    models = values["servingEngineSpec"]["modelSpec"]
    models[0] = targets.with_ours(
        models[0] | {"name": "opt125m"}, our_keys("production-stack/model-spec.yaml")
    )
    reader.write("values.yaml", [values])
    check, pods = typed("Did it work?")
    assert reader.types(check) == ""
    assert reader.types(pods).split() in (["POD", "ENDED"], [])


def test_a_deployment_of_your_own(reader):
    (line,) = typed("A Deployment of your own")

    reader.types(line)

    name = yaml.safe_load(
        (ROOT / "examples/overlays/deployment/deployment.yaml").read_text().split("\n---")[0]
    )
    assert containers_of(reader, "deployment", name["metadata"]["name"])[-2:] == ATTACHED


def test_a_role_based_group(reader):
    (group, *_) = targets._rbg_example("examples/inference/pd-disagg-standalone.yaml")
    reader.write("group.yaml", [group])

    for line in typed("RoleBasedGroup"):
        for place in (1, 2):
            component = reader.folder / f"autotune-cache-{place}" / "kustomization.yaml"
            if line.startswith("cat ") and component.exists():
                component.write_text(without_copies(component.read_text(), targets._LACKS))
        reader.types(line)

    roles = reader.types(
        "kubectl --namespace models get rolebasedgroup sglang-pd-inference --output "
        "jsonpath='{range .spec.roles[*]}{.standalonePattern.template.spec.initContainers[*].name}{\"\\n\"}{end}'"
    ).split("\n")
    assert [role.split() for role in roles] == [[], ATTACHED, ATTACHED, []]


def test_kserve(reader):
    told = [reader.types(line) for line in typed("KServe")]

    assert all(" created" in one or " configured" in one for one in told)
