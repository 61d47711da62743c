"""Whoever writes between an importer's look and its write wins, and nothing of theirs is lost."""

import random
from dataclasses import replace

import pytest
from tests.bundles import bundle, identity, rank_file, tombstone

from cache_store.bundle import digest_of
from cache_store.bundle_json import parse_register
from cache_store.errors import ErrorKind
from cache_store.objects.memory import MemoryStore
from cache_store.operation_steps import Changed, Refused, Unchanged
from cache_store.parcel import Parcel
from cache_store.placing_bundles import Placer
from cache_store.testing.clock import ManualClock
from cache_store.testing.faulty import AppliesLate, Fails, Fault, FaultyStore, LosesAnswer, Says, Truncates

ADDRESS = identity().address
OURS = bundle(nonce="ours")
OTHER = bundle({"rank_tp0_pp0_dp0.json": rank_file(tactic=9)}, nonce="other")
PARCEL = Parcel(ADDRESS, OURS, OURS.encode(), {})


class Bucket:
    """A store, a placer before it, and what somebody does right before the placer's first write of bundle.json."""

    def __init__(self, first=None):
        self.clock = ManualClock()
        self.memory = MemoryStore(self.clock)
        self.faulty = FaultyStore(self.memory, clock=self.clock)
        if first is not None:
            self.memory.put_if_absent(ADDRESS.bundle_key, first.encode())

    def place(self, parcel=PARCEL, **options):
        return Placer(
            self.faulty, self.clock, random.Random(1), lambda: "fresh", **{"over_retired": True, **options}
        ).place(parcel)

    def meanwhile(self, register):
        """`register` (None: nothing) lies there when the placer comes to write."""

        def recheck(_):
            self.memory.delete(ADDRESS.bundle_key)
            if register is not None:
                self.memory.put_if_absent(ADDRESS.bundle_key, register.encode())

        return recheck

    @property
    def register(self):
        return parse_register(self.memory.get(ADDRESS.bundle_key, limit_bytes=10**7).body)


@pytest.mark.parametrize("first", [None, tombstone()])
@pytest.mark.parametrize(
    ("then", "outcome", "reason"),
    [
        (OTHER, Refused, "occupied"),
        (bundle(nonce="same files"), Unchanged, None),
        (tombstone(nonce="later"), Refused, "changed-meanwhile"),
        (tombstone(nonce="later", may_retune=False), Refused, "quarantined"),
    ],
)
def test_given_a_write_meanwhile_when_placed_then_it_stays(first, then, outcome, reason):
    bucket = Bucket(first)

    found = bucket.place(recheck=bucket.meanwhile(then))

    assert type(found) is outcome
    assert getattr(found, "reason", None) == reason
    assert bucket.register == then


def test_given_the_same_nonce_of_another_copier_when_placed_then_it_is_not_called_ours():
    """An archive's nonce is anybody's who has the archive: only a write whose answer is unknown may be our own."""
    bucket = Bucket()

    assert isinstance(bucket.place(recheck=bucket.meanwhile(OURS)), Unchanged)


def test_given_a_tombstone_that_is_deleted_meanwhile_when_placed_then_nothing_is_written():
    bucket = Bucket(tombstone())

    assert bucket.place(recheck=bucket.meanwhile(None)).reason == "changed-meanwhile"
    assert list(bucket.memory.list("")) == []


@pytest.mark.parametrize("first", [None, tombstone()])
@pytest.mark.parametrize(
    "effect",
    [
        LosesAnswer(),
        Fails(ErrorKind.TIMEOUT),
        AppliesLate(0.01),
        Says(409),
        Says(412),
        Says(412, is_applied=True),
    ],
)
def test_given_a_wrong_answer_when_placed_then_it_is_there_once(first, effect):
    bucket = Bucket(first)
    bucket.faulty.script(Fault("put*", effect))

    found = bucket.place()
    bucket.faulty.settle()

    assert isinstance(found, (Changed, Unchanged))
    assert bucket.register.ranks == OURS.ranks
    assert bucket.register.nonce == ("ours" if first is None else "fresh")


@pytest.mark.parametrize("first", [None, tombstone()])
def test_given_a_write_that_arrives_after_we_gave_up_when_placed_then_it_is_called_unsettled(first):
    bucket = Bucket(first)
    bucket.faulty.script(Fault("put*", AppliesLate(10**6), times=100))

    found = bucket.place()

    assert (type(found), found.reason, found.is_unsettled) == (Refused, "store-timeout", True)
    bucket.faulty.settle()
    assert bucket.register.ranks == OURS.ranks


def test_given_a_denied_write_when_placed_then_it_is_tried_once():
    bucket = Bucket()
    bucket.faulty.script(Fault("put*", Fails(ErrorKind.DENIED), times=100))

    found = bucket.place()

    assert (found.reason, found.is_unsettled, len(bucket.faulty.used)) == ("store-denied", False, 1)


def test_given_a_retire_that_slept_when_placed_over_its_tombstone_then_its_condition_is_false():
    bucket = Bucket(OURS)
    slept = bucket.memory.get(ADDRESS.bundle_key, limit_bytes=10**7).etag
    bucket.memory.put_if_match(ADDRESS.bundle_key, tombstone().encode(), slept)
    bucket.place()

    bucket.memory.put_if_match(ADDRESS.bundle_key, tombstone(may_retune=False).encode(), slept)

    assert bucket.register.nonce == "fresh", "the same bytes would have had the ETag that it held"


def test_given_half_a_register_when_placed_then_it_is_not_overwritten():
    bucket = Bucket(OTHER)
    bucket.faulty.script(Fault("get", Truncates(100)))

    assert bucket.place().reason == "bundle-corrupt"
    assert bucket.register == OTHER


def test_given_no_answer_to_the_first_look_when_placed_then_nothing_is_written():
    bucket = Bucket()
    bucket.faulty.script(Fault("get", Fails(ErrorKind.UNAVAILABLE)))

    assert bucket.place().reason == "store-unavailable"
    assert list(bucket.memory.list("")) == []


# -- blobs ---------------------------------------------------------------------------------------------------------

BODY = rank_file()
BESIDE = replace(OURS, files={}, blobs={digest_of(BODY): len(BODY)})
LARGE = Parcel(ADDRESS, BESIDE, BESIDE.encode(), {digest_of(BODY): BODY})
BLOB = ADDRESS.blob_key(digest_of(BODY))


def test_given_a_lost_blob_when_placed_again_then_it_is_put_back():
    bucket = Bucket()
    bucket.place(LARGE)
    bucket.memory.delete(BLOB)

    planned = bucket.place(LARGE, is_dry=True)
    assert (planned.before, planned.is_dry, len(list(bucket.memory.list("")))) == ("published", True, 1)
    assert bucket.place(LARGE) == Changed("published", "published", "ours")
    assert bucket.memory.get(BLOB, limit_bytes=10**6).body == BODY
    assert isinstance(bucket.place(LARGE), Unchanged)


@pytest.mark.parametrize("body", [b"short", BODY + b" ", BODY[:-1] + b" "])
@pytest.mark.parametrize("is_published", [False, True])
def test_given_a_blob_with_another_content_when_placed_then_it_says_so(body, is_published):
    bucket = Bucket(BESIDE if is_published else None)
    bucket.memory.put_if_absent(BLOB, body)

    assert bucket.place(LARGE).reason == "blob-differs"
    assert bucket.memory.get(BLOB, limit_bytes=10**6).body == body


def test_given_the_same_files_inline_when_placed_then_no_blob_is_asked_for():
    bucket = Bucket(bundle(nonce="inline"))
    bucket.faulty.script(Fault("*", Fails(ErrorKind.DENIED), key="*/blobs/*", times=100))

    assert isinstance(bucket.place(LARGE), Unchanged)


def test_given_a_lost_blob_when_the_same_files_come_inline_then_it_is_put_back():
    bucket = Bucket(replace(BESIDE, nonce="theirs"))

    assert bucket.place(is_dry=True) == Changed("published", "published", "theirs", None, is_dry=True)
    assert bucket.place() == Changed("published", "published", "theirs")
    assert bucket.memory.get(BLOB, limit_bytes=10**6).body == BODY
    assert isinstance(bucket.place(), Unchanged)


@pytest.mark.parametrize("body", [b"short", BODY + b" "])
def test_given_a_spoiled_blob_when_the_same_files_come_inline_then_it_says_so(body):
    bucket = Bucket(BESIDE)
    bucket.memory.put_if_absent(BLOB, body)

    assert bucket.place().reason == "blob-differs"


@pytest.mark.parametrize("kind", [ErrorKind.DENIED, ErrorKind.UNAVAILABLE])
def test_given_a_blob_that_cannot_be_written_when_placed_then_the_bundle_is_not_there(kind):
    bucket = Bucket()
    bucket.faulty.script(Fault("put*", Fails(kind), key="*/blobs/*", times=100))

    assert bucket.place(LARGE).reason == f"store-{kind.value}"
    assert list(bucket.memory.list("")) == []


@pytest.mark.parametrize("later", [b"1e999", b"9" * 5000])
def test_given_a_field_that_cannot_be_written_again_when_placed_over_a_tombstone_then_it_is_refused(later):
    bucket = Bucket(tombstone())
    strange = Parcel(ADDRESS, OURS, OURS.encode()[:-1] + b', "later": ' + later + b"}", {})

    assert bucket.place(strange).reason == "bundle-corrupt"
    assert bucket.register == tombstone()
