"""Replicas of several pods as real processes on a real S3 server: together warm, or together cold."""

import json
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.pods import ENGINE, RECORDING, REPLAY, Done, Pod

from cache_store.objects.open_url import open_store

LONG, SHORT = 60.0, 8.0  # how long pods wait for each other: where all come, and where somebody does not
SHARES = ("--engine-version", "0.5.18")  # each rank its own file; from 0.5.19 on they must be equal


class Group:
    """The pods of one replica, with the variables that LeaderWorkerSet gives them."""

    def __init__(self, root, s3, name, *, size=2, start="1", flags=(), wait_s=LONG):
        self.pods = [
            Pod(
                root / f"{name}-{start}-{rank}",
                s3.url,
                tp=size,
                flags=("--tuner", "command", "--tuner-command", REPLAY, "--group-wait", str(wait_s), *flags),
                environ={
                    **s3.environ,
                    "LWS_GROUP_SIZE": str(size),
                    "LWS_WORKER_INDEX": str(rank),
                    "LWS_LEADER_ADDRESS": f"{name}-0.{name}.default",
                    "POD_UID": f"{name}-{start}-{rank}",
                },
                engine=(*ENGINE, "--nnodes", str(size)),
            )
            for rank in range(size)
        ]

    def run(self, *more, apart_s=0.0):
        """All of them at once (or one after the other, `apart_s` apart)."""
        processes = []
        for pod in self.pods:
            processes.append(pod.start(*more))
            time.sleep(apart_s)
        return ended(processes)

    def files(self):
        return [
            {name: body for name, body in pod.rank_files().items() if name.startswith("rank_")}
            for pod in self.pods
        ]


def ended(processes):
    with ThreadPoolExecutor(len(processes)) as readers:
        told = list(readers.map(lambda process: process.communicate(timeout=120), processes))
    return [Done(one.returncode, *both) for one, both in zip(processes, told, strict=True)]


def endings(runs):
    return [(run.code, *run.ending) for run in runs]


def is_warm(group):
    """Every pod has its own rank's file and no other."""
    expected = [{f"rank_tp{rank}_pp0_dp0.json": RECORDING.read_bytes()} for rank in range(len(group.pods))]
    return group.files() == expected


@pytest.fixture
def group(tmp_path, s3):
    def make(name, **more):
        return Group(tmp_path, s3, name, **more)

    return make


def test_the_leader_tunes_the_other_waits_and_a_later_group_hits_together(group):
    first, later = group("a"), group("b")

    tuned = first.run()
    hit = later.run()

    assert endings(tuned) == [(0, "tuned", "published"), (0, "waited", "found")], tuned
    assert endings(hit) == [(0, "hit", "found")] * 2
    assert is_warm(first)
    assert is_warm(later)
    assert len({run.report["nonce"] for run in tuned + hit}) == 1
    assert all(run.report["requests"] <= 8 + 2 for run in hit)


def test_the_same_pods_again_answer_local_without_a_request(group):
    pods = group("a")
    pods.run()

    again = pods.run()

    assert endings(again) == [(0, "local", "complete")] * 2
    assert [run.report["requests"] for run in again] == [0, 0]


def test_where_ranks_have_files_of_their_own_every_pod_tunes_its_own(group, s3):
    pods = group("a", size=3, flags=SHARES)

    runs = pods.run()

    assert endings(runs) == [(0, "tuned", "published"), (0, "waited", "found"), (0, "waited", "found")], runs
    assert is_warm(pods)
    parts = sorted(key for key in objects(s3) if "/parts/1/" in key)
    assert [key.rpartition("/")[2] for key in parts] == ["pod-1.json", "pod-2.json"]


def test_eight_pods_that_start_together_stay_within_their_requests(group):
    group("a", size=8).run()

    hit = group("b", size=8).run()

    assert endings(hit) == [(0, "hit", "found")] * 8
    assert max(run.report["requests"] for run in hit) <= 8 + 8, [run.report["requests"] for run in hit]


# -- together cold ----------------------------------------------------------------------------------------------


def test_given_one_pod_that_cannot_write_its_cache_then_both_start_cold(group):
    group("a").run()
    pods = group("b", wait_s=SHORT)
    blocked = pods.pods[1].cache
    blocked.parent.mkdir(parents=True)
    blocked.write_text("a file where the cache should be")

    runs = pods.run()

    assert [run.code for run in runs] == [0, 0]
    assert [run.ending[0] for run in runs] == ["cold", "cold"], runs
    assert runs[0].ending[1] in ("group-cold", "group-torn")
    assert not pods.files()[0]


def test_given_one_pod_that_never_comes_then_the_other_starts_cold_when_its_patience_is_over(group):
    group("a").run()
    pods = group("b", wait_s=SHORT)

    [run] = ended([pods.pods[0].start()])

    assert (run.code, *run.ending) == (0, "cold", "group-cold")
    assert "pod 1 did not come" in run.report["detail"]
    assert SHORT <= run.report["seconds"] < SHORT + 8
    [late] = ended([pods.pods[1].start()])
    assert (late.code, *late.ending) == (0, "cold", "group-cold"), "as its peer, which runs cold by now"
    assert late.report["seconds"] < 4


def test_given_a_tune_that_fails_in_one_pod_then_all_start_cold(group):
    broken = group("a", flags=SHARES)
    broken.pods[1].flags = (
        *broken.pods[1].flags,
        "--tuner-command",
        f"{sys.executable} -c 'raise SystemExit(3)'",
    )

    runs = broken.run()

    assert [run.ending[0] for run in runs] == ["cold", "cold"]
    assert [run.code for run in runs] == [0, 0]
    assert runs[0].ending[1] == "tuner-group-failed"
    assert "pod 1" in runs[0].report["detail"]


def test_given_pods_that_nothing_names_then_they_are_left_alone(group):
    pods = group("a")
    for pod in pods.pods:
        del pod.environ["LWS_LEADER_ADDRESS"]

    assert endings(pods.run()) == [(0, "skipped", "replica-group")] * 2


# -- restarts ---------------------------------------------------------------------------------------------------


def test_a_group_that_is_made_anew_hits_again(group):
    group("a").run()

    anew = group("a", start="2")

    assert endings(anew.run(apart_s=0.5)) == [(0, "hit", "found")] * 2
    assert is_warm(anew)


def test_where_pods_are_replaced_alone_one_joins_what_its_peer_runs(group):
    first, second = group("a"), group("a", start="2", wait_s=SHORT)
    for pod in (*first.pods, *second.pods):  # as a StatefulSet's owner states it
        rank = pod.environ.pop("LWS_WORKER_INDEX")
        pod.flags = (*pod.flags, "--group-name", "web", "--group-size", "2", "--node-rank", rank)
        del pod.environ["LWS_GROUP_SIZE"], pod.environ["LWS_LEADER_ADDRESS"]
    assert endings(first.run()) == [(0, "tuned", "published"), (0, "waited", "found")]

    [alone] = ended([second.pods[1].start()])

    assert (alone.code, *alone.ending) == (0, "hit", "found")
    assert alone.report["seconds"] >= SHORT, "its peer is given the time to come, too"


def test_a_pod_killed_on_the_roll_and_run_again_follows_what_was_decided_without_it(group):
    """Killed between its word and the decision: its peer may count on it, so it must come back to the same roll."""
    group("a").run()
    pods = group("b")
    first = pods.pods[0].start()
    wait_for(
        lambda: (pods.pods[0].cache).exists() and list(pods.pods[0].cache.rglob(".autotune-cache-group"))
    )
    time.sleep(0.5)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    peer = pods.pods[1].start()
    time.sleep(1.5)
    assert peer.poll() is None, "the killed pod's word alone is not enough"

    again, second = ended([pods.pods[0].start(), peer])

    assert (again.ending, second.ending) == (("hit", "found"), ("hit", "found"))
    assert is_warm(pods)


def test_a_pod_killed_on_the_roll_that_does_not_come_back_leaves_its_peer_cold_and_is_cold_when_it_does(
    group,
):
    group("a").run()
    pods = group("b", wait_s=SHORT)
    first = pods.pods[0].start()
    wait_for(
        lambda: (pods.pods[0].cache).exists() and list(pods.pods[0].cache.rglob(".autotune-cache-group"))
    )
    time.sleep(0.5)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    [second] = ended([pods.pods[1].start()])
    assert second.ending == ("cold", "group-cold")
    assert "pod 0 came and was not heard of again" in second.report["detail"]

    [again] = ended([pods.pods[0].start()])

    assert again.ending == ("cold", "group-cold")


@pytest.fixture
def silent():
    """An endpoint that takes connections and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize(("is_silent", "timeout_s"), [(False, 1), (True, 1), (True, 5)])
def test_a_pod_that_was_counted_on_and_finds_no_store_ends_with_26_once_and_then_starts(
    group, silent, is_silent, timeout_s
):
    """also where the deadline comes while it tells the store that it is torn"""
    group("a").run()
    pods = group("b")
    first = pods.pods[0].start()
    wait_for(
        lambda: (pods.pods[0].cache).exists() and list(pods.pods[0].cache.rglob(".autotune-cache-group"))
    )
    time.sleep(0.5)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    pods.pods[0].environ["AWS_ENDPOINT_URL_S3"] = silent if is_silent else "http://127.0.0.1:9"

    quick = ("--deadline", "12", "--request-timeout", str(timeout_s))
    [once] = ended([pods.pods[0].start(*quick)])
    [twice] = ended([pods.pods[0].start(*quick)])

    assert (once.code, *once.ending) == (26, "cold", "group-torn"), once
    assert once.report["exit_code"] == 26
    assert (twice.code, *twice.ending) == (0, "cold", "group-split"), twice


def test_a_group_of_another_size_begins_anew(group):
    group("a").run()

    larger = group("a", size=4, start="2")

    runs = larger.run()
    assert [run.ending for run in runs] == [("tuned", "published"), *[("waited", "found")] * 3]
    assert is_warm(larger)


def test_what_a_cold_group_has_on_its_disks_goes_out_of_the_way(group):
    """A volume that outlives its pods: one that is full and one that is empty would start warm and cold."""
    old = group("a")
    old.run()
    anew = group("a", start="2", wait_s=SHORT)
    for before, after in zip(old.pods, anew.pods, strict=True):
        after.root.parent.mkdir(exist_ok=True)
        subprocess.run(["cp", "-a", before.root, after.root], check=True)
    anew.pods[1].store = "s3://no-such-bucket/fleet"

    runs = anew.run()

    assert [run.ending[0] for run in runs] == ["cold", "cold"]
    assert [[name for name in files if not name.endswith(".aside")] for files in anew.files()] == [[], []]
    assert all(run.report["moved_aside"] for run in runs)


def wait_for(condition, seconds=20.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def objects(s3):
    """Key -> body of everything below the store's root."""
    store = open_store(s3.url, environ=s3.environ)
    try:
        return {one.key: store.get(one.key, limit_bytes=one.size_bytes).body for one in store.list("")}
    finally:
        store.close()


def test_the_roll_names_its_group_and_its_pods(group, s3):
    group("a").run()

    [body] = [body for key, body in objects(s3).items() if key.endswith("/roll.json")]
    roll = json.loads(body)
    assert (roll["group"], roll["size"], roll["attempt"]) == ("a-0.a.default", 2, 1)
    assert roll["decision"]["verdict"] == "warm"
    assert {rank: one["incarnation"] for rank, one in roll["members"].items()} == {"0": "a-1-0", "1": "a-1-1"}
