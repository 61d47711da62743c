"""Stores that keep conditions, reject them, ignore them, or speak a dialect, told apart through both S3 adapters."""

import threading

import pytest
from tests.servers import KEYS

from autotune_init.settings import Settings
from autotune_init.store_access import StoreAccess
from cache_store.clock import SystemClock, fresh_nonce
from cache_store.errors import ErrorKind
from cache_store.objects import Missing, NotWritten, StoredObject, Written
from cache_store.objects.directory import DirectoryStore
from cache_store.objects.memory import MemoryStore
from cache_store.objects.open_url import open_store
from cache_store.probe import StoreClass, probe_store, race_probe
from cache_store.steps import Fit
from cache_store.testing.clock import ManualClock
from cache_store.testing.contract import raises
from cache_store.testing.faulty import Fails, Fault, FaultyStore


@pytest.fixture(params=["obstore", "fsspec"])
def adapter(request):
    return request.param


@pytest.fixture
def store(stub, adapter):
    store = open_store("s3://b/p", environ=stub.environ, adapter=adapter, request_timeout_s=10)
    yield store
    store.close()


DIALECTS = [
    ("honest", StoreClass.FULL, "creates once, compares and swaps"),
    ("ignores", StoreClass.IGNORES, "a second create of the same object succeeded"),
    ("overwrites", StoreClass.IGNORES, "a second create was answered 412, and yet it overwrote"),
    ("creates-only", StoreClass.CREATE_ONLY, "replacing with a wrong ETag succeeded"),
    ("rejects-501", StoreClass.REJECTS, "unsupported"),
    ("rejects-400", StoreClass.REJECTS, "unsupported"),
    ("unquoted", StoreClass.FULL, "creates once, compares and swaps"),
]


@pytest.mark.parametrize(("dialect", "expected", "detail"), DIALECTS, ids=[row[0] for row in DIALECTS])
def test_a_store_is_what_it_does_with_conditions(stub, store, dialect, expected, detail):
    stub.dialect = dialect
    found = probe_store(store, fresh_nonce())
    assert found.store_class is expected
    assert detail in found.detail
    assert stub.objects == {}, "the probe's object was left behind"
    assert all("/b/p/.probe/" in path for _, path, _ in stub.requests)


def test_a_pod_that_checks_its_store_twice_finds_the_same_dialect_twice(stub):
    """A pod of a replica group may ask before it claims and again before it settles."""
    stub.dialect = "unquoted"
    access = StoreAccess(Settings(store="s3://b/p"), stub.environ, SystemClock())
    lent = access.open()
    try:
        for _ in range(2):
            assert access.check(lent) == Fit()
            key = f"k{fresh_nonce()}"
            etag = lent.put_if_absent(key, b"1").etag
            assert isinstance(lent.put_if_match(key, b"2", etag), Written)
    finally:
        access.close()


def test_the_unquoted_dialect_works_once_the_adapter_was_told(stub, store):
    stub.dialect = "unquoted"
    etag = store.put_if_absent("k", b"1").etag
    assert not isinstance(store.put_if_match("k", b"2", etag), Written)
    store.etag_form = probe_store(store, fresh_nonce()).etag_form
    assert isinstance(store.put_if_match("k", b"2", etag), Written)


def test_the_real_server_is_fit_and_atomic_through_both_adapters(ministack, bucket, adapter):
    environ = {**KEYS, "AWS_ENDPOINT_URL_S3": ministack}
    store = open_store(f"s3://{bucket}", environ=environ, adapter=adapter, request_timeout_s=20)
    found = probe_store(store, fresh_nonce())
    assert (found.store_class, found.etag_form) == (StoreClass.FULL, "quoted")
    assert found.has_dates is (adapter == "fsspec")
    report = race_probe(store, fresh_nonce(), threads=8, rounds=3)
    assert (report.is_atomic, report.problems, report.unanswered) == (True, (), 0)
    assert list(store.list("")) == []
    store.close()


def test_directory_and_memory_are_fit(tmp_path):
    for store in (DirectoryStore(tmp_path, nonce=fresh_nonce), MemoryStore(ManualClock())):
        found = probe_store(store, fresh_nonce())
        assert found.store_class is StoreClass.FULL
        assert found.has_dates
        assert race_probe(store, fresh_nonce(), threads=8, rounds=5).is_atomic
        assert list(store.list("")) == []


def test_a_pod_that_may_not_delete_learns_the_class_all_the_same():
    clock = ManualClock()
    store = FaultyStore(MemoryStore(clock), clock=clock, faults=(Fault("delete", Fails(ErrorKind.DENIED)),))
    found = probe_store(store, "n1")
    assert (found.store_class, found.left_behind) == (StoreClass.FULL, ".probe/n1")


@pytest.mark.parametrize("kind", [ErrorKind.DENIED, ErrorKind.TIMEOUT, ErrorKind.NOT_FOUND])
def test_a_store_that_cannot_be_asked_is_in_no_class(kind):
    clock = ManualClock()
    store = FaultyStore(MemoryStore(clock), clock=clock, faults=(Fault("put*", Fails(kind)),))
    with raises(kind):
        probe_store(store, "n1")


class CheckThenAct(MemoryStore):
    """Honours conditions one after the other, and lets simultaneous writers through: as some S3 servers do."""

    def __init__(self, writers):
        super().__init__(ManualClock())
        self.looked = threading.Barrier(writers)

    def put_if_absent(self, key, body):
        is_free = isinstance(self.get(key, limit_bytes=1000), Missing)
        self.looked.wait()
        return self._keep(key, body) if is_free else super().put_if_absent(key, body)

    def put_if_match(self, key, body, etag):
        seen = self.get(key, limit_bytes=1000)
        is_right = isinstance(seen, StoredObject) and seen.etag == etag
        self.looked.wait()
        return self._keep(key, body) if is_right else super().put_if_match(key, body, etag)


def test_a_race_finds_the_store_that_checks_and_then_acts():
    report = race_probe(CheckThenAct(4), "n", threads=4, rounds=2)
    assert not report.is_atomic
    assert report.problems == (
        "round 0: 4 of 4 writers were told that their create won",
        "round 0: 4 of 4 writers were told that their replace won",
        "round 1: 4 of 4 writers were told that their create won",
        "round 1: 4 of 4 writers were told that their replace won",
    )


def test_a_race_without_answers_proves_nothing():
    clock = ManualClock()
    store = FaultyStore(MemoryStore(clock), clock=clock)
    store.script(Fault("put*", Fails(ErrorKind.TIMEOUT), times=1000))
    report = race_probe(store, "n", threads=3, rounds=2)
    assert (report.is_atomic, report.problems, report.unanswered) == (False, (), 2)


class Conflicting(MemoryStore):
    """Answers 409, "try again", to one of its conditional writes."""

    def __init__(self, number):
        super().__init__(ManualClock())
        self.left = number

    def _conflicts(self):
        self.left -= 1
        return self.left == 0

    def put_if_absent(self, key, body):
        return NotWritten(409) if self._conflicts() else super().put_if_absent(key, body)

    def put_if_match(self, key, body, etag):
        return NotWritten(409) if self._conflicts() else super().put_if_match(key, body, etag)


@pytest.mark.parametrize("number", [1, 3, 4, 5])
def test_given_409_to_one_write_then_nothing_is_said_of_the_store_but_to_ask_again(number):
    store = Conflicting(number)

    with raises(ErrorKind.UNAVAILABLE):
        probe_store(store, "first")
    assert probe_store(store, "second").store_class is StoreClass.FULL


def test_given_409_to_the_second_create_then_it_is_a_refusal_as_good_as_412():
    assert probe_store(Conflicting(2), "n").store_class is StoreClass.FULL
