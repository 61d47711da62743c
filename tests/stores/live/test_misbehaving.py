"""What a pod makes of a real server that is spoiled in one way: the outcome, its reason, and what was written."""

import pytest
from tests.stores.live.playing import play_pod
from tests.stores.live.real_servers import ADAPTERS
from tests.stores.live.spoiling_proxy import always, first, first_of_all, spoiling

BUNDLE, CLAIM = ("bundle.json",), ("claim.json",)
ON_AND_ON = 10**6
PUBLISHED = ("Published", "")


@pytest.fixture(params=ADAPTERS)
def adapter(request):
    return request.param


@pytest.fixture
def play(park, adapter):
    """Plays one pod on a fresh, versioned bucket of MinIO behind a proxy with the rule."""
    server = park.get("minio")

    def on(rule, timeout_s=3.0):
        bucket = server.create_bucket(is_versioned=True)
        tunes = []
        with spoiling(server, rule) as proxy:
            environ = {**server.environ, "AWS_ENDPOINT_URL_S3": proxy.endpoint}
            outcome = play_pod(f"s3://{bucket}/fleet", environ, adapter, tunes, timeout_s=timeout_s)
        assert proxy.spoiled, "nothing was spoiled"
        assert {condition for _, _, condition in proxy.puts_of("bundle.json")} <= {"if-none-match: *"}
        end = type(outcome).__name__, getattr(outcome, "reason", "")
        return end, len(tunes), len(server.versions_of(bucket, "/bundle.json"))

    return on


def lost_and_stale():
    """The answer of the publish is lost, and the read-back shows the time before it."""

    def rule(request):
        if request.name != "bundle.json":
            return ""
        if request.method == "PUT":
            return "cut-after" if request.number == 1 else ""
        return "stale" if request.number == 3 else ""  # the lookup, the one after the claim, the read-back

    return rule


PASSES = {
    "the first writes of claim and bundle are cut after the commit": lambda: first("cut-after", 1),
    "the first 3 writes of claim and bundle are cut before the commit": lambda: first("cut-before", 3),
    "the bundle's write is half open": lambda: first("half-open", 1, names=BUNDLE),
    "the claim's write is half open": lambda: first("half-open", 1, names=CLAIM),
    "the bundle's write arrives after its reset": lambda: first("late", 1, names=BUNDLE),
    "the bundle's answer is lost and the read-back is stale": lost_and_stale,
    "the first 3 writes of claim and bundle are answered 409": lambda: first("409", 3),
    "the bundle's first 3 writes are answered 412 though nothing is there": lambda: first(
        "412", 3, names=BUNDLE
    ),
    "the first 3 writes of claim and bundle are answered 503": lambda: first("503", 3),
    "the first 3 writes of all are answered 503": lambda: first_of_all("503", 3),
    "the first 3 writes of all are answered 409": lambda: first_of_all("409", 3),
    "the first 3 writes of all are cut before the commit": lambda: first_of_all("cut-before", 3),
    "the first 3 reads are cut in the middle": lambda: first_of_all("cut-body", 3, "GET"),
    "no answer has dates": lambda: always("no-dates", "GET"),
    "all that is read was written tomorrow": lambda: always("future", "GET"),
    "the first 2 writes of claim and bundle take 2 s": lambda: first("slow", 2),
}


@pytest.mark.parametrize("why", PASSES)
def test_given_a_store_that_is_spoiled_for_a_while_then_the_pod_tunes_once_and_publishes_once(play, why):
    assert play(PASSES[why]()) == (PUBLISHED, 1, 1)


STAYS = [
    ("every write is answered 501", always("501"), "store-unsupported"),
    ("every write is answered 400 NotImplemented", always("400"), "store-unsupported"),
    ("every write is answered 412", always("412"), "store-unsupported"),
    ("every write is denied", always("403"), "store-denied"),
    ("every write is answered 503", always("503"), "store-unavailable"),
    ("every write is reset", always("cut-before"), "store-unavailable"),
    ("every write is half open", always("half-open"), "store-timeout"),
    ("every read is answered 503", always("503", "GET"), "store-unavailable"),
    ("every read is denied", always("403", "GET"), "store-denied"),
    ("every read is half open", always("half-open", "GET"), "store-timeout"),
]


@pytest.mark.parametrize(("rule", "reason"), [row[1:] for row in STAYS], ids=[row[0] for row in STAYS])
def test_given_a_store_that_stays_bad_then_nobody_tunes_and_the_pod_says_why(play, rule, reason):
    assert play(rule, 0.5) == (("GaveUp", reason), 0, 0)


def test_given_a_bundle_that_can_never_be_written_then_the_pod_keeps_its_own_result(play):
    assert play(first("503", ON_AND_ON, names=BUNDLE)) == (("Unpublished", "store-unavailable"), 1, 0)
