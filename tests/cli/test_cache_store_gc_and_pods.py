"""Two people's gc with rules that nobody should use, while a fleet starts: no pod loses anything that it reads."""

import itertools
import json
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.pods import RECORDING, REPLAY, ROOT, Pod, clean_environ

# everything that is published is too old at once, and what was retired is forgotten as soon
RULES = (
    "--older-than",
    "1s",
    "--retired-for",
    "1s",
    "--copies-for",
    "1s",
    "--memos-older-than",
    "1s",
    "--yes",
)
AT_ONCE, LASTS_S = 3, 12


def test_given_two_that_collect_when_a_fleet_starts_then_every_pod_is_warm_with_whole_files(s3, tmp_path):
    is_over, until = threading.Event(), time.monotonic() + LASTS_S

    def collect():
        counts, codes = {"retire": 0, "forget": 0}, set()
        command = [sys.executable, "-m", "cache_store.cli", "--store", s3.url, "gc", *RULES, "--json"]
        while not is_over.is_set():
            done = subprocess.run(
                command,
                cwd=ROOT,
                env=clean_environ(**s3.environ),
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            codes.add(done.returncode)
            for row in json.loads(done.stdout)["addresses"]:
                counts[row["action"]] = counts.get(row["action"], 0) + 1
        return counts, codes

    def start(numbers):
        ended = []
        while time.monotonic() < until:
            pod = Pod(tmp_path / f"pod-{next(numbers)}", s3.url, tp=2, environ=s3.environ)
            ended.append((pod.run("--tuner", "command", "--tuner-command", REPLAY), pod.rank_files()))
        return ended

    with ThreadPoolExecutor(2) as ops, ThreadPoolExecutor(AT_ONCE) as fleet:
        collecting = [ops.submit(collect) for _ in range(2)]
        numbers = [itertools.count(10_000 * one) for one in range(AT_ONCE)]
        started = list(itertools.chain.from_iterable(fleet.map(start, numbers)))
        is_over.set()
        collected = [one.result(60) for one in collecting]

    wanted = json.loads(RECORDING.read_bytes())
    for done, files in started:
        assert done.report["outcome"] in {"hit", "waited", "tuned"}, done.report
        assert sorted(files) == ["rank_tp0_pp0_dp0.json", "rank_tp1_pp0_dp0.json"]
        for body in files.values():
            assert json.loads(body).keys() == wanted.keys()
    assert sum(counts["retire"] for counts, _ in collected) > 0, collected
    # 27: somebody, a pod or the other one, was faster
    assert set.union(*(codes for _, codes in collected)) <= {0, 27}


@pytest.mark.parametrize("flags", [(), ("--older-than", "1s")], ids=["gentle", "a dry run"])
def test_given_gentle_rules_when_a_fleet_starts_then_one_tunes_and_the_rest_find_it(s3, tmp_path, flags):
    command = [sys.executable, "-m", "cache_store.cli", "--store", s3.url, "gc", *flags]
    if not flags:
        command.append("--yes")
    outcomes = []
    for number in range(4):
        pod = Pod(tmp_path / f"pod-{number}", s3.url, environ=s3.environ)
        outcomes.append(pod.run("--tuner", "command", "--tuner-command", REPLAY).report["outcome"])
        subprocess.run(
            command, cwd=ROOT, env=clean_environ(**s3.environ), capture_output=True, timeout=60, check=True
        )

    assert outcomes == ["tuned", "hit", "hit", "hit"]
