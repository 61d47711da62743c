"""Both S3 adapters against a real S3 server; neither brings tests of its own."""

import pytest
from tests.servers import KEYS

from cache_store.objects.open_url import open_store
from cache_store.testing.contract import ODD_KEYS, MissingRootContract, ObjectStoreContract


def opened(endpoint, url, adapter):
    return open_store(
        url, environ={**KEYS, "AWS_ENDPOINT_URL_S3": endpoint}, adapter=adapter, request_timeout_s=20
    )


class TestObstore(ObjectStoreContract):
    racers = 32
    many = 1100

    @pytest.fixture
    def store(self, ministack, bucket):
        return opened(ministack, f"s3://{bucket}/some/prefix", "obstore")


class TestS3fs(ObjectStoreContract):
    @pytest.fixture
    def store(self, ministack, bucket):
        store = opened(ministack, f"s3://{bucket}/some/prefix", "fsspec")
        yield store
        store.close()


class TestObstoreWithoutBucket(MissingRootContract):
    @pytest.fixture
    def store(self, ministack):
        return opened(ministack, "s3://never-created", "obstore")


class TestS3fsWithoutBucket(MissingRootContract):
    @pytest.fixture
    def store(self, ministack):
        store = opened(ministack, "s3://never-created", "fsspec")
        yield store
        store.close()


@pytest.fixture
def pair(ministack, bucket):
    """The two adapters on one bucket."""
    stores = [opened(ministack, f"s3://{bucket}/p", adapter) for adapter in ("obstore", "fsspec")]
    yield stores
    for store in stores:
        store.close()


@pytest.mark.parametrize("order", [1, -1], ids=["obstore writes", "s3fs writes"])
def test_the_adapters_agree_on_keys_tags_and_listings(pair, order):
    writer, reader = pair[::order]
    for key in ODD_KEYS:
        written = writer.put_if_absent(key, key.encode())
        seen = reader.get(key, limit_bytes=1000)
        assert (seen.body, seen.etag) == (key.encode(), written.etag)
        assert reader.put_if_match(key, b"again", written.etag).etag == writer.get(key, limit_bytes=1000).etag
    assert (
        [entry.key for entry in reader.list("")]
        == [entry.key for entry in writer.list("")]
        == sorted(ODD_KEYS)
    )


def test_s3fs_knows_age_by_the_servers_clock_and_obstore_says_that_it_does_not(pair):
    obstore, s3fs = pair
    obstore.put_if_absent("k", b"x")
    assert s3fs.get("k", limit_bytes=10).age_s is not None
    assert s3fs.get("missing", limit_bytes=10).date is not None
    assert obstore.get("k", limit_bytes=10).age_s is None
    assert obstore.get("k", limit_bytes=10).last_modified is not None
