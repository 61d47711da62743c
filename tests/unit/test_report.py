"""One JSON object, always whole, always within what Kubernetes keeps; and the exit code that --strict makes of it."""

import io
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.bundles import bundle

from autotune_init.engines import EngineCache
from autotune_init.outcomes import REASONS, Outcome, strict_exit_code
from autotune_init.pod_report import Draft, saved_s, together
from autotune_init.pod_start import Ending
from autotune_init.report import Report, fit, publish_report

BIG = Report(
    Outcome.COLD,
    "tuner-crashed",
    "x" * 3000,
    exit_code=15,
    ranks=tuple(f"rank_tp{n}_pp0_dp0.json" for n in range(64)),
    tail=tuple("é" * 400 for _ in range(100)),
    coverage={"ops": {"fp8_gemm": 9}},
    directory="/c" * 200,
)


def test_the_report_is_one_line_of_json_on_stdout_and_in_the_termination_log(tmp_path):
    log = tmp_path / "termination-log"
    log.touch()
    stdout = io.StringIO()

    publish_report(Report(Outcome.HIT, "found", saved_s=93.5), stdout, log)

    assert stdout.getvalue().count("\n") == 1
    assert json.loads(stdout.getvalue()) == json.loads(log.read_bytes())
    assert json.loads(stdout.getvalue())["saved_s"] == 93.5


def test_a_termination_log_that_is_not_there_is_not_made(tmp_path):
    publish_report(Report(Outcome.HIT, "found"), io.StringIO(), tmp_path / "absent")

    assert not (tmp_path / "absent").exists()


def test_a_termination_log_that_cannot_be_written_changes_nothing(tmp_path):
    stdout = io.StringIO()
    publish_report(Report(Outcome.HIT, "found"), stdout, tmp_path)

    assert json.loads(stdout.getvalue())["outcome"] == "hit"


def test_a_long_report_is_shortened_to_4096_bytes_and_keeps_what_matters():
    document = json.loads(fit(BIG))

    assert len(fit(BIG)) <= 4096
    assert (document["outcome"], document["reason"], document["exit_code"]) == ("cold", "tuner-crashed", 15)


@given(st.integers(min_value=120, max_value=6000))
def test_any_limit_gives_one_whole_json_object(limit):
    body = fit(BIG, limit)

    assert json.loads(body)["reason"] == "tuner-crashed"
    assert len(body) <= limit


@pytest.mark.parametrize(
    ("outcome", "reason", "code"),
    [
        (Outcome.HIT, "found", 0),
        (Outcome.LOCAL, "complete", 0),
        (Outcome.TUNED, "unpublished", 0),
        (Outcome.WAITED, "found", 0),
        (Outcome.COLD, "miss", 18),
        (Outcome.COLD, "store-denied", 14),
        (Outcome.COLD, "store-timeout", 10),
        (Outcome.COLD, "bundle-digest-mismatch", 13),
        (Outcome.COLD, "tuner-retunes", 15),
        (Outcome.COLD, "tune-failed-recently", 11),
        (Outcome.COLD, "place-disk-full", 16),
        (Outcome.SKIPPED, "unknown-engine-version", 17),
        (Outcome.SKIPPED, "engine-does-not-tune", 24),
        (Outcome.COLD, "terminated", 143),
        (Outcome.COLD, "nobody-listed-this", 1),
    ],
)
def test_strict_exit_codes(outcome, reason, code):
    assert strict_exit_code(outcome, reason) == code


DRAFT = {
    "key": "0" * 16,
    "outcome": "hit",
    "reason": "found",
    "detail": "",
    "ranks": ["rank_tp0_pp0_dp0.json"] * 200,
}


def test_the_drafts_files_are_given_up_with_the_targets():
    document = json.loads(fit(replace(BIG, draft=DRAFT)))

    assert document["draft"] == {"key": "0" * 16, "outcome": "hit", "reason": "found"}


def ended(outcome, reason="x", **more):
    return Ending(outcome, reason, **more)


CACHE = EngineCache(
    "sglang", "0.5.23", "0.7.2", "sm90", "k", "m", (), "/c/k", ("r.json",), ("r.json",), {}, "recipe"
)


@pytest.mark.parametrize(
    ("target", "draft", "outcome"),
    [
        (Outcome.HIT, Outcome.HIT, "hit"),
        (Outcome.LOCAL, Outcome.HIT, "hit"),
        (Outcome.HIT, Outcome.TUNED, "tuned"),
        (Outcome.HIT, Outcome.COLD, "cold"),
        (Outcome.COLD, Outcome.HIT, "cold"),
        (Outcome.TUNED, Outcome.WAITED, "tuned"),
        (Outcome.HIT, Outcome.SKIPPED, "skipped"),
    ],
)
def test_the_report_is_the_worse_of_target_and_draft(target, draft, outcome):
    whole = together(ended(target, "of-target"), Draft(CACHE, ended(draft, "of-draft", detail="d")))

    assert whole.outcome.value == outcome
    if whole.outcome is not target:
        assert (whole.reason, whole.detail) == ("of-draft", "draft worker: d")


def test_a_draft_that_must_be_restarted_is_not_hidden_by_a_target_that_is_cold():
    torn = ended(Outcome.COLD, "group-torn")

    assert together(ended(Outcome.COLD, "group-cold"), Draft(CACHE, torn)).reason == "group-torn"
    assert together(ended(Outcome.HIT), Draft(CACHE, torn)).reason == "group-torn"


def test_a_worker_that_does_not_tune_counts_for_nothing_beside_one_that_does():
    idle = ended(Outcome.SKIPPED, "engine-does-not-tune")

    assert together(ended(Outcome.HIT), Draft(CACHE, idle)).outcome is Outcome.HIT
    assert together(idle, Draft(CACHE, ended(Outcome.HIT))).outcome is Outcome.HIT
    assert together(idle, Draft(CACHE, idle)).outcome is Outcome.SKIPPED


def test_what_both_found_ready_is_saved():
    def hit(tune_s, outcome=Outcome.HIT):
        one = bundle()
        provenance = replace(one.provenance, tune_s=tune_s)
        return ended(outcome, bundle=replace(one, provenance=provenance))

    assert saved_s(hit(30.0), hit(12.0)) == 42.0
    assert saved_s(hit(30.0), hit(12.0, Outcome.TUNED)) == 30.0
    assert saved_s(hit(30.0), None) == 30.0


def test_every_reason_has_a_code_that_is_not_success():
    assert all(code != 0 and meaning for code, meaning in REASONS.values())
