"""FlashInfer's own store through the main job, with FlashInfer 0.7.2's real autotune_v2 on a CPU: tune, publish, hit.

What is faked is CUDA alone (fake_cuda.py); store_engine.py stands for the engine. Its profile counter proves itself:
without a store it is not zero.
"""

import hashlib
import json
import os
import shlex
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

import jsonschema
import pytest
from tests.init import fake_cuda
from tests.init.test_flashinfer_cpu import METADATA, TOOLS
from tests.pods import ROOT, Pod, clean_environ
from tests.unit.test_store_entries import entry

from autotune_init.engines.flashinfer_store import env_hash

pytestmark = pytest.mark.flashinfer

SCHEMA = json.loads((ROOT / "docs" / "schemas" / "run-report.json").read_text())
FACTS = {
    "gpu": {"name": METADATA["0.7.2"]["gpu"], "capability": [9, 0]},
    "packages": {},
    "metadata": METADATA["0.7.2"],
}
HASH = env_hash(METADATA["0.7.2"])
LLAMA, QWEN = ("64,64",), ("128,64", "64,32")
BUCKETS = 7  # 1, 2, 4, ... 64


@dataclass
class World:
    tmp: Path
    python: Path

    def command(self, *shapes):
        return shlex.join([
            str(self.python), str(Path(__file__).with_name("store_engine.py")),
            str(ROOT / "src" / "autotune_init" / "inside"), *shapes,
        ])  # fmt: skip

    def pod(self, name, *shapes, workload="llama", **environ):
        """A pod whose tuner is the same program as its engine; `name` is its disk."""
        return Pod(
            self.tmp / name,
            (self.tmp / "store").as_uri(),
            facts=self.tmp / "facts.json",
            flags=(
                "--engine", "flashinfer", "--python", str(self.python), "--field", f"workload={workload}",
                *(("--tuner", "command", "--tuner-command", self.command(*shapes)) if shapes else ()),
            ),
            engine=("vllm", "serve", "model"),
            environ=environ,
        )  # fmt: skip

    def profiled_by_engine(self, root, *shapes):
        done = subprocess.run(
            shlex.split(self.command(*shapes)),
            env=clean_environ(FLASHINFER_AUTOTUNE_CACHE_DIR=str(root)),
            capture_output=True,
            text=True,
            check=True,
        )
        return int(done.stdout.split("PROFILED ")[1])


@pytest.fixture
def world(tmp_path):
    real = TOOLS / "fi-0.7.2" / "bin" / "python"
    if not real.exists():
        reason = f"{real} is absent: make flashinfer-envs builds it"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    for folder in ("site", "workspace", "store"):
        (tmp_path / folder).mkdir()
    fake_cuda.sitecustomize(tmp_path / "site")
    (tmp_path / "facts.json").write_text(json.dumps(FACTS))
    stated = {name: value for name, value in METADATA["0.7.2"].items() if name != "flashinfer_version"}
    wrapper = tmp_path / "engine-python"  # a program: our own interpreter must not see the fake
    wrapper.write_text(
        "#!/bin/sh\n"
        f"export PYTHONPATH={tmp_path}/site FLASHINFER_WORKSPACE_BASE={tmp_path}/workspace\n"
        f"export FAKE_CUDA_OP=real-keys FAKE_CUDA_METADATA='{json.dumps(stated)}'\n"
        f'exec {real} "$@"\n'
    )
    wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR)
    return World(tmp_path, wrapper)


def run(pod, *flags, timeout=120):
    done = pod.run(*flags, timeout=timeout)
    jsonschema.validate(done.report, SCHEMA)
    assert "Traceback" not in done.stderr
    return done


def entries(pod):
    folder = pod.cache / "v2" / HASH / "entries"
    return {path.name: path for path in folder.glob("*.json")}


def marks(*paths):
    """All of a file but when it was last read."""
    return {
        path: (path.read_bytes(), *[getattr(path.stat(), f"st_{one}") for one in ("ino", "mtime_ns", "mode")])
        for path in paths
    }


def bundle_of(world):
    [path] = (world.tmp / "store").rglob("bundle.json")
    return path


def test_what_one_pod_tuned_another_finds_with_one_request_and_flashinfer_profiles_nothing(world):
    tuned = run(world.pod("a", *LLAMA))
    hit = run(world.pod("b"))

    assert tuned.ending == ("tuned", "published"), tuned.stderr
    assert tuned.report["verified"] == "loads"
    assert tuned.report["coverage"]["ops"] == {"fp8_gemm": BUCKETS}
    assert hit.ending == ("hit", "found"), hit.stderr
    assert hit.report["requests"] == 1
    assert hit.report["directory"] == str(world.pod("b").cache / "v2" / HASH)
    pod = world.pod("b")
    assert len(entries(pod)) == BUCKETS
    assert pod.files() == world.pod("a").files()
    before = marks(*entries(pod).values())
    assert world.profiled_by_engine(world.tmp / "nowhere", *LLAMA) > 0
    assert world.profiled_by_engine(pod.cache, *LLAMA) == 0
    assert marks(*entries(pod).values()) == before
    bundle = json.loads(bundle_of(world).read_text())

    assert bundle["identity"]["key_text"] == f"flashinfer-v2|{HASH}|llama"
    assert bundle["identity"]["key_inputs"] == {
        "env_hash": HASH, "workload": "llama", "root": str(world.pod("a").cache),
    }  # fmt: skip
    assert bundle["identity"]["metadata"] == METADATA["0.7.2"]
    assert bundle["blobs"] == {}
    assert len(bundle["ranks"]) == BUCKETS + 1


def test_two_workloads_in_one_root_become_a_union(world):
    run(world.pod("a", *LLAMA))
    run(world.pod("b", *QWEN, workload="qwen"))
    shared = world.pod("shared")

    assert run(shared).ending == ("hit", "found")
    other = world.pod("shared", workload="qwen")
    assert run(other).ending == ("hit", "found")

    assert len(entries(shared)) == 3 * BUCKETS
    assert world.profiled_by_engine(shared.cache, *LLAMA, *QWEN) == 0


def test_a_good_local_entry_survives_a_bundle_that_says_otherwise_and_a_bad_one_is_replaced(world):
    run(world.pod("a", *LLAMA))
    pod = world.pod("b")
    world.profiled_by_engine(pod.cache, *LLAMA)
    good, bad, *rest = sorted(entries(pod).values())
    document = json.loads(good.read_text())
    good.write_text(json.dumps({**document, "tactic": 0}))
    os.utime(good, (1, 1))
    bad.write_bytes(bad.read_bytes()[:40])
    for path in rest:
        path.unlink()
    before = marks(good)

    done = run(pod)

    assert done.ending == ("hit", "found"), done.stderr
    assert marks(good) == before
    assert done.report["moved_aside"] == {bad.name: f"{bad.name}.aside"}
    assert world.profiled_by_engine(pod.cache, *LLAMA) == 0


def spoil(world, change):
    """Rewrite the published bundle with sound digests, so that only the entries themselves can tell."""
    path = bundle_of(world)
    bundle = json.loads(path.read_text())
    contents = {name: bundle["files"][digest] for name, digest in bundle["ranks"].items()}
    change(contents)
    digests = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in contents.items()}
    bundle["ranks"], bundle["files"] = digests, {digests[name]: text for name, text in contents.items()}
    path.write_text(json.dumps(bundle))


def swap_two(contents):
    first, second = sorted(name for name in contents if name != "manifest.json")[:2]
    contents[first] = contents[second]


def climb(contents):
    contents["../../../climbed.json"] = entry().decode()


def name_it_freely(contents):
    contents["aaaaaaaaaaaaaaaaaaaaaaaa.json"] = entry().decode()


def of_another_gpu(contents):
    contents["manifest.json"] = contents["manifest.json"].replace("H100", "H200")


def without_manifest(contents):
    del contents["manifest.json"]


SPOILED = [
    (swap_two, "bundle-wrong-name"),
    (name_it_freely, "bundle-wrong-name"),
    (climb, "bundle-corrupt"),
    (of_another_gpu, "bundle-foreign-environment"),
    (without_manifest, "bundle-foreign-environment"),
]


def test_given_one_bad_entry_then_the_bundle_is_refused_whole_and_nothing_is_written(world):
    """All changes in one test: they share the tune, which is what takes the time."""
    run(world.pod("a", *LLAMA))
    published = bundle_of(world).read_bytes()
    for change, reason in SPOILED:
        bundle_of(world).write_bytes(published)
        spoil(world, change)
        pod = world.pod(change.__name__)

        done = run(pod, "--strict")

        assert (done.ending, done.code) == (("cold", reason), 13), done.stderr
        assert pod.files() == {}
        assert not list(world.tmp.rglob("climbed.json"))


def test_without_a_store_a_pod_is_cold_whatever_lies_there(world):
    pod = world.pod("a")
    world.profiled_by_engine(pod.cache, *LLAMA)
    pod.store = ""

    assert run(pod).ending == ("cold", "no-store")


def test_a_command_that_tunes_nothing_says_so_by_leaving_the_store_open(world):
    tuned = run(world.pod("a", *LLAMA, STORE_ENGINE="nothing"))
    hit = run(world.pod("b"))

    assert tuned.ending == ("tuned", "empty"), tuned.stderr
    assert hit.ending == ("hit", "empty")
    assert world.pod("b").files() == {}


@pytest.mark.parametrize(
    ("behaviour", "reason", "detail"),
    [
        ("policy", "tuner-environment", "measure_execution_mode"),
        ("foreign", "tuner-environment", "NVIDIA H200"),
        ("half", "tuner-bad-file", "not-json"),
    ],
)
def test_given_a_command_whose_entries_are_not_this_pods_then_nothing_is_published(
    world, behaviour, reason, detail
):
    done = run(world.pod("a", *LLAMA, STORE_ENGINE=behaviour))

    assert done.ending == ("cold", reason), done.stderr
    assert detail in done.report["detail"]
    assert not list((world.tmp / "store").rglob("bundle.json"))


def test_given_a_command_that_leaves_nothing_at_all_then_it_is_no_empty_result(world):
    pod = world.pod("a", *LLAMA)
    pod.flags = (*pod.flags[:-1], "true")

    assert run(pod).ending == ("cold", "tuner-wrote-nothing")


def test_entries_under_a_measurement_policy_are_shared_where_it_is_stated(world):
    stated = ("--field", "measure_execution_mode=eager")

    assert run(world.pod("a", *LLAMA, STORE_ENGINE="policy"), *stated).ending == ("tuned", "published")
    hit = run(world.pod("b"), *stated)

    assert hit.ending == ("hit", "found")
    assert hit.report["directory"].endswith(
        env_hash({**METADATA["0.7.2"], "measure_execution_mode": "eager"})
    )
    assert run(world.pod("c")).ending == ("cold", "miss")
