"""From resolved fields the answer is exactly the released engine's, for every release with the cache."""

import dataclasses
import json

import pytest
from tests.pods import ROOT

from autotune_init.engines.sglang import (
    Refused,
    cache_root,
    directory,
    is_bound_to_gpu,
    is_switched_off,
    key_of,
    key_text,
    rank_file,
    release_of,
    resolved_from,
)
from autotune_init.engines.sglang_versions import BY_VERSION, RELEASES
from autotune_init.ranks import Rank

GOLDEN = json.loads((ROOT / "tests" / "data" / "sglang_golden.json").read_text())
FIELDS = {
    "model_path": "m/x",
    "dtype": "torch.bfloat16",
    "quantization": None,
    "moe_runner_backend": "auto",
    "tp_size": 2,
    "pp_size": 1,
    "attn_dp_size": 1,
    "moe_ep_size": 1,
    "config_class": "Qwen3MoeConfig",
    "skip_ops": ["b", "a"],
}


def path_of(version, case):
    release, resolved = release_of(version), resolved_from(case)
    rank = Rank(case["rank"]["pp"], case["rank"]["tp"], case["rank"]["dp"] or 0)
    folder = directory(
        "/c", case["flashinfer_version"], tuple(case["capability"]), key_of(key_text(release, resolved))
    )
    return f"{folder}/{rank_file(release, resolved, rank, case['gpu_uuid'])}".removeprefix("/c/")


def test_every_release_with_the_cache_has_vectors():
    assert list(GOLDEN["paths"]) == [release.version for release in RELEASES]


@pytest.mark.parametrize("version", list(BY_VERSION))
def test_the_path_is_the_released_engines_own(version):
    release = BY_VERSION[version]
    # before 0.5.15 no draft worker has files, and the function was never asked about one
    asked = [
        (case, path)
        for case, path in zip(GOLDEN["cases"], GOLDEN["paths"][version], strict=True)
        if release.drafts_tune or not case["is_draft"]
    ]

    assert len(asked) >= 60
    assert [path_of(version, case) for case, _ in asked] == [path for _, path in asked]


@pytest.mark.parametrize(
    "version", ["0.5.24", "0.6.0", "main", "", "0.5.23.dev1", "0.5.23+cu130", "v0.5.23", "1"]
)
def test_an_unknown_version_is_refused_by_name(version):
    with pytest.raises(Refused) as caught:
        release_of(version)

    assert caught.value.refusal.reason == "unknown-engine-version"
    assert repr(version) in caught.value.refusal.detail


@pytest.mark.parametrize("version", ["0.5.11", "0.5.10.post1", "0.4.9"])
def test_a_release_before_the_cache_is_told_apart(version):
    with pytest.raises(Refused) as caught:
        release_of(version)

    assert caught.value.refusal.reason == "engine-has-no-cache"


@pytest.mark.parametrize("name", [name for name in FIELDS if name != "skip_ops"])
def test_a_missing_field_is_refused_by_name(name):
    with pytest.raises(Refused, match=name):
        resolved_from({key: value for key, value in FIELDS.items() if key != name})


@pytest.mark.parametrize(
    "wrong",
    [
        {"tp_size": "2"},
        {"tp_size": 0},
        {"tp_size": True},
        {"model_path": None},
        {"model_path": 5},
        {"dtype": "auto"},
        {"dtype": None},
        {"quantization": 8},
        {"skip_ops": "b,a"},
        {"skip_ops": [1]},
        {"skip_ops": {"a": 1}},
        {"is_draft": "yes"},
    ],
    ids=str,
)
def test_a_field_of_the_wrong_type_is_refused(wrong):
    with pytest.raises(Refused):
        resolved_from({**FIELDS, **wrong})


@pytest.mark.parametrize("changed", list(FIELDS))
def test_every_field_is_in_the_key(changed):
    other = {"skip_ops": ["c"], "tp_size": 4, "pp_size": 4, "attn_dp_size": 4, "moe_ep_size": 4}.get(
        changed, "other"
    )
    release = BY_VERSION["0.5.23"]
    before, after = resolved_from(FIELDS), resolved_from({**FIELDS, changed: other})

    assert key_text(release, before) != key_text(release, after)


def test_the_order_and_repetition_of_skip_ops_do_not_matter():
    release = BY_VERSION["0.5.23"]
    texts = {
        key_text(release, resolved_from({**FIELDS, "skip_ops": ops}))
        for ops in (["a", "b"], ["b", "a", "a"], "a,b")
    }

    assert len(texts) == 1


def test_megamoe_files_belong_to_one_gpu_and_a_missing_uuid_is_refused():
    resolved = resolved_from({**FIELDS, "moe_runner_backend": "flashinfer_megamoe"})
    release = BY_VERSION["0.5.22"]

    assert is_bound_to_gpu(release, resolved)
    assert not is_bound_to_gpu(release, dataclasses.replace(resolved, is_draft=True))
    assert not is_bound_to_gpu(BY_VERSION["0.5.21"], resolved)
    for uuid in (None, "", "MIG-b1ec2a0e-9b3f-4a5c-8d7e-0123456789ab", "GPU-../../x"):
        with pytest.raises(Refused, match="UUID"):
            rank_file(release, resolved, Rank(0, 0, 0), uuid)


@pytest.mark.parametrize("value", ["0", "false", "No", "N"])
def test_the_engines_switch_is_read_as_the_engine_reads_it(value):
    assert is_switched_off(BY_VERSION["0.5.13"], {"SGLANG_FLASHINFER_AUTOTUNE_CACHE": value}) is not None
    assert is_switched_off(BY_VERSION["0.5.12"], {"SGLANG_FLASHINFER_AUTOTUNE_CACHE": value}) is None


@pytest.mark.parametrize("value", ["1", "true", "off", "", "nonsense"])
def test_what_the_engine_does_not_read_as_false_is_on(value):
    assert is_switched_off(BY_VERSION["0.5.23"], {"SGLANG_FLASHINFER_AUTOTUNE_CACHE": value}) is None


def test_the_cache_root_is_the_engines():
    assert cache_root(None, {"HOME": "/home/user"}) == "/home/user/.cache/sglang"
    assert cache_root(None, {"HOME": "/root", "SGLANG_CACHE_DIR": "/x"}) == "/x"
    assert cache_root("/stated", {"SGLANG_CACHE_DIR": "/x"}) == "/stated"
    for environ in (
        {},
        {"HOME": "/root", "SGLANG_CACHE_DIR": "~/x"},
        {"SGLANG_CACHE_DIR": "rel"},
        {"SGLANG_CACHE_DIR": ""},
    ):
        with pytest.raises(Refused):
            cache_root(None, environ)


@pytest.mark.parametrize("version", ["../x", "", "0.7.2/..", ".", "a" * 65])
def test_a_flashinfer_version_that_is_no_directory_name_is_refused(version):
    with pytest.raises(Refused):
        directory("/c", version, (9, 0), "0" * 16)
