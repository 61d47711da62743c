"""From URLs and environments to adapters, and the sentences for URLs that cannot be."""

import itertools
import subprocess
import sys

import pytest

from cache_store.errors import ErrorKind, StoreError
from cache_store.objects import Missing
from cache_store.objects.directory import DirectoryStore
from cache_store.objects.fsspec_any import FsspecReader, S3fsStore
from cache_store.objects.obstore_cloud import _S3_SETTINGS, ObstoreStore, s3_settings
from cache_store.objects.open_url import open_store
from cache_store.testing.contract import raises

CLOUD_ENVIRON = {"AWS_REGION": "eu-west-1"}


@pytest.mark.parametrize(
    ("url", "adapter", "environ", "kind"),
    [
        ("s3://b", "auto", {}, ObstoreStore),
        (
            "s3://b/p/q",
            "auto",
            {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_PROFILE": "x"},
            ObstoreStore,
        ),
        ("s3://b/p", "auto", {"AWS_PROFILE": "x"}, S3fsStore),
        ("s3://b/p", "obstore", {"AWS_PROFILE": "x"}, ObstoreStore),
        ("s3://b/p", "fsspec", {}, S3fsStore),
        ("gs://b/p", "auto", {}, ObstoreStore),
        ("gs://b/p", "fsspec", {}, FsspecReader),
        ("file:///some/dir", "auto", {}, DirectoryStore),
        ("file://localhost/some/dir", "auto", {}, DirectoryStore),
        ("file:///some/dir", "fsspec", {}, FsspecReader),
        ("/some/dir", "auto", {}, DirectoryStore),
        ("some/dir", "obstore", {}, DirectoryStore),
        ("sftp://host/dir", "auto", {}, FsspecReader),
        ("http://host/dir", "auto", {}, FsspecReader),
    ],
)
def test_a_url_finds_its_adapter(url, adapter, environ, kind):
    assert type(open_store(url, environ={**CLOUD_ENVIRON, **environ}, adapter=adapter)) is kind


def test_az_is_served_by_obstore(monkeypatch):
    monkeypatch.setenv(
        "AZURE_STORAGE_ACCOUNT_NAME", "account"
    )  # obstore reads the process's environment for Azure
    store = open_store("az://container/p", environ={})
    assert (type(store), store.url) == (ObstoreStore, "az://container/p")


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("", "the store URL is empty"),
        ("  ", "the store URL is empty"),
        ("s3://b/p ", "blanks"),
        ("s3://b/\np", "control characters"),
        ("memory:", "forgets everything"),
        ("memory://x", "forgets everything"),
        ("s3://", "names no bucket; write s3://bucket/prefix"),
        ("s3:/b/p", "names no bucket"),
        ("s3://key:hunter2@b/p", "credentials do not belong into the URL"),
        ("s3://b/p?endpoint=http://x", "options after"),
        ("s3://b/a//b", "empty, '.' or '..' segment"),
        ("s3://b/../x", "empty, '.' or '..' segment"),
        ("file://dir/sub", "a file URL has three slashes"),
        ("file:dir", "a file URL has three slashes"),
        ("file:///dir?x", "%3F"),
        ("bucket:prefix", "is no URL"),
        ("http://[::1/x", "cannot be read"),
    ],
)
def test_a_bad_url_is_refused_with_a_sentence(url, sentence):
    with pytest.raises(StoreError, match="invalid") as caught:
        open_store(url, environ=CLOUD_ENVIRON)
    assert caught.value.kind is ErrorKind.INVALID
    assert sentence in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_obstore_is_not_asked_for_what_it_does_not_serve():
    with pytest.raises(StoreError, match="obstore serves s3, gs, az, not sftp"):
        open_store("sftp://h/d", environ={}, adapter="obstore")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sftp://user:hunter2@host:22/dir?key=hunter2#f", "sftp://host:22/dir"),
        ("s3://b/p", "s3://b/p"),
        ("file:///a%20b", "file:///a%20b"),
        ("/a b", "file:///a%20b"),
    ],
)
def test_the_shown_url_has_no_secrets(url, shown):
    assert open_store(url, environ=CLOUD_ENVIRON).url == shown


def test_s3_settings_come_from_the_given_environment():
    settings = s3_settings(
        {
            "AWS_ACCESS_KEY_ID": "k",
            "AWS_SECRET_ACCESS_KEY": "s",
            "AWS_SESSION_TOKEN": "t",
            "AWS_DEFAULT_REGION": "eu-1",
            "AWS_ROLE_ARN": "arn",
            "AWS_WEB_IDENTITY_TOKEN_FILE": "/token",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23/v1/credentials",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "/pod-identity",
            "UNRELATED": "x",
        },
        "b",
        None,
    )
    assert settings == {
        "access_key_id": "k",
        "secret_access_key": "s",
        "session_token": "t",
        "region": "eu-1",
        "role_arn": "arn",
        "web_identity_token_file": "/token",
        "container_credentials_full_uri": "http://169.254.170.23/v1/credentials",
        "container_authorization_token_file": "/pod-identity",
        "virtual_hosted_style_request": False,
        "disable_bulk_delete": True,
    }


def test_an_endpoint_is_path_style_unless_told_otherwise(stub):
    plain = s3_settings({}, "b", "http://h:1")
    assert (plain["endpoint"], plain["region"], plain["virtual_hosted_style_request"]) == (
        "http://h:1",
        "us-east-1",
        False,
    )
    virtual = s3_settings({"AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true"}, "b", "https://h:1/x")
    assert (virtual["endpoint"], virtual["virtual_hosted_style_request"]) == ("https://b.h:1/x", True)


@pytest.mark.parametrize("adapter", ["obstore", "fsspec"])
def test_the_s3_endpoint_variable_wins_over_the_general_one(stub, adapter):
    environ = {**stub.environ, "AWS_ENDPOINT_URL": "http://127.0.0.1:1"}
    store = open_store("s3://b", environ=environ, adapter=adapter)
    assert isinstance(store.get("k", limit_bytes=10), Missing)
    assert [path.partition("?")[0] for _, path, _ in stub.requests] == ["/b/k"]
    store.close()


@pytest.mark.parametrize(
    "settings",
    [
        {"AWS_CA_BUNDLE": "/no/such/file"},
        {"AWS_ENDPOINT_URL_S3": "not a url"},
        {"AWS_ENDPOINT_URL_S3": "store:9000"},
        {"AWS_ENDPOINT_URL": "http://"},
        {"AWS_ENDPOINT_URL_S3": "http://ho st"},
        {"AWS_ACCESS_KEY_ID": "key\n"},
        {"AWS_SECRET_ACCESS_KEY": "secret\n"},
        {"AWS_REGION": "eu west"},
    ],
)
@pytest.mark.parametrize("adapter", ["obstore", "fsspec"])
def test_settings_that_cannot_be_are_invalid(settings, adapter):
    environ = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_REGION": "r", **settings}
    with raises(ErrorKind.INVALID):
        open_store("s3://b", environ=environ, adapter=adapter)


@pytest.mark.parametrize("variable", sorted(itertools.chain(*_S3_SETTINGS.values())))
def test_every_variable_that_is_read_is_one_that_obstore_knows(variable):
    value = {"AWS_SKIP_SIGNATURE": "true", "AWS_ENDPOINT_URL_STS": "https://sts.us-east-1.amazonaws.com"}
    keys = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}
    store = open_store("s3://b/p", environ=keys | {variable: value.get(variable, "x")}, adapter="obstore")
    store.close()


# -- other fsspec URLs ---------------------------------------------------------------------------------------------------


@pytest.fixture
def reader(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/k").write_bytes(b"12345")
    (tmp_path / "ab").write_bytes(b"1")
    return open_store(tmp_path.as_uri(), environ={}, adapter="fsspec")


def test_other_stores_are_read(reader):
    assert reader.get("a/k", limit_bytes=5).body == b"12345"
    assert isinstance(reader.get("a/none", limit_bytes=5), Missing)
    with raises(ErrorKind.TOO_LARGE):
        reader.get("a/k", limit_bytes=4)
    assert [(entry.key, entry.size_bytes) for entry in reader.list("a")] == [("a/k", 5), ("ab", 1)]
    assert [entry.key for entry in reader.list("a/")] == ["a/k"]
    reader.close()
    assert reader.get("a/k", limit_bytes=5).body == b"12345"


def test_other_stores_are_not_written(reader, tmp_path):
    with raises(ErrorKind.UNSUPPORTED):
        reader.put_if_absent("new", b"x")
    with raises(ErrorKind.UNSUPPORTED):
        reader.put_if_match("a/k", b"x", "tag")
    with raises(ErrorKind.UNSUPPORTED):
        reader.delete("a/k")
    assert (tmp_path / "a/k").read_bytes() == b"12345"


def test_a_root_that_is_not_there_is_not_an_empty_store(tmp_path):
    store = open_store((tmp_path / "none").as_uri(), environ={}, adapter="fsspec")
    with raises(ErrorKind.NOT_FOUND):
        store.get("k", limit_bytes=5)


@pytest.mark.parametrize("url", ["nosuchprotocol://x/y", "gs://bucket/p"])
def test_a_protocol_without_its_package_is_invalid(url):
    with raises(ErrorKind.INVALID):
        open_store(url, environ={}, adapter="fsspec").get("k", limit_bytes=5)


def test_another_store_that_hangs_is_given_up(stub):
    stub.fault = "hang"
    store = open_store(f"{stub.endpoint}/dir", environ={}, request_timeout_s=0.5)
    with raises(ErrorKind.TIMEOUT):
        store.get("k", limit_bytes=5)


# -- imports -------------------------------------------------------------------------------------------------------------

HEAVY = ("obstore", "fsspec", "s3fs", "botocore", "aiobotocore", "aiohttp", "pydantic")


@pytest.mark.parametrize(
    ("url", "allowed"), [("/tmp", set()), ("s3://b", {"obstore"})], ids=["directory", "s3"]
)
def test_opening_a_store_imports_its_adapter_and_no_other(url, allowed):
    program = f"""
import sys
from cache_store.objects.open_url import open_store
assert not {{name for name in {HEAVY} if name in sys.modules}}
open_store({url!r}, environ={{}})
print(*[name for name in {HEAVY} if name in sys.modules])
"""
    output = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout
    assert set(output.split()) == allowed
