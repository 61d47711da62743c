"""--tuner command: what the user's program is given, and what becomes of what it leaves behind."""

from __future__ import annotations

import json
import os
import shlex
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from autotune_init.tuners import TuneRequest, TunerFailed
from autotune_init.tuners.command import CommandTuner
from cache_store.clock import SystemClock
from cache_store.rank_file import MAX_RANK_FILE_BYTES

METADATA = {"flashinfer_version": "0.7.2.post1", "cuda_version": "13.0", "gpu": "NVIDIA H100 80GB HBM3"}
KEY = "('fp8_gemm', 'CublasFp8GemmRunner', ((1, 512, 64), (1, 64, 128), (1,)), (torch.bfloat16,))"
GOOD = {
    "_metadata": METADATA,
    KEY: ["CublasFp8GemmRunner", 2],
    KEY.replace("512", "16"): ["CublasFp8GemmRunner", 0],
}
EMPTY = {"_metadata": METADATA}


@pytest.fixture
def request_(tmp_path) -> TuneRequest:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    facts = tmp_path / "facts.json"
    facts.write_text("{}")
    return TuneRequest(
        scratch=scratch,
        rank_files=("rank_tp0_pp0_dp0.json", "rank_tp1_pp0_dp0.json"),
        facts_path=facts,
        deadline_s=30.0,
        max_tokens=8192,
        resolved={},
        model_config=None,
        environ={"PATH": os.environ["PATH"], "MARK": "from the pod"},
        python="/nonexistent/python",
        metadata=METADATA,
    )


def tuner(program: str) -> CommandTuner:
    command = shlex.join([sys.executable, "-S", "-c", program])
    return CommandTuner(command, clock=SystemClock())


def writes(*documents: object) -> str:
    """A program that writes one document (or raw text) per rank file."""
    texts = [text if isinstance(text, str) else json.dumps(text) for text in documents]
    return (
        "import json, os\n"
        f"for path, text in zip(json.loads(os.environ['AUTOTUNE_RANK_FILES']), {texts!r}):\n"
        "    open(path, 'w').write(text)"
    )


def engine_python(tmp_path: Path, body: str) -> str:
    """Stands where the engine's Python would: answers as inside/verify.py does."""
    path = tmp_path / "engine-python"
    path.write_text(f"#!{sys.executable} -S\n{body}\n")
    path.chmod(0o755)
    return str(path)


def fails(command_tuner: CommandTuner, request: TuneRequest, stop=None) -> TunerFailed:
    with pytest.raises(TunerFailed) as caught:
        command_tuner.tune(request, stop or threading.Event())
    return caught.value


def test_the_command_gets_paths_facts_deadline_and_the_pods_environment(request_):
    program = (
        "import json, os, sys\n"
        "print(json.dumps({n: os.environ[n] for n in sorted(os.environ) if n != 'LC_CTYPE'}), file=sys.stderr)\n"
        "print(os.getcwd(), file=sys.stderr); sys.exit(1)"
    )
    failure = fails(tuner(program), request_)
    seen = json.loads(failure.tail[0])
    assert json.loads(seen["AUTOTUNE_RANK_FILES"]) == [str(request_.scratch / n) for n in request_.rank_files]
    assert seen["AUTOTUNE_FACTS"] == str(request_.facts_path)
    assert seen["AUTOTUNE_DEADLINE_S"] == "30"
    assert seen["MARK"] == "from the pod"
    assert failure.tail[1] == str(request_.scratch)


def test_good_files_come_back_byte_for_byte_with_their_coverage(request_):
    result = tuner(writes(GOOD, GOOD)).tune(request_, threading.Event())
    assert set(result.files) == set(request_.rank_files)
    assert json.loads(result.files["rank_tp0_pp0_dp0.json"]) == GOOD
    assert (result.coverage.ops, result.coverage.entries, result.coverage.max_bucket) == (
        {"fp8_gemm": 2},
        2,
        512,
    )
    assert result.verified == "metadata"


def test_the_coverage_is_that_of_the_rank_that_covers_most(request_):
    result = tuner(writes(EMPTY, GOOD)).tune(request_, threading.Event())
    assert result.coverage.entries == 2
    assert json.loads(result.files["rank_tp0_pp0_dp0.json"]) == EMPTY


def test_files_of_metadata_only_are_an_empty_result(request_):
    result = tuner(writes(EMPTY, EMPTY)).tune(request_, threading.Event())
    assert dict(result.files) == {}
    assert result.coverage.excluded


def test_the_command_is_not_run_by_a_shell(request_):
    failure = fails(CommandTuner("echo $(touch injected) ; touch injected", clock=SystemClock()), request_)
    assert failure.reason == "tuner-wrote-nothing"
    assert list(request_.scratch.iterdir()) == []


@pytest.mark.parametrize("command", ["", "   ", "'unclosed"])
def test_a_command_that_cannot_be_split_is_refused_at_once(command):
    with pytest.raises(ValueError):
        CommandTuner(command, clock=SystemClock())


@pytest.mark.parametrize(
    ("program", "reason", "word"),
    [
        ("import sys; print('no GPU', file=sys.stderr); sys.exit(4)", "tuner-crashed", "exit code 4"),
        ("import os; os.kill(os.getpid(), 11)", "tuner-crashed", "signal 11"),
        ("import os; os.kill(os.getpid(), 9)", "tuner-crashed", "out of memory?"),
        ("pass", "tuner-wrote-nothing", "2 of 2"),
        (writes(GOOD), "tuner-wrote-nothing", "rank_tp1_pp0_dp0.json"),
        (writes(GOOD, "{"), "tuner-bad-file", "rank_tp1_pp0_dp0.json"),
        (writes("", ""), "tuner-bad-file", "not-json"),
        (writes({KEY: ["R", 1]}, GOOD), "tuner-bad-file", "no-metadata"),
        (writes("[" * 100_000, GOOD), "tuner-bad-file", "too-deep"),
        (writes("[1]", GOOD), "tuner-bad-file", "not-a-cache-file"),
        (writes({**GOOD, "_metadata": {**METADATA, "gpu": "NVIDIA H200"}}, GOOD), "tuner-environment", "NVIDIA H200"),
        (writes({**GOOD, "_metadata": {**METADATA, "gpu": "*"}}, GOOD), "tuner-environment", '"*"'),
        (writes({**GOOD, "_metadata": {"gpu": METADATA["gpu"]}}, GOOD), "tuner-environment", "flashinfer_version"),
        (writes({**GOOD, "_metadata": {**METADATA, "more": "1"}}, GOOD), "tuner-environment", "more"),
        (f"import os, json\nfor p in json.loads(os.environ['AUTOTUNE_RANK_FILES']): os.truncate(os.open(p, 66), {MAX_RANK_FILE_BYTES + 1})",
         "tuner-bad-file", "too-large"),
    ],
)  # fmt: skip
def test_every_failure_has_its_name(request_, program, reason, word):
    failure = fails(tuner(program), request_)
    assert failure.reason == reason
    assert word in failure.detail


def test_a_missing_command_is_unavailable(request_):
    failure = fails(CommandTuner("/nonexistent/tuner --fast", clock=SystemClock()), request_)
    assert failure.reason == "tuner-unavailable"
    assert "/nonexistent/tuner" in failure.detail


def test_the_deadline_ends_it_and_the_last_lines_are_kept(request_):
    program = "import sys, time; print('bucket 3 of 21', file=sys.stderr, flush=True); time.sleep(600)"
    failure = fails(tuner(program), replace(request_, deadline_s=1.0))
    assert failure.reason == "tuner-timeout"
    assert failure.tail == ("bucket 3 of 21",)


def test_stop_ends_it(request_):
    stop = threading.Event()
    program = "import sys, time; print('up', file=sys.stderr, flush=True); time.sleep(600)"
    command = shlex.join([sys.executable, "-S", "-c", program])
    stopping = CommandTuner(command, clock=SystemClock(), progress=lambda _line: stop.set())
    assert fails(stopping, request_, stop).reason == "tuner-cancelled"


ANSWER = "import json, sys; job = json.load(sys.stdin); print('AUTOTUNE-ANSWER ' + json.dumps({}))"


@pytest.mark.parametrize(
    ("answer", "verified"),
    [
        ("{'flashinfer': None}", "metadata"),
        ("{'loaded': {p: True for p in job['files']}, 'errors': {}, 'collected': {'gpu': 'NVIDIA H100 80GB HBM3'}}", "loads"),
        ("{'loaded': {p: False for p in job['files']}, 'errors': {}, 'collected': {'gpu': 'unknown'}}", "metadata"),
    ],
    ids=["no FlashInfer there", "FlashInfer loads it", "no GPU there"],
)  # fmt: skip
def test_flashinfers_loader_is_asked_where_there_is_one(request_, tmp_path, answer, verified):
    python = engine_python(tmp_path, ANSWER.format(answer))
    result = tuner(writes(GOOD, GOOD)).tune(replace(request_, python=python), threading.Event())
    assert result.verified == verified


@pytest.mark.parametrize(
    ("answer", "reason", "word"),
    [
        ("{'loaded': {p: False for p in job['files']}, 'errors': {}, 'collected': {'gpu': 'NVIDIA H200'}}",
         "tuner-environment", "NVIDIA H200"),
        ("{'loaded': {}, 'errors': {p: 'JSONDecodeError' for p in job['files']}, 'collected': {}}",
         "tuner-bad-file", "JSONDecodeError"),
    ],
)  # fmt: skip
def test_a_file_that_flashinfer_refuses_is_not_a_result(request_, tmp_path, answer, reason, word):
    python = engine_python(tmp_path, ANSWER.format(answer))
    failure = fails(tuner(writes(GOOD, GOOD)), replace(request_, python=python))
    assert (failure.reason, word in failure.detail) == (reason, True)


@pytest.mark.parametrize("body", ["raise SystemExit(3)", "print('no mark')", "print('AUTOTUNE-ANSWER {')"])
def test_a_check_that_breaks_says_nothing_about_the_files(request_, tmp_path, body):
    python = engine_python(tmp_path, body)
    result = tuner(writes(GOOD, GOOD)).tune(replace(request_, python=python), threading.Event())
    assert result.verified == "metadata"
