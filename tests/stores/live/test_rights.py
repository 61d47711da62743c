"""The policies of docs/coordination.md on a real server: what pods can and cannot do under them."""

import json

import pytest
from botocore.exceptions import ClientError
from tests.bundles import bundle, identity
from tests.docs.test_policies import EVERYBODY, READERS, TUNERS
from tests.stores.live.playing import play_pod

from cache_store.lookup import look_up
from cache_store.objects.open_url import open_store
from cache_store.register import Hit, Vacant
from cache_store.steps import GaveUp, Published

ANONYMOUS = {"AWS_SKIP_SIGNATURE": "true", "AWS_REGION": "us-east-1"}


@pytest.fixture
def under(park):
    """A bucket of MinIO under one of the page's policies, as anybody without credentials sees it."""
    server = park.get("minio")
    bucket = server.create_bucket()

    def make(policy):
        text = json.dumps(policy).replace(":::models", f":::{bucket}")
        applied = json.loads(text)
        for one in applied["Statement"]:
            one["Principal"] = "*"
        server.beside.put_bucket_policy(Bucket=bucket, Policy=json.dumps(applied))
        return server, bucket, ANONYMOUS | {"AWS_ENDPOINT_URL_S3": server.endpoint, "AWS_ALLOW_HTTP": "true"}

    return make


def looked_up(url, environ):
    store = open_store(url, environ=environ, adapter="obstore", request_timeout_s=10.0)
    try:
        return look_up(store, identity())
    finally:
        store.close()


def test_a_reader_hits_and_misses_and_cannot_tune(under):
    server, bucket, environ = under(READERS)
    url, tunes = f"s3://{bucket}/autotune", []

    missed = looked_up(url, environ)
    tuned = play_pod(url, environ, "obstore", tunes)
    server.beside.put_object(
        Bucket=bucket, Key=f"autotune/{identity().address.bundle_key}", Body=bundle().encode()
    )
    hit = looked_up(url, environ)

    assert isinstance(missed, Vacant)
    assert (type(tuned), tuned.reason, tunes) == (GaveUp, "store-denied", [])
    assert isinstance(hit, Hit)


def test_a_pod_that_tunes_publishes_and_leaves_nothing_of_its_probe(under):
    server, bucket, environ = under(TUNERS)
    tunes = []

    tuned = play_pod(f"s3://{bucket}/autotune", environ, "obstore", tunes)

    assert isinstance(tuned, Published), tuned
    kept = [row["Key"] for row in server.beside.list_objects_v2(Bucket=bucket)["Contents"]]
    assert sorted(key.rpartition("/")[2] for key in kept) == ["bundle.json", "claim.json"]


def test_a_pod_that_tunes_cannot_delete_a_register(under):
    _, bucket, environ = under(TUNERS)
    url = f"s3://{bucket}/autotune"
    play_pod(url, environ, "obstore", [])
    store = open_store(url, environ=environ, adapter="obstore", request_timeout_s=10.0)

    with pytest.raises(Exception, match="denied"):
        store.delete(identity().address.bundle_key)
    store.close()

    assert isinstance(looked_up(url, environ), Hit)


def test_minio_does_not_know_the_keys_of_the_iam_policy_everybody(under):
    """Should a later one know them, then the page says too little."""
    with pytest.raises(ClientError, match="invalid condition key"):
        under(EVERYBODY)
