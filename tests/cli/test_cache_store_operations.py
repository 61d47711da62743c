"""retire, quarantine, restore, unlock: what a person and what a script get to see."""

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner
from tests.bundles import H100, H200, bundle, identity, tombstone

from cache_store.bundle_json import parse_register
from cache_store.claim import parse_claim
from cache_store.errors import ErrorKind
from cache_store.exit_codes import ExitCode
from cache_store.testing.faulty import Fails, Fault, LosesAnswer, Says

WHY = ("--reason", "bad tactic", "--by", "ann", "--yes")


def register(shop, address):
    return parse_register(shop.memory.get(address.bundle_key, limit_bytes=10**7).body)


def only(done):
    (row,) = done.document["results"]
    return row


def test_out_of_service_and_back(shop):
    address = shop.publish()

    retired = shop("retire", address, *WHY)
    shown = shop("show", address, "--json").document
    back = shop("restore", address, *WHY)

    assert (retired.code, back.code) == (0, 0)
    assert retired.stdout.startswith(f"retired  {address}  (published -> retired, copy at retired/")
    assert shown["state"] == "tombstone"
    assert shown["tombstone"]["reason"] == "bad tactic"
    assert back.stdout.startswith(f"restored  {address}  (retired -> published, copy at retired/")
    assert register(shop, address).provenance.restored_by == "ann"
    assert shop("verify", address).code == 0


def test_ls_show_and_verify_know_a_quarantine_and_its_copy(shop):
    address = shop.publish()
    shop("quarantine", address, *WHY)

    assert shop("show", address, "--json").document["state"] == "quarantined"
    assert shop("ls", "--json").document["bundles"][0]["state"] == "quarantined"
    assert shop("verify").code == 0


@pytest.mark.parametrize("name", ["retire", "quarantine"])
def test_json_of_a_change(shop, name):
    address = shop.publish()

    done = shop(name, address, *WHY, "--json")

    row = only(done)
    assert done.document["counts"] == {"changed": 1, "unchanged": 0, "refused": 0}
    assert (row["verdict"], row["before"], row["after"]) == ("changed", "published", f"{name.rstrip('e')}ed")
    assert row["nonce"] == register(shop, address).nonce
    assert row["copy"] == register(shop, address).retired_copy


def test_unlock(shop):
    address = shop.claim(epoch=4)

    row = only(shop("unlock", address, *WHY, "--json"))

    assert (row["verdict"], row["before"], row["after"]) == ("changed", "held", "released")
    assert parse_claim(shop.memory.get(address.claim_key, limit_bytes=10**6).body).epoch == 5
    assert only(shop("unlock", address, *WHY, "--json"))["verdict"] == "unchanged"
    assert (
        shop("unlock", address, *WHY).stdout == f"unchanged  {address}  (it is released: nobody holds it)\n"
    )


def test_several_addresses_of_which_some_are_refused(shop):
    good, other = shop.publish(), identity(H200).address
    shop.put(other.bundle_key, tombstone(may_retune=False).encode())
    absent = identity(key="f" * 16).address

    done = shop("retire", good, other, absent, good, *WHY, "--json")

    assert [row["verdict"] for row in done.document["results"]] == ["changed", "refused", "refused"]
    assert [row["reason"] for row in done.document["results"]] == [None, "quarantined", "not-found"]
    assert done.document["counts"] == {"changed": 1, "unchanged": 0, "refused": 2}
    assert done.code == ExitCode.REFUSED
    assert not hasattr(register(shop, good), "files")


@pytest.mark.parametrize(
    ("given", "code", "reason"),
    [
        ("nothing", ExitCode.NOT_FOUND, "not-found"),
        ("no copy", ExitCode.REFUSED, "no-copy"),
        ("a bad copy", ExitCode.CORRUPT, "bundle-corrupt"),
        ("a quarantine", ExitCode.REFUSED, "quarantined"),
    ],
)
def test_what_cannot_be_restored(shop, given, code, reason):
    address = identity().address
    if given == "no copy":
        shop.put(address.bundle_key, tombstone().encode())
    if given == "a bad copy":
        shop.put(address.bundle_key, replace(tombstone(), retired_copy="retired/x.json").encode())
        shop.put(f"{address}/retired/x.json", b"{}")
    if given == "a quarantine":
        shop.put(address.bundle_key, tombstone(may_retune=False).encode())

    done = shop("restore", address, *WHY, "--json")

    assert (done.code, only(done)["reason"]) == (code, reason)


def test_flags_for_a_quarantine_and_for_another_copy(shop):
    address = shop.publish(bundle(nonce="first"))
    shop("quarantine", address, *WHY)

    assert shop("retire", address, *WHY, "--even-quarantined").code == 0
    assert shop("quarantine", address, *WHY).code == 0
    assert shop("restore", address, *WHY, "--even-quarantined", "--copy", "retired/first.json").code == 0
    assert register(shop, address).ranks


def test_given_much_text_that_is_not_ascii_when_restored_then_it_is_not_larger_than_a_register_may_be(shop):
    body = json.dumps({"_metadata": H100, "note": "é" * (6 << 20)}, ensure_ascii=False).encode()
    address = shop.publish(bundle({"rank_tp0_pp0_dp0.json": body}))
    shop("retire", address, *WHY)

    assert shop("restore", address, *WHY).code == 0
    assert shop("verify", address).code == 0


@pytest.mark.parametrize("later", [b"1e999", b"9" * 5000])
def test_given_a_copy_that_cannot_be_written_again_when_restored_then_it_is_refused(shop, later):
    address = identity().address
    shop.put(address.bundle_key, bundle().encode()[:-1] + b', "later": ' + later + b"}")
    shop("retire", address, *WHY)

    done = shop("restore", address, *WHY, "--json")

    assert (done.code, only(done)["reason"]) == (ExitCode.CORRUPT, "bundle-corrupt")


# -- asking --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["retire", "quarantine", "restore", "unlock"])
def test_without_a_terminal_nothing_happens_without_yes(shop, name):
    address = shop.publish()

    done = shop(name, address, "--reason", "x")

    assert done.code == ExitCode.USAGE
    assert "--yes" in done.stderr
    assert shop.requests == {}


@pytest.mark.parametrize("name", ["retire", "quarantine", "restore", "unlock"])
def test_without_a_reason_nothing_happens(shop, name):
    assert shop(name, shop.publish(), "--yes").code == ExitCode.USAGE


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 27), ("\n", 27), ("", 130)])
def test_on_a_terminal_it_says_what_it_would_do_and_asks(shop, monkeypatch, answer, code):
    address = shop.publish()
    monkeypatch.setattr("cache_store.cli.operating.is_asking_possible", lambda: True)
    monkeypatch.setattr(CliRunner, "invoke", with_input(CliRunner.invoke, answer))

    done = shop("retire", address, "--reason", "x")

    assert done.code == code
    assert f"would be retired  {address}" in done.stderr
    assert "retire 1 of s3://models/autotune? [y/N]" in done.stderr
    assert hasattr(register(shop, address), "reason") == (code == 0)


def test_nobody_is_asked_where_nothing_would_change(shop, monkeypatch):
    address = shop.publish()
    assert shop("retire", address, "--reason", "x", "--yes").code == 0
    monkeypatch.setattr("cache_store.cli.operating.is_asking_possible", lambda: True)
    monkeypatch.setattr("click.confirm", lambda *_, **__: pytest.fail("asked"))

    done = shop("retire", address, "--reason", "x")

    assert (done.code, done.stdout.split()[0]) == (0, "unchanged")


def with_input(invoke, text):
    return lambda *args, **more: invoke(*args, **more, input=text)


def test_a_dry_run_needs_no_yes_and_only_reads(shop):
    address = shop.publish()

    done = shop("retire", address, "--reason", "x", "--dry-run")

    assert done.code == 0
    assert done.stdout.startswith(f"would be retired  {address}")
    assert shop.requests == {"get": 1}
    assert shop("retire", address, "--reason", "x", "--dry-run", "--json").document["is_dry"]


def test_who_it_was_where_nobody_says(shop):
    address = shop.publish()

    shop(
        "retire", address, "--reason", "x", "--yes", environ={"AUTOTUNE_STORE": shop.store.url, "USER": "bob"}
    )

    assert register(shop, address).retired_by == "bob"


def test_what_the_bucket_says_is_escaped(shop):
    address = identity().address
    bad = tombstone(reason="\x1b[2Jgone", may_retune=False)
    shop.put(address.bundle_key, bad.encode())

    assert "\\x1b[2Jgone" in shop("retire", address, *WHY).stdout


# -- a bad store ---------------------------------------------------------------------------------------------------


def test_a_store_that_ignores_conditions_is_not_written_to(shop):
    address = shop.publish()
    before = register(shop, address)
    shop.faulty.script(Fault("put_if_absent", Says(412, is_applied=True), key=".probe/*", times=2))
    shop.memory.put_if_absent = lambda key, body: overwrite(shop.memory, key, body)

    done = shop("retire", address, *WHY, "--json")

    assert (done.code, done.error["kind"]) == (ExitCode.UNFIT, "store-ignores-conditions")
    assert register(shop, address) == before


def overwrite(memory, key, body):
    memory.delete(key)
    return type(memory).put_if_absent(memory, key, body)


@pytest.mark.parametrize(
    ("kind", "code"), [(ErrorKind.DENIED, ExitCode.DENIED), (ErrorKind.UNAVAILABLE, ExitCode.UNAVAILABLE)]
)
def test_a_store_that_takes_no_writes(shop, kind, code):
    address = shop.publish()
    shop.faulty.script(Fault("put*", Fails(kind), times=100))

    done = shop("retire", address, *WHY, "--json")

    assert (done.code, done.error["kind"]) == (code, f"store-{kind.value}")


def test_a_write_that_is_never_settled_says_so(shop):
    address = shop.publish()
    shop.faulty.script(Fault("put_if_match", Fails(ErrorKind.TIMEOUT), key="*/bundle.json", times=100))

    done = shop("retire", address, *WHY, "--json")
    told = shop("retire", address, *WHY)

    assert (done.code, only(done)["reason"], only(done)["is_unsettled"]) == (10, "store-timeout", True)
    assert "run it again" in told.stdout


def test_an_answer_that_is_lost_is_read_back(shop):
    address = shop.publish()
    shop.faulty.script(Fault("put_if_match", LosesAnswer(), key="*/bundle.json"))

    assert shop("retire", address, *WHY).code == 0


def test_ctrl_c_between_copy_and_swap_leaves_the_bundle(shop):
    address = shop.publish()
    before = register(shop, address)

    def interrupted(*_):
        raise KeyboardInterrupt

    shop.faulty.put_if_match = interrupted
    done = shop("retire", address, *WHY)

    assert done.code == ExitCode.INTERRUPTED
    assert register(shop, address) == before


@pytest.mark.parametrize("bad", ["x" * 65_537, "half a \udce9 character"])
@pytest.mark.parametrize("option", ["--reason", "--by"])
@pytest.mark.parametrize("command", ["retire", "quarantine", "restore", "unlock", "verify"])
def test_words_that_no_reader_takes_are_wrong_usage(shop, command, option, bad):
    address = shop.publish()
    shop.claim()
    before = {one.key: one.etag for one in shop.memory.list("")}
    words = {"--reason": "why", "--by": "ann"} | {option: bad}

    done = shop(
        command, *(["--repair"] if command == "verify" else []), address, "--yes", "--json",
        *(word for pair in words.items() for word in pair),
    )  # fmt: skip

    assert (done.code, done.error["kind"]) == (ExitCode.USAGE, "usage")
    assert option in done.error["message"]
    assert {one.key: one.etag for one in shop.memory.list("")} == before


def test_a_user_name_that_is_not_utf_8_is_wrong_usage(shop):
    environ = {"AUTOTUNE_STORE": "s3://models/autotune", "USER": "ann\udce9"}

    assert shop("retire", shop.publish(), "--reason", "x", "--yes", environ=environ).code == ExitCode.USAGE


def test_given_a_lost_blob_when_restored_then_it_says_which(shop):
    address = shop.publish_beside()
    shop("retire", address, "--reason", "x", "--yes")
    for entry in [one for one in shop.memory.list("") if "/blobs/" in one.key]:
        shop.memory.delete(entry.key)

    done = shop("restore", address, "--reason", "x", "--yes", "--json")

    assert (done.code, done.document["results"][0]["reason"]) == (ExitCode.CORRUPT, "blob-missing")
    assert shop("show", address, "--json").document["state"] == "tombstone"
