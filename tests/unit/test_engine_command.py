"""The pod's command line made into one that only tunes: what stays, what goes, what is refused, which environment."""

from __future__ import annotations

import pytest

from autotune_init.tuners import engine_command as module
from autotune_init.tuners.engine_command import NotStartable, Start, engine_command

KEY_FLAGS = (
    "--model-path", "/models/m", "--dtype", "bfloat16", "--quantization", "modelopt_fp8", "--moe-runner-backend",
    "flashinfer_cutlass", "--tp", "4", "--pp-size", "1", "--ep-size", "2", "--dp-size", "2", "--enable-dp-attention",
    "--flashinfer-autotune-skip-ops", "mm_fp4", "fp8_gemm", "--json-model-override-args", '{"num_hidden_layers": 2}',
    "--speculative-algorithm", "EAGLE", "--speculative-draft-model-path", "/models/d", "--cuda-graph-max-bs-decode", "64",
    "--mem-fraction-static", "0.8", "--trust-remote-code",
)  # fmt: skip
OVERRIDES = (
    "--load-format", "dummy", "--host", "127.0.0.1", "--port", "31000", "--log-level", "info", "--skip-server-warmup",
)  # fmt: skip


def start(**changes) -> Start:
    return Start(**{"python": "/opt/python", "scratch": "/scratch", "port": 31000, **changes})


def sglang(*words: str, version: str = "0.5.23", **changes):
    return engine_command("sglang", version, words, start(**changes))


def refusal(*words: str, engine: str = "sglang", version: str = "0.5.23") -> str:
    with pytest.raises(NotStartable) as caught:
        engine_command(engine, version, words, start())
    return str(caught.value)


def test_every_input_of_the_key_and_of_the_shapes_stays_and_the_overrides_come_last():
    assert sglang(*KEY_FLAGS).argv == ("/opt/python", "-m", "sglang.launch_server", *KEY_FLAGS, *OVERRIDES)


@pytest.mark.parametrize(
    "program",
    [("python3", "-m", "sglang.launch_server"), ("sglang", "serve"), ("-m", "sglang.launch_server"), ()],
    ids=" ".join,
)
def test_the_program_in_front_of_the_flags_is_ours(program):
    argv = sglang(*program, "--model-path", "m").argv
    assert argv == ("/opt/python", "-m", "sglang.launch_server", "--model-path", "m", *OVERRIDES)


def test_another_program_can_stand_in_for_the_engine():
    assert sglang("--model-path", "m", program=("stub", "-x")).argv[:4] == ("stub", "-x", "--model-path", "m")


@pytest.mark.parametrize(
    ("rows", "engine", "version"),
    [(module._SGLANG_OUT, "sglang", "0.5.23"), (module._VLLM_OUT, "vllm", "0.33.0")],
    ids=["sglang", "vllm"],
)
def test_every_row_goes_with_as_many_values_as_it_takes(rows, engine, version):
    for _, values, flags in rows:
        for flag in flags.split():
            own = {"none": [], "one": ["x"], "many": ["x", "y"]}[values]
            made = engine_command(engine, version, ("--model", "m", flag, *own, "--dtype", "half"), start())
            assert flag not in made.argv
            assert made.taken_out == (flag,)
            at = made.argv.index("--model")
            assert made.argv[at : at + 4] == ("--model", "m", "--dtype", "half"), flag


def test_a_flag_with_its_value_attached_goes_as_a_whole():
    made = sglang("--model-path", "m", "--api-key=secret", "--tp", "2")
    assert made.argv[3:7] == ("--model-path", "m", "--tp", "2")
    assert made.taken_out == ("--api-key",)


def test_an_abbreviation_that_argparse_takes_goes_as_well():
    made = sglang("--model-path", "m", "--enable-tra", "--hicache-storage-backend-e", "{}", "--tp", "2")
    assert made.argv[3:7] == ("--model-path", "m", "--tp", "2")


def test_model_is_no_abbreviation():
    assert sglang("--model", "m").argv[3:5] == ("--model", "m")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--model-path", "m", "--config", "c.yaml"), "not looked through"),
        (("--model-path", "m", "--disaggregation-mode", "prefill"), "--disaggregation-mode prefill"),
        (("--model-path", "m", "--disaggregation-mode=decode"), "--disaggregation-mode decode"),
        (("--model-path", "m", "--nnodes", "2"), "--nnodes 2"),
        (("--model-path", "m", "--use-ray"), "Ray"),
        (("--model-path", "m", "--encoder-only"), "encoder"),
        (("bash", "-c", "sglang serve"), "not a command line of the engine"),
        (("python3", "-m", "vllm.entrypoints.openai.api_server"), "not a command line of the engine"),
        ((), "not a command line of the engine"),
    ],
    ids=lambda value: " ".join(value)[-30:] if isinstance(value, tuple) else "",
)
def test_what_cannot_be_started_alone_is_refused_with_its_word(words, says):
    assert says in refusal(*words)


def test_one_node_and_no_disaggregation_said_aloud_are_fine():
    assert "--nnodes" in sglang("--model-path", "m", "--nnodes", "1", "--disaggregation-mode", "null").argv


def test_another_engine_is_refused():
    assert "'trtllm' is not known" in refusal("--model", "m", engine="trtllm")


def test_the_files_go_to_scratch_and_compiled_kernels_to_the_pods_own_root():
    environ = sglang(
        "--model-path", "m", kept_root="/cache/", environ={"SGLANG_CACHE_DIR": "/cache", "A": "b"}
    ).environ
    assert environ["SGLANG_CACHE_DIR"] == "/scratch"
    assert environ["FLASHINFER_WORKSPACE_BASE"] == "/cache"
    assert environ["TRITON_CACHE_DIR"] == "/cache/triton"
    assert environ["TORCHINDUCTOR_CACHE_DIR"] == "/cache/inductor"
    assert environ["CUDA_CACHE_PATH"] == "/cache/nv"
    assert environ["A"] == "b"


def test_a_place_for_kernels_that_the_pod_chose_stays():
    environ = sglang("--model-path", "m", kept_root="/cache", environ={"TRITON_CACHE_DIR": "/mine"}).environ
    assert environ["TRITON_CACHE_DIR"] == "/mine"


@pytest.mark.parametrize(("version", "kept_root"), [("0.5.17", "/cache"), ("0.5.23", "")])
def test_kernels_stay_where_the_engine_itself_puts_them(version, kept_root):
    assert "TRITON_CACHE_DIR" not in sglang("--model-path", "m", version=version, kept_root=kept_root).environ


def test_variables_that_open_a_port_or_hide_the_log_go():
    environ = sglang(
        "--model-path",
        "m",
        environ={
            "SGLANG_GRPC_PORT": "1",
            "SGLANG_RUST_SERVER": "1",
            "SGLANG_LOGGING_CONFIG_PATH": "/x",
            "TQDM_DISABLE": "1",
        },
    ).environ
    assert set(environ) == {"SGLANG_CACHE_DIR", "PYTHONUNBUFFERED", "TQDM_MININTERVAL"}


def test_vllm_serves_dummy_weights_on_loopback_and_writes_to_scratch():
    words = ("vllm", "serve", "org/model", "-tp", "2", "--api_key", "k", "--max-model-len", "4096")
    made = engine_command("vllm", "0.33.0", words, start(environ={"VLLM_CACHE_ROOT": "/c", "VLLM_X": "y"}))
    assert made.argv == (
        "/opt/python", "-m", "vllm.entrypoints.cli.main", "serve", "org/model", "-tp", "2", "--max-model-len", "4096",
        "--load-format", "dummy", "--host", "127.0.0.1", "--port", "31000",
    )  # fmt: skip
    assert made.environ["VLLM_FLASHINFER_AUTOTUNE_CACHE_DIR"] == "/scratch"
    assert made.environ["VLLM_LOGGING_STREAM"] == "ext://sys.stderr"
    assert (made.environ["VLLM_CACHE_ROOT"], made.environ["VLLM_X"]) == ("/c", "y")


def test_vllms_older_server_keeps_its_module():
    words = ("python3", "-m", "vllm.entrypoints.openai.api_server", "--model", "m")
    assert engine_command("vllm", "0.33.0", words, start()).argv[2] == "vllm.entrypoints.openai.api_server"


@pytest.mark.parametrize(
    ("words", "version", "says"),
    [
        (("m",), "0.29.0", "hashes its environment"),
        (("m", "--kv-transfer-config.kv_role", "kv_both"), "0.33.0", "part of the key"),
        (("m", "--data-parallel-rank", "1"), "0.33.0", "other pods"),
        (("m", "--nnodes", "2"), "0.33.0", "other nodes"),
    ],
    ids=["0.29", "kv-transfer", "dp-rank", "nnodes"],
)
def test_vllm_refusals(words, version, says):
    assert says in refusal(*words, engine="vllm", version=version)
