"""What the probe says of real servers, on plain and on versioned buckets, and what the protocol makes of it."""

import pytest
from tests.bundles import identity
from tests.stores.live.playing import play_fleet, play_pod
from tests.stores.live.real_servers import ADAPTERS
from tests.stores.live.spoiling_proxy import by_lot, spoiling

from cache_store.clock import fresh_nonce
from cache_store.probe import StoreClass, probe_store
from cache_store.steps import Adopted, GaveUp, Published

FULL, IGNORES = StoreClass.FULL, StoreClass.IGNORES
VERDICTS = [
    ("minio", False, FULL, "quoted"),
    ("minio", True, FULL, "quoted"),
    ("versitygw", False, FULL, "quoted"),
    ("versitygw", True, FULL, "quoted"),
    ("radosgw", False, FULL, "unquoted"),
    ("radosgw", True, IGNORES, "quoted"),
    ("ministack", False, FULL, "quoted"),
    ("ministack", True, FULL, "quoted"),
    ("fauxqs", False, IGNORES, "quoted"),
]
FIT = [row[:2] for row in VERDICTS if row[2] is FULL]
UNFIT = [row[:2] for row in VERDICTS if row[2] is not FULL]


def ids(rows):
    return [f"{row[0]}{'-versioned' * row[1]}" for row in rows]


with_adapters = pytest.mark.parametrize("adapter", ADAPTERS)


@with_adapters
@pytest.mark.parametrize(("name", "is_versioned", "verdict", "etag_form"), VERDICTS, ids=ids(VERDICTS))
def test_the_probe_tells_the_servers_and_their_buckets_apart(
    park, name, is_versioned, verdict, etag_form, adapter
):
    server = park.get(name)
    store = server.open(server.create_bucket(is_versioned=is_versioned), adapter, etag_form="quoted")

    found = probe_store(store, fresh_nonce())

    assert (found.store_class, found.etag_form) == (verdict, etag_form), found.detail
    assert found.left_behind is None
    assert list(store.list("")) == []
    store.close()


@with_adapters
@pytest.mark.parametrize(("name", "is_versioned"), UNFIT, ids=ids(UNFIT))
def test_given_a_store_that_ignores_conditions_then_nobody_tunes_and_nothing_is_written(
    park, name, is_versioned, adapter
):
    server, tunes = park.get(name), []
    bucket = server.create_bucket(is_versioned=is_versioned)

    outcome = play_pod(f"s3://{bucket}/fleet", server.environ, adapter, tunes)

    assert (type(outcome), outcome.reason) == (GaveUp, "store-ignores-conditions"), outcome
    assert tunes == []
    rows = server.beside.list_objects_v2(Bucket=bucket).get("Contents", [])
    assert [row["Key"] for row in rows] == []


@with_adapters
@pytest.mark.parametrize(("name", "is_versioned"), FIT, ids=ids(FIT))
def test_given_8_pods_at_once_then_one_tunes_all_agree_and_every_put_of_the_bundle_had_its_condition(
    park, name, is_versioned, adapter
):
    server, tunes = park.get(name), []
    bucket = server.create_bucket(is_versioned=is_versioned)

    with spoiling(server) as proxy:
        environ = {**server.environ, "AWS_ENDPOINT_URL_S3": proxy.endpoint}
        outcomes = play_fleet(
            8, lambda number: play_pod(f"s3://{bucket}/fleet", environ, adapter, tunes, seed=number)
        )

    assert len(tunes) == 1, outcomes
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Adopted"] * 7 + ["Published"]
    assert len({outcome.bundle.encode() for outcome in outcomes}) == 1
    assert [condition for _, _, condition in proxy.puts_of("bundle.json")] == ["if-none-match: *"]
    if is_versioned:
        key = f"fleet/{identity().address.bundle_key}"
        assert server.versions_of(bucket, "/bundle.json") == [("Versions", key)]


@with_adapters
@pytest.mark.parametrize("name", ["minio", "versitygw", "radosgw"])
def test_given_a_tenth_of_all_answers_spoiled_then_still_one_bundle_and_no_put_without_a_condition(
    park, name, adapter
):
    """Cut after the commit, before it, half open, late by seconds, 503."""
    server, tunes = park.get(name), []
    bucket = server.create_bucket(is_versioned=name == "minio")

    with spoiling(server, by_lot(7, 0.1)) as proxy:
        environ = {**server.environ, "AWS_ENDPOINT_URL_S3": proxy.endpoint}
        outcomes = play_fleet(
            8,
            lambda number: play_pod(
                f"s3://{bucket}/fleet", environ, adapter, tunes, seed=number, timeout_s=2.0
            ),
        )

    assert proxy.spoiled, "nothing was spoiled"
    puts = proxy.puts_of("bundle.json")
    assert {condition for _, _, condition in puts} == {"if-none-match: *"}
    assert [status for _, status, _ in puts].count(200) == 1, puts
    body = server.beside.get_object(Bucket=bucket, Key=f"fleet/{identity().address.bundle_key}")[
        "Body"
    ].read()
    with_one = [outcome for outcome in outcomes if isinstance(outcome, Adopted | Published)]
    assert with_one
    assert {outcome.bundle.encode() for outcome in with_one} == {body}
    others = {getattr(outcome, "reason", repr(outcome)) for outcome in outcomes if outcome not in with_one}
    assert others <= {"store-unavailable", "store-timeout", "wait-exceeded"}, others
    if name == "minio":
        assert len(server.versions_of(bucket, "/bundle.json")) == 1
