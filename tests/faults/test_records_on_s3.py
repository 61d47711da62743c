"""`--report-to-store`: one object for each start, and never the reason of a late one."""

import socket
import time

import pytest
from tests.bundles import identity
from tests.pods import REPLAY, Pod

from cache_store.objects.open_url import open_store
from cache_store.use_record import is_record_key, parse_record

TUNE = ("--tuner", "command", "--tuner-command", REPLAY)
RECORD = ("--report-to-store",)


def records(s3):
    store = open_store(s3.url, environ=s3.environ, adapter="auto", request_timeout_s=10.0)
    try:
        return [
            parse_record(store.get(entry.key, limit_bytes=10**5).body)
            for entry in store.list("_reports/")
            if is_record_key(entry.key)
        ]
    finally:
        store.close()


def test_each_start_leaves_one_and_only_where_it_was_asked_for(tmp_path, s3):
    tuned = Pod(tmp_path / "a", s3.url, environ=s3.environ).run(*TUNE, *RECORD)
    hit = Pod(tmp_path / "b", s3.url, environ=s3.environ).run(*RECORD)
    Pod(tmp_path / "c", s3.url, environ=s3.environ).run()

    found = {one.outcome: one for one in records(s3)}

    assert set(found) == {"tuned", "hit"}
    assert found["hit"].address == found["tuned"].address is not None
    assert found["hit"].nonce == hit.report["nonce"] == tuned.report["nonce"]
    assert found["hit"].saved_s == hit.report["saved_s"] > 0
    assert hit.report["requests"] == 1, "the record comes after, and is none of the hit's requests"


def test_a_pod_that_knows_no_address_leaves_one_too(tmp_path, s3):
    done = Pod(tmp_path / "a", s3.url, environ=s3.environ, engine=("python3", "serve.py")).run(*RECORD)

    [one] = records(s3)
    assert (one.outcome, one.reason, one.address) == ("skipped", done.report["reason"], None)


@pytest.mark.parametrize("fault", ["403", "503"])
def test_given_a_store_that_takes_no_record_then_the_pod_ends_as_it_would(tmp_path, stub, fault):
    seed = Pod(tmp_path / "seed", "s3://bucket/p", environ=stub.environ)
    assert seed.run(*TUNE).ending == ("tuned", "published")
    stub.fault = fault

    done = seed.run(*RECORD)

    assert (done.code, *done.ending) == (0, "local", "complete")
    assert "no record in the store: " in done.stderr


def test_given_a_store_that_is_silent_then_it_costs_two_seconds(tmp_path, s3):
    seed = Pod(tmp_path / "seed", s3.url, environ=s3.environ)
    seed.run(*TUNE)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(8)
        seed.environ = {**s3.environ, "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{listener.getsockname()[1]}"}
        began = time.monotonic()
        plain = seed.run()
        between = time.monotonic()
        done = seed.run(*RECORD)
        took = time.monotonic() - between

    assert plain.ending == done.ending == ("local", "complete")
    assert "no record in the store" in done.stderr
    assert took - (between - began) < 6


def test_the_environment_is_the_one_that_the_address_names(tmp_path, s3):
    Pod(tmp_path / "a", s3.url, environ=s3.environ).run(*TUNE, *RECORD)

    [one] = records(s3)
    assert one.environment.startswith("nvidia-h100-")
    assert one.arch == identity().arch
