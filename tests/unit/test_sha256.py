"""Our SHA-256 is hashlib's, whichever code the interpreter has for it."""

import hashlib
import importlib
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_store import sha256


@given(st.binary(max_size=300))
def test_small_bytes(body):
    assert sha256.sha256_hex(body) == hashlib.sha256(body).hexdigest()


@pytest.mark.parametrize("size", [0, 55, 56, 64, 27_000, (1 << 20) - 1, 1 << 20, 5_000_000])
def test_sizes_on_both_sides_of_every_border(size):
    body = bytes(range(256)) * (size // 256 + 1)

    assert sha256.sha256_hex(body[:size]) == hashlib.sha256(body[:size]).hexdigest()


def test_given_an_interpreter_without_hashes_of_its_own_when_imported_then_openssl_is_asked(monkeypatch):
    monkeypatch.setitem(sys.modules, "_sha2", None)
    monkeypatch.setitem(sys.modules, "_sha256", None)
    try:
        without = importlib.reload(sha256)

        assert without._own is hashlib.sha256
        assert without.sha256_hex(b"abc") == hashlib.sha256(b"abc").hexdigest()
    finally:
        monkeypatch.undo()
        importlib.reload(sha256)
