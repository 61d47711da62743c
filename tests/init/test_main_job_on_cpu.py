"""The main job end to end with FlashInfer's real autotuner code, two releases, on CPU: tune, publish, hit, load.

What is faked is CUDA alone (fake_cuda.py). The programs are the real ones, started as a pod starts them.
"""

import json
import os
import stat
import subprocess

import pytest
from tests.init import fake_cuda
from tests.init.test_flashinfer_cpu import LLAMA, METADATA, TOOLS
from tests.pods import Pod

pytestmark = pytest.mark.flashinfer

ENGINES = {"0.6.18": "0.5.21", "0.7.2": "0.5.23"}
LOAD = """
import json, sys
from flashinfer.autotuner import AutoTuner
tuner = AutoTuner.get()
print("LOADED " + json.dumps([tuner.load_configs(sys.argv[1]), len(tuner._file_configs)]))
"""


@pytest.fixture(params=sorted(ENGINES))
def release(request):
    return request.param


@pytest.fixture
def engine_python(tmp_path, release):
    """The engine's Python with a fake CUDA, as a program: our own interpreter must not see the fake."""
    real = TOOLS / f"fi-{release}" / "bin" / "python"
    if not real.exists():
        reason = f"{real} is absent: make flashinfer-envs builds it"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    site = tmp_path / "site"
    site.mkdir()
    fake_cuda.sitecustomize(site)
    (tmp_path / "workspace").mkdir()
    stated = {name: value for name, value in METADATA[release].items() if name != "flashinfer_version"}
    wrapper = tmp_path / "engine-python"
    wrapper.write_text(
        "#!/bin/sh\n"
        f"export PYTHONPATH={site} FLASHINFER_WORKSPACE_BASE={tmp_path}/workspace\n"
        f"export FAKE_CUDA_OP=real-keys FAKE_CUDA_METADATA='{json.dumps(stated)}'\n"
        f'exec {real} "$@"\n'
    )
    wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR)
    return wrapper


def load(engine_python, file):
    done = subprocess.run([engine_python, "-c", LOAD, file], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.split("LOADED ")[1])


def test_a_pod_tunes_another_hits_and_flashinfer_loads_what_was_placed(tmp_path, release, engine_python):
    (tmp_path / "store").mkdir()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(
        json.dumps({"architectures": ["LlamaForCausalLM"], **LLAMA})
    )
    facts = {
        "gpu": {"name": METADATA[release]["gpu"], "capability": [9, 0]},
        "packages": {"sglang": ENGINES[release]},
        "metadata": METADATA[release],
    }
    (tmp_path / "facts.json").write_text(json.dumps(facts))

    def pod(name):
        return Pod(
            tmp_path / name,
            (tmp_path / "store").as_uri(),
            tp=2,
            facts=tmp_path / "facts.json",
            flags=("--tuner", "flashinfer-ops", "--python", str(engine_python), "--max-tokens", "64"),
            engine=("--model-path", str(tmp_path / "model"), "--moe-runner-backend", "flashinfer_cutlass",
                    "--quantization", "modelopt_fp8"),
        )  # fmt: skip

    tuned = pod("a").run(timeout=180)
    hit = pod("b").run()

    assert tuned.ending == ("tuned", "published"), tuned.stderr
    assert tuned.report["verified"] == "profiles-zero"
    assert "bf16_gemm" in tuned.report["coverage"]["excluded"]
    assert hit.ending == ("hit", "found"), hit.stderr
    placed = sorted(pod("b").cache.rglob("rank_*.json"))
    assert len(placed) == 2
    for file in placed:
        assert load(engine_python, file) == [True, tuned.report["coverage"]["entries"]]
    foreign = tmp_path / "foreign.json"
    foreign.write_text(placed[0].read_text().replace("H100", "H200"))
    assert load(engine_python, foreign)[0] is False
