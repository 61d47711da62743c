"""diff: inputs, coverage, tactics; and what two live tunes are allowed to disagree about."""

import json

import pytest
from tests.bundles import ENTRY, H100, H200, bundle, identity, rank_file
from tests.unit.test_store_entries import KEY, NAME, entry

from cache_store.exit_codes import ExitCode

RANKS = ("rank_tp0_pp0_dp0.json", "rank_tp1_pp0_dp0.json")
OTHER_KEY = identity(key="fedcba9876543210")


def files(*, tactic=3, more=(), ranks=RANKS):
    document = json.loads(rank_file(H100, tactic))
    for key in more:
        document[key] = ["R", 1]
    return dict.fromkeys(ranks, json.dumps(document).encode())


def published(shop, left, right, **changes):
    """Two bundles of the same environment under two keys."""
    one = shop.publish(bundle(left))
    other = shop.publish(bundle(right, who=OTHER_KEY, **changes))
    return one, other


def diffed(shop, left, right, **changes):
    one, other = published(shop, left, right, **changes)
    return shop("diff", one, other, "--json").document


def test_equal(shop):
    found = diffed(shop, files(), files())

    assert (found["verdict"], found["identity"], found["changes"]) == ("equal", [], [])
    assert found["counts"] == {"equal": 2, "tactic": 0, "left_only": 0, "right_only": 0}


def test_two_live_tunes_that_merely_disagree(shop):
    found = diffed(shop, files(tactic=3), files(tactic=7))

    assert found["verdict"] == "tactics"
    assert "two live tunes" in found["sentence"]
    [first, _] = found["changes"]
    assert (first["kind"], first["op"], first["bucket"]) == ("tactic", "fp8_gemm", 1024)
    assert (first["left"], first["right"]) == ("['CublasFp8GemmRunner', 3]", "['CublasFp8GemmRunner', 7]")
    assert found["table"] == [
        {"op": "fp8_gemm", "bucket": 1024, "equal": 0, "tactic": 2, "left_only": 0, "right_only": 0}
    ]


def test_buckets_are_in_the_order_of_their_numbers(shop):
    keys = [ENTRY.replace("1024", str(bucket)) for bucket in (256, 2048, 16)]

    found = diffed(shop, files(ranks=RANKS[:1]), files(ranks=RANKS[:1], more=keys))

    assert [one["bucket"] for one in found["changes"]] == [16, 256, 2048]


def test_tunes_of_different_gpus_are_no_two_tunes_of_one_thing(shop):
    left = shop.publish(bundle(files(tactic=3)))
    document = json.loads(rank_file(H200, 7))
    right = shop.publish(bundle(dict.fromkeys(RANKS, json.dumps(document).encode()), who=identity(H200)))

    found = shop("diff", left, right, "--json").document

    assert found["verdict"] == "tactics"
    assert "two live tunes" not in found["sentence"]
    assert "different GPUs or environments (gpu)" in found["sentence"]


def test_a_bundle_at_a_foreign_address_is_not_compared(shop):
    left = shop.publish()
    shop.put(OTHER_KEY.address.bundle_key, bundle().encode())

    done = shop("diff", left, OTHER_KEY.address, "--json")

    assert (done.code, done.error["kind"]) == (ExitCode.CORRUPT, "bundle-foreign")


def test_one_that_covers_more(shop):
    more = ENTRY.replace("1024", "2048")

    found = diffed(shop, files(), files(more=[more]))

    assert found["verdict"] == "coverage"
    assert found["counts"] == {"equal": 2, "tactic": 0, "left_only": 0, "right_only": 2}
    assert {row["bucket"]: row["right_only"] for row in found["table"]} == {1024: 0, 2048: 2}


def test_other_ranks(shop):
    some = diffed(shop, files(), files(ranks=RANKS[:1]))

    assert (some["verdict"], some["ranks_left"], some["ranks_right"]) == ("coverage", [RANKS[1]], [])
    assert some["sentence"].startswith("one has rank files that the other lacks")


def test_no_rank_in_common(shop):
    assert diffed(shop, files(ranks=RANKS[:1]), files(ranks=RANKS[1:]))["verdict"] == "ranks"


def test_other_inputs_and_another_maker(shop):
    left = shop.publish(bundle())
    right = shop.publish(bundle(who=identity(H200, driver="580"), holder="pod-b", tune_s=12.0))

    found = shop("diff", left, right, "--json").document

    assert {(one["part"], one["name"]): (one["left"], one["right"]) for one in found["identity"]} == {
        ("environment", "gpu"): (H100["gpu"], H200["gpu"]),
        ("extra", "driver"): (None, "580"),
    }
    assert {one["name"] for one in found["made"]} == {"holder", "tune_s"}


def test_a_bundle_against_the_one_that_was_retired_for_it(shop):
    address = shop.publish(bundle(files(tactic=3), nonce="first"))
    shop("retire", address, "--reason", "x", "--yes")
    tag = shop.memory.get(address.bundle_key, limit_bytes=10**6).etag
    shop.memory.put_if_match(address.bundle_key, bundle(files(tactic=9), nonce="second").encode(), tag)

    found = shop("diff", address, f"{address}/retired/first.json", "--json").document

    assert found["verdict"] == "tactics"
    assert found["right"].endswith("/retired/first.json")


def test_entries_of_flashinfers_own_store(shop):
    changed = json.loads(entry())
    changed["tactic"] = 99
    more = KEY.replace("64", "128")
    one, other = published(shop, {NAME: entry()}, {NAME: json.dumps(changed).encode(), **named(more)})

    found = shop("diff", one, other, "--json").document

    assert found["verdict"] == "coverage"
    assert found["counts"]["tactic"] == 1


def named(key):
    from cache_store.store_entries import entry_name

    return {entry_name(key): entry(key)}


def test_text_for_a_person(shop):
    one, other = published(shop, files(tactic=3), files(tactic=7), holder="pod\x1b[2J")

    done = shop("diff", one, other)

    assert done.code == 0
    assert f"A  {one}\nB  {other}\ntactics: " in done.stdout
    assert "  made.holder: pod-a | pod\\x1b[2J" in done.stdout
    assert "fp8_gemm" in done.stdout


@pytest.mark.parametrize("bad", ["absent", "retired", "corrupt", "no copy", "copy that is none"])
def test_what_cannot_be_compared(shop, bad):
    address = shop.publish()
    other = OTHER_KEY.address
    text, code = str(other), ExitCode.NOT_FOUND
    if bad == "retired":
        shop.publish(bundle(who=OTHER_KEY))
        shop("retire", other, "--reason", "x", "--yes")
    elif bad == "corrupt":
        shop.put(other.bundle_key, b"{")
        code = ExitCode.CORRUPT
    elif bad == "no copy":
        text = f"{address}/retired/x.json"
    elif bad == "copy that is none":
        text, code = f"{address}/retired/../x", ExitCode.USAGE

    done = shop("diff", address, text, "--json")

    assert done.code == code
    assert done.error["exit_code"] == code


def test_a_rank_file_that_is_none(shop):
    one, other = published(shop, files(), dict.fromkeys(RANKS, b"[]"))

    done = shop("diff", one, other, "--json")

    assert (done.code, done.error["kind"].split("-")[0]) == (ExitCode.CORRUPT, "rank")


def test_another_store(shop, tmp_path, s3):
    """on a directory and a real S3 server"""
    from cache_store.objects.open_url import open_store

    address = identity().address
    for url, environ, tactic in ((tmp_path.as_uri(), {}, 3), (s3.url, s3.environ, 7)):
        store = open_store(url, environ=environ, adapter="auto", request_timeout_s=10.0)
        store.put_if_absent(address.bundle_key, bundle(files(tactic=tactic)).encode())
        store.close()

    done = shop(
        "diff", address, address, "--other-store", s3.url, "--json",
        environ={"AUTOTUNE_STORE": tmp_path.as_uri(), **s3.environ}, opener=open_store,
    )  # fmt: skip

    assert done.document["verdict"] == "tactics"
