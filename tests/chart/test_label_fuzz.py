"""No pod is ever refused because of us, and none is changed that has no label. Hundreds of pods, on a real API server."""

import copy
from collections import Counter

import pytest
from tests.chart.attachment import check_injected, without_server_fields
from tests.chart.chart_tools import CHART, labelled, merged, read_values
from tests.chart.varied_pods import varied_pod

PODS = 320
TUNERS = ("engine", "flashinfer-ops", "command")


@pytest.fixture(scope="module")
def as_without_us(api):
    """What the API server says of the pods where the chart is not installed: (plain namespace, restricted namespace)."""
    plain, restricted = api.namespace(), api.namespace(**{"pod-security.kubernetes.io/enforce": "restricted"})
    return [
        (varied_pod(seed), api.pod(varied_pod(seed), plain), api.pod(varied_pod(seed), restricted))
        for seed in range(PODS)
    ]


@pytest.mark.parametrize("values", ["default", "everything"])
def test_a_labelled_pod_is_admitted_wherever_it_is_admitted_without_the_label(api, as_without_us, values):
    chosen = read_values(CHART / "ci" / f"{values}-values.yaml")
    plain = api.attached(chosen)
    restricted = api.attached(chosen, **{"pod-security.kubernetes.io/enforce": "restricted"})
    told = Counter()
    for seed, (pod, *before) in enumerate(as_without_us):
        for namespace, was in zip((plain, restricted), before, strict=True):
            if not was.is_admitted:
                continue
            now = api.pod(labelled(pod), namespace)
            assert now.is_admitted, (seed, now.made)
            was_there = in_namespace(was.made, namespace)
            if namespace == plain:
                unlabelled = api.pod(pod, namespace)
                assert unlabelled.made["metadata"].get("annotations") == was.made["metadata"].get(
                    "annotations"
                ), seed
                assert without_server_fields(unlabelled.made) == was_there, seed
            # an owner who copied the status from another pod has not attached anything by it
            assert now.told == "injected" or now.told.startswith("left alone: "), (seed, now.told)
            kind = now.told.partition(":")[0]
            # an owner who copied the status from another pod has not attached anything by it
            assert now.told == "injected" or now.told.startswith("left alone: "), (seed, now.told)
            told[kind] += 1
            if kind == "injected":
                # in mode job a pod has its GPUs only where an annotation makes it a tuner
                tuner = pod["metadata"].get("annotations", {}).get("autotune-cache.dev/tuner")
                check_injected(was_there, now.made, keeps_devices=values == "default" or tuner in TUNERS)
            else:
                assert without_server_fields(now.made) == was_there, (seed, now.told)
                assert any(now.told in warning for warning in now.warnings), (seed, now.warnings)
    # the generator has to make enough of both, or this proves little
    assert told["injected"] > PODS // 4, told
    assert told["left alone"] > PODS // 4, told


def in_namespace(made, namespace):
    kept = without_server_fields(copy.deepcopy(made))
    kept["metadata"]["namespace"] = namespace
    return kept


def test_the_values_of_the_two_runs_differ_in_every_way_that_the_policy_knows():
    everything = merged(read_values(CHART / "ci" / "everything-values.yaml"))
    assert everything["tuning"]["mode"] == "job"
    assert everything["event"]["enabled"]
    assert {"existingSecret", "caConfigMap", "endpoint", "region"} <= set(everything["store"])
    assert everything["image"]["pullSecrets"]
