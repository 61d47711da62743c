"""Asking the engine: what the child is given, and every way in which it can fail to answer, told apart."""

import os
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from tests.data.environment_stubs import nvml_library

from autotune_init.ask_engine import EngineCannotSay, ask_engine, code_of, is_gpu_here, pretended
from autotune_init.engines import Question
from autotune_init.environment import Machine
from autotune_init.facts import Gpu
from autotune_init.installed import InstalledPackages
from autotune_init.nvml import read_gpus
from autotune_init.shared_libraries import LoadedLibraries
from autotune_init.tuners.inside_call import Interpreter
from cache_store.clock import Cancelled, SystemClock

H100 = "NVIDIA H100 80GB HBM3"
GPU = Gpu(H100, (9, 0), 1, ("GPU-00000001-0000-0000-0000-000000000000",), "580.95", 81559)
QUESTION = Question("sglang", "0.5.23", "0.7.2", (9, 0), ("--tp", "2"))

SAYS = "import json, os, sys; job = json.load(sys.stdin); say = lambda a: print('AUTOTUNE-ANSWER ' + json.dumps(a)); "


@pytest.fixture
def engine(tmp_path):
    """Writes an engine's Python that runs this program instead of ours; returns how to ask it."""

    def asks(
        program, *, question=QUESTION, gpu=GPU, is_here=False, deadline_s=10.0, clock=None, environ=None
    ):
        python = tmp_path / "python"
        python.write_text(f"#!{sys.executable}\n{SAYS}{program}\n")
        python.chmod(0o755)
        clock = clock or SystemClock()
        inside = Interpreter(
            str(python), environ or {"PATH": os.environ["PATH"]}, tmp_path, clock.stop, clock
        )
        return ask_engine(question, gpu, is_here, inside, deadline_s)

    return asks


def test_the_child_gets_the_command_line_and_the_gpu_of_the_facts(engine):
    assert engine("say(job)") == {
        "argv": ["--tp", "2"],
        "gpu": {
            "name": H100, "capability": [9, 0], "memory_mib": 81559, "count": 8, "driver": "580.95",
            "uuid": "00000001-0000-0000-0000-000000000000",
        },
    }  # fmt: skip


def test_a_gpu_that_is_here_is_not_pretended(engine):
    assert engine("say(job)", is_here=True)["gpu"] is None


def test_what_the_engine_prints_besides_is_no_answer(engine):
    assert engine("print('noise'); say({'a': 1}); print('{}')") == {"a": 1}


@pytest.mark.parametrize(
    ("program", "why", "said"),
    [
        ("sys.exit(3)", "crashed", "exit code 3"),
        ("sys.stderr.write('boom\\n'); os.abort()", "crashed", "boom"),
        ("print('rubbish')", "crashed", "without an answer"),
        ("print('AUTOTUNE-ANSWER {')", "crashed", "without an answer"),
        ("say([1])", "crashed", "something else than an object"),
        (
            "say({'refused': 'undecidable', 'detail': 'ValueError: no such model'})",
            "refused",
            "no such model",
        ),
        (
            "say({'refused': 'undecidable', 'detail': \"ModuleNotFoundError: No module named 'sglang'\"})",
            "not-installed",
            "No module named 'sglang'",
        ),
    ],
)
def test_a_child_that_does_not_answer_is_told_apart(engine, program, why, said):
    with pytest.raises(EngineCannotSay) as silence:
        engine(program)

    assert silence.value.why == why
    assert said in silence.value.detail


def test_a_child_that_hangs_is_killed_and_named(engine, tmp_path):
    began = time.monotonic()
    with pytest.raises(EngineCannotSay) as silence:
        engine(f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); import time; time.sleep(600)",
               deadline_s=1.5)  # fmt: skip

    assert silence.value.why == "timeout"
    assert "--resolve-timeout" in silence.value.detail
    assert time.monotonic() - began < 10
    assert not Path("/proc", (tmp_path / "pid").read_text()).exists()


def test_a_python_that_is_not_there_is_named(tmp_path):
    clock = SystemClock()
    inside = Interpreter(str(tmp_path / "absent"), {}, tmp_path, clock.stop, clock)
    with pytest.raises(EngineCannotSay) as silence:
        ask_engine(QUESTION, GPU, False, inside, 5.0)

    assert silence.value.why == "not-started"
    assert "absent" in silence.value.detail


def test_a_pod_that_is_told_to_stop_meanwhile_stops(engine):
    clock = SystemClock(threading.Event())
    threading.Timer(0.5, clock.stop.set).start()
    with pytest.raises(Cancelled):
        engine("import time; time.sleep(600)", clock=clock)


def test_an_engine_without_a_program_cannot_be_asked(engine):
    with pytest.raises(EngineCannotSay, match="no-program"):
        engine("say({})", question=replace(QUESTION, engine="flashinfer"))


@pytest.mark.parametrize("absent", ["name", "capability", "driver"])
def test_facts_that_the_answer_depends_on_are_never_made_up(absent):
    with pytest.raises(EngineCannotSay, match=f"gpu-unknown.*gpu.{absent}"):
        pretended("sglang", replace(GPU, **{absent: None}))


def test_memory_may_be_assumed_for_sglang_and_for_nobody_else():
    assert pretended("sglang", replace(GPU, memory_mib=None))["memory_mib"] == 81559
    with pytest.raises(EngineCannotSay, match="memory_mib"):
        pretended("vllm", replace(GPU, memory_mib=None))


def test_how_many_gpus_there_are_may_matter_to_vllm_and_is_never_made_up():
    assert pretended("vllm", replace(GPU, count=4))["count"] == 4
    with pytest.raises(EngineCannotSay, match="count"):
        pretended("vllm", replace(GPU, count=None))


def machine(tmp_path, *names, **environ):
    return Machine(
        environ=environ,
        packages=InstalledPackages(()),
        libraries=LoadedLibraries,
        read_gpus=lambda: read_gpus(nvml_library(tmp_path, *names) if names else str(tmp_path / "absent")),
        ask_flashinfer=dict,
        is_engine_python=True,
    )


def test_the_gpu_is_here_only_where_nvml_shows_the_one_of_the_facts(tmp_path):
    assert is_gpu_here(GPU, machine(tmp_path / "a", H100))
    assert not is_gpu_here(GPU, machine(tmp_path / "b"))
    assert not is_gpu_here(replace(GPU, name="NVIDIA H200"), machine(tmp_path / "c", H100))
    assert not is_gpu_here(GPU, machine(tmp_path / "d", H100, CUDA_VISIBLE_DEVICES="-1"))


def install(root, *modules, version="0.5.23"):
    info = root / f"sglang-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Name: sglang\nVersion: {version}\n")
    lines = [f"{name},sha256={digest},10" for name, digest in modules]
    (info / "RECORD").write_text("\n".join(["../../../bin/sglang,sha256=x,3", *lines]))
    return InstalledPackages((str(root),))


def test_a_fork_of_the_same_version_is_other_code(tmp_path):
    one = code_of(install(tmp_path / "a", ("sglang/a.py", "x"), ("sglang/b.py", "y")), "sglang")
    same = code_of(install(tmp_path / "b", ("sglang/b.py", "y"), ("sglang/a.py", "x")), "sglang")
    fork = code_of(install(tmp_path / "c", ("sglang/a.py", "x"), ("sglang/b.py", "z")), "sglang")

    assert one == same
    assert one.digest != fork.digest


def test_an_editable_installation_is_known_by_its_modules(tmp_path):
    def installed(name, text):
        root = tmp_path / name
        packages = install(root, ("__editable__.sglang-0.5.23.pth", "x"))
        (root / "sglang").mkdir()
        (root / "sglang" / "__init__.py").write_text(text)
        return packages

    one, same, fork = installed("a", "1"), installed("b", "1"), installed("c", "2")

    assert code_of(one, "sglang").digest == code_of(same, "sglang").digest != code_of(fork, "sglang").digest


def test_code_that_is_not_seen_is_not_known(tmp_path):
    with pytest.raises(EngineCannotSay, match="code-unknown"):
        code_of(InstalledPackages((str(tmp_path),)), "sglang")
    with pytest.raises(EngineCannotSay, match="code-unknown"):
        code_of(install(tmp_path / "a", ("__editable__.pth", "x")), "sglang")
