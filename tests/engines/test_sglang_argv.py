"""Command lines: the answer is the release's own key, or a refusal; never another key."""

import json

import pytest
from tests.engines.command_lines import CASES, asked, config_of, question, refused
from tests.pods import ROOT

from autotune_init.engines import EngineCache, NotCached, Refusal
from autotune_init.engines.registry import ask
from autotune_init.engines.sglang_versions import RELEASES

GOLDEN = json.loads((ROOT / "tests" / "data" / "sglang_argv_golden.json").read_text())


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
    ("argv", "named"),
    [
        (("--speculative-algorithm", "MEDUSA"), "--speculative-algorithm"),
        (("--moe-a2a-backend", "mori"), "--moe-a2a-backend"),
        (("--moe-a2a-backend", "telepathy"), "--moe-a2a-backend"),
        (("--json-model-override-args", '{"dtype": "float16"}'), "--json-model-override-args"),
        (("--json-model-override-args", "{"), "--json-model-override-args"),
        (("--conf", "x.yaml"), "--config"),
        (("--attention-backend", "telepathy"), "--attention-backend"),
        (("--pp", "2"), "--pp-size"),
        (("--load-format", "gguf"), "--load-format"),
        (("--quantization", "mxfp8", "--moe-runner-backend", "triton"), "mxfp8"),
        (("--quantization", "awq"), "quantization"),
        (("--moe-runner-backend", "marlin"), "moe_runner_backend"),
        (("--tp", "0"), "tp_size"),
        (("--tp", "-2"), "tp_size"),
        (("--tp", "$(TP)"), "tp_size"),
        (("--tp", "²"), "tp_size"),
        (("--node-rank", "$(LWS_WORKER_INDEX)"), "node_rank"),
        (("--tp", "8", "--ep", "3"), "moe_ep_size"),
        (("--dtype", "int8"), "dtype"),
        (("--dtype", "BFloat16"), "dtype"),
        (("--port",), "--port"),
        (("--enable-metrics=1",), "--enable-metrics"),
        (("--flashinfer-autotune-skip-ops",), "--flashinfer-autotune-skip-ops"),
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
        {"model_type": "kimi_k3"},
        {"model_type": "kimi_k2"},
        {"model_type": None},
        {"model_type": ["llama"]},
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


def test_a_checkpoints_method_does_not_touch_the_key_of_a_family_without_rules():
    assert asked(config="llama-awq").key == asked().key
    assert asked(config="llama-awq", capability=(10, 0)).key == asked(capability=(10, 0)).key


def test_gemma_is_cast_to_bfloat16():
    config = {**config_of("gemma2-none"), "torch_dtype": "float32"}

    assert "|torch.bfloat16|" in asked(config=config).key_text
    assert "|torch.float16|" in asked(config={**config_of("llama-none"), "torch_dtype": "float32"}).key_text


def test_a_class_of_remote_code_needs_the_switch():
    config = {**config_of("llama-none"), "auto_map": {"AutoConfig": "configuration_x.XConfig"}}

    assert "|LlamaConfig|" in asked(config=config).key_text
    assert "|XConfig|" in asked("--trust-remote-code", config=config).key_text
    elsewhere = {**config, "auto_map": {"AutoConfig": "org/other--configuration_x.XConfig"}}
    assert "auto_map" in refused("--trust-remote-code", config=elsewhere).detail


def test_deepseek_without_a_quantization_needs_its_weights_on_blackwell():
    config = {"model_type": "deepseek_v3", "architectures": ["DeepseekV3ForCausalLM"], "dtype": "bfloat16"}

    assert "safetensors" in refused(config=config, capability=(10, 0)).detail
    assert asked(config=config)


def test_gpt_oss_in_bfloat16_needs_the_driver_on_blackwell():
    config = {"model_type": "gpt_oss", "architectures": ["GptOssForCausalLM"], "dtype": "bfloat16"}

    assert "driver" in refused(config=config, capability=(10, 0)).detail
    old, new = (
        asked(config=config, capability=(10, 0), driver=driver).key_text for driver in ("580.95", "595.1")
    )
    assert "|triton_kernel|" in old
    assert "|triton|" in new


def test_the_words_of_a_flag_end_where_argparse_ends_them():
    assert asked("--flashinfer-autotune-skip-ops=a").key_text.endswith("|skip_ops=a")
    assert asked("--tensor-par", "4").key_text == asked("--tp", "2", "--tp-size=4").key_text
    assert asked("--random-seed", "-1", "--served-model-name", "--a b").key == asked().key


@pytest.mark.parametrize(
    "name", ["SGLANG_USE_MODELSCOPE", "SGLANG_CUTLASS_MOE", "SGLANG_DP_RANK", "SGLANG_FROM_THE_FUTURE"]
)
def test_a_variable_that_may_change_the_answer_is_refused(name):
    assert name in refused(environ={name: "1"}).detail
    assert asked(environ={name: ""})


def test_variables_that_are_known_to_be_harmless_are_fine():
    environ = {
        "SGLANG_CACHE_DIR": "/x",
        "SGLANG_SET_CPU_AFFINITY": "1",
        "SGLANG_LOG_MS": "1",
        "PATH": "/bin",
        # of Services named sglang and sglang-router
        "SGLANG_SERVICE_HOST": "10.0.0.1",
        "SGLANG_SERVICE_PORT_HTTP": "30000",
        "SGLANG_PORT": "tcp://10.0.0.1:30000",
        "SGLANG_ROUTER_PORT_30000_TCP_ADDR": "10.0.0.1",
    }

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


@pytest.mark.parametrize(
    ("flag", "version", "is_known"),
    [
        ("--cuda-graph-max-bs", "0.5.12", True),
        ("--cuda-graph-max-bs", "0.5.19", True),
        ("--cuda-graph-max-bs", "0.5.20", False),
        ("--cuda-graph-max-bs-decode", "0.5.13.post1", False),
        ("--cuda-graph-max-bs-decode", "0.5.14", True),
        ("--cuda-graph-max-bs-decode", "0.5.23", True),
    ],
)
def test_a_flag_is_harmless_only_where_the_release_has_it(flag, version, is_known):
    if is_known:
        assert asked(flag, "32", version=version).key == asked(version=version).key
    else:
        assert flag in refused(flag, "32", version=version).detail
