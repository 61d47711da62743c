"""Every way in which an S3 endpoint can fail, through both adapters: the right kind, in time, in one request."""

import itertools
import time
from contextlib import contextmanager

import pytest
from tests.servers import KEYS, free_port

from cache_store.errors import CREDENTIALS, NO_CREDENTIALS, ErrorKind, StoreError
from cache_store.objects import Missing, NotWritten, StoredObject, Written
from cache_store.objects.open_url import open_store
from cache_store.testing.contract import raises

TIMEOUT_S = 0.8
BOUND_S = 4.0  # with what a busy machine adds
DENIED, INVALID, NOT_FOUND = ErrorKind.DENIED, ErrorKind.INVALID, ErrorKind.NOT_FOUND
TIMEOUT, UNAVAILABLE, UNSUPPORTED = ErrorKind.TIMEOUT, ErrorKind.UNAVAILABLE, ErrorKind.UNSUPPORTED


ADAPTERS = ["obstore", "fsspec"]


def opened_at(endpoint, adapter, timeout_s=TIMEOUT_S, **environ):
    environ = {**KEYS, "AWS_ENDPOINT_URL_S3": endpoint, **environ}
    return open_store("s3://b/p", environ=environ, adapter=adapter, request_timeout_s=timeout_s)


@pytest.fixture(scope="module", params=ADAPTERS)
def used_store(request, _one_stub):
    """One store for all faults: none may leave it unusable. A botocore session costs 0.4 s."""
    store = opened_at(_one_stub.endpoint, request.param)
    yield store
    store.close()


@pytest.fixture
def store(stub, used_store):
    """A store that has served already, so that imports and connections do not count, with an object of 100 bytes."""
    for _ in range(3):
        try:
            used_store.put_if_absent("k", b"x" * 100)
            used_store.get("k", limit_bytes=100)
            break
        except StoreError as error:  # beside three other workers a first answer can take longer than that
            if error.kind is not TIMEOUT:
                raise
    else:
        pytest.fail("the stub did not answer in three times TIMEOUT_S")
    stub.requests.clear()
    return used_store


@pytest.fixture(params=ADAPTERS)
def opened(request):
    """Opens stores on endpoints, and closes them."""
    stores = []

    def open_at(endpoint, **environ):
        stores.append(opened_at(endpoint, request.param, **environ))
        return stores[-1]

    yield open_at
    for store in stores:
        store.close()


@contextmanager
def in_time(bound_s=BOUND_S):
    began = time.monotonic()
    yield
    assert time.monotonic() - began < bound_s


READS = [
    ("401", "", DENIED),
    ("403", "", DENIED),
    ("403", "SignatureDoesNotMatch", DENIED),
    ("400", "ExpiredToken", DENIED),
    ("404", "NoSuchBucket", NOT_FOUND),
    ("400", "InvalidRequest", INVALID),
    ("409", "", UNAVAILABLE),
    ("429", "TooManyRequests", UNAVAILABLE),
    ("500", "", UNAVAILABLE),
    ("502", "", UNAVAILABLE),
    ("503", "", UNAVAILABLE),
    ("501", "", UNSUPPORTED),
    ("hang", "", TIMEOUT),
    ("drip", "", TIMEOUT),
    ("truncate", "", UNAVAILABLE),
    ("garbage", "", UNAVAILABLE),
]
IDS = [" ".join(row[:2]).strip() for row in READS]


@pytest.mark.parametrize(("fault", "code", "kind"), READS, ids=IDS)
def test_a_read_that_fails(stub, store, fault, code, kind):
    stub.fault, stub.fault_code = fault, code
    with in_time(), raises(kind):
        store.get("k", limit_bytes=1000)
    assert len([method for method, *_ in stub.requests if method == "GET"]) == 1, "somebody below tries again"


NUMBERS = itertools.count()
WRITES = [row for row in READS if row[0] not in {"drip", "truncate", "409"}]


@pytest.mark.parametrize("verb", ["put_if_absent", "put_if_match"])
@pytest.mark.parametrize(("fault", "code", "kind"), WRITES, ids=[" ".join(row[:2]).strip() for row in WRITES])
def test_a_write_that_fails(stub, store, fault, code, kind, verb):
    stub.fault, stub.fault_code = fault, code
    # a name of its own: aiohttp sends a PUT again when its connection breaks, which may be during the next test
    key = f"new-{next(NUMBERS)}"
    arguments = (key, b"x") if verb == "put_if_absent" else (key, b"y", '"tag"')
    with in_time(), raises(kind):
        getattr(store, verb)(*arguments)
    sent = [path for _, path, _ in stub.requests if path.endswith(key)]
    assert len(sent) == 1, "somebody below the adapter sends a conditional write again"


@pytest.mark.parametrize(
    ("fault", "code", "kind"), [row for row in READS if row[0] in {"403", "503", "hang", "garbage"}]
)
def test_a_listing_and_a_delete_that_fail(stub, store, fault, code, kind):
    stub.fault, stub.fault_code = fault, code
    with in_time(), raises(kind):
        list(store.list(""))
    with in_time(), raises(kind):
        store.delete("k")


def test_a_redirect_to_nowhere_ends(stub, store):
    """S3's answer for a bucket of another region, in short. s3fs follows it until Python's stack or the time is over."""
    stub.fault = "302"
    with in_time(), pytest.raises(StoreError) as caught:
        store.get("k", limit_bytes=1000)
    assert caught.value.kind in {INVALID, TIMEOUT}


@pytest.mark.parametrize("status", [409, 412])
def test_a_condition_that_did_not_hold_is_an_answer(stub, store, status):
    stub.fault = str(status)
    assert store.put_if_absent("new", b"x") == NotWritten(status)
    assert store.put_if_match("k", b"x", '"tag"') == NotWritten(status)


def test_replacing_what_is_not_there_is_answered_404(stub, store):
    assert store.put_if_match("none", b"x", '"tag"') == NotWritten(404)


def test_a_create_that_is_answered_404_is_about_the_bucket(stub, store):
    stub.fault = "404"
    with raises(ErrorKind.NOT_FOUND):
        store.put_if_absent("new", b"x")


def outcome(store, verb, key, etag):
    """The answer to one write, or the kind of error that it ended in."""
    try:
        return (
            store.put_if_absent(key, b"mine")
            if verb == "put_if_absent"
            else store.put_if_match(key, b"mine", etag)
        )
    except StoreError as error:
        return error.kind


@pytest.mark.parametrize("verb", ["put_if_absent", "put_if_match"])
def test_a_write_whose_answer_is_lost_has_happened_and_is_not_called_written(stub, store, verb):
    """Given a connection that dies after the commit, then no `Written`; the object is there for the read-back.

    aiohttp sends a PUT again on a reused connection, so through s3fs this may be a 412 of one's own success.
    """
    etag = store.get("k", limit_bytes=1000).etag
    key = "new" if verb == "put_if_absent" else "k"
    stub.fault = "drop-answer"
    with in_time():
        answer = outcome(store, verb, key, etag)
    assert answer in {ErrorKind.UNAVAILABLE, ErrorKind.TIMEOUT, NotWritten(412)}
    stub.fault = ""
    assert store.get(key, limit_bytes=1000).body == b"mine"


def test_after_an_outage_the_same_store_works_again(stub, store):
    for fault in ("hang", "garbage", "truncate", "503"):
        stub.fault = fault
        with pytest.raises(StoreError):
            store.get("k", limit_bytes=1000)
        stub.fault = ""
        assert isinstance(store.get("k", limit_bytes=1000), StoredObject)


def test_headers_without_dates_are_no_error(stub, store):
    stub.fault = "forget-dates"
    seen = store.get("k", limit_bytes=1000)
    assert seen.age_s is None
    assert isinstance(store.get("none", limit_bytes=1000), Missing)


def test_a_large_object_is_refused_before_its_body_is_read(stub, store):
    """Given an answer that would take minutes to read, then TOO_LARGE at once."""
    stub.fault = "drip"
    with in_time(0.5), raises(ErrorKind.TOO_LARGE):
        store.get("k", limit_bytes=99)


def test_every_write_carries_its_condition_on_the_wire(stub, store):
    etag = store.put_if_absent("new", b"x").etag
    store.put_if_match("new", b"y", etag)
    puts = [headers for method, _, headers in stub.requests if method == "PUT"]
    assert [headers.get("if-none-match") for headers in puts] == ["*", None]
    assert [headers.get("if-match") for headers in puts] == [None, etag]


def test_one_read_is_one_request_found_or_not(stub, store):
    store.get("k", limit_bytes=1000)
    store.get("none", limit_bytes=1000)
    assert [(method, path.partition("?")[0]) for method, path, _ in stub.requests] == [
        ("GET", "/b/p/k"),
        ("GET", "/b/p/none"),
    ]


def test_nobody_listens(opened):
    with in_time(), raises(ErrorKind.UNAVAILABLE):
        opened(f"http://127.0.0.1:{free_port()}").get("k", limit_bytes=10)


def test_a_name_that_does_not_resolve(opened):
    with in_time(), raises(ErrorKind.UNAVAILABLE):
        opened("http://store.invalid:9000").get("k", limit_bytes=10)


def test_a_certificate_of_an_unknown_ca_is_unavailable_and_says_tls(tls_stub, opened):
    with in_time(), pytest.raises(StoreError, match="TLS") as caught:
        opened(tls_stub.endpoint).get("k", limit_bytes=10)
    assert caught.value.kind is ErrorKind.UNAVAILABLE


def test_plain_http_behind_an_https_url_is_unavailable_and_says_tls(stub, opened):
    with in_time(), pytest.raises(StoreError, match="TLS") as caught:
        opened(stub.endpoint.replace("http://", "https://")).get("k", limit_bytes=10)
    assert caught.value.kind is ErrorKind.UNAVAILABLE


def test_the_ca_bundle_of_the_environment_is_trusted(tls_stub, opened, tmp_path):
    bundle = tmp_path / "ca.pem"
    bundle.write_bytes(tls_stub.ca_pem)
    store = opened(tls_stub.endpoint, AWS_CA_BUNDLE=str(bundle))
    assert isinstance(store.put_if_absent("k", b"x"), Written)
    assert store.get("k", limit_bytes=10).body == b"x"


def test_the_secret_is_in_no_message(stub, opened):
    secret = "s3cr3t-value-of-a-key"
    store = opened(stub.endpoint, AWS_SECRET_ACCESS_KEY=secret, AWS_SESSION_TOKEN="t0ken-" + secret)
    for fault in ("403", "503", "garbage", "hang"):
        stub.fault = fault
        with pytest.raises(StoreError) as caught:
            store.get("k", limit_bytes=10)
        assert secret not in str(caught.value)
        assert len(str(caught.value)) < 700


def test_no_credentials_are_denied_and_say_so(stub, opened, monkeypatch):
    """Given nothing to sign with and an instance service that gives nothing, then DENIED and no endless search."""
    stub.fault = "403"
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", stub.endpoint)  # obstore's name for it
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")  # botocore's
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    store = opened(stub.endpoint, AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")
    with in_time(), pytest.raises(StoreError, match=r"(?i)credentials") as caught:
        store.get("k", limit_bytes=10)
    assert caught.value.kind is ErrorKind.DENIED
    assert caught.value.hint == NO_CREDENTIALS


def test_a_refusal_is_told_without_xml(stub, opened):
    stub.fault, stub.fault_code = "403", "SignatureDoesNotMatch"
    with pytest.raises(StoreError, match="SignatureDoesNotMatch") as caught:
        opened(stub.endpoint).get("k", limit_bytes=10)
    assert "<" not in str(caught.value)
    assert caught.value.hint == CREDENTIALS["SignatureDoesNotMatch"]
