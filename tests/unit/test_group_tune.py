"""How the pods of a group share a tune: what each gives, and what the leader makes of it."""

import random

import pytest
from tests.bundles import bundle, identity, rank_file

from autotune_init.group_tune import Contribution, GroupTune, Share
from autotune_init.tuners import Coverage, TuneResult
from cache_store.clock import Cancelled, SystemClock
from cache_store.errors import ErrorKind, StoreError
from cache_store.objects.memory import MemoryStore
from cache_store.part import MAX_PART_BYTES, BadPart, Part, inline, parse_part, part_key
from cache_store.rank_file import BadRankFile
from cache_store.steps import Failed, Finished, StillRunning

ADDRESS = identity().address
NAMES = [f"rank_tp{rank}_pp0_dp0.json" for rank in range(3)]


class Hands:
    """A clock that only moves when somebody waits."""

    def __init__(self):
        self.at, self.then = 0.0, {}

    def monotonic(self):
        return self.at

    def sleep(self, seconds):
        self.at += max(seconds, 0.001)
        for when in [when for when in self.then if when <= self.at]:
            self.then.pop(when)()


class Own:
    """This pod's own tune, over at once."""

    def __init__(self, answer):
        self.answer, self.is_cancelled = answer, False

    def run_for(self, max_s, epoch):
        return self.answer

    def cancel(self):
        self.is_cancelled = True


def contribution(rank, tactic=None, verified="profiles-zero", **excluded):
    body = rank_file(tactic=rank if tactic is None else tactic)
    return Contribution(TuneResult({NAMES[rank]: body}, Coverage(excluded=excluded), verified), 10.0 + rank)


class Group:
    def __init__(self, size=3):
        self.store, self.clock, self.size, self.composed = MemoryStore(SystemClock()), Hands(), size, []

    def pod(self, rank, own=None, gather_until=100.0):
        share = Share(self.store, ADDRESS, "group-1", rank, self.size)
        own = Own(contribution(rank) if own is None else own)
        return GroupTune(own, share, self.compose, clock=self.clock, gather_until=gather_until)

    def compose(self, result, tune_s):
        self.composed.append((result, tune_s))
        return Finished(lambda epoch, nonce: bundle(result.files, epoch=epoch, nonce=nonce))


@pytest.fixture
def group():
    return Group()


def test_the_leader_commits_when_every_part_is_there(group):
    leader = group.pod(0)
    assert isinstance(leader.run_for(5.0, 1), StillRunning)
    for rank in (1, 2):
        assert isinstance(group.pod(rank).run_for(5.0, 1), Finished)

    assert isinstance(leader.run_for(20.0, 1), Finished)

    [(result, tune_s)] = group.composed
    assert result.files == {name: rank_file(tactic=rank) for rank, name in enumerate(NAMES)}
    assert tune_s == 12.0, "the slowest"


def test_the_result_is_as_well_checked_as_its_worst_part_and_says_all_that_was_left_out(group):
    group.pod(1, contribution(1, verified="metadata", mm_bf16="re-tunes")).run_for(5.0, 1)
    group.pod(2, contribution(2, x="y")).run_for(5.0, 1)
    group.pod(0).run_for(5.0, 1)

    [(result, _)] = group.composed
    assert result.verified == "metadata"
    assert dict(result.coverage.excluded) == {"mm_bf16": "re-tunes", "x": "y"}


def test_parts_of_an_earlier_epoch_are_not_committed(group):
    for rank in (1, 2):
        group.pod(rank).run_for(5.0, 1)

    assert isinstance(group.pod(0).run_for(5.0, 2), StillRunning)


def test_a_member_gives_its_part_again_under_a_new_epoch_without_tuning_again(group):
    member = group.pod(1)
    member.run_for(5.0, 1)
    member.run_for(5.0, 2)

    keys = [one.key for one in group.store.list(str(ADDRESS))]
    assert keys == [part_key(ADDRESS, epoch, 1) for epoch in (1, 2)]


def test_given_a_member_that_failed_then_the_tune_is_over_and_names_it(group):
    failed = group.pod(2, Failed("tuner-crashed", "exit 3")).run_for(5.0, 1)
    assert failed.reason == "tuner-crashed"

    answer = group.pod(0).run_for(5.0, 1)

    assert answer == Failed("tuner-group-failed", "pod 2: tuner-crashed: exit 3")


def test_given_a_member_that_never_gives_then_the_tune_fails_when_the_wait_is_over(group):
    group.pod(1).run_for(5.0, 1)
    leader = group.pod(0, gather_until=30.0)
    answer = leader.run_for(20.0, 1)
    while isinstance(answer, StillRunning):
        answer = leader.run_for(20.0, 1)

    assert answer == Failed("tuner-group-incomplete", "pod 2 of the group gave no part of the tune")
    assert 30 <= group.clock.at < 31


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"nonsense", "JSON"),
        (Part(group="group-2", epoch=1, pod=1).encode(), "group-2"),
        (Part(group="group-1", epoch=7, pod=1).encode(), "epoch 7"),
        (Part(group="group-1", epoch=1, pod=1, ranks={NAMES[1]: "0" * 64}).encode(), "no content"),
        (Part(group="group-1", epoch=1, pod=1, files={"0" * 64: "x"}).encode(), "content is"),
        (b'{"schema": "autotune-cache/part/v9"}', "schema"),
    ],
    ids=["bytes", "group", "epoch", "absent", "digest", "schema"],
)
def test_given_a_part_that_is_none_of_this_tune_then_it_fails_and_says_so(group, body, says):
    group.store.put_if_absent(part_key(ADDRESS, 1, 1), body)

    answer = group.pod(0).run_for(5.0, 1)

    assert answer.reason == "tuner-bad-part"
    assert says in answer.detail


def test_given_a_part_that_is_too_large_then_it_is_not_read(group):
    class Huge(MemoryStore):
        def get(self, key, *, limit_bytes):
            assert limit_bytes == MAX_PART_BYTES
            raise StoreError(ErrorKind.TOO_LARGE, "33 MiB")

    group.store = Huge(SystemClock())
    answer = group.pod(0).run_for(5.0, 1)
    assert answer.reason == "tuner-bad-part"


def test_given_two_pods_that_bring_one_file_differently_then_it_fails(group):
    stranger = Contribution(TuneResult({NAMES[0]: rank_file(tactic=9)}, Coverage(), "metadata"), 1.0)
    group.pod(1, stranger).run_for(5.0, 1)
    group.pod(2).run_for(5.0, 1)

    assert group.pod(0).run_for(5.0, 1).reason == "tuner-bad-part"


def test_given_parts_that_the_engine_would_throw_away_then_nothing_is_published(group):
    def disagree(result, tune_s):
        raise BadRankFile("ranks-disagree", "not equal")

    group.compose = disagree
    for rank in (1, 2):
        group.pod(rank).run_for(5.0, 1)

    answer = group.pod(0).run_for(5.0, 1)

    assert answer == Failed("tuner-group-disagrees", "ranks-disagree: not equal")


def test_given_a_store_that_is_away_for_a_moment_then_both_sides_ask_again(group):
    away = [3, 3]

    class Shaky(MemoryStore):
        def put_if_absent(self, key, body):
            away[0] -= 1
            if away[0] > 0:
                raise StoreError(ErrorKind.UNAVAILABLE, "reset")
            return super().put_if_absent(key, body)

        def get(self, key, *, limit_bytes):
            away[1] -= 1
            if away[1] > 0:
                raise StoreError(ErrorKind.UNAVAILABLE, "reset")
            return super().get(key, limit_bytes=limit_bytes)

    group.store, group.size = Shaky(SystemClock()), 2
    member = group.pod(1)
    assert [type(member.run_for(5.0, 1)) for _ in range(3)] == [StillRunning, StillRunning, Finished]
    assert isinstance(group.pod(0).run_for(20.0, 1), Finished)


def test_given_no_right_to_write_then_the_member_says_so(group):
    class Denied(MemoryStore):
        def put_if_absent(self, key, body):
            raise StoreError(ErrorKind.DENIED, "403")

    group.store = Denied(SystemClock())
    assert group.pod(1).run_for(5.0, 1).reason == "tuner-part-unwritten"


def test_a_stop_while_the_leader_waits_for_parts_ends_the_wait(group):
    def stop():
        raise Cancelled

    group.clock.then[1.0] = stop
    leader = group.pod(0)
    with pytest.raises(Cancelled):
        leader.run_for(20.0, 1)
    leader.cancel()
    assert leader._own.is_cancelled


def test_what_cannot_ride_in_a_part_is_said(group):
    with pytest.raises(BadPart, match="UTF-8"):
        inline({"a.json": b"\xff"})
    with pytest.raises(BadPart, match="more than"):
        inline({"a.json": b"x" * (MAX_PART_BYTES // 2 + 1)})
    odd = Contribution(TuneResult({NAMES[1]: b"\xff"}, Coverage(), ""), 1.0)
    assert group.pod(1, odd).run_for(5.0, 1).reason == "tuner-bad-file"


def test_a_part_survives_its_encoding():
    ranks, files = inline({name: rank_file(tactic=rank) for rank, name in enumerate(NAMES)})
    part = Part(
        group="g",
        epoch=3,
        pod=2,
        ranks=ranks,
        files=files,
        verified="loads",
        tune_s=random.Random(1).random(),
    )

    assert parse_part(part.encode(), group="g", epoch=3, pod=2) == part
