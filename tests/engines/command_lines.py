"""Questions about command lines, with the config.json of the golden cases."""

import json

from tests.pods import ROOT

from autotune_init.engines import EngineCache, Question, Refusal
from autotune_init.engines.registry import ask
from autotune_init.engines.spelling import read_words

CASES = json.loads((ROOT / "tests" / "data" / "sglang_argv_cases.json").read_text())
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


def no_file(path):
    raise FileNotFoundError(path)


def question(*words, config="llama-none", version="0.5.23", capability=(9, 0), **more):
    given = config_of(config) if isinstance(config, str) else config
    argv = words
    if words[:1] and words[0] in ("python3", "/opt/bin/python", "sglang"):
        argv = read_words(words, more.get("environ", {}), "sglang", version, no_file).argv
    return Question("sglang", version, "0.7.2", capability, argv, given, cache_dir="/c", **more)


def asked(*argv, **more):
    answer = ask(question("--model-path", "m/x", *argv, **more))
    assert isinstance(answer, EngineCache), answer
    return answer


def refused(*argv, **more):
    answer = ask(question("--model-path", "m/x", *argv, **more))
    assert isinstance(answer, Refusal), answer
    return answer
