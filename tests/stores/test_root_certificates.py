"""Images without root certificates, and stores that need none."""

import os
from pathlib import Path

import pytest
from cryptography import x509
from tests.servers import KEYS

from cache_store.errors import ErrorKind, StoreError
from cache_store.objects import Missing, Written, obstore_cloud, root_certificates
from cache_store.objects.open_url import open_store

NAMES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


@pytest.fixture
def without(monkeypatch, tmp_path):
    """A machine where no root certificate is to be had."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "not-in-this-image.pem"))
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)


def opened(endpoint, **environ):
    environ = {**KEYS, "AWS_ENDPOINT_URL_S3": endpoint, **environ}
    return open_store("s3://bucket/p", environ=environ, adapter="obstore", request_timeout_s=5.0)


@pytest.mark.parametrize(
    "keys",
    [{}, {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_SKIP_SIGNATURE": "true"}],
    ids=["keys", "none"],
)
def test_given_an_image_without_certificates_when_the_store_is_plain_http_then_it_is_read(
    stub, without, keys
):
    store = opened(stub.endpoint, **keys)

    assert isinstance(store.get("k", limit_bytes=10), Missing)


def test_given_an_image_without_certificates_when_the_store_has_tls_then_botocores_list_judges(
    tls_stub, without
):
    with pytest.raises(StoreError, match="TLS") as caught:
        opened(tls_stub.endpoint).get("k", limit_bytes=10)

    assert caught.value.kind is ErrorKind.UNAVAILABLE


def test_given_an_image_without_certificates_when_a_ca_bundle_is_named_then_it_is_trusted(
    tls_stub, without, tmp_path
):
    (tmp_path / "ca.pem").write_bytes(tls_stub.ca_pem)

    store = opened(tls_stub.endpoint, AWS_CA_BUNDLE=str(tmp_path / "ca.pem"))

    assert isinstance(store.put_if_absent("k", b"x"), Written)


def test_the_machines_own_list_is_trusted(tls_stub, monkeypatch, tmp_path):
    (tmp_path / "ca.pem").write_bytes(tls_stub.ca_pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)

    assert isinstance(opened(tls_stub.endpoint).put_if_absent("k", b"x"), Written)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_variables_are_as_they_were(monkeypatch, scheme):
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere")
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)

    opened(f"{scheme}://127.0.0.1:9").close()

    assert [os.environ.get(name) for name in NAMES] == ["/nowhere", None]


def test_given_settings_that_cannot_be_then_the_first_word_stands(without):
    with pytest.raises(StoreError, match="credentials") as caught:
        open_store("s3://user@bucket/p", environ=KEYS, adapter="obstore", request_timeout_s=5.0)

    assert caught.value.kind is ErrorKind.INVALID


def test_given_a_store_without_tls_when_it_is_opened_then_one_certificate_is_read(
    stub, monkeypatch, tmp_path
):
    """Reading the machine's would be 6.5 ms of every hit; the file that is read instead is one that any client takes."""
    asked = []
    monkeypatch.setattr(obstore_cloud, "S3Store", lambda *_, **__: asked.append(os.environ["SSL_CERT_FILE"]))

    opened(stub.endpoint)

    (path,) = asked
    (root,) = x509.load_pem_x509_certificates(Path(path).read_bytes())
    assert root.subject == root.issuer
    assert root.not_valid_after_utc.year >= 2040


def test_given_the_one_certificate_is_gone_when_a_store_is_opened_then_botocores_list_is_taken(
    stub, without, monkeypatch
):
    monkeypatch.setattr(root_certificates, "_ONE_ROOT", "/not/there.pem")

    assert isinstance(opened(stub.endpoint).get("k", limit_bytes=10), Missing)
