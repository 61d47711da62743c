import hashlib
import json
from dataclasses import replace

import pytest
from tests.bundles import H200, bundle, identity, rank_file, tombstone

from cache_store.bundle import MAX_FILE_BYTES, MAX_REGISTER_BYTES, Bundle
from cache_store.errors import ErrorKind
from cache_store.testing.faulty import Fails, Fault
from cache_store.verification import examine_register

RANK = "rank_tp0_pp0_dp0.json"


def codes(done):
    return [[finding["code"] for finding in one["findings"]] for one in done.document["bundles"]]


def test_a_sound_bucket(shop):
    shop.publish()
    shop.publish_large()
    shop.claim(identity(key="a" * 16))
    shop.put(identity(key="b" * 16).address.bundle_key, tombstone().encode())

    done = shop("verify", "--json")

    assert done.code == 0
    assert done.document["counts"] == {"sound": 3, "corrupt": 0, "unknown": 0, "unread": 0, "missing": 0}
    assert codes(done) == [[], [], []]
    assert "3 sound, 0 corrupt" in shop("verify").stderr


def test_an_empty_bucket_is_sound(shop):
    assert shop("verify", "--json").document["bundles"] == []
    assert shop("verify").code == 0


def spoiled(body):
    return [
        ("not JSON", b"nonsense", "bundle-corrupt"),
        ("cut", body[:-20], "bundle-corrupt"),
        ("empty", b"", "bundle-corrupt"),
        ("huge", body + b" " * MAX_REGISTER_BYTES, "bundle-too-large"),
        ("deep", b"[" * 1000, "bundle-too-deep"),
        ("newer schema", body.replace(b"bundle/v1", b"bundle/v9"), "bundle-unknown-schema"),
        ("no schema", b"{}", "bundle-corrupt"),
        (
            "flipped byte in a file",
            body.replace(b'CublasFp8GemmRunner\\",', b'CublasFp8GemmRunneR\\",'),
            "bundle-digest-mismatch",
        ),
        ("another key", body.replace(b"0123456789abcdef", b"1123456789abcdef"), "bundle-foreign"),
        ("another GPU", body.replace(b'"gpu": "NVIDIA H100', b'"gpu": "NVIDIA H800'), "bundle-foreign"),
    ]


@pytest.mark.parametrize(
    ("body", "code"),
    [row[1:] for row in spoiled(bundle().encode())],
    ids=[row[0].replace(" ", "-") for row in spoiled(bundle().encode())],
)
def test_spoiled_bytes_are_found(shop, body, code):
    assert body != bundle().encode()
    shop.put(identity().address.bundle_key, body)

    done = shop("verify", "--json")

    assert done.code == 13
    assert code in codes(done)[0]
    verdict = "unknown" if code == "bundle-unknown-schema" else "corrupt"
    assert done.document["counts"][verdict] == 1
    assert shop("verify").stdout.startswith(f"{verdict} ")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"no json", "rank-file-not-json"),
        (b"[1]", "rank-file-not-json"),
        (b"[" * 5000, "rank-file-not-json"),
        (b"9" * 5000, "rank-file-not-json"),
        (b"{}", "rank-file-no-metadata"),
        (rank_file(H200), "rank-file-foreign"),
        (b'{"_metadata": 3}', "rank-file-foreign"),
        (b'{"_metadata": {}}', "rank-file-foreign"),
    ],
)
def test_rank_files_that_flashinfer_would_refuse_or_not_check(shop, body, code):
    shop.publish(bundle({RANK: body}))

    done = shop("verify", "--json")

    assert done.code == 13
    assert codes(done) == [[code]]
    assert done.document["bundles"][0]["findings"][0]["where"] == RANK


def test_every_file_is_looked_at_and_not_only_the_first():
    contents = {f"rank_tp{rank}_pp0_dp0.json": rank_file(tactic=rank) for rank in range(4)}
    document = json.loads(bundle(contents).encode())
    for digest in document["files"]:
        document["files"][digest] += " "

    found = examine_register(identity().address, json.dumps(document).encode())

    assert isinstance(found.register, Bundle)
    assert [one.code for one in found.findings] == ["bundle-digest-mismatch"] * 4


def test_the_difference_of_environments_is_named(shop):
    shop.publish(bundle({RANK: rank_file(H200)}))

    assert "gpu 'NVIDIA H200', the bundle's environment 'NVIDIA H100 80GB HBM3'" in shop("verify").stdout


def blob_of(address, body):
    return address.blob_key(hashlib.sha256(body).hexdigest())


@pytest.mark.parametrize(
    ("replacement", "code"),
    [(None, "blob-missing"), (b"short", "bundle-digest-mismatch"), (b"x" * MAX_FILE_BYTES, "blob-too-large")],
)
def test_blobs_are_checked(shop, replacement, code):
    address, body = shop.publish_large()
    shop.memory.delete(blob_of(address, body))
    if replacement is not None:
        shop.put(blob_of(address, body), replacement)

    done = shop("verify", "--json")

    assert (done.code, codes(done)) == (13, [[code]])


def test_a_blob_that_nobody_reads_is_told_and_sound(shop):
    address = shop.publish()
    shop.put(address.blob_key("0" * 64), b"left over")

    done = shop("verify", "--json")

    assert (done.code, codes(done)) == (0, [["content-unreferenced"]])


def test_some_bundles_only(shop):
    good = shop.publish()
    bad = identity(key="b" * 16).address
    shop.put(bad.bundle_key, b"{")

    assert shop("verify", good).code == 0
    assert shop.requests == {"get": 1}
    assert shop("verify", "0123", "--json").document["counts"]["sound"] == 1
    assert shop("verify", "bbbb").code == 13
    done = shop("verify", good, "bbbb", "--json")
    assert [one["verdict"] for one in done.document["bundles"]] == ["sound", "corrupt"]


def test_a_bundle_that_is_not_there(shop):
    shop.publish()
    done = shop("verify", identity(key="c" * 16).address, "0123", "--json")

    assert done.code == 22
    assert [one["verdict"] for one in done.document["bundles"]] == ["missing", "sound"]
    assert shop("verify", "cccc").code == 22


def test_a_bundle_that_may_not_be_read_is_not_called_corrupt(shop):
    shop.publish()
    shop.publish(who=identity(H200))
    shop.faulty.script(Fault("get", Fails(ErrorKind.DENIED), key="*h200*"))

    done = shop("verify", "--json")

    assert done.code == 14
    assert done.document["counts"] == {"sound": 1, "corrupt": 0, "unknown": 0, "unread": 1, "missing": 0}


def test_corrupt_outranks_refused(shop):
    shop.publish()
    shop.put(identity(key="b" * 16).address.bundle_key, b"{")
    shop.faulty.script(Fault("get", Fails(ErrorKind.DENIED), key="*0123*"))

    assert shop("verify").code == 13


def test_without_the_right_to_list_full_addresses_work(shop):
    address = shop.publish()
    shop.faulty.script(Fault("list", Fails(ErrorKind.DENIED), times=2))

    assert shop("verify", address).code == 0
    assert shop("verify").code == 14
    assert "s3:ListBucket" in shop("verify", "0123").stderr


def test_a_foreign_tombstone(shop):
    body = replace(tombstone(), identity=bundle().identity).encode()
    shop.put(identity(key="d" * 16).address.bundle_key, body)

    assert codes(shop("verify", "--json")) == [["bundle-foreign"]]


def test_escapes_in_findings_are_escaped(shop):
    shop.publish(bundle({RANK: b'{"_metadata": {"\\u001b[31m": "\\u001b[2J"}}'}))

    text = shop("verify").stdout

    assert "\x1b" not in text
    assert "rank-file-foreign" in text


def test_text_has_what_is_not_sound_and_all_of_it_where_it_is_asked_for(shop):
    shop.publish()
    broken = identity(key="b" * 16).address
    shop.put(broken.bundle_key, b"{")

    short, long = shop("verify"), shop("verify", "--all")

    assert "sound  " not in short.stdout
    assert short.stdout.startswith(f"corrupt  {broken}")
    assert short.stderr.endswith("1 sound, 1 corrupt, 0 unknown, 0 unread, 0 missing\n")
    assert long.stdout.startswith(f"sound    {identity().address}")
    assert long.stderr.startswith(f"cache-store: corrupt  {broken}\n")


def test_given_a_reader_that_left_when_13_is_certain_then_it_ends(shop, monkeypatch):
    for number in range(200):
        shop.put(identity(key=f"{number:016x}").address.bundle_key, b"{")
    monkeypatch.setattr("cache_store.cli.output.is_read", lambda: False)

    assert shop("verify").code == 13
    assert shop.requests["get"] < 200
