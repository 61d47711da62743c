"""Where the results are put: the owner's own paths and volumes win, and nothing of the image is hidden."""

import pytest
from tests.chart.chart_tools import engine, merged, pod
from tests.chart.label_answers import injected, left_alone, mounts


def test_each_engine_gets_its_own_variable_and_an_unknown_one_gets_all(api, attached):
    assert set(injected(api, attached, pod("p", engine())).env("engine")) == {
        "SGLANG_CACHE_DIR", "VLLM_FLASHINFER_AUTOTUNE_CACHE_DIR", "FLASHINFER_AUTOTUNE_CACHE_DIR",
    }  # fmt: skip
    for kind, name in (("sglang", "SGLANG_CACHE_DIR"), ("vllm", "VLLM_FLASHINFER_AUTOTUNE_CACHE_DIR")):
        answer = injected(api, attached, pod("p", engine(), annotations={"autotune-cache.dev/engine": kind}))
        assert answer.env("engine") == {name: f"/autotune-cache/{kind}"}
        assert mounts(answer, "engine") == {"/autotune-cache": "autotune-cache"}


def sglang_in(path, **more):
    return pod(
        "p",
        engine(env=[{"name": "SGLANG_CACHE_DIR", "value": path}], **more),
        annotations={"autotune-cache.dev/engine": "sglang"},
    )


def test_the_owners_path_gets_the_volume(api, attached):
    answer = injected(api, attached, sglang_in("/root/.cache/sglang/"))
    assert mounts(answer, "engine") == {"/root/.cache/sglang": "autotune-cache"}
    assert mounts(answer, "autotune-init") == {
        "/root/.cache/sglang": "autotune-cache",
        "/opt/autotune": "autotune-program",
    }
    assert answer.env("engine") == {"SGLANG_CACHE_DIR": "/root/.cache/sglang/"}


def test_the_owners_volume_is_left_as_it_is(api, attached):
    given = sglang_in("/root/.cache/sglang", volumeMounts=[{"name": "home", "mountPath": "/root/.cache/"}])
    given["spec"]["volumes"] = [{"name": "home", "persistentVolumeClaim": {"claimName": "home"}}]
    answer = injected(api, attached, given)
    assert mounts(answer, "engine") == {"/root/.cache/": "home"}
    assert mounts(answer, "autotune-init") == {"/root/.cache/": "home", "/opt/autotune": "autotune-program"}
    assert [one["name"] for one in answer.made["spec"]["volumes"]] == ["home", "autotune-program"]


def test_a_block_device_is_no_directory(api, attached):
    given = pod("p", engine(volumeDevices=[{"name": "block", "devicePath": "/autotune-cache"}]))
    given["spec"]["volumes"] = [{"name": "block", "persistentVolumeClaim": {"claimName": "block"}}]
    assert "its results would be in /autotune-cache, and a volume there would hide" in left_alone(
        api, attached, given
    )


@pytest.mark.parametrize(
    "path",
    ["/", "/root", "/usr/share/sglang", "/etc/x", "/home/me", "/root/.cache", "/workspace", "/srv/engine"],
)
def test_a_volume_never_hides_what_the_image_has(api, attached, path):
    why = left_alone(api, attached, sglang_in(path, workingDir="/srv/engine/main"))
    assert "would hide what the image has there" in why or "not a plain path" in why


@pytest.mark.parametrize(
    "env",
    [
        {"value": ""},
        {"value": "$(HOME)/sglang"},
        {"value": "cache"},
        {"value": "/a/../b"},
        {"valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}},
    ],
)
def test_a_path_that_cannot_be_read_has_to_be_said(api, attached, env):
    given = pod("p", engine(env=[{"name": "SGLANG_CACHE_DIR", **env}]))
    assert "SGLANG_CACHE_DIR is not a plain path" in left_alone(api, attached, given)
    said = merged(
        given,
        {
            "metadata": {
                "annotations": {
                    "autotune-cache.dev/cache-dir": "/cache/kernels",
                    "autotune-cache.dev/engine": "sglang",
                }
            }
        },
    )
    if env.get("value", "") == "":
        assert mounts(injected(api, attached, said), "autotune-init")["/cache/kernels"] == "autotune-cache"
    else:
        assert "say different paths" in left_alone(api, attached, said)


def test_two_paths_of_which_one_lies_in_the_other_get_one_volume(api, attached):
    env = [
        {"name": "SGLANG_CACHE_DIR", "value": "/c"},
        {"name": "FLASHINFER_AUTOTUNE_CACHE_DIR", "value": "/c/fi"},
    ]
    answer = injected(api, attached, pod("p", engine(env=env)))
    assert mounts(answer, "engine") == {"/autotune-cache": "autotune-cache", "/c": "autotune-cache"}
