"""What an overlay adds to a rendered pod template, and that it changes nothing else."""

import pytest
import yaml
from examples.overlays import check
from tests.overlays.rendering import OUR_VARIABLES, by_identity
from tests.overlays.targets import TARGETS


def attached_specs(rendered):
    return [spec for document in rendered for _, spec in check.pod_specs(document) if check.is_attached(spec)]


@pytest.fixture
def specs(target, tmp_path):
    found = attached_specs(target.attached_documents(tmp_path))
    assert len(found) == target.pods
    return found


def test_our_program_comes_first_and_we_run_last(specs):
    for spec in specs:
        names = [container["name"] for container in spec["initContainers"]]
        assert names[-1] == "autotune-init"
        volume = next(one for one in spec["volumes"] if one["name"] == "autotune-program")
        if "image" in volume:  # an image volume needs nobody who copies
            assert "autotune-program" not in names
        else:
            assert names.index("autotune-program") < names.index("autotune-init")


def test_the_engines_image_line_and_variables_are_ours(specs):
    for spec in specs:
        init, engine = spec["initContainers"][-1], spec["containers"][0]
        assert init["image"] == engine["image"]
        for ours in (one for one in spec["initContainers"] if one["name"].startswith("autotune-")):
            assert ours.get("securityContext") == engine.get("securityContext")
        line = (init.get("command") or []) + (init.get("args") or [])
        volume = next(one for one in spec["volumes"] if one["name"] == "autotune-program")
        mount = next(one for one in init["volumeMounts"] if one["name"] == "autotune-program")
        assert "subPath" not in mount, "containerd 2.1 ignores the subPath of an image"
        below = "/opt/autotune" if "image" in volume else ""
        assert line[:3] == [f"/opt/autotune{below}/start", "run", "--"]
        assert line[3:] == (engine.get("command") or []) + (engine.get("args") or [])
        ours = {one["name"]: one for one in init["env"]}
        assert [one for one in engine["env"] if ours.get(one["name"]) != one] == []


def test_both_see_the_cache_where_the_engine_looks(specs):
    for spec in specs:
        init, engine = spec["initContainers"][-1], spec["containers"][0]
        cache = {"name": "autotune-cache", "mountPath": "/autotune-cache"}
        assert cache in init["volumeMounts"]
        assert cache in engine["volumeMounts"]
        (volume,) = (one for one in spec["volumes"] if one["name"] == "autotune-cache")
        # SGLang keeps its JIT caches there too, and a pod that exceeds a limit is evicted
        assert "sizeLimit" not in volume["emptyDir"]
        places = {one["name"]: one["value"] for one in engine["env"] if one["name"] in OUR_VARIABLES}
        assert places
        assert all(place.startswith("/autotune-cache/") for place in places.values())


def test_a_missing_configmap_or_secret_stops_no_pod(specs):
    for spec in specs:
        init = spec["initContainers"][-1]
        references = [
            one for source in init.get("envFrom", []) for kind, one in source.items() if kind != "prefix"
        ]
        for variable in init["env"]:
            for kind, reference in variable.get("valueFrom", {}).items():
                if kind in ("configMapKeyRef", "secretKeyRef"):
                    references.append(reference)
        assert {one["name"] for one in references} >= {"autotune-settings", "autotune-store"}
        ours = [one for one in references if one["name"].startswith("autotune-")]
        assert all(one["optional"] is True for one in ours)


def test_it_asks_for_no_more_gpus_than_the_engine(specs):
    """Surplus GPUs of an init container are held until the pod ends (kubernetes#71312)."""
    for spec in specs:
        init, engine = spec["initContainers"][-1], spec["containers"][0]
        asked = (
            (one.get("resources") or {}).get("limits", {}).get("nvidia.com/gpu") for one in (init, engine)
        )
        ours, theirs = (int(number or 0) for number in asked)
        assert ours <= theirs


def test_a_guaranteed_pod_stays_one(specs):
    """Ours ask for what the engine asks for, or for exactly their limits."""
    for spec in specs:
        engine = spec["containers"][0]
        for ours in (one for one in spec["initContainers"] if one["name"].startswith("autotune-")):
            if ours["resources"] != engine["resources"]:
                limits = ours["resources"]["limits"]
                assert limits.keys() >= {"cpu", "memory"}
                assert ours["resources"].get("requests", limits) == limits


def test_the_checker_for_owners_agrees(specs):
    assert [check.problems(spec) for spec in specs] == [[] for _ in specs]


OVER_SOMEBODYS = [
    one for one in TARGETS if one.name.split(",")[0] in ("production-stack", "llm-d", "rbg", "lws")
]


@pytest.mark.parametrize("target", OVER_SOMEBODYS, ids=lambda one: one.name)
def test_everything_else_stays_as_the_chart_renders_it(target, tmp_path):
    plain = by_identity(target.plain(tmp_path))
    attached = by_identity(target.attached_documents(tmp_path))
    assert yaml.safe_dump(attached) == yaml.safe_dump(plain)
