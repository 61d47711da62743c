import pytest

from cache_store.clock import SystemClock
from cache_store.objects.memory import MemoryStore
from cache_store.testing.clock import ManualClock
from cache_store.testing.contract import ObjectStoreContract


class TestMemory(ObjectStoreContract):
    @pytest.fixture
    def store(self):
        return MemoryStore(SystemClock())


def test_age_is_by_the_given_clock():
    clock = ManualClock()
    store = MemoryStore(clock)
    store.put_if_absent("k", b"x")
    clock.sleep(90.4)
    assert store.get("k", limit_bytes=10).age_s == 90


def test_equal_bodies_have_equal_tags_as_on_s3():
    store = MemoryStore(ManualClock())
    first = store.put_if_absent("k", b"a")
    second = store.put_if_match("k", b"b", first.etag)
    assert store.put_if_match("k", b"a", second.etag) == first
