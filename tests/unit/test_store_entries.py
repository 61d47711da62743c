"""An entry counts only under the name that its own key leads to, and within limits."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.bundles import ENTRY, H100, bundle

from cache_store.bundle import MAX_FILES, MAX_INLINE_BYTES, BadBundle
from cache_store.bundle_json import parse_register
from cache_store.store_entries import (
    MANIFEST_NAME,
    MAX_DEPTH,
    MAX_ENTRIES,
    MAX_ENTRY_BYTES,
    BadEntry,
    as_rank_file,
    check_entries,
    encode_manifest,
    entry_name,
    parse_entry,
    parse_manifest,
)

# what FlashInfer 0.7.2.post1 named the file of this key: the first entry that a CPU run of bmm_fp8 published
KEY = (
    "('fp8_gemm', 'CublasFp8GemmRunner', ((1, 2, 64), (1, 64, 64), (1,), (1,), (1, -1, 64), (-1,)), "
    "(torch.float8_e4m3fn, torch.float8_e4m3fn, torch.bfloat16))"
)
NAME = "255c8e98244bab33d6fdabb3.json"
MANIFEST = {**H100, "cache_schema": "v2"}


def entry(key=KEY, **changes):
    policy = ["cuda_graph_profile_replays", None, "l2_cache_policy", "hot"]
    document = {
        "key": key,
        "runner": "CublasFp8GemmRunner",
        "tactic": 1,
        "profiling_policy": policy,
        **changes,
    }
    return json.dumps({name: value for name, value in document.items() if value is not ...}).encode()


def contents(*keys):
    return {MANIFEST_NAME: encode_manifest(MANIFEST), **{entry_name(key): entry(key) for key in keys}}


def reason_of(call, *arguments):
    with pytest.raises(BadEntry) as caught:
        call(*arguments)
    return caught.value.reason


def test_the_name_is_flashinfers_own():
    assert entry_name(KEY) == NAME
    parsed = parse_entry(NAME, entry())
    assert (parsed.key, parsed.runner, parsed.tactic) == (KEY, "CublasFp8GemmRunner", 1)


def test_an_entry_of_0_7_0_has_no_policy():
    assert parse_entry(NAME, entry(profiling_policy=...)).tactic == 1


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not-json"),
        (entry()[:-9], "not-json"),
        (b"\xff\xfe" + entry().decode().encode("utf-16-le"), "not-json"),
        (b"\xef\xbb\xbf" + entry(), "not-json"),
        (b"[]", "not-an-entry"),
        (b"{}", "not-an-entry"),
        (entry(key=7), "not-an-entry"),
        (entry(key="fp8_gemm"), "not-an-entry"),
        (entry(key="(\ud800"), "not-an-entry"),
        (entry(runner=...), "not-an-entry"),
        (entry(runner=""), "not-an-entry"),
        (entry(tactic=...), "not-an-entry"),
        (entry(profiling_policy="hot"), "not-an-entry"),
        (entry(key=KEY.replace("64", "65")), "wrong-name"),
        (entry(padding="x" * MAX_ENTRY_BYTES), "too-large"),
        (entry(tactic=json.loads("[" * MAX_DEPTH + "]" * MAX_DEPTH)), "too-deep"),
        (b'{"key": ' + b"9" * 5000 + b"}", "not-json"),
    ],
    ids=[
        "empty", "cut", "utf-16", "bom", "list", "nothing", "number", "no-repr", "half-character", "no-runner",
        "nameless-runner", "no-tactic", "policy", "another-key", "large", "deep", "digits",
    ],
)  # fmt: skip
def test_what_flashinfer_would_not_serve_is_no_entry(body, reason):
    assert reason_of(parse_entry, NAME, body) == reason


@pytest.mark.parametrize(
    "name",
    ["../" + NAME, "/" + NAME, "entries/" + NAME, NAME.upper(), NAME + "\n", NAME[1:], "manifest.json", ".." , ""],
)  # fmt: skip
def test_a_name_that_leads_elsewhere_is_refused(name):
    assert reason_of(parse_entry, name, entry()) == "wrong-name"


@given(st.binary(max_size=300) | st.from_regex(rb'\{"key": .{0,200}\}', fullmatch=True))
def test_any_bytes_are_an_entry_or_are_refused_by_name(body):
    assert reason_of(parse_entry, NAME, body) in {"not-json", "not-an-entry", "wrong-name", "too-deep"}


def test_a_whole_set_is_checked_against_the_pods_environment():
    assert check_entries(contents(KEY, ENTRY), MANIFEST).keys() == {NAME, entry_name(ENTRY)}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({MANIFEST_NAME: ...}, "foreign-environment"),
        ({MANIFEST_NAME: encode_manifest({**MANIFEST, "gpu": "NVIDIA H200"})}, "foreign-environment"),
        ({MANIFEST_NAME: encode_manifest({**MANIFEST, "cache_schema": "v3"})}, "foreign-environment"),
        ({MANIFEST_NAME: encode_manifest({**MANIFEST, "measure_cold_l2": "True"})}, "foreign-environment"),
        ({MANIFEST_NAME: b'{"gpu": 7}'}, "not-an-entry"),
        ({MANIFEST_NAME: b"{"}, "not-json"),
        ({NAME: ...}, "no-entries"),
        ({NAME: entry(ENTRY)}, "wrong-name"),
        ({"../../etc/passwd.json": entry()}, "wrong-name"),
        ({"rank_tp0_pp0_dp0.json": entry()}, "wrong-name"),
    ],
)
def test_one_bad_content_spoils_the_set(change, reason):
    changed = {**contents(KEY), **change}
    assert reason_of(check_entries, {n: b for n, b in changed.items() if b is not ...}, MANIFEST) == reason


def test_the_difference_is_told():
    with pytest.raises(BadEntry, match="gpu is 'NVIDIA H200', this pod's is 'NVIDIA H100 80GB HBM3'"):
        check_entries({MANIFEST_NAME: encode_manifest({**MANIFEST, "gpu": "NVIDIA H200"})}, MANIFEST)


def test_too_many_entries_are_refused_before_any_is_parsed():
    many = {f"{number:024x}.json": b"no entry" for number in range(MAX_ENTRIES + 1)}
    assert reason_of(check_entries, {**contents(), **many}, MANIFEST) == "too-large"


def test_a_manifest_reads_back():
    assert parse_manifest(encode_manifest(MANIFEST)) == MANIFEST


def test_coverage_is_counted_as_for_a_rank_file():
    counted = as_rank_file(check_entries(contents(KEY, ENTRY), MANIFEST), H100)

    assert counted.ops() == {"fp8_gemm": 2}
    assert counted.max_bucket() == 1024


def test_a_bundle_holds_ten_thousand_entries_inline():
    keys = [KEY.replace("(1, 2, 64)", f"(1, {number}, 64)") for number in range(MAX_ENTRIES)]
    files = {**contents(), **{entry_name(key): entry(key, padding="x" * 900) for key in keys}}
    assert 10_000_000 < sum(map(len, files.values())) < MAX_INLINE_BYTES
    assert len(files) <= MAX_FILES

    read = parse_register(bundle(files).encode())

    assert read.blobs == {}
    assert set(read.ranks) == set(files)


@pytest.mark.parametrize("name", ["../x.json", "a/b.json", "/etc/passwd.json", ".json", "..json"])
def test_a_bundle_cannot_name_a_file_elsewhere(name):
    text = bundle({"x.json": entry()}).encode().decode().replace('"x.json"', json.dumps(name))
    with pytest.raises(BadBundle) as caught:
        parse_register(text.encode())
    assert caught.value.reason == "bundle-corrupt"
