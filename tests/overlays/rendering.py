"""How an owner gets from a chart or an example manifest to what is applied, with and without our overlay."""

import copy
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from tools.charts.fetch import FetchError, chosen, fetch

ROOT = Path(__file__).resolve().parent.parent.parent
OVERLAYS = ROOT / "examples" / "overlays"
BIN = ROOT / ".tools" / "bin"
OUR_CONTAINERS = ("autotune-program", "autotune-init")
OUR_VOLUMES = ("autotune-program", "autotune-cache")
OUR_VARIABLES = ("SGLANG_CACHE_DIR", "VLLM_FLASHINFER_AUTOTUNE_CACHE_DIR")
IMAGE = "registry.example.com/autotune-cache:0.1.0"


def charts(name):
    """The folder of a pinned source; fetched once.

    With OVERLAYS_WITHOUT_GIT=1, for machines that reach a module proxy and no git host, what only git has is a skip by
    name.
    """
    try:
        return fetch(name)
    except FetchError as error:
        if os.environ.get("OVERLAYS_WITHOUT_GIT") == "1" and not chosen([name])[0].is_go_module:
            pytest.skip(f"NOT RUN, no git host: {error}")
        pytest.fail(f"python -m tools.charts.fetch: {error}", pytrace=False)


def program(name):
    path = BIN / name
    if not path.exists():
        pytest.fail(f"{path} is not there: run `make servers`", pytrace=False)
    return str(path)


def output_of(command, **options):
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def documents(text):
    return [document for document in yaml.safe_load_all(text) if document]


def read(path):
    return documents(Path(path).read_text())


def helm_template(chart, values, tmp_path):
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(values))
    environ = {**os.environ, "HELM_CACHE_HOME": str(tmp_path), "HELM_CONFIG_HOME": str(tmp_path)}
    command = [program("helm"), "template", "demo", str(chart), "--values", str(file)]
    return documents(output_of(command, env=environ))


def production_stack(tmp_path):
    """The chart without its two monitoring charts, which are off by default and come from a registry."""
    folder = tmp_path / "production-stack"
    if not folder.exists():
        shutil.copytree(charts("production-stack") / "helm", folder)
        chart = yaml.safe_load((folder / "Chart.yaml").read_text())
        del chart["dependencies"]
        (folder / "Chart.yaml").write_text(yaml.safe_dump(chart))
        (folder / "Chart.lock").unlink()
    return folder


def with_ours(values, ours):
    """`ours` added the way its first lines tell an owner to: into mappings, into lists by name, replacing nothing."""
    if isinstance(values, dict):
        merged = dict(values)
        for key, value in ours.items():
            merged[key] = with_ours(values[key], value) if key in values else copy.deepcopy(value)
        return merged
    if isinstance(values, list):
        merged = list(values)
        names = [item.get("name") for item in values]
        for item in ours:
            if item["name"] in names:
                merged[names.index(item["name"])] = with_ours(merged[names.index(item["name"])], item)
            else:
                merged.append(copy.deepcopy(item))
        return merged
    assert values == ours, f"the overlay would change {values!r} to {ours!r}"
    return values


def without_copies(text, fields):
    """The component without the entries for what the engine's container has not got, as its comment says."""
    for field in fields:
        entry = rf"- source: \{{kind: [^}}]*containers\.0\.{field}\}}\n  targets: .*\n"
        text, count = re.subn(entry, "", text)
        assert count, f"no entry for {field}"
    return text


def kustomized(base, overlay, places, folder, lacks=()):
    """`kubectl kustomize` over documents, with a copy of our component for each place, as its comments say: names
    replaced (a mapping from old to new a place), entries deleted for what the container `lacks`."""
    text = without_copies((OVERLAYS / overlay / "kustomization.yaml").read_text(), lacks)
    copies = [f"autotune-cache-{number}" for number, _ in enumerate(places)]
    for name, edits in zip(copies, places, strict=True):
        edited = text
        for old, new in edits.items():
            assert old in edited, f"{overlay} has no {old}"
            edited = edited.replace(old, new)
        (folder / name).mkdir(parents=True)
        (folder / name / "kustomization.yaml").write_text(edited)
    (folder / "engine.yaml").write_text(yaml.safe_dump_all(base))
    kustomization = {
        "resources": ["engine.yaml"],
        "components": copies,
        "images": [{"name": "autotune-cache", "newName": "registry.example.com/autotune-cache"}],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return documents(output_of([program("kubectl"), "kustomize", str(folder)]))


OURS = {
    "initContainers": OUR_CONTAINERS,
    "volumes": OUR_VOLUMES,
    "volumeMounts": OUR_VOLUMES,
    "env": OUR_VARIABLES,
}


def without_ours(node):
    """A copy with everything gone that an overlay may add; nulls and empty lists go too."""
    if isinstance(node, list):
        return [without_ours(item) for item in node]
    if not isinstance(node, dict):
        return node
    kept = {
        key: [item for item in value if item["name"] not in OURS[key]] if key in OURS and value else value
        for key, value in node.items()
    }
    return {key: without_ours(value) for key, value in kept.items() if value not in ([], None)}


def by_identity(rendered):
    """Documents in an order that does not depend on the renderer, without what no reader can see (null, [])."""
    return sorted(
        (without_ours(document) for document in rendered),
        key=lambda one: (one["kind"], one["metadata"]["name"]),
    )
