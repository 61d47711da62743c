"""cp: from one store into another, by the rules of import."""

import os

import pytest
from tests.bundles import H200, bundle, identity, rank_file, tombstone

from cache_store.bundle_json import parse_register
from cache_store.errors import ErrorKind
from cache_store.exit_codes import ExitCode
from cache_store.objects.open_url import open_store
from cache_store.testing.faulty import Fails, Fault, FaultyStore, LosesAnswer

PROD = "s3://models/prod"


def stored(store):
    return {
        one.key: store.get(one.key, limit_bytes=10**9).body
        for one in store.list("")
        if not one.key.startswith(".probe/")
    }


def verdicts(done):
    return [(row["verdict"], row["reason"]) for row in done.document["results"]]


def test_everything_arrives_byte_for_byte_and_again_changes_nothing(shop):
    shop.publish()
    shop.publish_beside()

    done = shop("cp", PROD, "--yes", "--json")
    again = shop("cp", PROD, "--yes", "--json")

    assert (done.code, again.code) == (0, 0)
    assert stored(shop.prod) == stored(shop.memory)
    assert len(stored(shop.prod)) == 3
    assert (done.document["source"], done.document["store"]) == ("s3://models/autotune", PROD)
    assert verdicts(done) == [("changed", None)] * 2
    assert verdicts(again) == [("unchanged", None)] * 2
    assert shop("verify", "--store", PROD).code == 0


def test_addresses_and_what_was_not_asked_for(shop):
    wanted = shop.publish()
    shop.publish(who=identity(key="f" * 16))

    done = shop("cp", PROD, wanted, "--yes", "--json")

    assert list(stored(shop.prod)) == [wanted.bundle_key]
    assert done.document["counts"]["changed"] == 1
    assert shop("cp", PROD, identity(key="d" * 16).address, "--yes").code == ExitCode.NOT_FOUND
    assert shop("cp", PROD, "dddd", "--yes").code == ExitCode.NOT_FOUND


def test_the_claims_copies_and_foreign_objects_stay_behind(shop):
    address = shop.publish()
    shop.claim()
    shop.put(f"{address}/retired/x.json", b"{}")
    shop.put("foreign", b"x")

    shop("cp", PROD, "--yes")

    assert list(stored(shop.prod)) == [address.bundle_key]


@pytest.mark.parametrize(
    ("there", "verdict"),
    [
        (bundle({"rank_tp0_pp0_dp0.json": rank_file(tactic=9)}), ("refused", "occupied")),
        (bundle(nonce="other"), ("unchanged", None)),
        (tombstone(), ("refused", "retired")),
        (tombstone(may_retune=False), ("refused", "quarantined")),
    ],
)
def test_what_lies_there_stays(shop, there, verdict):
    address = shop.publish()
    shop.prod.put_if_absent(address.bundle_key, there.encode())
    before = stored(shop.prod)

    done = shop("cp", PROD, "--yes", "--json")

    assert verdicts(done) == [verdict]
    assert stored(shop.prod) == before
    assert done.code == (ExitCode.REFUSED if verdict[0] == "refused" else 0)


def test_over_retired(shop):
    address = shop.publish()
    shop.prod.put_if_absent(address.bundle_key, tombstone().encode())

    assert verdicts(shop("cp", PROD, "--yes", "--over-retired", "--json")) == [("changed", None)]
    assert parse_register(stored(shop.prod)[address.bundle_key]).ranks == bundle().ranks


def test_what_is_out_of_service_at_the_source_is_left_out(shop):
    good = shop.publish()
    retired = identity(H200).address
    shop.put(retired.bundle_key, tombstone().encode())

    done = shop("cp", PROD, "--yes", "--json")
    by_name = shop("cp", PROD, retired, "--yes", "--json")

    assert done.code == 0
    assert [row["address"] for row in done.document["results"]] == [str(good)]
    assert [row["address"] for row in done.document["left_out"]] == [str(retired)]
    assert f"left out  {retired}  (retired: bad tactic)" in shop("cp", PROD, "--dry-run").stderr
    assert (by_name.code, verdicts(by_name)) == (ExitCode.REFUSED, [("refused", "retired")])


def test_given_a_corrupt_bundle_when_copied_then_the_others_arrive(shop):
    good = shop.publish()
    shop.put(identity(H200).address.bundle_key, b"{}")

    done = shop("cp", PROD, "--yes", "--json")

    assert (done.code, verdicts(done)) == (13, [("changed", None), ("refused", "bundle-corrupt")])
    assert list(stored(shop.prod)) == [good.bundle_key]


@pytest.mark.parametrize("how", ["retire", "delete"])
def test_given_a_source_that_is_retired_meanwhile_when_copied_then_it_is_not(shop, how):
    address = shop.publish_beside()
    plain = shop.prod.put_if_absent

    def meanwhile(key, body):
        if "/blobs/" in key and how == "retire":
            seen = shop.memory.get(address.bundle_key, limit_bytes=10**9)
            shop.memory.put_if_match(address.bundle_key, tombstone().encode(), seen.etag)
        if "/blobs/" in key and how == "delete":
            shop.memory.delete(address.bundle_key)
        return plain(key, body)

    shop.prod.put_if_absent = meanwhile

    done = shop("cp", PROD, "--yes", "--json")

    assert (done.code, verdicts(done)) == (ExitCode.REFUSED, [("refused", "source-changed")])
    assert address.bundle_key not in stored(shop.prod)


def test_given_a_source_that_goes_away_when_copied_then_whole_bundles_are_there(shop):
    first = shop.publish()
    shop.publish(who=identity(key="f" * 16))
    shop.faulty.script(Fault("get", Fails(ErrorKind.UNAVAILABLE), key="*/ffff*", times=100))

    assert shop("cp", PROD, "--yes").code == ExitCode.UNAVAILABLE
    assert list(stored(shop.prod)) in ([], [first.bundle_key])


def test_given_a_destination_that_is_away_when_copied_then_it_is_not_asked_for_every_bundle(shop):
    for digit in "0123456789":
        shop.publish(who=identity(key=digit * 16))
    faulty = FaultyStore(shop.prod, clock=shop.clock)
    faulty.script(Fault("*", Fails(ErrorKind.UNAVAILABLE), key="0.7.2/*", times=10**6))
    shop.prod = faulty

    done = shop("cp", PROD, "--yes", "--json")

    assert (done.code, len(done.document["results"])) == (ExitCode.UNAVAILABLE, 3)
    assert (done.document["is_cut_short"], done.stderr) == (True, "")


def test_given_lost_answers_when_copied_then_all_is_there(shop):
    shop.publish_beside()
    shop.publish()
    faulty = FaultyStore(shop.prod, clock=shop.clock)
    faulty.script(Fault("put_if_absent", LosesAnswer(), key="0.7.2/*", times=3))
    shop.prod = faulty

    assert shop("cp", PROD, "--yes").code == 0
    assert stored(faulty) == stored(shop.memory)


def test_given_a_destination_that_may_only_be_read_when_copied_then_it_says_so(shop):
    shop.publish()
    faulty = FaultyStore(shop.prod, clock=shop.clock)
    faulty.script(Fault("put*", Fails(ErrorKind.DENIED), times=100))
    shop.prod = faulty

    assert shop("cp", PROD, "--yes", "--json").error["kind"] == "store-denied"


def test_a_store_into_itself(shop):
    shop.publish()

    assert shop("cp", "s3://models/autotune", "--yes").code == ExitCode.USAGE


def test_without_a_yes_nothing_happens_and_a_dry_run_only_reads(shop):
    shop.publish()

    assert shop("cp", PROD).code == ExitCode.USAGE
    assert shop.requests == {}
    dry = shop("cp", PROD, "--dry-run")
    assert dry.stdout.startswith("would be copied  0.7.2/")
    assert stored(shop.prod) == {}


# -- real servers --------------------------------------------------------------------------------------------------


def test_between_a_directory_and_a_real_server_and_back(shop, s3, tmp_path):
    here, back = tmp_path / "here", tmp_path / "back"
    here.mkdir()
    back.mkdir()
    store = open_store(str(here), environ={})
    store.put_if_absent(identity().address.bundle_key, bundle().encode())
    world = {"environ": s3.environ, "opener": open_store}

    up = shop("--store", here, "cp", s3.url, "--yes", **world)
    again = shop("--store", here, "cp", s3.url, "--yes", "--json", **world)
    exported = shop("--store", s3.url, "export", tmp_path / "b.tar", **world)
    imported = shop("--store", f"{s3.url}-2", "import", tmp_path / "b.tar", "--yes", **world)
    down = shop("--store", f"{s3.url}-2", "cp", back, "--yes", **world)

    assert [one.code for one in (up, again, exported, imported, down)] == [0] * 5, up.stderr
    assert verdicts(again) == [("unchanged", None)]
    assert stored(open_store(str(back), environ={})) == {identity().address.bundle_key: bundle().encode()}


def test_the_destination_on_another_server(shop, s3, tmp_path):
    here = tmp_path / "here"
    here.mkdir()
    store = open_store(str(here), environ={})
    store.put_if_absent(identity().address.bundle_key, bundle().encode())
    keys = {name: value for name, value in s3.environ.items() if "ENDPOINT" not in name}
    elsewhere = {**keys, "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"}
    endpoint = ("--to-endpoint", s3.environ["AWS_ENDPOINT_URL_S3"])

    done = shop("--store", here, "cp", s3.url, *endpoint, "--yes", environ=elsewhere, opener=open_store)

    assert done.code == 0, done.stderr
    assert stored(open_store(s3.url, environ=s3.environ)) == stored(store)


def test_given_a_profile_for_the_destination_when_copied_then_its_keys_sign_there_and_nowhere_else(
    shop, stub, tmp_path
):
    """botocore reads profiles when it connects, not when the store is opened."""
    here, config = tmp_path / "here", tmp_path / "config"
    here.mkdir()
    open_store(str(here), environ={}).put_if_absent(identity().address.bundle_key, bundle().encode())
    config.write_text(f"[profile there]\naws_access_key_id = {stub.access_key}\naws_secret_access_key = s\n")
    source = {"AWS_ACCESS_KEY_ID": "of-the-source", "AWS_SECRET_ACCESS_KEY": "s", "AWS_REGION": "us-east-1"}
    there = {
        "AUTOTUNE_TO_AWS_PROFILE": "there",
        "AUTOTUNE_TO_AWS_CONFIG_FILE": str(config),
        "AUTOTUNE_TO_AWS_ENDPOINT_URL_S3": stub.endpoint,
    }

    done = shop(
        "--store",
        here,
        "cp",
        "s3://b/p",
        "--yes",
        environ=dict(os.environ) | source | there,
        opener=open_store,
    )

    assert done.code == 0, done.stderr
    keys = {headers["authorization"].split("Credential=")[1].split("/")[0] for *_, headers in stub.requests}
    assert keys == {stub.access_key}


def test_given_a_variable_that_nobody_reads_when_copied_then_it_is_told(shop):
    environ = {"AUTOTUNE_STORE": "s3://models/autotune", "AUTOTUNE_TO_REGION": "eu-central-1"}

    done = shop("cp", PROD, "--yes", "--json", environ=environ)

    assert (done.code, done.error["kind"]) == (ExitCode.USAGE, "usage")
    assert "AUTOTUNE_TO_REGION" in done.error["message"]
    assert "AUTOTUNE_TO_AWS_REGION" in done.error["message"]


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({}, ExitCode.USAGE),
        ({"AUTOTUNE_TO_AWS_ACCESS_KEY_ID": "other"}, ExitCode.USAGE),
        ({"AUTOTUNE_TO_AWS_ENDPOINT_URL": "http://here/"}, ExitCode.USAGE),
        ({"AUTOTUNE_TO_AWS_ENDPOINT_URL": "http://there"}, ExitCode.NOT_FOUND),
    ],
)
def test_the_same_url_is_another_store_at_another_endpoint_alone(shop, more, code):
    environ = {"AUTOTUNE_STORE": PROD, "AWS_ENDPOINT_URL": "http://here"} | more

    assert shop("cp", PROD, "--yes", environ=environ).code == code  # nothing is there to be copied
