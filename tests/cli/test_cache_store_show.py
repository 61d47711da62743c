import hashlib
import json
from dataclasses import replace

import pytest
from tests.bundles import H200, bundle, identity, rank_file, tombstone

from cache_store.bundle import Bundle, CoverageRecord
from cache_store.bundle_json import parse_register
from cache_store.errors import ErrorKind
from cache_store.testing.faulty import Fails, Fault

RANK = "rank_tp0_pp0_dp0.json"


def test_everything_in_clear(shop):
    address = shop.publish()
    shop.clock.advance(5)

    document = shop("show", address, "--json").document

    assert document["state"] == "published"
    assert document["address"] == str(address)
    assert document["identity"]["key_inputs"] == dict(identity().key_inputs)
    assert document["identity"]["metadata"]["gpu"] == "NVIDIA H100 80GB HBM3"
    digest = hashlib.sha256(rank_file()).hexdigest()
    assert [(rank["name"], rank["digest"], rank["size_bytes"]) for rank in document["ranks"]] == [
        (f"rank_tp{rank}_pp0_dp0.json", digest, len(rank_file())) for rank in (0, 1)
    ]
    assert document["coverage"]["ops"] == {"fp8_gemm": 1}
    assert document["provenance"]["tune_s"] == 93.5
    assert (document["age_s"], document["age_clock"]) == (5, "server")
    assert document["claim"] is None


def test_text_names_every_input_and_rank(shop):
    shop.publish()

    text = shop("show", "0123").stdout

    for wanted in (
        *identity().key_inputs,
        *identity().environment.metadata,
        RANK,
        "fp8_gemm",
        "modelopt_fp8",
    ):
        assert wanted in text
    assert "claim        none" in text


def test_a_full_address_needs_no_list(shop):
    address = shop.publish()
    shop.faulty.script(Fault("list", Fails(ErrorKind.DENIED)))

    assert shop("show", address).code == 0
    assert shop.requests == {"get": 2}


def test_a_prefix_needs_the_right_to_list(shop):
    shop.publish()
    shop.faulty.script(Fault("list", Fails(ErrorKind.DENIED)))

    done = shop("show", "0123", "--json")

    assert (done.code, done.error["kind"]) == (14, "store-denied")
    assert "full address" in done.error["message"]


def test_an_ambiguous_prefix_names_the_candidates(shop):
    one, two = shop.publish(), shop.publish(who=identity(H200))

    done = shop("show", "0123", "--json")

    assert (done.code, done.error["kind"]) == (2, "ambiguous")
    assert str(one) in done.error["message"]
    assert str(two) in done.error["message"]


@pytest.mark.parametrize("text", ["ffff", str(identity(key="f" * 16).address)])
def test_nothing_there(shop, text):
    shop.publish()

    done = shop("show", text, "--json")

    assert (done.code, done.error["kind"], done.stdout) == (22, "not-found", "")


@pytest.mark.parametrize("text", ["x", "0.7.2/sm90", "../../../etc", "a/b/c/d", ""])
def test_what_is_no_address(shop, text):
    done = shop("show", text, "--json")

    assert (done.code, done.error["kind"]) == (2, "usage")


def test_a_file_byte_for_byte(shop):
    shop.publish()

    assert shop("show", "0123", "--file", RANK).stdout.encode() == rank_file()


def test_a_file_from_a_blob(shop):
    address, body = shop.publish_large()

    assert shop("show", address, "--file", RANK).stdout.encode() == body
    assert shop("show", address, "--json").document["ranks"][0]["is_inline"] is False


def test_a_blob_that_is_not_what_its_name_says(shop):
    address, body = shop.publish_large()
    blob = address.blob_key(hashlib.sha256(body).hexdigest())
    shop.memory.delete(blob)
    shop.put(blob, b"x")

    done = shop("show", address, "--file", RANK)

    assert (done.code, done.stdout) == (13, "")
    assert "content is" in done.stderr


def test_a_blob_that_is_not_there(shop):
    address, body = shop.publish_large()
    shop.memory.delete(address.blob_key(hashlib.sha256(body).hexdigest()))

    assert shop("show", address, "--file", RANK).code == 13


def test_a_file_that_is_not_in_it(shop):
    shop.publish()

    done = shop("show", "0123", "--file", "nope.json")

    assert (done.code, done.stdout) == (22, "")
    assert RANK in done.stderr


def test_a_file_and_json_do_not_go_together(shop):
    assert shop("show", "0123", "--file", RANK, "--json").error["exit_code"] == 2


def test_a_file_to_a_terminal_is_escaped(shop, monkeypatch):
    hostile = json.dumps({"_metadata": {}}).encode() + b"\x1b[2J"
    shop.publish(bundle({RANK: hostile}))
    monkeypatch.setattr("cache_store.cli.output.is_terminal", lambda: True)

    assert r"\x1b[2J" in shop("show", "0123", "--file", RANK).stdout


def test_a_tombstone(shop):
    shop.put(identity().address.bundle_key, tombstone(may_retune=False).encode())

    document = shop("show", "0123", "--json").document

    assert document["state"] == "quarantined"
    assert document["tombstone"]["reason"] == "bad tactic"
    assert "bad tactic" in shop("show", "0123").stdout
    assert shop("show", "0123", "--file", RANK).code == 22


def test_corrupt_bytes(shop):
    shop.put(identity().address.bundle_key, b"\x1b[31m{")

    done = shop("show", "0123", "--json")

    assert done.code == 13
    assert (done.document["state"], done.document["problem"]) == ("unreadable", "bundle-corrupt")
    assert shop("show", "0123", "--file", RANK).code == 13
    assert shop("show", "0123").code == 13


def test_only_a_claim(shop):
    shop.claim(state="failed", error="tuner-crashed", tail=("one", "two"), cooldown_s=600.0)

    document = shop("show", "0123", "--json").document

    assert document["state"] == "claimed-only"
    assert document["claim"]["verdict"] == "cooling-down"
    assert document["claim"]["cooldown_left_s"] == 600
    text = shop("show", "0123").stdout
    assert "tuner-crashed" in text
    assert "| two" in text


def test_an_empty_result_is_a_result(shop):
    shop.publish(bundle({}))

    done = shop("show", "0123")

    assert done.code == 0
    assert "nothing to tune" in done.stdout


GEMM_SHAPE = "1xMx4096 1x4096x4096 float8_e4m3fn bfloat16"


def covering(**changes) -> Bundle:
    fields = {"ops": {"fp8_gemm": 2}, "entries": 2, "max_bucket": 512, "expected": 3, "missing": 0}
    return replace(bundle(), coverage=CoverageRecord(**(fields | changes)))


def test_a_table_of_ops_and_buckets(shop):
    table = {"fp8_gemm": {GEMM_SHAPE: (256, 512)}, "bf16_gemm": {"Mx64 64x64": ()}}
    shop.publish(covering(buckets=table, rows_left_out=7))

    assert shop("show", "0123", "--json").document["coverage"]["buckets"] == {
        "fp8_gemm": {GEMM_SHAPE: [256, 512]},
        "bf16_gemm": {"Mx64 64x64": []},
    }
    lines = shop("show", "0123").stdout.splitlines()
    at = next(number for number, line in enumerate(lines) if "shape (M: tokens)" in line)
    assert lines[at + 1].split() == ["fp8_gemm", *GEMM_SHAPE.split(), "256", "512"]
    assert lines[at + 2].endswith("none that every rank has")
    assert lines[at + 3] == "  and 7 more shapes"
    assert lines[at].index("buckets") == lines[at + 1].index("256 512")


@pytest.mark.parametrize(
    ("changes", "state", "told"),
    [
        ({}, "complete", "complete: all 3 entries"),
        ({"missing": 2, "first_missing": ("fp8_gemm x: 1 2",)}, "incomplete", "incomplete: 2 of 3 entries are missing"),
        ({"missing": 2, "expected": None}, "incomplete", "incomplete: 2 entries are missing"),
        ({"undecided": {"lm_head": "not stated"}}, "unknown", "unknown: "),
        ({"missing": 2, "undecided": {"lm_head": "not stated"}}, "incomplete", "incomplete: 2 of 3"),
        ({"expected": None, "missing": None}, "unknown", "unknown: "),
        ({"missing": None}, "unknown", "unknown: "),
        ({"expected": 0, "ops": {}, "entries": 0, "max_bucket": 0}, "complete", "complete: all 0 entries"),
    ],
)  # fmt: skip
def test_complete_is_said_only_where_everything_is_known(shop, changes, state, told):
    shop.publish(covering(**changes))

    assert shop("show", "0123", "--json").document["coverage"]["completeness"] == state
    text = shop("show", "0123").stdout
    assert f"completeness {told}" in text
    for gap in changes.get("first_missing", ()):
        assert f"  missing {gap}" in text
    for name, why in changes.get("undecided", {}).items():
        assert f"  undecided {name}: {why}" in text


def test_a_bundle_of_a_release_without_the_table_is_still_read(shop):
    document = json.loads(bundle().encode())
    document["coverage"] = {"ops": {"fp8_gemm": 1}, "entries": 1, "max_bucket": 1024, "excluded": {}}
    shop.put(identity().address.bundle_key, json.dumps(document).encode())

    shown = shop("show", "0123", "--json")

    assert (shown.code, shown.document["coverage"]["completeness"]) == (0, "unknown")
    text = shop("show", "0123").stdout
    assert "shape (M: tokens)" not in text
    assert "completeness unknown" in text


def test_a_table_comes_back_as_it_was_written():
    written = covering(buckets={"fp8_gemm": {GEMM_SHAPE: (1, 2)}}, first_missing=("a",), undecided={"b": "c"})

    assert parse_register(written.encode()).coverage == written.coverage


def test_a_table_from_the_bucket_cannot_steer_a_terminal(shop):
    shop.publish(covering(buckets={"\x1b[2Jop": {"\x1b[31mshape": (1,)}}, undecided={"\x1b[2J": "\x07"}))

    assert "\x1b" not in shop("show", "0123").stdout
