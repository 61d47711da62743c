"""A bundle whose contents lie beside it: no pod publishes one whose blob is not there, and none uses a spoiled one."""

import random
from dataclasses import replace

import pytest
from tests.bundles import bundle, identity, rank_file
from tests.pods import REPLAY, Pod

from cache_store.bundle import BadBundle, digest_of
from cache_store.bundle_json import parse_register
from cache_store.claim import Rules
from cache_store.clock import fresh_nonce
from cache_store.coordination import Participant
from cache_store.errors import ErrorKind, StoreError
from cache_store.lookup import fetch_contents, look_up
from cache_store.objects import MIB, Missing
from cache_store.objects.memory import MemoryStore
from cache_store.objects.open_url import open_store
from cache_store.participate import Driver
from cache_store.register import Hit, Vacant
from cache_store.steps import Finished, Fit, Published, Unpublished
from cache_store.testing.clock import ManualClock
from cache_store.testing.faulty import AppliesLate, Fails, Fault, FaultyStore, LosesAnswer, Says

WHO = identity()
BODY = rank_file()
DIGEST = digest_of(BODY)
BLOB = WHO.address.blob_key(DIGEST)
CONTENTS = {"rank_tp0_pp0_dp0.json": BODY, "rank_tp1_pp0_dp0.json": BODY}


def beside(epoch=1, nonce="n"):
    return replace(bundle(epoch=epoch, nonce=nonce), files={}, blobs={DIGEST: len(BODY)})


class LargeTune:
    def run_for(self, max_s, epoch):
        return Finished(beside, {DIGEST: BODY})

    def cancel(self):
        pass


class Bucket:
    """A store, and a pod whose result is too large to ride inline."""

    def __init__(self, *faults):
        self.clock = ManualClock()
        self.memory = MemoryStore(self.clock)
        self.faulty = FaultyStore(self.memory, clock=self.clock, faults=faults)

    def tune(self, deadline_s=1800.0):
        now = self.clock.monotonic()
        participant = Participant(
            holder="pod",
            rules=Rules(),
            rng=random.Random(1),
            nonce=fresh_nonce,
            monotonic=self.clock.monotonic,
            now=self.clock.now,
            wait_until=now + deadline_s / 2,
            deadline=now + deadline_s,
        )
        driver = Driver(self.faulty, WHO, tune=LargeTune(), check_store=Fit, clock=self.clock)
        return driver.drive(participant, look_up(self.faulty, WHO))

    def next_pod(self):
        """What the next pod finds, to the last byte."""
        found = look_up(self.memory, WHO)
        return fetch_contents(self.memory, WHO.address, found.bundle) if isinstance(found, Hit) else found


@pytest.mark.parametrize(
    "effect",
    [
        Says(409),
        Says(412),
        Says(412, is_applied=True),
        LosesAnswer(),
        AppliesLate(0.01),
        Fails(ErrorKind.UNAVAILABLE),
        Fails(ErrorKind.TIMEOUT),
    ],
)
@pytest.mark.parametrize("times", [1, 3])
def test_given_a_wrong_answer_to_a_blob_when_published_then_the_next_pod_has_its_bytes(effect, times):
    bucket = Bucket(Fault("put_if_absent", effect, key="*/blobs/*", times=times))

    assert isinstance(bucket.tune(), Published)
    assert bucket.next_pod() == CONTENTS


def test_given_the_same_blob_there_when_published_then_it_serves():
    bucket = Bucket()
    bucket.memory.put_if_absent(BLOB, BODY)

    assert isinstance(bucket.tune(), Published)
    assert bucket.next_pod() == CONTENTS


@pytest.mark.parametrize("other", [b"half", BODY[:-1] + b" ", BODY + b" "])
def test_given_other_bytes_in_a_blobs_place_when_published_then_the_fleet_gets_nothing(other):
    bucket = Bucket()
    bucket.memory.put_if_absent(BLOB, other)

    outcome = bucket.tune()

    assert (type(outcome), outcome.reason) == (Unpublished, "blob-differs")
    assert outcome.blobs == {DIGEST: BODY}, "good for this pod"
    assert isinstance(bucket.next_pod(), Vacant)


@pytest.mark.parametrize(
    ("effect", "reason"),
    [
        (Says(409), "store-unavailable"),
        (Fails(ErrorKind.TIMEOUT), "store-timeout"),
        (Fails(ErrorKind.DENIED), "store-denied"),
    ],
)
def test_given_a_blob_that_is_never_taken_when_published_then_no_bundle_names_it(effect, reason):
    bucket = Bucket(Fault("put_if_absent", effect, key="*/blobs/*", times=100))

    outcome = bucket.tune()

    assert (type(outcome), outcome.reason) == (Unpublished, reason)
    assert isinstance(bucket.next_pod(), Vacant)
    assert isinstance(bucket.memory.get(BLOB, limit_bytes=10**6), Missing)


def test_given_little_time_when_a_blob_is_not_taken_then_it_ends_by_the_deadline():
    bucket = Bucket(Fault("put_if_absent", Says(409), key="*/blobs/*", times=100))
    began = bucket.clock.monotonic()

    assert isinstance(bucket.tune(deadline_s=2.5), Unpublished)
    assert bucket.clock.monotonic() - began <= 2.5


@pytest.mark.parametrize(
    ("spoiled", "problem", "reason"),
    [
        (BODY.replace(b"3", b"4"), BadBundle, "bundle-digest-mismatch"),
        (BODY[:-1], BadBundle, "bundle-digest-mismatch"),
        (BODY + b" ", StoreError, None),
        (None, BadBundle, "bundle-corrupt"),
    ],
)
def test_given_a_spoiled_blob_when_fetched_then_no_byte_of_it_is_handed_out(spoiled, problem, reason):
    bucket = Bucket()
    if spoiled is not None:
        bucket.memory.put_if_absent(BLOB, spoiled)

    with pytest.raises(problem) as raised:
        fetch_contents(bucket.memory, WHO.address, beside())
    if reason:
        assert raised.value.reason == reason
    else:
        assert raised.value.kind is ErrorKind.TOO_LARGE


# -- whole pods ----------------------------------------------------------------------------------------------------

TUNE = ("--tuner", "command", "--tuner-command", REPLAY)


class Volume:
    """A store in a directory with the bundle of one real pod, its content beside it; and another pod."""

    def __init__(self, root):
        (root / "store").mkdir()
        self.store = open_store(f"file://{root / 'store'}", environ={})
        made = Pod(root / "first", self.store.url).run(*TUNE)
        assert made.report["outcome"] == "tuned", made.stderr
        self.key = next(entry.key for entry in self.store.list("") if entry.key.endswith("/bundle.json"))
        body = self.store.get(self.key, limit_bytes=10**7).body
        made = parse_register(body)
        [(self.digest, text)] = made.files.items()
        self.bundle = replace(made, files={}, blobs={self.digest: len(text.encode())})
        self.pod = Pod(root / "second", self.store.url)
        self.text = text

    def hold(self, bundle, blobs):
        self.store.delete(self.key)
        self.store.put_if_absent(self.key, bundle.encode())
        for digest, body in blobs.items():
            self.store.put_if_absent(bundle.identity.address.blob_key(digest), body)


@pytest.fixture
def volume(tmp_path):
    return Volume(tmp_path)


def test_given_a_sound_blob_when_a_pod_starts_then_it_is_a_hit_of_two_requests(volume):
    volume.hold(volume.bundle, {volume.digest: volume.text.encode()})

    done = volume.pod.run("--tuner", "none")

    assert (done.report["outcome"], done.report["requests"]) == ("hit", 2)
    assert volume.pod.rank_files() == {"rank_tp0_pp0_dp0.json": volume.text.encode()}


@pytest.mark.parametrize("other", ["another tactic", "cut"])
def test_given_a_spoiled_blob_when_a_pod_starts_then_it_is_cold_and_has_no_file(volume, other):
    body = volume.text.replace("0", "1", 1) if other == "another tactic" else volume.text[:-1]
    volume.hold(volume.bundle, {volume.digest: body.encode()})

    done = volume.pod.run("--tuner", "none")

    assert (done.code, done.report["outcome"], done.report["reason"]) == (0, "cold", "bundle-digest-mismatch")
    assert volume.pod.files() == {}


def test_given_names_of_other_ranks_when_a_pod_starts_then_no_blob_is_fetched(volume):
    renamed = replace(volume.bundle, ranks={"rank_tp9_pp0_dp0.json": volume.digest})
    volume.hold(renamed, {volume.digest: volume.text.encode()})

    report = volume.pod.run("--tuner", "none").report

    assert (report["reason"], report["requests"]) == ("bundle-wrong-rank-files", 1)


def test_given_more_blobs_than_a_pod_may_hold_when_it_starts_then_none_is_fetched(volume):
    digests = [digest_of(str(number).encode()) for number in range(33)]
    ranks = {f"rank_tp{number}_pp0_dp0.json": digest for number, digest in enumerate(digests)}
    volume.hold(replace(volume.bundle, ranks=ranks, blobs=dict.fromkeys(digests, 16 * MIB)), {})

    report = volume.pod.run("--tuner", "none").report

    assert (report["reason"], report["requests"]) == ("bundle-too-large", 1)
