"""Asking an installed SGLang leaves no file behind and reaches no network."""

import json
import os
import subprocess
import time

import pytest
from tests.pods import ROOT

pytestmark = pytest.mark.engine

GPU = {"name": "NVIDIA B200", "capability": [10, 0], "memory_mib": 183359, "count": 8, "driver": "580.95.05"}
PROGRAM = ROOT / "src" / "autotune_init" / "inside" / "resolve_sglang.py"


def ask(argv, folder):
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("SGLANG_", "HF_"))}
    done = subprocess.run(
        [os.environ["AUTOTUNE_TEST_SGLANG_PYTHON"], str(PROGRAM)],
        input=json.dumps({"argv": argv, "gpu": GPU}),
        env={**environ, "HOME": str(folder / "home"), "TMPDIR": str(folder / "tmp")},
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    [line] = [line for line in done.stdout.splitlines() if line.startswith("AUTOTUNE-ANSWER ")]
    return json.loads(line.removeprefix("AUTOTUNE-ANSWER "))


def files_of(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture
def folder(tmp_path):
    for name in ("home", "tmp", "model"):
        (tmp_path / name).mkdir()
    (tmp_path / "model" / "config.json").write_text((ROOT / "examples" / "model" / "config.json").read_text())
    return tmp_path


def test_a_question_leaves_no_file_behind(folder):
    before = files_of(folder)
    answer = ask(["--model-path", "model", "--tp", "2"], folder)

    assert [worker["role"] for worker in answer["workers"]] == ["target"]
    assert answer["workers"][0]["files"] == ["rank_tp0_pp0_dp0.json", "rank_tp1_pp0_dp0.json"]
    assert files_of(folder) == before


def test_a_model_that_is_only_in_the_hub_is_refused_and_not_downloaded(folder):
    before, began = files_of(folder), time.monotonic()
    answer = ask(["--model-path", "some-org/some-model"], folder)

    assert answer["refused"] == "undecidable"
    assert "couldn't find them in the cached files" in answer["detail"]
    assert time.monotonic() - began < 240
    assert files_of(folder) == before
