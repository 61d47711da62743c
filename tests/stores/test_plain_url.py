"""Splitting a plain URL without urllib says what urllib says."""

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as some

from cache_store.objects.plain_url import PlainUrl, shown, split_url

FIELDS = ("scheme", "netloc", "path", "query", "fragment", "hostname")
LETTERS = some.text("aZ0-._/:@?#%[] é\n", max_size=12)
SCHEMES = some.sampled_from(["s3", "gs", "https", "file", "S3", "3s", "s-3", "", "memory"])


def told(split, url):
    try:
        parts = split(url)
        return [getattr(parts, name) for name in FIELDS], parts.geturl()
    except ValueError as error:
        return str(error)


@given(SCHEMES, some.sampled_from(["://", ":", ":/", ""]), LETTERS)
def test_it_says_what_urllib_says(scheme, between, rest):
    assert told(split_url, scheme + between + rest) == told(urlsplit, scheme + between + rest)


@pytest.mark.parametrize(
    "url",
    [
        "s3://bucket/prefix",
        "gs://b.c-d/x_y/z",
        "http://127.0.0.1:9000",
        "https://minio.svc.cluster.local:443/",
    ],
)
def test_what_people_write_is_plain(url):
    assert isinstance(split_url(url), PlainUrl)
    assert shown(split_url(url)) == url


@pytest.mark.parametrize(
    ("url", "expected"),
    [("s3://user:secret@bucket/p?token=x#y", "s3://bucket/p"), ("s3://a%40b/ü", "s3://a%40b/ü")],
)
def test_what_may_hide_a_secret_is_urllibs_and_shown_without_it(url, expected):
    assert not isinstance(split_url(url), PlainUrl)
    assert shown(split_url(url)) == expected
