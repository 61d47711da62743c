"""`cache-store verify` on bundles of FlashInfer's own store: entries name no environment, but their key names their file."""

from dataclasses import replace

import pytest
from tests.bundles import bundle, identity
from tests.unit.test_store_entries import ENTRY, KEY, NAME, contents, entry

from cache_store.verification import examine_register

WHO = replace(identity(), key_text="flashinfer-v2|x|y", engine="flashinfer")


def findings(files):
    whole = bundle(files, who=WHO)
    return [finding.code for finding in examine_register(WHO.address, whole.encode()).findings]


def test_a_bundle_of_entries_is_sound():
    assert findings(contents(KEY, ENTRY)) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({NAME: b"{}"}, "rank-file-foreign"),
        ({NAME: b"["}, "rank-file-not-json"),
        ({NAME: b"[]"}, "rank-file-not-json"),
        ({"0" * 24 + ".json": entry(ENTRY)}, "rank-file-foreign"),
        ({"manifest.json": b'{"gpu": "x"}'}, "rank-file-foreign"),
    ],
    ids=("empty", "half", "list", "misnamed", "manifest"),
)
def test_an_entry_that_flashinfer_would_not_serve_is_found(change, problem):
    assert problem in findings({**contents(KEY, ENTRY), **change})
