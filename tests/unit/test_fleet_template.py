"""Which container is the engine's, what it is started with, and which settings of ours the pod has."""

import pytest
from tests.kube import manifests as m

from autotune_init.fleet_pods import template_of
from autotune_init.fleet_template import Unclear, engine_of, expand, run_arguments, variables_of


def template(spec, annotations=None):
    return template_of({"metadata": {"annotations": annotations or {}}, "spec": spec})


def test_an_injected_pod_is_read_through_its_init_container():
    container = m.engine(env=[{"name": "TP", "value": "4"}])
    init = m.injected(
        container, flags=["--engine-version", "0.5.22"], env=[{"name": "AUTOTUNE_WAIT", "value": "7"}]
    )
    engine = engine_of(template(m.spec(container, init)))

    assert engine.words == tuple(m.ARGV)
    assert (engine.settings.store, engine.settings.engine_version) == (m.STORE, "0.5.22")
    assert engine.settings.wait_s == 7.0
    assert engine.settings.engine_argv == tuple(m.ARGV)


def test_before_injection_the_annotations_are_the_settings():
    annotations = {
        f"autotune-cache.dev/{name}": value
        for name, value in {
            "engine": "vllm", "engine-version": "0.33.0", "cache-dir": "/c", "gpu-name": "NVIDIA H200", "tuner": "wait",
            "status": "left alone", "container": "engine",
        }.items()
    }  # fmt: skip
    engine = engine_of(template({"containers": [m.engine()]}, annotations))

    settings = engine.settings
    assert (settings.engine, settings.engine_version, settings.cache_dir) == ("vllm", "0.33.0", "/c")
    assert (settings.gpu_name, settings.tuner) == ("NVIDIA H200", "wait")
    assert engine.init is None


SIDECAR = {"name": "proxy", "image": "proxy"}


@pytest.mark.parametrize(
    ("containers", "annotations", "chosen"),
    [
        pytest.param([{"name": "only"}], {}, "only", id="the only one"),
        pytest.param([SIDECAR, m.engine()], {}, "engine", id="the one with GPUs"),
        pytest.param(
            [SIDECAR, m.engine()], {"autotune-cache.dev/container": "proxy"}, "proxy", id="the named one"
        ),
        pytest.param(
            [SIDECAR, {"name": "dra", "resources": {"claims": [{"name": "gpu"}]}}],
            {},
            "dra",
            id="with a claim",
        ),
    ],
)
def test_the_engines_container(containers, annotations, chosen):
    assert engine_of(template({"containers": containers}, annotations)).container["name"] == chosen


@pytest.mark.parametrize(
    ("containers", "annotations"),
    [
        pytest.param([SIDECAR, {"name": "b"}], {}, id="nobody asks for a GPU"),
        pytest.param([m.engine(), {**m.engine(), "name": "second"}], {}, id="two ask"),
        pytest.param([m.engine()], {"autotune-cache.dev/container": "other"}, id="no such name"),
        pytest.param([], {}, id="no container"),
    ],
)
def test_an_engine_that_is_not_said_is_not_guessed(containers, annotations):
    with pytest.raises(Unclear, match="name it by the annotation"):
        engine_of(template({"containers": containers}, annotations))


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("--tp=$(TP)", "--tp=4"),
        ("$(NOBODY)", "$(NOBODY)"),
        ("$$(TP)", "$(TP)"),
        ("$TP", "$TP"),
        ("a$$b", "a$b"),
        ("$(TP)$(TP)", "44"),
        ("$(T P)", "$(T P)"),
    ],
)
def test_references_are_replaced_as_the_kubelet_does(text, expanded):
    assert expand(text, {"TP": "4"}) == expanded


def test_variables_that_only_the_pod_knows_are_named():
    found = variables_of(
        {
            "env": [
                {"name": "A", "value": "1"},
                {"name": "B", "value": "$(A)$(HF_TOKEN)"},
                {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {}}},
                {"name": "SGLANG_X", "valueFrom": {"configMapKeyRef": {}}},
                {"name": "EMPTY"},
            ],
            "envFrom": [{"secretRef": {"name": "tokens"}}, {"configMapRef": {"name": "flags"}}],
        }
    )

    assert found.known == {"A": "1", "B": "1$(HF_TOKEN)", "EMPTY": ""}
    assert found.hidden == ("HF_TOKEN", "SGLANG_X")
    # a token decides no key; what a whole ConfigMap brings is not known
    assert found.deciding == "SGLANG_X, Secret tokens, ConfigMap flags"


def test_a_variable_that_is_set_twice_counts_as_the_kubelet_sets_it():
    pair = [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]

    assert variables_of({"env": pair}).known == {"A": "2"}
    assert variables_of({"env": [pair[0], {"name": "A", "valueFrom": {}, "value": None}]}).known == {}


@pytest.mark.parametrize(
    "words", [[], ["run"], ["sh", "-c", "run"], ["/opt/autotune/start", "copy", "/x"], ["python3", "run"]]
)
def test_an_init_container_that_is_not_ours_is_refused(words):
    with pytest.raises(Unclear, match="does not begin with"):
        run_arguments(words)


def test_our_program_inside_the_engines_image_is_ours_too():
    assert run_arguments(["autotune-init", "run", "--strict", "--", "vllm", "serve", "m"]) == (
        ("--strict",),
        ("vllm", "serve", "m"),
    )


@pytest.mark.parametrize(
    ("flags", "env"),
    [
        (["--no-such-flag"], []),
        (["--help"], []),
        ([], [{"name": "AUTOTUNE_STOER", "value": "s3://x"}]),
        (["--wait", "soon"], []),
    ],
)
def test_settings_that_the_pod_itself_refuses_are_refused_here(flags, env):
    container = m.engine()

    with pytest.raises(Unclear) as refused:
        engine_of(template(m.spec(container, m.injected(container, flags=flags, env=env))))

    assert refused.value.reason == "bad-settings"
