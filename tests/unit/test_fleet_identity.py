"""What a workload wants: its pods' own word, else the recipe, else why not; and what the bucket says to that."""

import json
from dataclasses import replace

import pytest
from tests import bundles
from tests.kube import manifests as m
from tests.pods import ENGINE, ROOT

from autotune_init.engines import Question
from autotune_init.engines.registry import ask
from autotune_init.facts import load_facts
from autotune_init.fleet_identity import ModelConfig, Refused, Reported, Stated, Wanted, reported_of
from autotune_init.fleet_pods import controller_of, pod_of
from autotune_init.fleet_rows import addresses_of, rows_of
from autotune_init.fleet_workloads import gather
from autotune_init.model_config import read_model_config

FACTS = load_facts(str(ROOT / "examples" / "facts-h100.json"))
CONFIG = ModelConfig(read_model_config(str(ROOT / "examples" / "model")))
STATED = Stated({m.PRODUCT: FACTS}, {"models/qwen3": CONFIG})
H100, H200 = bundles.identity(), bundles.identity(bundles.H200)


def rows(pods, products=None, stated=None, store=None):
    return rows_of(gather(map(pod_of, pods), []), products or {}, stated or Stated(), store)


def recipe(stated=STATED, container=None, annotations=None):
    """The row of a Deployment that has no pod."""
    container = container or m.engine(ENGINE)
    made = m.deployment(container=container, annotations=annotations)
    made["spec"]["template"]["spec"]["nodeSelector"] = {"nvidia.com/gpu.product": m.PRODUCT}
    (row,) = rows_of(gather([], [controller_of(made, "Deployment")]), {}, stated, "s3://x")
    return row


def test_pods_that_want_the_same_are_one_row():
    pods = [
        m.pod(f"p-{n}", owner=m.owned_by("StatefulSet", "p"), message=m.report(saved_s=2.5)) for n in range(3)
    ]

    (row,) = rows(pods)

    assert (row.replicas, row.saved_s) == (3, 7.5)
    assert row.wants == Wanted(H100.address, None, "sglang 0.5.23", "report")


def test_pods_on_two_kinds_of_gpu_are_two_rows():
    owner = m.owned_by("StatefulSet", "p")
    pods = [
        m.pod("p-0", owner=owner, message=m.report(who=H100), node="a"),
        m.pod("p-1", owner=owner, message=m.report(who=H200), node="b"),
    ]

    one, two = rows(pods, {"a": m.PRODUCT, "b": "NVIDIA-H200"})

    assert (one.gpu, one.wants.address) == (m.PRODUCT, H100.address)
    assert (two.gpu, two.wants.address) == ("NVIDIA-H200", H200.address)


def test_a_draft_worker_has_a_bundle_of_its_own():
    draft = {"key": "f" * 16, "outcome": "cold", "reason": "miss"}
    (row,) = rows([m.pod(message=m.report(draft=draft))])

    assert row.wants.draft == replace(H100.address, key="f" * 16)
    assert addresses_of([row]) == {m.STORE: {row.wants.address, row.wants.draft}}


def test_a_draft_worker_that_does_not_tune_wants_nothing():
    draft = {"key": "f" * 16, "outcome": "skipped", "reason": "engine-does-not-tune"}
    (row,) = rows([m.pod(message=m.report(draft=draft))])

    assert row.wants.draft is None


@pytest.mark.parametrize("reason", ["engine-does-not-tune", "known-bad-x", "bound-to-gpu", "replica-group"])
def test_what_would_not_be_used_is_not_looked_up(reason):
    (row,) = rows([m.pod(message=m.report("skipped", reason, detail="because"))])

    assert (row.state, row.reason, row.detail) == ("refused", reason, "because")
    assert addresses_of([row]) == {}


@pytest.mark.parametrize(
    "message",
    [
        "Traceback",
        "[]",
        "null",
        "{}",
        '{"schema": "another/v1"}',
        "[" * 100_000,
        json.dumps({"schema": "autotune-cache/report/v1", "outcome": "great", "reason": "x"}),
        json.dumps({"schema": "autotune-cache/report/v1", "outcome": "hit", "reason": 5}),
        json.dumps(m.report())[:200],
    ],
)
def test_a_message_that_is_no_report_is_said(message):
    (row,) = rows([m.pod(message=message)])

    assert (row.state, row.reason) == ("refused", "not-a-report")


@pytest.mark.parametrize(
    "changes",
    [
        {"key": None},
        {"key": "../../etc"},
        {"environment": "H100"},
        {"arch": 90},
        {"flashinfer_version": "../x"},
        {"draft": {"key": "zz"}},
        {"saved_s": "much"},
        {"saved_s": -1},
        {"saved_s": True},
        {"saved_s": 1e300},
        {"engine": 5},
    ],
)
def test_odd_values_of_a_report_are_not_believed(changes):
    found = reported_of(json.dumps(m.report(**changes)))

    assert isinstance(found, Reported)
    if "saved_s" in changes:
        assert found.saved_s == 0.0
    elif "engine" in changes:
        assert found.engine == "0.5.23"
    else:
        assert found.wanted is None


def test_a_report_that_was_cut_to_the_essential_is_still_one():
    essential = {"schema": "autotune-cache/report/v1", "outcome": "cold", "reason": "miss", "exit_code": 0}
    (row,) = rows([m.pod(message=essential)])

    assert (row.state, row.reason) == ("refused", "miss")


def test_the_recipe_says_what_the_pod_would():
    row = recipe()

    question = Question(
        engine="sglang",
        engine_version="0.5.23",
        flashinfer_version="0.7.2.post1",
        capability=(9, 0),
        argv=tuple(ENGINE[3:]),
        model_config=CONFIG.config,
        cache_dir="/c",
    )
    assert row.wants.address.key == ask(question).key
    assert row.wants.address.environment.startswith("nvidia-h100-80gb-hbm3-")
    assert (row.wants.source, row.gpu, row.is_label) == ("recipe", m.PRODUCT, True)


@pytest.mark.parametrize("name", ["qwen3", "models/qwen3", "examples/model"])
def test_model_files_are_found_by_workload_or_by_path(name):
    assert isinstance(recipe(Stated(STATED.facts, {name: CONFIG})).wants, Wanted)


def test_a_pods_own_word_beats_the_recipe():
    spec = m.spec(m.engine(ENGINE))
    (row,) = rows([m.pod("qwen3", message=m.report(), spec_=spec, node="n")], {"n": m.PRODUCT}, STATED)

    assert row.wants.source == "report"


def test_a_report_without_a_key_leaves_it_to_the_recipe():
    spec = m.spec(m.engine(ENGINE))
    message = m.report("cold", "internal", key=None)
    (row,) = rows([m.pod("qwen3", message=message, spec_=spec, node="n")], {"n": m.PRODUCT}, STATED)

    assert row.wants.source == "recipe"


INCOMPLETE = replace(FACTS, metadata={k: v for k, v in FACTS.metadata.items() if k != "cudnn_version"})


@pytest.mark.parametrize(
    ("stated", "container", "annotations", "reason", "said"),
    [
        pytest.param(Stated(), None, None, "no-report", f"--facts {m.PRODUCT}=FILE", id="no facts"),
        pytest.param(Stated(STATED.facts), None, None, "undecidable", "config.json", id="no model files"),
        pytest.param(
            Stated({m.PRODUCT: INCOMPLETE}, STATED.models), None, None, "facts-bad-value", "not complete", id="a field less"
        ),
        pytest.param(
            STATED, None, {"autotune-cache.dev/engine-version": "0.5.22"}, "facts-bad-value", "0.5.23", id="another image"
        ),
        pytest.param(
            STATED, None, {"autotune-cache.dev/gpu-name": "NVIDIA H200"}, "facts-bad-value", "H200", id="another GPU"
        ),
        pytest.param(
            STATED, m.engine(["vllm", "serve", "/m"]), None, "undecidable", "vllm", id="an engine without a recipe"
        ),
        pytest.param(STATED, m.engine(["bash", "start.sh"]), None, "key-argv", "", id="a script"),
        pytest.param(
            STATED,
            m.engine([*ENGINE, "--config", "/etc/sglang.yaml"]),
            None,
            "key-config-file",
            "lies in the pod",
            id="a file in the pod",
        ),
        pytest.param(
            STATED,
            m.engine(ENGINE, envFrom=[{"configMapRef": {"name": "flags"}}]),
            None,
            "undecidable",
            "ConfigMap flags",
            id="variables from a ConfigMap",
        ),
        pytest.param(
            STATED,
            m.engine(ENGINE, env=[{"name": "LWS_GROUP_SIZE", "value": "2"}, {"name": "LWS_WORKER_INDEX", "value": "0"}]),
            None,
            "replica-group",
            "",
            id="a replica of two pods",
        ),
        pytest.param(
            STATED, m.engine([*ENGINE, "--disable-flashinfer-autotune"]), None, "engine-", "", id="does not tune"
        ),
    ],
)  # fmt: skip
def test_what_the_recipe_cannot_say_is_refused(stated, container, annotations, reason, said):
    row = recipe(stated, container, annotations)

    assert isinstance(row.wants, Refused)
    assert row.wants.reason.startswith(reason), row.wants
    assert said in row.wants.detail


def test_facts_that_the_pod_itself_states_are_taken():
    text = (ROOT / "examples" / "facts-h100.json").read_text()
    container = m.engine(ENGINE)
    init = m.injected(container, env=[{"name": "AUTOTUNE_FACTS", "value": text}])
    (row,) = rows(
        [m.pod("qwen3", spec_=m.spec(container, init))], stated=Stated(models={"examples/model": CONFIG})
    )

    assert isinstance(row.wants, Wanted)


def test_the_gpu_is_only_a_heading():
    container = m.engine(ENGINE)
    init = m.injected(container, env=[{"name": "AUTOTUNE_GPU_NAME", "value": "NVIDIA H200"}])
    (row,) = rows([m.pod(spec_=m.spec(container, init), message=m.report(), node="unlabelled")])

    assert (row.gpu, row.is_label) == ("NVIDIA-H200", False)
