"""Command lines: the answer is the release's own key, or a refusal; never another key."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.pods import ROOT

from autotune_init.engines import EngineCache, NotCached, Question, Refusal
from autotune_init.engines.registry import ask
from autotune_init.engines.sglang_versions import RELEASES

CASES = json.loads((ROOT / "tests" / "data" / "sglang_argv_cases.json").read_text())
GOLDEN = json.loads((ROOT / "tests" / "data" / "sglang_argv_golden.json").read_text())
FIELDS = {
    "model_path": "m/x",
    "dtype": "torch.bfloat16",
    "quantization": "None",
    "moe_runner_backend": "auto",
    "tp_size": "2",
    "pp_size": "1",
    "attn_dp_size": "1",
    "moe_ep_size": "1",
    "config_class": "SomeConfig",
}


def config_of(name):
    family, quantization, *dtype = name.split("-")
    config = {**CASES["common"], **CASES["families"][family]}
    if CASES["quantizations"][quantization]:
        config["quantization_config"] = CASES["quantizations"][quantization]
    if dtype:
        config = {key: value for key, value in config.items() if key != "torch_dtype"}
        config.update(CASES["dtypes"][dtype[0]])
    return config


def question(*argv, config="llama-none", version="0.5.23", capability=(9, 0), **more):
    given = config_of(config) if isinstance(config, str) else config
    return Question("sglang", version, "0.7.2", capability, argv, given, cache_dir="/c", **more)


def asked(*argv, **more):
    answer = ask(question("--model-path", "m/x", *argv, **more))
    assert isinstance(answer, EngineCache), answer
    return answer


def refused(*argv, **more):
    answer = ask(question("--model-path", "m/x", *argv, **more))
    assert isinstance(answer, Refusal), answer
    return answer


def test_every_release_with_the_cache_was_asked_every_command_line():
    assert list(GOLDEN) == [release.version for release in RELEASES]
    assert {len(keys) for keys in GOLDEN.values()} == {len(CASES["cases"])}


@pytest.mark.parametrize("version", list(GOLDEN))
def test_a_command_line_gets_the_releases_own_key_or_a_refusal(version):
    wrong, right = [], 0
    for case, key in zip(CASES["cases"], GOLDEN[version], strict=True):
        capability = tuple(case["capability"])
        answer = ask(question(*case["argv"], config=case["config"], version=version, capability=capability))
        if isinstance(answer, EngineCache):
            right += answer.key == key
            # a release that does not start with this line has no key, so an answer would be invented
            if answer.key != key:
                wrong.append((case, key, answer.key_text))

    assert not wrong
    assert right >= 300


@pytest.mark.parametrize(
    "start",
    [
        (),
        ("python3", "-m", "sglang.launch_server"),
        ("/opt/bin/python", "-m", "sglang.launch_server"),
        ("sglang", "serve"),
    ],
    ids=str,
)
def test_the_program_in_front_of_the_flags_does_not_matter(start):
    answer = ask(question(*start, "--model-path", "m/x", "--tp", "2"))

    assert answer.key_text.startswith("m/x|torch.bfloat16|None|auto|2|1|1|1|LlamaConfig|")


@pytest.mark.parametrize(
    "argv",
    [
        ("vllm", "serve", "m/x"),
        ("sh", "-c", "python3 -m sglang.launch_server --model-path m/x"),
        ("python3", "-m", "sglang.bench_one_batch", "--model-path", "m/x"),
        ("python3", "--model-path", "m/x"),
        ("sglang", "serve", "m/x"),
        ("sglang", "serve", "--model-path", "m/x", "m/y"),
    ],
    ids=" ".join,
)
def test_what_is_no_sglang_command_line_is_refused(argv):
    answer = ask(question(*argv))

    assert isinstance(answer, Refusal)
    assert answer.reason == "undecidable"


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (("--speculative-algorithm", "EAGLE3"), "--speculative-algorithm"),
        (("--moe-a2a-backend", "deepep"), "--moe-a2a-backend"),
        (("--enable-deterministic-inference",), "--enable-deterministic-inference"),
        (("--json-model-override-args", "{}"), "--json-model-override-args"),
        (("--config", "x.yaml"), "--config"),
        (("--tensor-parallel", "2"), "--tensor-parallel"),
        (("--pp", "2"), "--pp-size"),
        (("--load-format", "gguf"), "--load-format"),
        (("--quantization", "mxfp8"), "quantization"),
        (("--quantization", "awq"), "quantization"),
        (("--moe-runner-backend", "marlin"), "moe_runner_backend"),
        (("--tp", "0"), "tp_size"),
        (("--tp", "-2"), "tp_size"),
        (("--tp", "$(TP)"), "tp_size"),
        (("--tp", "²"), "tp_size"),
        (("--node-rank", "$(LWS_WORKER_INDEX)"), "node_rank"),
        (("--tp", "8", "--ep", "3"), "moe_ep_size"),
        (("--dtype", "int8"), "dtype"),
        (("--port",), "--port"),
        (("--enable-metrics=1",), "--enable-metrics=1"),
        (("--flashinfer-autotune-skip-ops",), "--flashinfer-autotune-skip-ops"),
        (("--flashinfer-autotune-skip-ops=a",), "--flashinfer-autotune-skip-ops"),
        (("-tp", "2"), "-tp"),
        (("stray",), "stray"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else value,
)
def test_what_may_touch_the_key_is_refused_and_named(argv, named):
    answer = refused(*argv)

    assert answer.reason == "undecidable"
    assert named in answer.detail
    assert "--field" in answer.detail


@pytest.mark.parametrize(
    "path",
    [
        "s3://b/m", "m/x.gguf", "m/x-GGUF:Q4", " m/x", "none", "Dummy", "mistralai/Mistral-Large-3", "x/eagle-mistral",
        "",
    ],
)  # fmt: skip
def test_a_model_path_that_the_engine_may_rewrite_is_refused(path):
    answer = ask(question("--model-path", path))

    assert isinstance(answer, Refusal)
    assert "model_path" in answer.detail


@pytest.mark.parametrize(
    "change",
    [
        {"model_type": "kimi_k2"},
        {"model_type": None},
        {"model_type": ["llama"]},
        {"auto_map": {"AutoConfig": "x.Y"}},
        {"architectures": ["LlamaForCausalLMEagle3"]},
        {"architectures": None},
        {"text_config": {}},
        {"quantization_config": "fp8"},
        {"quantization_config": {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION"}},
        {"quantization_config": {"quant_method": "modelopt"}},
        {"quantization_config": {"quant_method": "auto-round"}},
        {"quantization_config": {}},
        {"dtype": "torch.bfloat16"},
        {"dtype": 5},
    ],
    ids=str,
)
def test_a_config_that_is_not_in_the_table_is_refused(change):
    assert refused(config={**config_of("llama-none"), **change}).reason == "undecidable"


def test_without_a_config_everything_that_it_decides_is_named():
    detail = refused(config=None).detail

    for name in ("config_class", "dtype", "quantization"):
        assert f"{name}: config.json was not found" in detail


def test_an_arch_that_was_not_checked_is_refused():
    assert "sm121" in refused(capability=(12, 1)).detail
    assert "sm89" in refused(capability=(8, 9)).detail


def test_gemma_is_not_cast_to_float16():
    assert "dtype" in refused(config={**config_of("gemma2-none"), "torch_dtype": "float32"}).detail


@pytest.mark.parametrize(
    "name", ["SGLANG_USE_MODELSCOPE", "SGLANG_CUTLASS_MOE", "SGLANG_DP_RANK", "SGLANG_FROM_THE_FUTURE"]
)
def test_a_variable_that_may_change_the_answer_is_refused(name):
    assert name in refused(environ={name: "1"}).detail
    assert asked(environ={name: ""})


def test_variables_that_are_known_to_be_harmless_are_fine():
    environ = {"SGLANG_CACHE_DIR": "/x", "SGLANG_SET_CPU_AFFINITY": "1", "PATH": "/bin"}

    assert asked(environ=environ).key == asked().key


def test_switching_autotuning_off_is_no_refusal():
    answer = ask(
        question("--model-path", "m/x", "--speculative-algorithm", "X", "--disable-flashinfer-autotune")
    )

    assert isinstance(answer, NotCached)
    assert answer.reason == "engine-does-not-tune"


def test_the_switch_of_the_cache_is_asked_first():
    answer = ask(question(environ={"SGLANG_FLASHINFER_AUTOTUNE_CACHE": "0"}))

    assert isinstance(answer, NotCached)
    assert answer.reason == "engine-cache-off"


def test_skip_ops_came_with_the_release_that_put_them_into_the_key():
    argv = ("--flashinfer-autotune-skip-ops", "b", "a", "a")

    assert asked(*argv).key_text.endswith("|skip_ops=a,b")
    assert asked(*argv, version="0.5.17").key_text.endswith("|skip_ops=a,b,mxfp8_gemm")
    assert "--flashinfer-autotune-skip-ops" in refused(*argv, version="0.5.16").detail


def test_cuda_graph_max_bs_is_refused_where_argparse_finds_it_ambiguous():
    argv = ("--cuda-graph-max-bs", "32")

    assert asked(*argv, version="0.5.19").key == asked(version="0.5.19").key
    assert "ambiguous" in refused(*argv, version="0.5.23").detail


# --- statements


def test_fields_alone_decide_everything():
    answer = ask(question(config=None, fields=FIELDS))

    assert answer.key_text == (
        "m/x|torch.bfloat16|None|auto|2|1|1|1|SomeConfig|candidate_selection=v2_default|skip_ops="
    )
    assert answer.source == "override"
    assert answer.rank_files == ("rank_tp0_pp0_dp0.json", "rank_tp1_pp0_dp0.json")


def test_one_field_settles_what_argv_leaves_open():
    open_argv = ("--moe-runner-backend", "marlin")
    assert "moe_runner_backend" in refused(*open_argv).detail

    assert "|marlin|" in asked(*open_argv, fields={"moe_runner_backend": "marlin"}).key_text


def test_with_every_field_stated_unknown_flags_no_longer_matter():
    argv = ("--speculative-num-steps", "3", "--some-new-flag")

    assert asked(*argv, fields=FIELDS).key == ask(question(fields=FIELDS)).key


@pytest.mark.parametrize(
    "argv",
    [
        ("--dp-siz", "2"), ("--data-parallel", "2"), ("--attn-dp-size", "2"), ("--config", "x"),
        ("--flashinfer-autotune-skip", "a"), ("--nnode", "2"), ("--dwdp-size", "2"), ("--dp-size", "x"),
        ("--disable-flashinfer-autot",), ("stray",),
    ],
    ids=" ".join,
)  # fmt: skip
def test_what_decides_the_files_is_refused_even_with_every_field_stated(argv):
    assert refused(*argv, fields=FIELDS).reason == "undecidable"


def test_a_dp_rank_from_the_environment_is_refused_even_with_every_field_stated():
    assert "SGLANG_DP_RANK" in refused(fields=FIELDS, environ={"SGLANG_DP_RANK": "1"}).detail


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"tp_size": "two"}, "tp_size"),
        ({"tp_size": True}, "tp_size"),
        ({"tp_size": "99999999999999999999"}, "tp_size"),
        ({"nonsense": "1"}, "nonsense"),
        ({"is_draft": "perhaps"}, "is_draft"),
        ({"model_path": ""}, "model_path"),
        ({"dtype": "auto"}, "dtype"),
    ],
    ids=str,
)
def test_a_statement_of_the_wrong_kind_is_refused(fields, named):
    answer = refused(fields=fields)

    assert answer.reason == "key-inputs"
    assert named in answer.detail


@pytest.mark.parametrize(
    "fields", [{"attn_dp_size": 2}, {"dp_size": 2, "enable_dp_attention": "true", "attn_dp_size": 1}], ids=str
)
def test_statements_that_contradict_each_other_are_refused(fields):
    assert "state all three" in refused("--tp", "2", fields=fields).detail


def test_a_drafts_key_needs_its_own_quantization():
    fields = {**FIELDS, "is_draft": "true"}

    assert "draft_quantization" in refused(fields=fields).detail
    answer = asked(fields={**fields, "draft_quantization": "None"})
    assert answer.key_text.endswith("|draft_quant=None")
    assert not isinstance(
        ask(question(fields=fields | {"draft_quantization": "fp8"}, version="0.5.14")), EngineCache
    )


# --- what comes with the answer


def test_every_input_has_a_value_and_a_source():
    answer = asked("--tp", "2", "--dtype", "half", config="llama-mofp8")
    inputs = {one.name: (one.value, one.source) for one in answer.inputs}

    assert inputs["model_path"] == ("m/x", "argv")
    assert inputs["dtype"] == ("torch.float16", "argv")
    assert inputs["quantization"] == (None, "no --quantization")
    assert inputs["moe_runner_backend"] == ("auto", "auto, for llama on sm90")
    assert inputs["tp_size"] == (2, "argv")
    assert inputs["pp_size"] == (1, "default")
    assert inputs["config_class"] == ("LlamaConfig", "config.json")
    assert inputs["cache_root"] == ("/c", "--cache-dir")
    assert inputs["arch"] == ("sm90", "compute capability")
    assert all(one.source for one in answer.inputs)
    for part in answer.key_text.split("|")[:9]:
        assert part in {str(value) for value, _ in inputs.values()}


def test_ranks_of_this_pod_and_of_the_replica():
    argv = ("--tp", "16", "--nnodes", "2", "--node-rank", "1")
    answer = asked(*argv, "--dp", "2", "--enable-dp-attention")

    assert answer.rank_files == tuple(f"rank_tp{tp}_pp0_dp1.json" for tp in range(8, 16))
    assert len(answer.all_rank_files) == 16
    assert answer.nnodes == 2
    assert asked("--tp", "2", "--dp", "2").all_rank_files == tuple(
        f"rank_tp{tp}_pp0_dp{dp}.json" for tp in (0, 1) for dp in (0, 1)
    )


def test_ranks_that_do_not_fit_are_refused():
    assert refused("--tp", "3", "--nnodes", "2").reason == "key-ranks"
    assert refused("--tp", "4", "--nnodes", "2", "--node-rank", "2").reason == "key-ranks"


@pytest.mark.parametrize("engine", ["vllm", "", "SGLang"])
def test_another_engine_is_refused_by_name(engine):
    answer = ask(Question(engine, "1", "0.7.2", (9, 0)))

    assert isinstance(answer, Refusal)
    assert answer.reason == "unknown-engine"
    assert repr(engine) in answer.detail


@given(
    st.lists(
        st.one_of(
            st.text(max_size=12),
            st.sampled_from(
                ["--tp", "--model-path", "--dp", "=", "--", "--nnodes=2", "--ep", "m/x", "2", "-m"]
            ),
        ),
        max_size=8,
    ),
    st.dictionaries(
        st.sampled_from([*FIELDS, "dp_size", "skip_ops", "x"]), st.one_of(st.none(), st.text(), st.integers())
    ),
)
def test_nothing_that_is_typed_raises(argv, fields):
    answer = ask(question(*argv, fields=fields))

    assert isinstance(answer, EngineCache | Refusal | NotCached)
