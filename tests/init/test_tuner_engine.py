"""--tuner engine, against a stand-in for SGLang's launcher: what is started, when it is ended, what is made of it."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from tests.init import fake_cuda
from tests.init.test_flashinfer_cpu import LLAMA, TOOLS
from tests.init.test_flashinfer_cpu import METADATA as FLASHINFER_METADATA

from autotune_init.tuners import TuneRequest, TunerFailed, engine_watch
from autotune_init.tuners.child import run_child
from autotune_init.tuners.engine import EngineTuner, free_port, kept_root, oom_kills
from cache_store.clock import SystemClock

STUB = (sys.executable, "-S", str(Path(__file__).with_name("launcher_stub.py")))
METADATA = {"flashinfer_version": "0.7.2", "cuda_version": "13.0", "gpu": "NVIDIA H100 80GB HBM3"}
TARGET = "flashinfer/autotune/0.7.2/sm90/0123456789abcdef"
DRAFT = "flashinfer/autotune/0.7.2/sm90/fedcba9876543210"


class Engine:
    """One test's engine: its request, the tuner, and what the stand-in recorded."""

    def __init__(self, tmp_path: Path) -> None:
        self.record = tmp_path / "record.jsonl"
        self.cgroup = tmp_path / "cgroup"
        self.cgroup.mkdir()
        (self.cgroup / "memory.events").write_text("low 0\noom 0\noom_kill 2\noom_group_kill 0\n")
        self.told: list[str] = []
        self.tuner = EngineTuner(
            clock=SystemClock(), progress=self.told.append, program=STUB, settle_s=0.2, cgroup=self.cgroup
        )
        self.tmp_path = tmp_path

    def request(
        self, *flags: str, tp: int = 2, folders=(TARGET,), engine_folders=None, **changes
    ) -> TuneRequest:
        scratch = self.tmp_path / f"scratch{len(list(self.tmp_path.glob('scratch*')))}"
        scratch.mkdir()
        facts = self.tmp_path / "facts.json"
        facts.write_text("{}")
        argv = ["--model-path", "examples/model", "--quantization", "modelopt_fp8", "--tp", str(tp), *flags]
        argv += ["--stub-metadata", json.dumps(METADATA), "--stub-record", str(self.record)]
        argv += ["--stub-cgroup", str(self.cgroup / "memory.events")]
        for folder in folders if engine_folders is None else engine_folders:
            argv += ["--stub-folder", folder]
        request = TuneRequest(
            scratch=scratch,
            rank_files=tuple(f"rank_tp{rank}_pp0_dp0.json" for rank in range(tp)),
            facts_path=facts,
            deadline_s=40.0,
            max_tokens=8192,
            resolved={},
            model_config=None,
            environ={"PATH": os.environ["PATH"], "MARK": "from the pod", "SGLANG_GRPC_PORT": "1"},
            python="/nonexistent/python",
            metadata=METADATA,
            engine="sglang",
            engine_version="0.5.23",
            engine_argv=tuple(argv),
            cache_folders=tuple(folders),
        )
        return replace(request, **changes)

    def tune(self, request: TuneRequest, stop: threading.Event | None = None):
        return self.tuner.tune(request, stop or threading.Event())

    def fails(self, request: TuneRequest, stop: threading.Event | None = None) -> TunerFailed:
        with pytest.raises(TunerFailed) as caught:
            self.tune(request, stop)
        return caught.value

    def recorded(self, name: str) -> list:
        rows = [json.loads(line) for line in self.record.read_text().splitlines()]
        return [row[name] for row in rows if name in row]

    def left_behind(self) -> list[int]:
        """A killed orphan is gone when its new parent has seen it, which takes a moment; the stand-in sleeps for 600 s."""
        until = time.monotonic() + 5
        while (alive := [pid for pid in self.recorded("pid") if is_alive(pid)]) and time.monotonic() < until:
            time.sleep(0.02)
        return alive


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except OSError:
        return False


@pytest.fixture
def engine(tmp_path):
    made = Engine(tmp_path)
    yield made
    if made.record.exists():
        assert made.left_behind() == []


def test_the_engine_is_started_with_the_pods_flags_and_dummy_weights_and_its_files_are_the_result(engine):
    request = engine.request("--stub-never-ready")
    result = engine.tune(request)
    assert sorted(result.files) == list(request.rank_files)
    assert (result.coverage.entries, result.coverage.max_bucket) == (1, 512)
    assert result.verified == "metadata"
    assert (request.scratch / "rank_tp1_pp0_dp0.json").read_bytes() == result.files["rank_tp1_pp0_dp0.json"]
    assert engine.recorded("load_format") == ["dummy"]
    assert engine.recorded("cwd") == [os.getcwd()]
    [environ] = engine.recorded("environ")
    assert Path(environ["SGLANG_CACHE_DIR"]).parent == request.scratch
    assert environ["MARK"] == "from the pod"
    assert "SGLANG_GRPC_PORT" not in environ


def test_a_person_can_follow_the_tuning(engine):
    engine.tune(engine.request("--stub-never-ready", tp=1))
    assert any(line.startswith("autotune: op fp8_gemm 2/4 profiles, 2 s") for line in engine.told)
    assert "autotune: done" in engine.told


def test_with_a_draft_worker_both_folders_come_from_one_start(engine):
    request = engine.request("--speculative-algorithm", "EAGLE", folders=(TARGET, DRAFT))
    target = engine.tune(request)
    again = engine.request("--speculative-algorithm", "EAGLE", folders=(TARGET, DRAFT))
    draft = engine.tune(
        replace(again, engine_argv=request.engine_argv, cache_folders=(DRAFT, TARGET), deadline_s=5.0)
    )
    assert sorted(target.files) == sorted(draft.files) == list(request.rank_files)
    assert len(engine.recorded("argv")) == 1
    assert (again.scratch / "rank_tp0_pp0_dp0.json").is_file()


def test_relative_paths_begin_where_the_engines_do(engine, tmp_path):
    engine.tune(engine.request("--stub-mode", "nothing", tp=1, engine_directory=str(tmp_path)))
    assert engine.recorded("cwd") == [str(tmp_path)]


def test_a_pod_with_fewer_gpus_than_ranks_starts_nothing(engine):
    with pytest.raises(TunerFailed, match="needs 2 GPUs for its ranks, this pod sees 1") as failure:
        engine.tune(engine.request(gpu_count=1))

    assert failure.value.reason == "tuner-unavailable"
    assert not engine.record.exists()


def test_a_directory_that_is_not_there_is_said(engine):
    failure = engine.fails(engine.request(engine_directory="/nonexistent"))
    assert (failure.reason, "/nonexistent" in failure.detail) == ("tuner-unavailable", True)


def test_the_same_scratch_serves_a_second_start_without_being_a_warm_cache(engine):
    request = engine.request(tp=1)
    engine.tune(request)
    engine.tune(replace(request, engine_argv=(*request.engine_argv, "--log-level", "debug")))
    roots = {environ["SGLANG_CACHE_DIR"] for environ in engine.recorded("environ")}
    assert len(roots) == 2


def test_a_changed_command_line_is_another_start(engine):
    engine.tune(engine.request(tp=1))
    engine.tune(engine.request("--log-level", "debug", tp=1))
    assert len(engine.recorded("argv")) == 2


def test_a_start_whose_files_are_gone_is_made_again(engine):
    request = engine.request(tp=1)
    engine.tune(request)
    [root] = request.scratch.glob("engine-*")
    root.rename(request.scratch / "gone")
    engine.tune(replace(request, scratch=engine.request(tp=1).scratch))
    assert len(engine.recorded("argv")) == 2


def test_a_draft_folder_that_nobody_asked_for_is_told_and_left_out(engine):
    request = engine.request(
        "--speculative-algorithm", "EAGLE", folders=(TARGET,), engine_folders=(TARGET, DRAFT)
    )
    result = engine.tune(request)
    assert list(result.coverage.excluded) == ["fedcba9876543210"]


def test_nothing_listens_but_one_port_of_the_loopback_interface(engine):
    engine.tune(
        engine.request(
            "--enable-metrics", "--api-key", "secret", "--stub-mode", "nothing", "--host", "0.0.0.0"
        )
    )
    [(host, port)] = engine.recorded("bound")
    assert host == "127.0.0.1"
    assert port != 30000
    [argv] = engine.recorded("argv")
    assert "--enable-metrics" not in argv
    assert "secret" not in argv
    assert "the engine starts without --enable-metrics --api-key" in engine.told


def test_a_ready_engine_that_logged_no_autotune_had_nothing_to_tune(engine):
    result = engine.tune(engine.request("--stub-mode", "nothing"))
    assert result.files == {}
    assert result.coverage.excluded == {"everything": "the engine started and autotuned nothing here"}


def test_a_ready_engine_that_autotuned_and_wrote_no_file_is_a_failure(engine):
    failure = engine.fails(engine.request("--stub-mode", "writes-nothing"))
    assert failure.reason == "tuner-wrote-nothing"
    assert "2 of 2 are missing" in failure.detail
    assert any("autotune completed" in line for line in failure.tail)


def test_a_file_that_ends_in_the_middle_is_a_failure(engine):
    failure = engine.fails(engine.request("--stub-mode", "half", tp=1))
    assert (failure.reason, failure.detail.split(":")[0]) == ("tuner-bad-file", "rank_tp0_pp0_dp0.json")


def test_rank_files_that_differ_are_refused_where_the_engine_would_throw_them_away(engine):
    failure = engine.fails(engine.request("--stub-mode", "differ"))
    assert failure.reason == "tuner-bad-file"
    assert "SGLang 0.5.23 throws such files away" in failure.detail


def test_rank_files_that_differ_are_fine_for_a_release_that_does_not_compare(engine):
    assert len(engine.tune(engine.request("--stub-mode", "differ", engine_version="0.5.18")).files) == 2


def test_another_environment_than_the_pods_is_a_failure(engine):
    failure = engine.fails(engine.request(tp=1, metadata={**METADATA, "gpu": "NVIDIA H200"}))
    assert failure.reason == "tuner-environment"


def test_an_engine_that_looks_elsewhere_shows_that_the_key_is_wrong_and_is_ended_at_once(engine):
    began = time.monotonic()
    failure = engine.fails(engine.request("--stub-delay", "20", engine_folders=(DRAFT,)))
    assert failure.reason == "tuner-wrong-key"
    assert f"looks for {DRAFT}/rank_tp0" in failure.detail or f"looks for {DRAFT}/rank_tp1" in failure.detail
    assert f"derived was {TARGET}/rank_tp0_pp0_dp0.json" in failure.detail
    assert time.monotonic() - began < 15


def test_with_speculative_decoding_a_wrong_key_is_only_known_when_all_is_tuned(engine):
    failure = engine.fails(engine.request("--speculative-algorithm", "EAGLE", engine_folders=(DRAFT,)))
    assert failure.reason == "tuner-wrong-key"


def test_another_rank_file_than_expected_is_a_wrong_key_too(engine):
    failure = engine.fails(
        engine.request(tp=2, rank_files=("rank_tp0_pp0_dp0.json", "rank_tp0_pp1_dp0.json"))
    )
    assert failure.reason == "tuner-wrong-key"
    assert "rank_tp1_pp0_dp0.json" in failure.detail


def test_an_engine_that_stops_in_the_middle_ends_at_the_deadline(engine):
    failure = engine.fails(engine.request("--stub-mode", "hang", "--stub-stubborn", deadline_s=3.0))
    assert failure.reason == "tuner-timeout"
    assert "it was at op fp8_gemm 2/4 profiles" in failure.detail


def test_a_stopped_tune_leaves_nothing_behind(engine):
    stop = threading.Event()
    timer = threading.Timer(1.5, stop.set)
    timer.start()
    failure = engine.fails(engine.request("--stub-mode", "hang"), stop)
    timer.join()
    assert failure.reason == "tuner-cancelled"


def test_an_engine_that_ignores_sigterm_is_killed_after_its_files_are_there(engine):
    assert engine.tune(engine.request("--stub-stubborn", tp=1)).files


def test_a_crash_is_told_with_the_reason_from_the_log(engine):
    failure = engine.fails(engine.request("--stub-mode", "crash"))
    assert failure.reason == "tuner-crashed"
    assert "exit code 1; its log: torch.OutOfMemoryError: CUDA out of memory. Tried to" in failure.detail
    assert any("Received sigquit" in line for line in failure.tail)


def test_an_engine_that_failed_and_stays_is_ended(engine, monkeypatch):
    monkeypatch.setattr(engine_watch, "LETHAL_S", 0.5)
    failure = engine.fails(engine.request("--stub-mode", "hang-dead"))
    assert failure.reason == "tuner-crashed"
    assert "failed and did not end; its log: torch.OutOfMemoryError" in failure.detail


def test_what_the_kernel_killed_for_memory_is_said(engine):
    failure = engine.fails(engine.request("--stub-mode", "oom"))
    assert failure.reason == "tuner-crashed"
    assert "the kernel killed 1 process(es) for memory" in failure.detail


def test_a_managed_store_is_no_place_for_rank_files(engine):
    failure = engine.fails(engine.request("--stub-mode", "managed", "--stub-never-ready", tp=1))
    assert failure.reason == "tuner-unavailable"
    assert "FlashInfer's own store" in failure.detail


def test_a_command_line_that_needs_others_is_not_started(engine):
    failure = engine.fails(engine.request("--disaggregation-mode", "prefill"))
    assert failure.reason == "tuner-unavailable"
    assert not engine.record.exists()


def test_without_a_command_line_or_folder_nothing_is_started(engine):
    assert engine.fails(engine.request(cache_folders=())).reason == "tuner-unavailable"
    assert engine.fails(engine.request(engine_argv=())).reason == "tuner-unavailable"


def test_a_python_that_does_not_exist_is_unavailable(engine):
    engine.tuner = EngineTuner(clock=SystemClock())
    failure = engine.fails(engine.request())
    assert failure.reason == "tuner-unavailable"
    assert "/nonexistent/python" in failure.detail


def test_flashinfers_own_loader_is_asked_where_the_engines_python_has_one(engine, tmp_path):
    python = tmp_path / "engine-python"
    python.write_text(
        f"#!{sys.executable} -S\nimport json, sys\njob = json.load(sys.stdin)\n"
        "print('AUTOTUNE-ANSWER ' + json.dumps({'loaded': {f: True for f in job['files']}, 'errors': {}, 'collected': {}}))\n"
    )
    python.chmod(0o755)
    assert engine.tune(engine.request(tp=1, python=str(python))).verified == "loads"


def test_cgroup_counters(tmp_path):
    assert oom_kills(tmp_path) is None
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 7\n")
    assert oom_kills(tmp_path) == 7
    (tmp_path / "memory.events").write_text("oom_kill 9\n")
    assert oom_kills(tmp_path) == 9


def test_kernels_are_kept_only_where_the_engine_can_use_them(tmp_path):
    assert kept_root("") == ""
    assert kept_root(str(tmp_path / "not" / "yet")) == str(tmp_path / "not" / "yet")
    if os.geteuid() == 0:
        os.chown(tmp_path, 1000, 1000)
        assert kept_root(str(tmp_path)) == ""


def test_free_ports_leave_room_above():
    assert 1024 < free_port() <= 65535 - 10_000


def test_a_child_that_has_done_enough_is_ended(tmp_path):
    seen = []
    result = run_child(
        [sys.executable, "-S", "-c", "import sys, time; print('up', file=sys.stderr, flush=True); time.sleep(60)"],
        environ={}, cwd=tmp_path, deadline_s=30, stop=threading.Event(), clock=SystemClock(),
        progress=seen.append, is_enough=lambda: bool(seen),
    )  # fmt: skip
    assert (result.ending, result.exit_code) == ("enough", -15)


@pytest.mark.flashinfer
@pytest.mark.parametrize(("flashinfer", "version"), [("0.6.18", "0.5.21"), ("0.7.2", "0.5.23")])
def test_flashinfers_real_autotuner_behind_a_launcher_that_derives_sglangs_folder_itself(
    tmp_path, flashinfer, version
):
    """CUDA alone is faked: log lines, bars, ranks that reduce their timings, saving and loading are the real ones."""
    from autotune_init.engines import EngineCache, Question
    from autotune_init.engines.registry import ask

    real = TOOLS / f"fi-{flashinfer}" / "bin" / "python"
    if not real.exists():
        reason = f"{real} is absent: make flashinfer-envs builds it"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    for name in ("site", "workspace", "model", "scratch"):
        (tmp_path / name).mkdir()
    fake_cuda.sitecustomize(tmp_path / "site")
    config = {"architectures": ["LlamaForCausalLM"], **LLAMA}
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    (tmp_path / "facts.json").write_text("{}")
    metadata = FLASHINFER_METADATA[flashinfer]
    argv = ("--model-path", str(tmp_path / "model"), "--quantization", "modelopt_fp8", "--moe-runner-backend",
            "flashinfer_cutlass", "--tp", "2", "--max-running-requests", "64")  # fmt: skip
    answer = ask(
        Question(
            "sglang",
            version,
            metadata["flashinfer_version"],
            (9, 0),
            argv=argv,
            model_config=config,
            cache_dir="/c",
        )
    )
    assert isinstance(answer, EngineCache), answer
    told: list[str] = []
    launcher = Path(__file__).parents[1] / "gpu" / "launcher_that_tunes.py"
    tuner = EngineTuner(
        clock=SystemClock(), progress=told.append, program=(str(real), str(launcher)), settle_s=1.0
    )
    request = TuneRequest(
        scratch=tmp_path / "scratch",
        rank_files=answer.all_rank_files,
        facts_path=tmp_path / "facts.json",
        deadline_s=150.0,
        max_tokens=64,
        resolved=answer.resolved,
        model_config=config,
        environ={
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "PYTHONPATH": str(tmp_path / "site"),
            "FLASHINFER_WORKSPACE_BASE": str(tmp_path / "workspace"),
            "FAKE_CUDA_METADATA": json.dumps(
                {k: v for k, v in metadata.items() if k != "flashinfer_version"}
            ),
            "STANDIN_ENGINE_VERSION": version,
            "TQDM_MININTERVAL": "0",
        },
        python=str(real),
        metadata=metadata,
        engine="sglang",
        engine_version=version,
        engine_argv=argv,
        cache_folders=(answer.directory.removeprefix("/c/"),),
    )
    result = tuner.tune(request, threading.Event())
    assert sorted(result.files) == sorted(answer.all_rank_files)
    assert result.coverage.ops == {"fp8_gemm": result.coverage.entries}
    assert result.coverage.max_bucket == 64
    assert result.verified == "loads"
    assert any(line.startswith("autotune: op fp8_gemm ") for line in told), told
    assert {"autotune: done (TP0)", "autotune: done (TP1)"} <= set(told)
