"""`autotune-init key`, `key --batch` and `facts` as programs."""

import json
import subprocess
import sys

import pytest
from tests.pods import ENGINE, FACTS, ROOT, clean_environ


def call(*arguments, stdin="", **environ):
    return subprocess.run(
        [sys.executable, "-m", "autotune_init", *arguments],
        cwd=ROOT,
        env=clean_environ(**environ),
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )


def key(*flags, engine=ENGINE, **environ):
    return call("key", "--facts", str(FACTS), "--cache-dir", "/c", *flags, "--", *engine, **environ)


def test_key_explains_every_input():
    done = key()

    assert done.returncode == 0, done.stderr
    for part in ("/c/flashinfer/autotune/0.7.2.post1/sm90/", "rank_tp0_pp0_dp0.json", "candidate_selection=v2_default",
                 "modelopt_fp8", "config.json", "Qwen3Config"):  # fmt: skip
        assert part in done.stdout


def test_key_as_json_has_the_same_answer():
    done = key("--json")
    answer = json.loads(done.stdout)

    assert answer["directory"].endswith(answer["key"])
    assert {one["name"] for one in answer["inputs"]} >= {
        "model_path",
        "dtype",
        "config_class",
        "skip_ops",
        "arch",
    }
    assert all(one["source"] for one in answer["inputs"])


@pytest.mark.parametrize(
    ("flags", "code", "reason"),
    [
        (("--engine-version", "0.5.99"), 17, "unknown-engine-version"),
        (("--engine-version", "0.5.11"), 24, "engine-has-no-cache"),
        (("--engine", "vllm", "--engine-version", "0.33.0"), 17, "key-argv"),
        (("--field", "surprise=1"), 17, "key-inputs"),
        (("--field", "tp_size=two"), 17, "key-inputs"),
    ],
    ids=["version", "before", "engine", "name", "value"],
)
def test_a_refusal_has_a_code_and_a_reason(flags, code, reason):
    done = key(*flags)
    as_json = key(*flags, "--json")

    assert done.returncode == as_json.returncode == code
    assert reason in done.stderr
    assert json.loads(as_json.stdout)["refused"] == reason


def test_fields_that_are_stated_win():
    answer = json.loads(key("--json", "--field", "model_path=other", "--field", "quantization=None").stdout)

    assert answer["key_text"].startswith("other|torch.bfloat16|None|")
    assert answer["source"] == "override"


def test_batch_answers_line_by_line_and_never_stops():
    resolved = {
        "model_path": "m", "dtype": "torch.bfloat16", "quantization": None, "moe_runner_backend": "auto", "tp_size": 2,
        "pp_size": 1, "attn_dp_size": 1, "moe_ep_size": 1, "config_class": "LlamaConfig", "skip_ops": None,
        "is_draft": False, "draft_quantization": None,
    }  # fmt: skip
    good = {
        "engine": "sglang", "engine_version": "0.5.23", "flashinfer_version": "0.7.2", "capability": [9, 0],
        "cache_dir": "/c", "resolved": resolved, "rank": {"tp": 1, "pp": 0, "dp": None},
    }  # fmt: skip
    lines = [json.dumps(good), "not json", "", json.dumps({**good, "engine_version": "9"}), json.dumps(good)]

    done = call("key", "--batch", stdin="\n".join(lines))
    answers = [json.loads(line) for line in done.stdout.splitlines()]

    assert done.returncode == 0
    assert len(answers) == 4
    assert answers[0] == answers[3]
    assert answers[0]["path"].endswith(f"/{answers[0]['key']}/rank_tp1_pp0_dp0.json")
    assert [answer.get("refused") for answer in answers[1:3]] == ["bad-line", "unknown-engine-version"]


def test_facts_that_are_printed_read_back_equal(tmp_path):
    first = call("facts", "--facts", str(FACTS))
    (tmp_path / "facts.json").write_text(first.stdout)
    second = call("facts", "--facts", str(tmp_path / "facts.json"))

    assert first.returncode == 0
    assert first.stdout == second.stdout
    assert "metadata.gpu: facts file" in first.stderr


def test_facts_of_a_node_without_a_gpu_are_an_error_with_a_code():
    done = call("facts")

    assert done.returncode == 19
    assert "environment-no-" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    "arguments", [("key", "--bogus"), ("facts", "--wait", "x"), ("nonsense",), ()], ids=str
)
def test_wrong_usage_is_exit_2_with_a_sentence(arguments):
    done = call(*arguments)

    assert done.returncode == 2
    assert done.stderr + done.stdout != ""


def test_version_and_help():
    assert call("--version").stdout.startswith("autotune-init 0.")
    assert "run" in call("--help").stdout
    assert call("run", "--help").returncode == 0


def test_stray_bytes_in_a_batch_are_one_bad_line_and_no_end():
    done = subprocess.run(
        [sys.executable, "-m", "autotune_init", "key", "--batch"],
        env=clean_environ(LC_ALL="C", PYTHONIOENCODING="ascii"),
        input=b'\xff\xfe\n{"engine": "\xc3\xa9"}\n',
        capture_output=True,
        check=True,
    )

    assert [json.loads(line)["refused"] for line in done.stdout.splitlines()] == [
        "bad-line",
        "unknown-engine",
    ]


def test_a_model_path_with_stray_bytes_ends_in_a_report():
    done = subprocess.run(
        [sys.executable.encode(), b"-m", b"autotune_init", b"run", b"--facts", str(FACTS).encode(), b"--",
         b"--model-path", b"/m\xff", b"--moe-runner-backend", b"auto"],
        cwd=ROOT,
        env=clean_environ(),
        capture_output=True,
        check=True,
    )  # fmt: skip

    assert json.loads(done.stdout)["outcome"] == "skipped"
