"""Charts of one's own: the named templates give what the label gives."""

import json
import shutil

import pytest
import yaml
from tests.chart.attachment import check_injected, without_server_fields
from tests.chart.chart_tools import CHART, labelled, merged, tool

EXAMPLE = CHART / "examples" / "own-chart"


@pytest.fixture(scope="module")
def own_chart(tmp_path_factory):
    """A copy, because building its dependency writes beside it."""
    folder = tmp_path_factory.mktemp("own")
    shutil.copytree(EXAMPLE, folder / "own-chart")
    meta = yaml.safe_load((EXAMPLE / "Chart.yaml").read_text())
    assert meta["dependencies"][0]["repository"] == "file://../.."
    meta["dependencies"][0]["repository"] = f"file://{CHART}"
    (folder / "own-chart" / "Chart.yaml").write_text(yaml.safe_dump(meta))
    done = tool(
        "helm",
        "dependency",
        "update",
        folder / "own-chart",
        env={"HOME": str(folder), "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stderr
    return folder / "own-chart"


def rendered(chart, values=None):
    done = tool(
        "helm",
        "template",
        "qwen3",
        chart,
        "--values",
        "-",
        input=json.dumps({"autotune-cache": values or {}}),
    )
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.safe_load_all(done.stdout) if one]


def as_pod(deployment):
    template = deployment["spec"]["template"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", **template["metadata"]},
        "spec": template["spec"],
    }


def without_ours(pod):
    """What the chart's author would have written without us."""
    made = json.loads(json.dumps(pod))
    del made["spec"]["initContainers"]
    made["spec"]["volumes"] = [
        one for one in made["spec"]["volumes"] if not one["name"].startswith("autotune-")
    ]
    [engine] = made["spec"]["containers"]
    engine["env"] = [one for one in engine["env"] if one["name"] != "SGLANG_CACHE_DIR"]
    engine["volumeMounts"] = [one for one in engine["volumeMounts"] if one["name"] != "autotune-cache"]
    return made


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"tuning": {"mode": "job"}, "gpu": {"name": "NVIDIA H200"}},
        {
            "store": {"caConfigMap": "ca", "region": "r", "endpoint": "https://minio:9000"},
            "cache": {"existingClaim": "c"},
        },
        {"program": {"source": "imageVolume"}},
    ],
    ids=["default", "pulling", "store", "image-volume"],
)
def test_the_templates_give_what_the_label_gives(api, own_chart, values):
    [deployment] = rendered(own_chart, values)
    by_template = api.pod(as_pod(deployment), api.namespace())
    assert by_template.is_admitted, by_template.made
    shared = yaml.safe_load((EXAMPLE / "values.yaml").read_text())["autotune-cache"]
    namespace = api.attached(merged(shared, values, {"policy": {"enabled": True}}))
    by_label = api.pod(labelled(without_ours(as_pod(deployment))), namespace)
    assert by_label.told == "injected"

    def parts(answer):
        spec = answer.made["spec"]
        return {
            "inits": [{**one, "env": sorted((each for each in one.get("env", []) if each["name"] != "AUTOTUNE_GROUP_SCOPE"), key=lambda each: each["name"]),
                       "volumeMounts": sorted(one["volumeMounts"], key=lambda each: each["mountPath"])} for one in spec["initContainers"]],
            "engine": spec["containers"],
            "volumes": sorted(spec["volumes"], key=lambda each: each["name"]),
        }  # fmt: skip

    assert parts(by_template) == parts(by_label)
    if not values:
        before = without_server_fields(api.pod(without_ours(as_pod(deployment)), namespace).made)
        check_injected(
            {**before, "metadata": {"annotations": {"autotune-cache.dev/engine": "sglang"}}},
            by_template.made,
            keeps_devices=True,
        )


def test_nothing_but_its_own_objects_is_rendered(own_chart):
    assert [one["kind"] for one in rendered(own_chart)] == ["Deployment"]


def test_wrong_values_are_refused_with_a_sentence(own_chart):
    for values, sentence in (
        ({"store": {"url": ""}}, "store.url is not set"),
        ({"storage": {}}, "additional properties 'storage' not allowed"),
    ):
        done = tool(
            "helm",
            "template",
            "qwen3",
            own_chart,
            "--values",
            "-",
            input=json.dumps({"autotune-cache": values}),
        )
        assert done.returncode != 0
        assert sentence in done.stderr
