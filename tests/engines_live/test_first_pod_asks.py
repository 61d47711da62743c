"""An installed SGLang answers where its recipe refuses, once: the first pod asks it, the second reads the memo.

Not part of the suite: `make test-engines` runs it with AUTOTUNE_TEST_SGLANG_PYTHON, the Python of an SGLang 0.5.23.
"""

import json
import os
import shlex
import sys
import urllib.request

import pytest
from tests.pods import FACTS, RECORDING, ROOT, Pod

pytestmark = pytest.mark.engine

FLASHINFER = "0.7.2"


@pytest.fixture
def python():
    path = os.environ.get("AUTOTUNE_TEST_SGLANG_PYTHON", "")
    if not os.access(path, os.X_OK):
        pytest.fail("AUTOTUNE_TEST_SGLANG_PYTHON names no Python with SGLang 0.5.23", pytrace=False)
    return path


@pytest.fixture
def facts(tmp_path):
    stated = json.loads(FACTS.read_text())
    stated["gpu"]["memory_mib"] = 81559
    stated["metadata"]["flashinfer_version"] = FLASHINFER
    stated["packages"]["flashinfer-python"] = FLASHINFER
    (tmp_path / "facts.json").write_text(json.dumps(stated))
    return tmp_path / "facts.json"


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text((ROOT / "examples" / "model" / "config.json").read_text())
    return folder


@pytest.fixture
def tune(tmp_path):
    recording = json.loads(RECORDING.read_text())
    recording["_metadata"]["flashinfer_version"] = FLASHINFER
    (tmp_path / "recording.json").write_text(json.dumps(recording))
    replay = [sys.executable, str(ROOT / "examples" / "replay_tuner.py"), str(tmp_path / "recording.json")]
    return ("--tuner", "command", "--tuner-command", shlex.join(replay))


def pod(root, s3, facts, model, python, *secrets):
    engine = ("python3", "-m", "sglang.launch_server", "--model-path", str(model), "--dtype", "bfloat16",
              "--quantization", "modelopt_fp8", "--moe-runner-backend", "flashinfer_cutlass", *secrets)  # fmt: skip
    # a variable that no rule follows, so the recipe refuses whatever its tables come to know
    environ = {**s3.environ, "SGLANG_SWITCH_OF_A_FORK": "1"}
    return Pod(root, s3.url, environ=environ, facts=facts, flags=("--python", python), engine=engine)


def objects(s3, folder):
    bucket, _, prefix = s3.url.removeprefix("s3://").partition("/")
    listing = f"{s3.environ['AWS_ENDPOINT_URL_S3']}/{bucket}?list-type=2&prefix={prefix}/{folder}"
    with urllib.request.urlopen(listing, timeout=10) as answer:
        keys = answer.read().decode().split("<Key>")[1:]
    bodies = {}
    for key in (part.partition("</Key>")[0] for part in keys):
        with urllib.request.urlopen(
            f"{s3.environ['AWS_ENDPOINT_URL_S3']}/{bucket}/{key}", timeout=10
        ) as answer:
            bodies[key] = answer.read().decode()
    return bodies


def test_the_first_pod_asks_the_engine_and_the_second_needs_two_requests(
    tmp_path, s3, facts, model, python, tune
):
    secret = ("--api-key", "hunter2-of-pod")
    first = pod(tmp_path / "a", s3, facts, model, python, *secret).run(*tune, timeout=400)
    second = pod(tmp_path / "b", s3, facts, model, python, *secret).run(*tune, timeout=60)

    assert first.ending == ("tuned", "published"), first.stderr
    assert first.report["key_source"] == "resolver"
    assert "asking sglang itself" in first.stderr
    assert second.ending == ("hit", "found"), second.stderr
    assert second.report["key_source"] == "memo"
    assert "asking" not in second.stderr
    assert second.report["requests"] == 2
    assert second.report["key"] == first.report["key"]
    assert not any("memo" in warning for warning in second.report["warnings"])
    [(key, body)] = objects(s3, "_resolved/").items()
    assert key.endswith(".json")
    assert "hunter2" not in body
    assert all("hunter2" not in text for text in objects(s3, "").values())


def test_a_recipe_that_decides_and_an_engine_that_is_asked_all_the_same_agree(tmp_path, s3, facts, python):
    """Given --resolver always, when recipe and engine both answer, then they agree and the engine's answer is used."""
    engine = ("sglang", "serve", "--model-path", str(ROOT / "examples" / "model"), "--dtype", "bfloat16",
              "--quantization", "modelopt_fp8", "--moe-runner-backend", "flashinfer_cutlass")  # fmt: skip
    asked = Pod(tmp_path / "a", s3.url, environ=s3.environ, facts=facts, engine=engine,
                flags=("--python", python, "--resolver", "always"))  # fmt: skip
    plain = Pod(tmp_path / "b", s3.url, environ=s3.environ, facts=facts, engine=engine)

    one, two = asked.run(timeout=400).report, plain.run().report

    assert one["key_source"] == "resolver"
    assert two["key_source"] == "recipe"
    assert one["key"] == two["key"]
