"""One row a target: the chart or manifest as its project gives it (`plain`), and with our overlay (`attached`)."""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import yaml
from tests.overlays.rendering import (
    OVERLAYS,
    charts,
    helm_template,
    kustomized,
    production_stack,
    read,
    with_ours,
)


@dataclass(frozen=True)
class Target:
    name: str
    plain: Callable
    attached: Callable
    pods: int = 1  # attached pod templates
    crds: tuple = ()  # files below .tools/charts
    has_schema: bool = True  # False: the kind is known to no API server here; its pod template is

    def attached_documents(self, tmp_path):
        """`attached`, rendered once in this process; a copy for each test."""
        if self.name not in _RENDERED:
            _RENDERED[self.name] = self.attached(tmp_path)
        return copy.deepcopy(_RENDERED[self.name])


_RENDERED = {}


# no example of these projects sets one
_LACKS = ("securityContext",)


def _yaml(path):
    return yaml.safe_load(path.read_text())


def _production_stack_values():
    return _yaml(charts("production-stack") / "tutorials/assets/values-01-minimal-example.yaml")


def _production_stack_plain(tmp_path):
    return helm_template(production_stack(tmp_path), _production_stack_values(), tmp_path)


def _production_stack_values_overlay(tmp_path):
    values = _production_stack_values()
    models = values["servingEngineSpec"]["modelSpec"]
    models[0] = with_ours(models[0], _yaml(OVERLAYS / "production-stack/model-spec.yaml"))
    return helm_template(production_stack(tmp_path), values, tmp_path)


def _on_a_volume(values):
    values["servingEngineSpec"]["modelSpec"][0]["pvcStorage"] = "10Gi"
    return values


def _production_stack_volume_plain(tmp_path):
    return helm_template(production_stack(tmp_path), _on_a_volume(_production_stack_values()), tmp_path)


def _production_stack_volume_overlay(tmp_path):
    values = _on_a_volume(_production_stack_values())
    ours = _yaml(OVERLAYS / "production-stack/model-spec.yaml")
    (home,) = (one for one in ours["initContainer"]["env"] if one["name"] == "HF_HOME")
    home["value"] = "/data"  # as the comment beside it says
    models = values["servingEngineSpec"]["modelSpec"]
    models[0] = with_ours(models[0], ours)
    return helm_template(production_stack(tmp_path), values, tmp_path)


def _production_stack_kustomized(tmp_path):
    edits = {
        "my-engine": "demo-opt125m-deployment-vllm",
        "my-container": "vllm",
    }
    return _kustomized(_production_stack_plain(tmp_path), "kustomize", [edits], tmp_path, ("args",))


def _llm_d_values():
    return _yaml(charts("llm-d-modelservice") / "examples/values-pd.yaml")


def _llm_d(values, tmp_path):
    return helm_template(charts("llm-d-modelservice") / "charts/llm-d-modelservice", values, tmp_path)


def _llm_d_values_overlay(tmp_path):
    values, ours = _llm_d_values(), _yaml(OVERLAYS / "llm-d-modelservice/decode.yaml")
    values["decode"] = with_ours(values["decode"], ours)
    prefill = yaml.safe_load(yaml.safe_dump(ours).replace("'8200'", "'8000'"))
    init = next(one for one in prefill["initContainers"] if one["name"] == "autotune-init")
    # values-pd.yaml spells the two roles' variables in another order only
    assert "8000" in init["args"]
    values["prefill"] = with_ours(values["prefill"], prefill)
    return _llm_d(values, tmp_path)


def _llm_d_kustomized(tmp_path):
    roles = [
        {"my-engine": f"demo-llm-d-modelservice-{role}", "my-container": "vllm"}
        for role in ("decode", "prefill")
    ]
    return _kustomized(_llm_d(_llm_d_values(), tmp_path), "kustomize", roles, tmp_path, _LACKS)


def _kustomized(base, overlay, places, tmp_path, lacks):
    return kustomized(base, overlay, places, tmp_path / "kustomized", lacks)


def _role(group, place):
    places = {f"roles{sign}0": f"roles{sign}{place}" for sign in "/.-"}
    return {"my-group": group, **places}


def _example(source, path):
    return read(charts(source) / path)


def _rbg_example(path):
    rendered = copy.deepcopy(_example("rbg", path))
    for role in rendered[0]["spec"]["roles"]:
        for volume in role["standalonePattern"]["template"]["spec"].get("volumes", []):
            # RBG v0.7.0's agg-standalone.yaml has the container's probes below a volume
            for misplaced in ("readinessProbe", "livenessProbe"):
                volume.pop(misplaced, None)
    return rendered


def _from_example(name, load, overlay, places, **more):
    return Target(
        name,
        plain=lambda tmp_path: load(),
        attached=lambda tmp_path: _kustomized(load(), overlay, places, tmp_path, _LACKS),
        **more,
    )


def _manifest(name, path, **more):
    """A manifest of ours, not an overlay over somebody's: there is nothing to compare it with."""
    return Target(name, plain=lambda tmp_path: None, attached=lambda tmp_path: read(OVERLAYS / path), **more)


_RBG = ("rbg/config/crd/bases/workloads.x-k8s.io_rolebasedgroups.yaml",)
_LWS = ("lws/config/crd/bases/leaderworkerset.x-k8s.io_leaderworkersets.yaml",)
_KSERVE = "kserve/config/crd/full"

TARGETS = (
    Target("production-stack", _production_stack_plain, _production_stack_values_overlay),
    Target("production-stack, volume", _production_stack_volume_plain, _production_stack_volume_overlay),
    Target("production-stack, kustomized", _production_stack_plain, _production_stack_kustomized),
    Target("llm-d", lambda tmp_path: _llm_d(_llm_d_values(), tmp_path), _llm_d_values_overlay, pods=2),
    Target(
        "llm-d, kustomized", lambda tmp_path: _llm_d(_llm_d_values(), tmp_path), _llm_d_kustomized, pods=2
    ),
    _from_example(
        "rbg",
        lambda: _rbg_example("examples/inference/agg-standalone.yaml"),
        "rbg",
        [_role("sglang-agg-inference", 0)],
        crds=_RBG,
    ),
    _from_example(
        "rbg, prefill and decode",
        lambda: [_rbg_example("examples/inference/pd-disagg-standalone.yaml")[0]],
        "rbg",
        [_role("sglang-pd-inference", 1), _role("sglang-pd-inference", 2)],
        pods=2,
        crds=_RBG,
    ),
    _from_example(
        "lws",
        lambda: _example("lws", "docs/examples/sglang/lws.yaml"),
        "lws",
        [{"my-set": "sglang"}],
        pods=2,
        crds=_LWS,
    ),
    _from_example(
        "lws, vllm",
        lambda: _example("lws", "docs/examples/vllm/GPU/lws.yaml"),
        "lws",
        [
            {
                "my-set": "vllm",
                "SGLANG_CACHE_DIR]": "VLLM_FLASHINFER_AUTOTUNE_CACHE_DIR]",
                "cache/sglang": "cache/vllm",
            }
        ],
        pods=2,
        crds=_LWS,
    ),
    _manifest("deployment", "deployment/deployment.yaml"),
    _manifest(
        "kserve InferenceService",
        "kserve/inference-service.yaml",
        crds=(f"{_KSERVE}/serving.kserve.io_inferenceservices.yaml",),
    ),
    _manifest(
        "kserve LLMInferenceService",
        "kserve/llm-inference-service.yaml",
        crds=(f"{_KSERVE}/llmisvc/serving.kserve.io_llminferenceservices.yaml",),
    ),
    # the CRD is in no Go module of the proxy, and the repository is larger than what its snapshots may be
    _manifest("dynamo", "dynamo/graph.yaml", has_schema=False),
)
