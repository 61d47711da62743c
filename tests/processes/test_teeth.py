"""The checks of the rounds can fail: broken pods and broken leavings are seen, each by its name."""

import dataclasses
import hashlib
import json

import pytest
from tests.processes import gates
from tests.processes.checks import Tally, bundle_in, judge
from tests.processes.play import STAGES, play_rounds
from tests.processes.pods import DEADLINE_S, Pod, Run
from tests.processes.rounds import LEASE_OVER_S, STEPS, Played, Struck, plan_of
from tests.processes.stages import Written

RANKS = ("rank_tp0_pp0_dp0.json", "rank_tp1_pp0_dp0.json")
TEXT = '{"tactic": 7}'
DIGEST = hashlib.sha256(TEXT.encode()).hexdigest()
REGISTER = json.dumps({"ranks": dict.fromkeys(RANKS, DIGEST), "files": {DIGEST: TEXT}}).encode()
WHOLE = dict.fromkeys(RANKS, TEXT.encode())
GOOD = Written(REGISTER, versions=1, writes=1, unconditional=0)


def pod_with(root, files, outcome="waited/found", code=0, seconds=1.0):
    pod = Pod(root, root.name, "s3://b/p")
    pod.cache.mkdir(parents=True)
    for name, body in files.items():
        (pod.cache / name).write_bytes(body)
    outcome, _, reason = outcome.partition("/")
    (root / "out").write_text(json.dumps({"outcome": outcome, "reason": reason}) + "\n")
    (root / "err").write_text("")
    ended_at = None if code is None else 100.0 + seconds
    pod.runs.append(Run(1, 100.0, root / "out", root / "err", ended_at=ended_at, code=code))
    return pod


def found_in(tmp_path, pods=(), written=GOOD, struck=(), reader=None):
    reader = reader or pod_with(tmp_path / "reader", WHOLE, "hit/found")
    pods = list(pods) or [pod_with(tmp_path / "fine", WHOLE)]
    played = Played(plan_of(0, "teeth"), pods, list(struck), reader, 1.0)
    return judge(played, written, Tally())


def test_a_good_round_has_no_problem(tmp_path):
    assert found_in(tmp_path) == []
    assert bundle_in(GOOD) == WHOLE


@pytest.mark.parametrize(
    ("files", "ending", "code", "seconds", "word"),
    [
        ({RANKS[0]: TEXT.encode()}, "waited/found", 0, 1.0, "torn"),
        ({**WHOLE, RANKS[1]: b'{"tactic": 8}'}, "waited/found", 0, 1.0, "torn"),
        ({**WHOLE, RANKS[1]: TEXT.encode()[:5]}, "waited/found", 0, 1.0, "torn"),
        ({}, "waited/found", 0, 1.0, "and 0 files"),
        (WHOLE, "cold/store-timeout", 0, 1.0, "and 2 files"),
        (WHOLE, "waited/found", 1, 1.0, "exit code 1"),
        (WHOLE, "waited/found", 0, DEADLINE_S + 0.1, "late"),
        (WHOLE, "waited/found", None, 1.0, "still running"),
    ],
)
def test_a_bad_pod_is_seen(tmp_path, files, ending, code, seconds, word):
    found = found_in(tmp_path, [pod_with(tmp_path / "pod", files, ending, code, seconds)])

    assert any(word in problem for problem in found), found


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"versions": 2}, "2 versions"),
        ({"writes": 2}, "written 2 times"),
        ({"unconditional": 1}, "without a condition"),
        ({"body": None}, "no bundle"),
        ({"body": REGISTER.replace(b"7", b"8")}, "does not have its digest"),
    ],
)
def test_a_bad_register_is_seen(tmp_path, changed, word):
    found = found_in(tmp_path, written=dataclasses.replace(GOOD, **changed))

    assert any(word in problem for problem in found), found


def test_a_reader_that_misses_is_seen(tmp_path):
    found = found_in(tmp_path, reader=pod_with(tmp_path / "late-reader", {}, "cold/miss"))

    assert any("a reader afterwards" in problem for problem in found), found


def test_half_a_file_at_the_moment_of_a_kill_is_seen(tmp_path):
    pod = pod_with(tmp_path / "pod", WHOLE)
    half = Struck(pod, pod.last, gates.BETWEEN_FILES, False, files_at_kill={RANKS[0]: TEXT.encode()[:5]})
    one_of_two = dataclasses.replace(half, files_at_kill={RANKS[0]: TEXT.encode()})

    assert any("is not the bundle's" in problem for problem in found_in(tmp_path, [pod], struck=[half]))
    assert found_in(tmp_path / "again", [pod], struck=[one_of_two]) == []


def test_given_pods_that_publish_over_whatever_is_there_then_the_rounds_see_two_publishes(tmp_path):
    """given a holder that is stopped before its publish, for longer than its lease lasts"""
    stopped_for_long = [
        number
        for number in range(2000)
        if (plan := plan_of(number, "teeth", (*STEPS, *gates.BEFORE_LINK_OF))).at == gates.BEFORE_PUBLISH
        and plan.stops
        and plan.strikes == 1
        and plan.stop_s > LEASE_OVER_S + 1
    ]
    tallies = []

    # on a machine with other work to do the next holder may come to its publish too late: the first round mostly does
    for number in stopped_for_long[:5]:
        (tmp_path / str(number)).mkdir()
        with STAGES["directory"](tmp_path / str(number), seed="teeth", share=0.0) as stage:
            tallies.append(
                play_rounds(stage, [number], tmp_path / str(number), seed="teeth", mutant="overwrites")
            )
        if any("has 2 versions" in problem for problem in tallies[-1].problems):
            return

    pytest.fail(f"no round saw two publishes: {tallies}")
