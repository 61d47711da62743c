"""`autotune-init key` for workloads that cannot be answered: exit 17, a stable reason, and what would help."""

import json
import subprocess
import sys

import pytest
from tests.pods import FACTS, ROOT, clean_environ

MODEL_CONFIG = json.loads((ROOT / "examples" / "model" / "config.json").read_text())
NEEDED = ("--dtype", "bfloat16", "--moe-runner-backend", "flashinfer_cutlass")


@pytest.fixture
def ask(tmp_path):
    """Asks for the key of a command line, on a node with these packages; returns (exit code, answer)."""

    def key(*command, flags=(), packages=None, **environ):
        facts = json.loads(FACTS.read_text())
        if packages is not None:
            kept = {name: text for name, text in facts["packages"].items() if name not in ("sglang", "vllm")}
            facts["packages"] = {**kept, **packages}
        file = tmp_path / "facts.json"
        file.write_text(json.dumps(facts))
        done = subprocess.run(
            [sys.executable, "-m", "autotune_init", "key", "--json", "--facts", str(file), "--cache-dir", "/c",
             *flags, "--", *command],
            cwd=tmp_path,
            env=clean_environ(HOME=str(tmp_path), **environ),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )  # fmt: skip
        return done.returncode, json.loads(done.stdout)

    return key


@pytest.fixture
def model(tmp_path):
    """Writes a model directory; returns its path."""

    def written(**more):
        folder = tmp_path / "model"
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({**MODEL_CONFIG, **more}))
        return str(folder)

    return written


def test_a_workload_that_is_fine_has_an_answer(ask, model):
    code, answer = ask("python3", "-m", "sglang.launch_server", "--model-path", model(), *NEEDED)

    assert code == 0, answer
    assert answer["directory"].endswith(answer["key"])


def test_an_engine_that_is_not_installed_asks_for_its_version(ask, model):
    code, answer = ask("sglang", "serve", "--model-path", model(), *NEEDED, packages={})

    assert (code, answer["refused"]) == (17, "unknown-engine-version")
    assert "--engine-version" in answer["detail"]


def test_a_command_of_another_engine_gets_no_key_of_this_one(ask, model):
    code, answer = ask("vllm", "serve", model(), packages={"sglang": "0.5.23", "vllm": "0.33.0"})

    assert code == 17
    assert "refused" in answer


def test_a_model_that_is_nowhere_here_says_what_is_needed(ask):
    code, answer = ask("sglang", "serve", "--model-path", "org/name", *NEEDED)

    assert (code, answer["refused"]) == (17, "undecidable")
    for part in ("config.json", "--model-config", "org/name", "huggingface/hub"):
        assert part in answer["detail"]


def test_code_that_comes_with_the_model_never_gets_the_key_of_the_librarys_own_class(ask, model):
    path = model(auto_map={"AutoConfig": "configuration_odd.OddConfig"})
    code, answer = ask("sglang", "serve", "--model-path", path, "--trust-remote-code", *NEEDED)

    assert code in (0, 17), answer
    assert "|OddConfig|" in answer["key_text"] if code == 0 else "auto_map" in answer["detail"]


def test_a_flag_that_nobody_knows_is_named(ask, model):
    code, answer = ask("sglang", "serve", "--model-path", model(), *NEEDED, "--surprise", "1")

    assert (code, answer["refused"]) == (17, "undecidable")
    assert "--surprise" in answer["detail"]


def test_a_shell_line_gets_no_wrong_key(ask, model):
    path = model()
    code, answer = ask("sh", "-c", f"sglang serve --model-path {path} --tp $(nproc)")

    assert code == 17
    assert "refused" in answer
