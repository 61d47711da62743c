"""An engine's log, in the words of SGLang 0.5.12 to 0.5.23, vLLM 0.33.0 and FlashInfer 0.6.18 and 0.7.2."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from autotune_init.tuners.engine_log import EngineLog

FILE = "/c/flashinfer/autotune/0.7.2/sm90/0123456789abcdef/rank_tp0_pp0_dp0.json"
BEGUN = f"[2026-11-22 10:00:00] Running FlashInfer autotune with cache: {FILE}"
ENDED = "[2026-11-22 10:01:29] FlashInfer autotune completed."
BAR = "[AutoTuner]: Tuning fp8_gemm:  30%|███       | 12/40 [00:31<01:12,  2.58s/profile]"


def fed(*lines: str) -> EngineLog:
    log = EngineLog()
    for line in lines:
        log.feed(line)
    return log


def test_one_rank_begins_and_ends():
    log = fed(BEGUN)
    assert log.files == [PurePosixPath(FILE)]
    assert not log.is_autotune_over
    log.feed(ENDED)
    assert log.is_autotune_over


def test_the_end_of_one_rank_is_not_the_end_of_the_other():
    log = fed(BEGUN.replace("00]", "00 TP0]"), BEGUN.replace("00]", "00 TP1]").replace("tp0", "tp1"))
    log.feed(ENDED.replace("29]", "29 TP0]"))
    log.feed(ENDED.replace("29]", "29 TP0]"))
    assert not log.is_autotune_over
    log.feed(ENDED.replace("29]", "29.123 TP1]"))
    assert log.is_autotune_over
    assert [file.name for file in log.files] == ["rank_tp0_pp0_dp0.json", "rank_tp1_pp0_dp0.json"]


def test_a_second_pass_is_not_over_when_the_first_is():
    log = fed(BEGUN, ENDED, BEGUN)
    assert not log.is_autotune_over
    assert fed(BEGUN, ENDED, BEGUN, ENDED).is_autotune_over
    assert len(log.files) == 1


def test_text_behind_a_progress_bar_in_the_same_line_counts():
    log = fed(BEGUN)
    assert log.feed(BAR + ENDED) == "autotune: done"
    assert log.is_autotune_over
    assert fed(BAR + BEGUN).files == [PurePosixPath(FILE)]


def test_nothing_is_over_that_has_not_begun():
    assert not fed(ENDED).is_autotune_over
    assert not EngineLog().has_autotuned


@pytest.mark.parametrize(
    ("line", "news"),
    [
        (BAR, "autotune: op fp8_gemm 12/40 profiles, 31 s"),
        (
            "\x1b[A[AutoTuner]: Tuning trtllm::fused_moe::gemm1: 100%|██████████| 10/10 [01:29<00:00,  8.92s/profile]",
            "autotune: op trtllm::fused_moe::gemm1 10/10 profiles, 89 s",
        ),
        (
            "[Autotuner]: Tuning mm_fp4:   0%|          | 0/22 [00:00<?, ?profile/s]",
            "autotune: op mm_fp4 0/22 profiles, 0 s",
        ),
        (
            "[AutoTuner]: Tuning mm_fp4:  50%|#####     | 11/22 [1:02:03<1:00:00, 43.00s/profile]",
            "autotune: op mm_fp4 11/22 profiles, 3723 s",
        ),
        (BEGUN, "autotune: rank_tp0_pp0_dp0.json in 0123456789abcdef"),
        (ENDED.replace("29]", "29 DP1 TP3]"), "autotune: done (DP1 TP3)"),
        ("[2026-11-22 10:00:00] Load weight begin. avail mem=78.52 GB", None),
        ("Capturing batches (bs=8 avail_mem=3.2 GB):  50%|█████     | 4/8 [00:01<00:01,  2.58it/s]", None),
    ],
)
def test_news_for_a_person(line, news):
    assert EngineLog().feed(line) == news


def test_the_same_bar_of_every_rank_is_news_once():
    log = fed(BAR)
    assert log.feed(BAR) is None
    assert log.feed(BAR.replace("12/40", "11/40")) is None
    assert log.feed(BAR.replace("12/40", "13/40")) == "autotune: op fp8_gemm 13/40 profiles, 31 s"
    assert log.progress == "op fp8_gemm 13/40 profiles"
    assert log.has_autotuned


@pytest.mark.parametrize(
    "line",
    [
        "[2026-11-22 10:00:00] The server is fired up and ready to roll!",
        "INFO:     Application startup complete.",
    ],
)
def test_ready(line):
    assert fed(line).is_ready
    assert not fed(BEGUN).is_ready


def test_what_the_engine_says_of_files_that_it_found():
    log = fed(
        "[2026-11-22 10:00:00 TP0] FlashInfer autotune: per-rank caches disagree, discarding them and tuning from "
        "scratch so all ranks agree on the tactics."
    )
    assert (log.ranks_disagreed, log.found_foreign_file) == (True, False)
    log = fed(
        "[Autotuner]: Cache file /c/x.json was created in a different environment (gpu: 'a' vs 'b'). Ignoring"
    )
    assert (log.ranks_disagreed, log.found_foreign_file) == (False, True)


def test_a_reused_cache_that_is_switched_off_names_no_file():
    line = (
        "[2026-11-22 10:00:00] Running FlashInfer autotune (cache reuse DISABLED via "
        f"SGLANG_FLASHINFER_AUTOTUNE_CACHE=0); writing fresh result to: {FILE}"
    )
    assert fed(line).files == []


def test_vllm_names_one_file_or_its_managed_store():
    line = (
        "(Worker_TP0 pid=7) INFO 11-22 10:00:00 [kernel_warmup.py:496] Using FlashInfer autotune cache file: "
        "/s/abc/autotune_configs_dp0_rank0.json. Pass --disable-flashinfer-autotune to skip autotuning."
    )
    assert fed(line).files == [PurePosixPath("/s/abc/autotune_configs_dp0_rank0.json")]
    assert fed("INFO [x] Using FlashInfer managed autotune cache (root=/s). Pass").has_managed_store


@pytest.mark.parametrize(
    ("lines", "error", "is_lethal"),
    [
        (
            (
                "[2026-11-22 10:00:00 TP0] Scheduler hit an exception: Traceback (most recent call last):",
                '  File "scheduler.py", line 1, in run',
                "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
                "RuntimeError: Rank 0 scheduler died during initialization",
            ),
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
            True,
        ),
        (
            ("Traceback (most recent call last):", "ValueError: Unknown quantization method: mxfp4"),
            "ValueError: Unknown quantization method: mxfp4",
            False,
        ),
        (
            (
                "(EngineCore pid=3) ERROR 11-22 10:00:00 [core.py:1584] EngineCore failed to start.",
                "(EngineCore pid=3) ERROR 11-22 10:00:00 [core.py:1584] RuntimeError: no kernel image",
            ),
            "RuntimeError: no kernel image",
            True,
        ),
        (("Received sigquit from a child process. It usually means the child failed.",), "", True),
        (("Traceback (most recent call last):",), "it printed a traceback", False),
        (("[Autotuner]: OOM detected, falling back to default tactic",), "", False),
        (("[2026-11-22 10:00:00] Capture cuda graph bs [1, 2, 4]",), "", False),
    ],
    ids=["sglang-memory", "plain", "vllm", "sigquit", "traceback", "one-profile", "ordinary"],
)
def test_the_reason_of_a_failure(lines, error, is_lethal):
    log = fed(*lines)
    assert (log.error, log.is_lethal) == (error, is_lethal)
