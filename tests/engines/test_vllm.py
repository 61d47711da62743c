"""vLLM: what the release itself answered becomes paths, and no other text does."""

import copy
import json
import re

import pytest
from tests.pods import ROOT

from autotune_init.engines import EngineCache, NotCached, Question, Refusal
from autotune_init.engines.resolution import BadResolution
from autotune_init.engines.vllm import (
    ManagedStore,
    cache_from,
    cache_root,
    managed_root,
    release_of,
    switched_off,
)
from autotune_init.engines.vllm_memo import may_be_remembered
from autotune_init.engines.vllm_versions import BY_VERSION, RELEASES
from autotune_init.memo_inputs import AskedGpu, EngineCode, memo_inputs

CASES = json.loads((ROOT / "tests" / "data" / "vllm_cases.json").read_text())
GOLDEN = json.loads((ROOT / "tests" / "data" / "vllm_golden.json").read_text())["answers"]
OVERRIDE = "VLLM_FLASHINFER_AUTOTUNE_CACHE_DIR"
IDS = [f"{one['arch']} {' '.join(one['argv'])}" for one in GOLDEN]


def question(one, **more):
    given = {
        "engine": "vllm",
        "engine_version": "0.33.0",
        "flashinfer_version": "0.7.2.post1",
        "capability": tuple(CASES["gpus"][one["arch"]]["capability"]),
        "argv": tuple(one["argv"]),
        "environ": {"HOME": "/root"},
    }
    return Question(**{**given, **more})


def line(*words, arch="sm90"):
    return copy.deepcopy(next(one for one in GOLDEN if one["arch"] == arch and one["argv"] == list(words)))


TWO = line("./qwen3-moe", "-tp", "2")


def test_every_case_was_asked_on_both_architectures():
    asked = [(one["arch"], one["argv"]) for one in GOLDEN]

    assert asked == [(arch, words) for arch in CASES["gpus"] for words in CASES["lines"]]
    assert sum("workers" in one for one in GOLDEN) >= 36


@pytest.mark.parametrize("one", GOLDEN, ids=IDS)
def test_the_releases_answer_is_taken_as_it_is(one):
    answer = cache_from(question(one), one)

    if "refused" in one:
        assert answer == Refusal("undecidable", one["detail"])
        return
    worker = one["workers"][0]
    if worker["tunes"] is False:
        assert isinstance(answer, NotCached)
    elif worker["kind"] == "v2":
        assert answer == ManagedStore("/root/.cache/flashinfer/autotune")
    else:
        assert answer.directory == f"/root/.cache/vllm/{worker['folder']}"
        assert answer.directory.endswith(answer.key)
        assert list(answer.rank_files) == list(answer.all_rank_files) == worker["files"]
        assert answer.tunes is True


def test_what_the_engine_hashes_gives_other_keys():
    keys = {}
    for one in GOLDEN:
        for worker in one.get("workers", []):
            if worker["key"]:
                keys.setdefault(worker["key"], []).append((one["arch"], one["argv"]))
    shared = [lines for lines in keys.values() if len(lines) > 1]

    # the served name, the load format and the seed are no part of the key
    mixtral = [words for words in CASES["lines"] if "./mixtral" in words and "-pp" not in words]
    assert sorted(shared) == sorted([(arch, words) for words in mixtral] for arch in CASES["gpus"])


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("ranks-in-several-folders", ("./mixtral", "-pp", "2")),
        ("max-model-len", ("./llama", "-tp", "2", "--max-model-len", "-1")),
        ("mla", ("./deepseek-v3", "-tp", "2")),
        ("command-line", ("./llama", "-tp", "2", "--no-such-flag")),
        ("model", ("./not-here", "-tp", "2")),
    ],
)
def test_a_refusal_names_its_rule(rule, words):
    assert cache_from(question(line(*words)), line(*words)).detail.startswith(f"{rule}: ")


def test_a_worker_is_not_believed_where_its_texts_do_not_fit():
    changes = {
        "a key that is no digest": {"key": "../../etc", "folder": "../../etc"},
        "a key of other length": {"key": "a" * 63},
        "capital letters": {"key": TWO["workers"][0]["key"].upper()},
        "a folder elsewhere": {"folder": f"../../../root/{TWO['workers'][0]['key']}"},
        "another FlashInfer": {"folder": TWO["workers"][0]["folder"].replace("0.7.2.post1", "0.7.1")},
        "another architecture": {"folder": TWO["workers"][0]["folder"].replace("90a", "100a")},
        "two architectures": {"folder": TWO["workers"][0]["folder"].replace("90a", "90a_100a")},
        "a folder that is only the key": {"folder": TWO["workers"][0]["key"]},
        "a file with a folder": {"files": ["../x", "autotune_configs_dp0_rank1.json"]},
        "a rank less": {"files": ["autotune_configs_dp0_rank0.json"]},
        "ranks in another order": {"files": TWO["workers"][0]["files"][::-1]},
        "an older release's file": {"files": ["autotune_configs.json"]},
        "an unknown kind": {"kind": "v3"},
        "its own store for two ranks": {"kind": "v2"},
        "a draft": {"role": "draft"},
        "no sizes": {"fields": {}},
        "a size that is a truth": {"fields": {**TWO["workers"][0]["fields"], "world_size": True}},
        "a size that is too large": {"fields": {**TWO["workers"][0]["fields"], "data_parallel_size": 10**9}},
        "a world that does not fit": {"fields": {**TWO["workers"][0]["fields"], "world_size": 3}},
        "a node outside": {"fields": {**TWO["workers"][0]["fields"], "node_rank": 5}},
        "nodes that do not share": {"fields": {**TWO["workers"][0]["fields"], "nnodes": 3}},
    }
    for what, change in changes.items():
        changed = {**TWO, "workers": [{**TWO["workers"][0], **change}]}
        with pytest.raises(BadResolution):
            pytest.fail(f"{what}: {cache_from(question(TWO), changed)}")


@pytest.mark.parametrize(
    "change",
    [{"argv": ["./other"]}, {"engine_version": "0.32.0"}, {"flashinfer_version": "0.7.1"}, {"capability": [10, 0]},
     {"engine": "sglang"}, {"schema": "v0"}, {"workers": []}],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_an_answer_to_another_question_is_not_believed(change):
    with pytest.raises(BadResolution):
        cache_from(question(TWO), {**TWO, **change})


def test_the_override_leaves_only_the_key_of_the_path():
    key = TWO["workers"][0]["key"]
    asked = question(TWO, environ={OVERRIDE: "/shared", "HOME": "/root"})
    told = {**TWO, "workers": [{**TWO["workers"][0], "folder": key}]}

    assert cache_from(asked, told).directory == f"/shared/{key}"
    with pytest.raises(BadResolution):
        cache_from(asked, TWO)


def test_a_stated_list_of_architectures_names_the_folder():
    folder = TWO["workers"][0]["folder"].replace("90a", "100a_90a")
    told = {**TWO, "workers": [{**TWO["workers"][0], "folder": folder}]}
    environ = {"HOME": "/root", "FLASHINFER_CUDA_ARCH_LIST": "9.0a 10.0a"}

    assert cache_from(question(TWO, environ=environ), told).directory == f"/root/.cache/vllm/{folder}"


def test_a_node_owns_its_share_of_the_ranks():
    four = line("./llama", "-tp", "4")
    fields = {**four["workers"][0]["fields"], "nnodes": 2}
    told = {**four, "workers": [{**four["workers"][0], "fields": fields}]}

    first, second = (cache_from(question(four, node_rank=node), told) for node in (0, 1))

    assert first.rank_files == ("autotune_configs_dp0_rank0.json", "autotune_configs_dp0_rank1.json")
    assert second.rank_files == ("autotune_configs_dp0_rank2.json", "autotune_configs_dp0_rank3.json")
    assert first.all_rank_files == second.all_rank_files == tuple(four["workers"][0]["files"])
    assert (first.nnodes, second.nnodes) == (2, 2)


def test_experts_spread_over_replicas_have_world_ranks_and_dense_replicas_share():
    experts = line("./qwen3-moe", "-dp", "2", "--enable-expert-parallel")
    dense = line("./llama", "-tp", "2", "-dp", "2")

    assert cache_from(question(experts), experts).all_rank_files == (
        "autotune_configs_dp0_rank0.json",
        "autotune_configs_dp1_rank1.json",
    )
    assert cache_from(question(dense), dense).all_rank_files == (
        "autotune_configs_dp0_rank0.json",
        "autotune_configs_dp0_rank1.json",
    )


@pytest.mark.parametrize(
    ("environ", "cache_dir", "root"),
    [
        ({"HOME": "/root"}, None, "/root/.cache/vllm"),
        ({"HOME": "/"}, None, "/.cache/vllm"),
        ({"HOME": "/root", "XDG_CACHE_HOME": "/x"}, None, "/x/vllm"),
        ({"HOME": "/root", "XDG_CACHE_HOME": "~/x"}, None, "/root/x/vllm"),
        ({"HOME": "/root", "XDG_CACHE_HOME": "/x", "VLLM_CACHE_ROOT": "/v"}, None, "/v"),
        ({"HOME": "/root", "VLLM_CACHE_ROOT": "~/v"}, None, "/root/v"),
        ({"VLLM_CACHE_ROOT": "/v", OVERRIDE: "/o"}, None, "/o"),
        ({"VLLM_CACHE_ROOT": "/v", OVERRIDE: ""}, None, "/v"),
        ({"VLLM_CACHE_ROOT": "/v"}, "/stated", "/stated"),
        ({"HOME": "/root", OVERRIDE: "~"}, None, "/root"),
    ],
)
def test_the_root_is_read_as_the_engine_reads_it(environ, cache_dir, root):
    assert cache_root(question(TWO, environ=environ, cache_dir=cache_dir)) == root


@pytest.mark.parametrize(
    "environ",
    [{}, {"VLLM_CACHE_ROOT": "v"}, {OVERRIDE: "o"}, {"XDG_CACHE_HOME": ""}, {"VLLM_CACHE_ROOT": ""}],
)
def test_a_root_that_depends_on_where_the_engine_starts_is_refused(environ):
    worker = TWO["workers"][0]
    told = {
        **TWO,
        "workers": [{**worker, "folder": worker["key"] if OVERRIDE in environ else worker["folder"]}],
    }

    assert isinstance(cache_root(question(TWO, environ=environ)), Refusal)
    assert isinstance(cache_from(question(TWO, environ=environ), told), Refusal)


@pytest.mark.parametrize(
    ("environ", "root"),
    [
        ({"HOME": "/root"}, "/root/.cache/flashinfer/autotune"),
        ({"FLASHINFER_WORKSPACE_BASE": "/w"}, "/w/.cache/flashinfer/autotune"),
        ({"FLASHINFER_AUTOTUNE_CACHE_DIR": "/f", "FLASHINFER_WORKSPACE_BASE": "/w"}, "/f"),
        ({OVERRIDE: "/o", "FLASHINFER_AUTOTUNE_CACHE_DIR": "/f"}, "/o"),
        ({OVERRIDE: "~/o", "HOME": "/root"}, "/root/o"),
        ({OVERRIDE: "", "HOME": "/root"}, "/root/.cache/flashinfer/autotune"),
    ],
)
def test_one_rank_uses_flashinfers_own_store(environ, root):
    one = line("./llama", "-tp", "1")

    assert (
        cache_from(question(one, environ=environ), one)
        == ManagedStore(root)
        == ManagedStore(managed_root(question(one, environ=environ)))
    )


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"HOME": "/root", "FLASHINFER_AUTOTUNE_CACHE_DIR": "~/f"},
        {OVERRIDE: "o"},
        {"FLASHINFER_WORKSPACE_BASE": ""},
    ],
)
def test_flashinfers_own_store_is_refused_where_it_depends_on_the_engines_folder(environ):
    one = line("./llama", "-tp", "1")

    assert isinstance(cache_from(question(one, environ=environ), one), Refusal)


@pytest.mark.parametrize(
    ("version", "answer"),
    [
        ("0.24.0", NotCached), ("0.9.2", NotCached), ("0.32.0", Refusal), ("0.27.0", Refusal), ("0.34.0", Refusal),
        ("0.33.1", Refusal), ("0.33.0rc1", Refusal), ("0.33.0.dev5+g0123", Refusal), ("../x", Refusal), ("1.0.0", Refusal),
        ("0.33.0\n", Refusal), ("0.33.0+local", Refusal),
    ],
)  # fmt: skip
def test_an_unknown_release_is_never_guessed(version, answer):
    assert isinstance(release_of(version), answer)
    assert isinstance(
        cache_from(question(TWO, engine_version=version), {**TWO, "engine_version": version}), answer
    )


def test_a_build_for_a_cuda_version_is_the_release():
    assert release_of("0.33.0+cu129") is BY_VERSION["0.33.0"]


@pytest.mark.parametrize(
    ("words", "is_off"),
    [
        (("--disable-flashinfer-autotune",), True),
        (("--no-enable-flashinfer-autotune",), True),
        (("--disable_flashinfer_autotune",), True),
        (("--enable-flashinfer-autotune",), False),
        (("--no-disable-flashinfer-autotune",), False),
        (("--disable-flashinfer-autotune", "--enable-flashinfer-autotune"), False),
        (("--enable-flashinfer-autotune", "--disable-flashinfer-autotune"), True),
        ((), False),
    ],
)
def test_the_switch_that_stands_last_counts(words, is_off):
    assert isinstance(switched_off(question(TWO, argv=("m", *words))), NotCached) is is_off


def memo(gpu=("NVIDIA H100 80GB HBM3", 81559, 8), **more):
    name, memory, count = gpu
    shown = AskedGpu(name, memory, "580.95", count)
    return memo_inputs(question(TWO, **more), shown, EngineCode("0" * 64, "2.11.0", "5.20.2"), {})


def test_a_memo_is_for_all_that_the_hash_depends_on():
    base = memo()

    assert json.loads(json.dumps(base)) == base
    assert memo(gpu=("NVIDIA B200", 182639, 8)) != base
    assert memo(gpu=("NVIDIA H100 80GB HBM3", 81559, 4)) != base
    assert memo(argv=("./qwen3-moe/", "-tp", "2")) != base
    assert memo(argv=("-tp", "2", "./qwen3-moe")) != base
    for name in (
        "HF_HUB_OFFLINE",
        "VLLM_BATCH_INVARIANT",
        "FLASHINFER_CUDA_ARCH_LIST",
        "CUDA_VISIBLE_DEVICES",
        OVERRIDE,
    ):
        assert memo(environ={name: "1"}) != base, name


def test_a_memo_holds_no_secret_and_not_where_things_are():
    environ = {"HF_TOKEN": "s3cret", "VLLM_API_KEY": "s3cret", "HUGGING_FACE_HUB_TOKEN": "s3cret", "HOSTNAME": "a",
               "VLLM_CACHE_ROOT": "/v", "HF_MY_SECRET": "s3cret"}  # fmt: skip

    assert memo(environ=environ) == memo(environ={})


@pytest.mark.parametrize(
    ("words", "may"),
    [
        (("m", "-tp", "2"), True), (("m", "--config", "c.yaml"), False), (("m", "--config=c.yaml"), False),
        (("m", "--hf_config_path", "x"), False), (("m", "--trust-remote-code"), False), (("m", "--tokenizer", "t"), False),
        (("m", "--hf-overrides.x", "1"), False),
    ],
)  # fmt: skip
def test_an_answer_that_depends_on_more_is_not_remembered(words, may):
    assert may_be_remembered(question(TWO, argv=words)) is may


def test_the_table_is_in_order_and_only_compared_releases_are_resolved():
    numbers = [tuple(map(int, release.version.split("."))) for release in RELEASES]
    program = (ROOT / "src" / "autotune_init" / "inside" / "resolve_vllm.py").read_text()
    known = re.search(r"^RELEASES = \((.*)\)$", program, re.MULTILINE).group(1)

    assert numbers == sorted(numbers)
    assert [release.version for release in RELEASES if release.resolvable] == re.findall(r'"([\d.]+)"', known)
    assert isinstance(cache_from(question(TWO), TWO), EngineCache)
