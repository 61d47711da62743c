"""What fsspec's file interface does to conditions, each beside what the adapters make of it.

If one of the first halves fails after an upgrade, a trap is gone: good news, and a comment in `fsspec_any` to change.
"""

import gzip
import json
import os
import subprocess
import sys

import botocore.loaders
import obstore.fsspec
import pytest
import s3fs
from tests.servers import KEYS

from cache_store.objects import NotWritten, Written
from cache_store.objects.open_url import open_store


def raw(endpoint, **arguments):
    return s3fs.S3FileSystem(
        key="test",
        secret="test",
        endpoint_url=endpoint,
        client_kwargs={"region_name": "us-east-1"},
        skip_instance_cache=True,
        **arguments,
    )


def adapter_at(endpoint, bucket, adapter="fsspec"):
    return open_store(f"s3://{bucket}", environ={**KEYS, "AWS_ENDPOINT_URL_S3": endpoint}, adapter=adapter)


@pytest.fixture
def ours(ministack, bucket):
    store = adapter_at(ministack, bucket)
    store.put_if_absent("k", b"precious")
    yield store
    store.close()


def test_opening_exclusively_and_writing_nothing_truncates(ministack, bucket, ours):
    with raw(ministack).open(f"{bucket}/k", "xb"):
        pass
    assert ours.get("k", limit_bytes=100).body == b""  # it was b"precious"

    assert isinstance(ours.put_if_absent("other", b"precious"), Written)
    assert ours.put_if_absent("other", b"") == NotWritten(412)
    assert ours.get("other", limit_bytes=100).body == b"precious"


@pytest.mark.parametrize(
    ("condition", "expected"), [("", (OSError, 22)), ("If-None-Match", (FileExistsError, None))]
)
def test_a_412_is_another_exception_from_every_server(stub, condition, expected):
    stub.condition = condition
    store = adapter_at(stub.endpoint, "b")
    store.put_if_absent("k", b"x")
    with pytest.raises(OSError) as caught:
        raw(stub.endpoint).call_s3("put_object", Bucket="b", Key="k", Body=b"y", IfNoneMatch="*")
    assert (type(caught.value), caught.value.errno) == expected

    assert store.put_if_absent("k", b"y") == NotWritten(412)
    assert store.put_if_match("k", b"y", '"wrong"') == NotWritten(412)
    store.close()


def test_a_409_is_an_input_output_error(stub):
    stub.fault = "409"
    with pytest.raises(OSError) as caught:
        raw(stub.endpoint).call_s3("put_object", Bucket="b", Key="k", Body=b"y", IfNoneMatch="*")
    assert (type(caught.value), caught.value.errno) == (OSError, 5)

    store = adapter_at(stub.endpoint, "b")
    assert store.put_if_absent("k", b"y") == NotWritten(409)
    store.close()


def test_a_misspelled_condition_is_dropped_in_silence(ministack, bucket, ours):
    raw(ministack).call_s3("put_object", Bucket=bucket, Key="k", Body=b"overwritten", IfNoneMatchX="*")
    assert ours.get("k", limit_bytes=100).body == b"overwritten"


def test_a_botocore_that_knows_no_conditions_is_refused_before_anything_is_written(stub, tmp_path):
    """As releases before 2024-08 and 2024-11 are; s3fs would drop the condition and overwrite."""
    model = botocore.loaders.Loader().load_service_model("s3", "service-2")
    del model["shapes"]["PutObjectRequest"]["members"]["IfMatch"]
    folder = tmp_path / "s3" / "2006-03-01"
    folder.mkdir(parents=True)
    with gzip.open(folder / "service-2.json.gz", "wt") as file:
        json.dump(model, file)
    program = f"""
from cache_store.objects.open_url import open_store
store = open_store("s3://b", environ={stub.environ!r}, adapter="fsspec")
try:
    print(store.put_if_absent("k", b"x"))
except Exception as error:
    print(error)
store.close()
"""
    environ = {**os.environ, "AWS_DATA_PATH": str(tmp_path), "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True
    )
    assert done.stdout == "unsupported: this botocore knows no conditional PutObject; it is too old\n"
    assert stub.requests == []


def test_ones_own_success_is_answered_412_when_a_reused_connection_drops(stub):
    """Given an answer that is lost after the commit, then aiohttp sends the PUT again and its own copy refuses it."""
    store = adapter_at(stub.endpoint, "b")
    store.get("warm-up", limit_bytes=10)
    stub.requests.clear()
    stub.fault = "drop-answer-once"
    assert store.put_if_absent("k", b"mine") == NotWritten(412)
    assert [method for method, _, _ in stub.requests] == ["PUT", "PUT"]

    assert store.get("k", limit_bytes=10).body == b"mine"  # which is why the protocol reads back
    store.close()


def test_obstores_fsspec_face_ignores_the_create_mode(ministack, bucket, ours):
    face = obstore.fsspec.FsspecStore(
        "s3",
        config={
            "endpoint": ministack,
            "access_key_id": "test",
            "secret_access_key": "test",
            "region": "us-east-1",
        },
        client_options={"allow_http": True},
    )
    face.pipe_file(f"{bucket}/k", b"overwritten", mode="create")
    assert ours.get("k", limit_bytes=100).body == b"overwritten"

    plain = adapter_at(ministack, bucket, "obstore")
    assert plain.put_if_absent("k", b"x") == NotWritten(412)


def test_a_listings_cache_hides_what_others_write(ministack, bucket, ours):
    cached = raw(ministack)
    assert cached.ls(bucket) == [f"{bucket}/k"]
    assert [entry.key for entry in ours.list("")] == ["k"]
    adapter_at(ministack, bucket, "obstore").put_if_absent("new", b"x")
    assert not cached.exists(f"{bucket}/new")

    assert [entry.key for entry in ours.list("")] == ["k", "new"]
    assert ours.get("new", limit_bytes=10).body == b"x"
