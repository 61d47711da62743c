"""What pods make of reads that are cut, old or wrongly dated, at a real server whose writes are all right."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.bundles import identity
from tests.stores.live.playing import RULES, play_pod
from tests.stores.live.real_servers import ADAPTERS
from tests.stores.live.spoiling_proxy import always, first, spoiling

from autotune_init.settings import Settings
from autotune_init.store_access import StoreAccess
from cache_store.claim import Claim
from cache_store.clock import SystemClock
from cache_store.lookup import look_up
from cache_store.steps import Adopted, GaveUp, Published

BUNDLE = ("bundle.json",)


@pytest.fixture(params=ADAPTERS)
def adapter(request):
    return request.param


class Fleet:
    """A fresh, versioned bucket of MinIO, and pods that reach it through a proxy."""

    def __init__(self, server, adapter):
        self.server, self.adapter = server, adapter
        self.bucket = server.create_bucket(is_versioned=True)
        self.url = f"s3://{self.bucket}/fleet"
        self.tunes = []

    def environ(self, proxy):
        return {**self.server.environ, "AWS_ENDPOINT_URL_S3": proxy.endpoint}

    def join(self, proxy, seed=1, timeout_s=3.0):
        return play_pod(
            self.url, self.environ(proxy), self.adapter, self.tunes, seed=seed, timeout_s=timeout_s
        )

    @property
    def bundles(self):
        """How many versions of the bundle there are."""
        return len(self.server.versions_of(self.bucket, "/bundle.json"))

    def stored(self):
        key = f"fleet/{identity().address.bundle_key}"
        return self.server.beside.get_object(Bucket=self.bucket, Key=key)["Body"].read()


@pytest.fixture
def fleet(park, adapter):
    return Fleet(park.get("minio"), adapter)


@pytest.fixture
def filled(fleet):
    """The same with a published bundle."""
    with spoiling(fleet.server) as proxy:
        assert isinstance(fleet.join(proxy), Published)
    return fleet


def test_given_one_read_that_ends_in_the_middle_then_it_is_asked_again(filled):
    with spoiling(filled.server, first("cut-body", 1, method="GET", names=BUNDLE)) as proxy:
        settings = Settings(store=filled.url, store_adapter=filled.adapter, request_timeout_s=3.0)
        access = StoreAccess(settings, filled.environ(proxy), SystemClock())
        seen = look_up(access.open(), identity())
        access.close()

    assert [effect for effect, _ in proxy.spoiled] == ["cut-body"]
    assert seen.bundle.encode() == filled.stored()


def test_given_reads_that_always_end_in_the_middle_then_cold_and_nothing_is_tuned_or_written(filled):
    with spoiling(filled.server, always("cut-body", "GET")) as proxy:
        outcome = filled.join(proxy, seed=2, timeout_s=1.0)

    assert isinstance(outcome, GaveUp), outcome
    assert outcome.reason == "store-unavailable"
    assert len(filled.tunes) == 1
    assert filled.bundles == 1


@pytest.mark.parametrize("effect", ["no-dates", "future"])
def test_given_a_dead_holder_and_useless_dates_then_its_lease_is_waited_out_by_the_pods_own_clock(
    fleet, effect
):
    dead = Claim(state="held", epoch=3, counter=9, nonce="of-the-dead", holder="dead", lease_s=RULES.lease_s)
    key = f"fleet/{identity().address.claim_key}"
    fleet.server.beside.put_object(Bucket=fleet.bucket, Key=key, Body=dead.encode())
    began = time.monotonic()

    with spoiling(fleet.server, always(effect, "GET")) as proxy:
        outcome = fleet.join(proxy)

    assert isinstance(outcome, Published), outcome
    assert fleet.tunes == [4]
    assert time.monotonic() - began >= RULES.lease_s
    assert fleet.bundles == 1


def test_given_reads_that_show_the_time_before_the_last_write_then_all_pods_have_the_same_bytes(fleet):
    """Every third read of each register shows what was there before its newest version."""

    def rule(request):
        is_register = request.name in ("bundle.json", "claim.json")
        return "stale" if request.method == "GET" and is_register and request.number % 3 == 0 else ""

    with spoiling(fleet.server, rule) as proxy, ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(lambda seed: fleet.join(proxy, seed), range(4)))

    assert proxy.spoiled, "nothing was stale"
    assert {outcome.bundle.encode() for outcome in outcomes} == {fleet.stored()}
    assert sum(isinstance(outcome, Published) for outcome in outcomes) == 1
    assert fleet.bundles == 1


def test_given_a_store_that_cannot_list_in_time_then_no_pod_notices_for_none_lists(fleet):
    def rule(request):
        return "half-open" if "list-type" in request.path else ""

    with spoiling(fleet.server, rule) as proxy:
        first_one, second = fleet.join(proxy), fleet.join(proxy, seed=2)

    assert isinstance(first_one, Published)
    assert isinstance(second, Adopted)
    assert proxy.spoiled == []
