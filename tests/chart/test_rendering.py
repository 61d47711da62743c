"""What the chart renders: linted, valid for a real API server, restricted, and no surprise for who upgrades."""

import json
import subprocess
import sys

import pytest
import yaml
from tests.chart.chart_tools import (
    CHART,
    STORE,
    engine,
    labelled,
    merged,
    pod,
    read_values,
    render,
    tool,
    until,
)
from tests.chart.kubernetes_schemas import write_schemas

from cache_store.version import __version__

VALUES = sorted((CHART / "ci").glob("*-values.yaml"))
NAMES = [path.name.removesuffix("-values.yaml") for path in VALUES]


@pytest.mark.parametrize("path", VALUES, ids=NAMES)
def test_helm_lints_it_strictly(path):
    done = tool("helm", "lint", "--strict", CHART, "--values", path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_chart_testing_lints_it():
    # its YAML and maintainer checks are programs and addresses of others
    done = tool(
        "ct", "lint", "--charts", CHART, "--validate-chart-schema=false", "--validate-yaml=false", "--validate-maintainers=false",
        "--check-version-increment=false", env={"PATH": f"{(CHART.parent.parent / '.tools' / 'bin')}:/usr/bin:/bin", "HOME": "/tmp"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("Linting chart with values file") == len(VALUES)


def test_its_own_suites_pass_which_also_run_it_on_helm_3s_engine():
    go_mod = (CHART.parent.parent / "tools" / "servers" / "untt" / "go.mod").read_text()
    assert "helm.sh/helm/v3 " in go_mod
    done = tool("untt", "--strict", CHART)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Test Suites: 6 passed, 6 total" in done.stdout


def test_schema_and_readme_are_what_the_generator_makes():
    done = subprocess.run(
        [sys.executable, str(CHART / "generate.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_chart_names_the_program_that_it_was_made_for():
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"] == __version__


def test_every_mapping_of_the_schema_is_closed_or_kubernetes_own():
    schema = json.loads((CHART / "values.schema.json").read_text())
    open_ones = []

    def look(place, path):
        for name, part in place.get("properties", {}).items():
            look(part, f"{path}.{name}")
        if isinstance(place.get("items"), dict):
            look(place["items"], f"{path}[]")
        is_mapping = place.get("type") == "object" and "properties" in place
        if (is_mapping and place.get("additionalProperties") is not False) or (
            place.get("type") == "object"
            and "properties" not in place
            and not isinstance(place.get("additionalProperties"), dict)
        ):
            open_ones.append(path)

    look(schema, "")
    for name, part in schema["$defs"].items():
        look(part, name)
    assert sorted(open_ones) == [
        ".global", ".networkPolicy.egress[]", ".podSecurityContext", ".securityContext", "prewarm.envFrom[]", "prewarm.env[].valueFrom",
        "prewarm.podSecurityContext", "prewarm.resources.limits", "prewarm.resources.requests", "prewarm.securityContext",
        "prewarm.tolerations[]", "prewarm.volumeMounts[]", "prewarm.volumes[]",
    ]  # fmt: skip


def test_every_value_is_used_by_a_template():
    texts = "\n".join(path.read_text() for path in (CHART / "templates").rglob("*") if path.is_file())
    unused = []

    def look(values, path):
        for name, value in values.items():
            at = [*path, name]
            if isinstance(value, dict) and value and name not in ("podSecurityContext", "securityContext"):
                look(value, at)
            elif f".{'.'.join(at)}" not in texts and f"${at[-2] if len(at) > 1 else ''}.{name}" not in texts:
                unused.append(".".join(at))

    look(yaml.safe_load((CHART / "values.yaml").read_text()), [])
    # written as $hostPath.path and as parts of the image
    assert [name for name in unused if not name.startswith(("image.", "cache.hostPath."))] == []


@pytest.fixture(scope="module")
def schemas(api, tmp_path_factory):
    return write_schemas(api, tmp_path_factory.mktemp("schemas"))


@pytest.mark.parametrize("path", VALUES, ids=NAMES)
def test_it_is_valid_by_the_api_servers_own_schemas(schemas, path):
    objects = "---\n".join(yaml.safe_dump(one) for one in render(read_values(path)))
    done = tool("kubeconform", "-strict", "-summary", "-schema-location", schemas, "-", input=objects)
    assert done.returncode == 0, done.stdout
    assert "Skipped: 0" in done.stdout


def test_those_schemas_refuse_what_kubernetes_does_not_know(schemas):
    wrong = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "a", "label": {}}}
    assert (
        "'label' not allowed"
        in tool("kubeconform", "-strict", "-schema-location", schemas, "-", input=json.dumps(wrong)).stdout
    )


@pytest.mark.parametrize("path", VALUES, ids=NAMES)
def test_the_api_server_takes_everything(api, path):
    made = render(read_values(path), namespace=api.namespace())
    for namespace in {one["metadata"].get("namespace") for one in made} - {None}:
        api.request(
            "POST",
            "/api/v1/namespaces",
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        )
    told = api.kubectl(
        "apply", "--dry-run=server", "-f", "-", body={"apiVersion": "v1", "kind": "List", "items": made}
    )
    assert len(told.splitlines()) == len(made)


@pytest.mark.parametrize("path", VALUES, ids=NAMES)
def test_every_pod_of_ours_is_taken_by_a_restricted_namespace(api, path):
    namespace = api.namespace(**{"pod-security.kubernetes.io/enforce": "restricted"})
    pods = {one["metadata"]["name"]: one["spec"] for one in render(read_values(path)) if one["kind"] == "Pod"}
    pods |= {
        one["metadata"]["name"]: one["spec"]["template"]["spec"]
        for one in render(read_values(path))
        if one["kind"] == "Job"
    }
    assert pods
    for name, spec in pods.items():
        answer = api.pod(
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}, namespace
        )
        assert answer.is_admitted, answer.made
        assert spec["automountServiceAccountToken"] is False


def test_no_right_in_the_cluster_is_asked_for_by_default():
    kinds = {one["kind"] for one in render(STORE)}
    assert kinds == {
        "MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding",
        "ServiceAccount", "Pod",
    }  # fmt: skip


def test_long_names_still_fit():
    made = render(read_values(CHART / "ci" / "everything-values.yaml"), release="r" * 53, namespace="n" * 63)
    for one in made:
        limit = 253 if "." in one["metadata"]["name"] else 63
        assert len(one["metadata"]["name"]) <= limit
        assert all(len(value) <= 63 for value in one["metadata"]["labels"].values())


def test_a_release_is_upgraded_rolled_back_and_removed_without_a_trace(api, tmp_path):
    # no version was published yet: the one before is this chart under an older number, with other values
    old = tool("helm", "package", CHART, "--version", "0.0.9", "--destination", tmp_path)
    assert old.returncode == 0, old.stderr
    namespace = api.namespace()
    own = {"policy": {"namespaceSelector": {"matchLabels": {"autotune-test": namespace}}}}
    first = merged(STORE, own, {"prewarm": [{"name": "a", "image": "x", "command": ["sglang", "serve"]}]})
    everything = read_values(CHART / "ci" / "everything-values.yaml")
    everything["prewarm"] = [{**one, "hook": False} for one in everything["prewarm"]]
    everything["event"]["serviceAccounts"] = [{"namespace": namespace, "name": "engine"}]

    def helm(*arguments, values=None):
        given = {} if values is None else {"input": json.dumps(values)}
        done = tool("helm", *arguments, "--namespace", namespace, env=api.server.environ, **given)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def there():
        kinds = "mutatingadmissionpolicies,validatingadmissionpolicies,serviceaccounts,jobs,roles,rolebindings,networkpolicies"
        listed = api.kubectl(
            "get",
            kinds,
            "--namespace",
            namespace,
            "--selector=app.kubernetes.io/instance=atc",
            "--output=name",
        )
        own_policies = [
            line for line in listed.splitlines() if "policy.admission" not in line or namespace in line
        ]
        return sorted(line.partition("/")[0].partition(".")[0] for line in own_policies)

    helm("install", "atc", tmp_path / "autotune-cache-0.0.9.tgz", "--values", "-", values=first)
    plain = there()
    assert plain == [
        "job",
        "mutatingadmissionpolicy",
        "serviceaccount",
        "validatingadmissionpolicy",
        "validatingadmissionpolicy",
    ]
    helm("upgrade", "atc", CHART, "--values", "-", values=merged(everything, own))
    assert there() == sorted([*plain, "job", "networkpolicy", "role", "rolebinding"])
    # another command line is another Job, since a Job cannot be changed
    everything["prewarm"][0]["args"] = ["--model-path", "/models/other"]
    helm("upgrade", "atc", CHART, "--values", "-", values=merged(everything, own))
    helm("rollback", "atc", "1")
    assert there() == plain
    helm("uninstall", "atc")
    assert there() == []


def test_pods_can_be_created_while_nothing_is_installed_any_more(api):
    # the policy is an object of the cluster and no server: with it gone there is nothing that could stop a pod
    namespace = api.attached()
    policies = [one for one in render(STORE, release=namespace) if "AdmissionPolicy" in one["kind"]]
    api.kubectl("delete", "-f", "-", body={"apiVersion": "v1", "kind": "List", "items": policies})
    answer = until(
        lambda: api.pod(labelled(pod("p", engine())), namespace), lambda answer: answer.told is None
    )
    assert answer.is_admitted
