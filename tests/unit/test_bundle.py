"""bundle.json is read with suspicion: size, depth, schema, digests, names and identity, in this order."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.bundles import H200, bundle, identity, rank_file, tombstone

from cache_store import bundle as module
from cache_store.bundle import BadBundle, Bundle, Tombstone, check_identity, pack
from cache_store.bundle_json import parse_register
from cache_store.json_depth import depth_of


def refused(body):
    with pytest.raises(BadBundle) as caught:
        parse_register(body)
    return caught.value.reason


def changed(**changes):
    document = json.loads(bundle().encode())
    document.update(changes)
    return json.dumps(document).encode()


def test_a_bundle_survives_the_round_trip():
    made = bundle()

    assert parse_register(made.encode()) == made


def test_a_tombstone_survives_the_round_trip():
    made = tombstone(may_retune=False)

    read = parse_register(made.encode())

    assert isinstance(read, Tombstone)
    assert read == made


def test_every_input_of_key_and_environment_stands_in_clear():
    document = json.loads(bundle().encode())

    assert document["identity"]["key_inputs"]["quantization"] == "modelopt_fp8"
    assert document["identity"]["key_text"].startswith("m|torch.bfloat16|")
    assert document["identity"]["metadata"]["gpu"] == "NVIDIA H100 80GB HBM3"


def test_a_text_that_two_ranks_share_is_stored_once():
    made = bundle()

    assert len(made.ranks) == 2
    assert len(made.files) == 1


def test_fields_of_a_later_release_are_ignored():
    assert isinstance(parse_register(changed(added_later={"x": 1})), Bundle)


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_refused_by_name(body):
    with pytest.raises(BadBundle):
        parse_register(body)


def test_50_megabytes_are_refused_before_they_are_parsed():
    assert refused(b" " * 50_000_000) == "bundle-too-large"


def test_a_deep_nest_is_refused_before_it_is_parsed():
    assert refused(b'{"schema":' + b"[" * 100_000 + b"]" * 100_000 + b"}") == "bundle-too-deep"


def test_brackets_inside_strings_do_not_count_as_depth():
    assert depth_of(json.dumps({"a": '[[[[{{{{\\"[['}).encode(), 32) == 1


def test_an_unknown_schema_is_named():
    assert refused(changed(schema="autotune-cache/bundle/v9")) == "bundle-unknown-schema"


def test_a_wrong_digest_is_noticed():
    document = json.loads(bundle().encode())
    digest = next(iter(document["files"]))
    document["files"][digest] += " "

    assert refused(json.dumps(document).encode()) == "bundle-digest-mismatch"


@pytest.mark.parametrize(
    "name", ["../rank.json", "/etc/rank.json", "a/b.json", ".rank.json", "rank.json\0", "rank.txt"]
)
def test_a_rank_name_that_is_no_plain_file_name_is_refused(name):
    document = json.loads(bundle().encode())
    document["ranks"] = {name: next(iter(document["files"]))}

    assert refused(json.dumps(document).encode()) == "bundle-corrupt"


def test_a_rank_without_content_is_refused():
    assert refused(changed(ranks={"rank_tp0_pp0_dp0.json": "0" * 64})) == "bundle-corrupt"


def test_an_environment_name_that_does_not_belong_to_its_metadata_is_refused():
    document = json.loads(bundle().encode())
    document["identity"]["metadata"]["gpu"] = "NVIDIA H200"

    assert refused(json.dumps(document).encode()) == "bundle-foreign"


def test_wrong_types_are_refused_not_converted():
    assert refused(changed(epoch="1")) == "bundle-corrupt"
    assert refused(changed(ranks=[])) == "bundle-corrupt"


def test_a_bundle_of_another_environment_is_not_this_pods():
    with pytest.raises(BadBundle) as caught:
        check_identity(bundle(), identity(H200))

    assert caught.value.reason == "bundle-foreign"


def test_contents_that_fit_ride_inline_and_larger_ones_become_blobs(monkeypatch):
    body = rank_file()
    assert pack({"rank0.json": body})[2] == {}

    monkeypatch.setattr(module, "MAX_INLINE_BYTES", len(body) - 1)
    ranks, files, blobs = pack({"rank0.json": body})

    assert files == {}
    assert blobs == {ranks["rank0.json"]: body}


def test_a_rank_file_that_is_no_text_is_refused():
    with pytest.raises(BadBundle, match="UTF-8"):
        pack({"rank0.json": b"\xff\xfe"})


def test_blobs_are_limited_as_a_whole_and_only_those_that_some_rank_uses():
    digests = [module.digest_of(str(number).encode()) for number in range(32)]
    made = replace(
        bundle(),
        ranks={f"rank_tp{number}_pp0_dp0.json": digest for number, digest in enumerate(digests)},
        files={},
        blobs={**dict.fromkeys(digests, module.MAX_FILE_BYTES), "f" * 64: module.MAX_FILE_BYTES},
    )
    one_more = replace(
        made, ranks={**made.ranks, "rank_tp32_pp0_dp0.json": "e" * 64}, blobs={**made.blobs, "e" * 64: 1}
    )

    assert parse_register(made.encode()) == made
    assert refused(one_more.encode()) == "bundle-too-large"
