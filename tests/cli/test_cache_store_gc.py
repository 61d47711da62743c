"""gc: says before it does, does what it said, and lets nothing go that a pod may still want."""

import json
import os
import pty
import random
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest
from tests.bundles import H200, bundle, identity, rank_file, tombstone
from tests.pods import ROOT, clean_environ

from cache_store.blobs import keep_blob
from cache_store.blobs_on_store import answer_blob
from cache_store.bundle import Bundle, Tombstone, digest_of
from cache_store.bundle_json import parse_register
from cache_store.claim import parse_claim
from cache_store.clock import SystemClock, fresh_nonce
from cache_store.collect_on_store import read_address, sweep
from cache_store.collecting import CollectRules, judge_address, sort_out
from cache_store.errors import ErrorKind
from cache_store.exit_codes import ExitCode
from cache_store.objects import Missing, StoredObject, Written
from cache_store.objects.open_url import open_store
from cache_store.steps import Done, Wait
from cache_store.testing.clock import BEGINNING
from cache_store.testing.faulty import Fails, Fault
from cache_store.use_record import UseRecord, record_key

DAY_S = 86400


def puts_blob(store, address, digest, body):
    """As pods and importers do it; whether it is there then."""
    steps = keep_blob(digest, body, lambda _attempt: Wait(0.0))
    step = next(steps)
    while True:
        try:
            step = steps.send(Done() if isinstance(step, Wait) else answer_blob(store, address, step))
        except StopIteration as end:
            return end.value is None


def keys(shop):
    return sorted(entry.key for entry in shop.memory.list(""))


def row(done):
    [one] = done.document["addresses"]
    return one


def test_a_dry_run_says_it_and_does_nothing(shop):
    address = shop.publish()
    shop.clock.advance(200 * DAY_S)
    before = keys(shop)

    done = shop("gc", "--older-than", "180d", "--json")
    told = shop("gc", "--older-than", "180d")

    assert done.code == 0
    assert done.document["is_dry"]
    assert (row(done)["address"], row(done)["action"]) == (str(address), "retire")
    assert "would retire" in told.stdout
    assert "pass --yes" in told.stderr
    assert keys(shop) == before
    assert set(shop.requests) <= {"get", "list"}


def test_a_bundle_goes_in_two_phases(shop):
    address, _ = shop.publish_large()
    shop.clock.advance(200 * DAY_S)

    first = shop("gc", "--older-than", "180d", "--yes", "--json")
    retired = parse_register(shop.memory.get(address.bundle_key, limit_bytes=10**8).body)
    at_once = shop("gc", "--yes", "--json")
    shop.clock.advance(31 * DAY_S)
    last = shop("gc", "--yes", "--json")

    assert row(first)["action"] == "retire"
    assert isinstance(retired, Tombstone)
    assert (retired.retired_by, retired.reason) == ("cache-store gc", "gc: 200 days old")
    assert at_once.document["addresses"] == [], "its contents stay as long as it can be restored"
    forgotten = parse_register(shop.memory.get(address.bundle_key, limit_bytes=10**8).body)
    again = shop("gc", "--yes", "--json")

    assert (row(last)["action"], row(last)["objects"], row(last)["deleted"]) == ("forget", 2, 2)
    assert keys(shop) == [address.bundle_key, address.claim_key], "the registers stay"
    assert (forgotten.may_retune, forgotten.retired_copy, forgotten.ranks) == (True, None, {})
    assert forgotten.epoch == retired.epoch
    assert forgotten.nonce != retired.nonce
    assert again.document["addresses"] == []


def test_what_it_says_left_alone(shop):
    shop.claim()
    shop.put(identity(H200).address.bundle_key, b"{")
    shop.put("notes.txt", b"mine")

    done = shop("gc", "--yes", "--json")

    assert len(done.document["left_alone"]) == 2
    assert done.document["foreign_objects"] == 1
    assert done.document["counts"]["keep"] == 2
    assert "left alone" in shop("gc").stdout
    assert "notes.txt" in keys(shop)


def test_what_lies_beside(shop):
    for key in ("_reports/2026-01-01/a.json", "_resolved/a.json", "_groups/a-1/roll.json", ".probe/x"):
        shop.put(key, b"x")
    shop.clock.advance(60 * DAY_S)

    done = shop("gc", "--reports-older-than", "30d", "--yes", "--json")

    assert done.document["beside"] == {"objects": 2, "deleted": 2, "problem": None}
    assert keys(shop) == ["_groups/a-1/roll.json", "_resolved/a.json"]


def test_kept_addresses_and_quarantines(shop):
    kept = shop.publish()
    held = identity(H200).address
    shop.put(held.bundle_key, tombstone(may_retune=False).encode())
    shop.clock.advance(400 * DAY_S)

    done = shop("gc", "--older-than", "1d", "--keep", kept, "--yes", "--json")
    wanted = shop("gc", "--even-quarantined", "--yes", "--json")

    assert done.document["addresses"] == []
    assert (row(wanted)["address"], row(wanted)["action"]) == (str(held), "forget")
    assert parse_register(shop.memory.get(held.bundle_key, limit_bytes=10**8).body).may_retune


def test_given_a_kept_address_with_an_old_copy_then_the_copy_stays(shop):
    kept = shop.publish()
    for command in ("retire", "restore"):
        shop(command, kept, "--reason", "x", "--yes")
    shop.clock.advance(100 * DAY_S)
    before = keys(shop)

    assert shop("gc", "--keep", kept, "--yes", "--json").document["addresses"] == []
    assert keys(shop) == before
    assert row(shop("gc", "--yes", "--json"))["deleted"] == 1


def test_given_objects_named_as_our_folders_then_they_stay(shop):
    for key in ("_resolved", ".probe", "_groups", "_reports"):
        shop.put(key, b"somebody's")
    shop.clock.advance(60 * DAY_S)
    month = "30d"

    done = shop(
        "gc", "--memos-older-than", month, "--groups-older-than", month, "--reports-older-than", month, "--yes",
        "--json",
    )  # fmt: skip

    assert done.document["foreign_objects"] == 4
    assert keys(shop) == [".probe", "_groups", "_reports", "_resolved"]


def test_given_a_claim_that_is_too_large_then_the_rest_of_the_bucket_is_collected(shop):
    shop.put(identity(H200).address.claim_key, b" " * (1100 * 1024))
    address = shop.publish()
    shop.clock.advance(200 * DAY_S)

    done = shop("gc", "--older-than", "180d", "--yes", "--json")

    assert (done.code, row(done)["address"], row(done)["problem"]) == (0, str(address), None)


@pytest.mark.parametrize("is_terminal", [True, False])
def test_progress_is_for_a_terminal_only(tmp_path, is_terminal):
    """the program itself, its stderr a terminal or a pipe"""
    store = open_store(tmp_path.as_uri(), environ={}, adapter="auto", request_timeout_s=10.0)
    who = identity()
    store.put_if_absent(who.address.bundle_key, bundle().encode())
    store.close()
    ours, theirs = pty.openpty() if is_terminal else os.pipe()
    command = [sys.executable, "-m", "cache_store.cli", "--store", tmp_path.as_uri(), "gc"]

    done = subprocess.run(
        [*command, "--flashinfer", "0.7.2", "--yes", "--json"],
        cwd=ROOT,
        env=clean_environ(TERM="xterm"),
        stdout=subprocess.PIPE,
        stderr=theirs,
        timeout=60,
        check=True,
    )
    os.close(theirs)
    told = b""
    # a terminal whose other end is closed ends with EIO
    with suppress(OSError):
        while more := os.read(ours, 65536):
            told += more
    os.close(ours)

    assert json.loads(done.stdout)["counts"]["retire"] == 1
    if is_terminal:
        assert b"judging" in told
        assert b"removing" in told
    else:
        assert told == b""


def use(shop, address, days_ago, outcome="hit"):
    """A record that was written `days_ago` before the clock's day 100."""
    record = UseRecord(
        at="x", outcome=outcome, reason="found", flashinfer_version=address.flashinfer_version,
        arch=address.arch, key=address.key, environment=address.environment,
    )  # fmt: skip
    now = shop.clock.now()
    shop.clock.advance((100 - days_ago) * DAY_S - (now - BEGINNING).total_seconds())
    shop.put(record_key(shop.clock.now(), f"{days_ago}-{outcome}"), record.encode())


@pytest.mark.parametrize(
    ("uses", "action"),
    [
        ([], "keep"),  # nobody records anything
        ([(50, "cold")], "keep"),  # records do not go back far enough
        ([(99, "cold")], "retire"),
        ([(99, "hit"), (70, "hit")], "retire"),
        ([(99, "cold"), (10, "hit")], "keep"),
        ([(99, "cold"), (10, "cold")], "retire"),
    ],
)
def test_bundles_that_nobody_has_used(shop, uses, action):
    address = shop.publish()
    for days_ago, outcome in uses:
        use(shop, address, days_ago, outcome)
    shop.clock.advance(100 * DAY_S - (shop.clock.now() - BEGINNING).total_seconds())

    done = shop("gc", "--unused-for", "60d", "--yes", "--json")

    assert [one["action"] for one in done.document["addresses"]] == ([] if action == "keep" else [action])


def test_records_that_are_none_say_nothing(shop):
    shop.publish()
    for key, body in (("2026-01-01/a.json", b"{"), ("2026-01-01/b.json", b" " * 10**5), ("x", b"{}")):
        shop.put(f"_reports/{key}", body)
    shop.clock.advance(100 * DAY_S)

    assert shop("gc", "--unused-for", "60d", "--yes", "--json").document["counts"]["retire"] == 1


@pytest.mark.parametrize("text", ["30", "-1d", "d", "1e9d", "9999999d"])
def test_an_age_that_is_none(shop, text):
    done = shop("gc", "--older-than", text)

    assert done.code == ExitCode.USAGE


def test_an_address_that_is_none(shop):
    assert shop("gc", "--keep", "nonsense").code == ExitCode.USAGE


def test_given_this_computers_clock_a_day_ahead_then_the_servers_decides(shop):
    shop.put(identity().address.bundle_key, tombstone().encode())
    shop.clock.advance(29.5 * DAY_S)

    class Ahead:
        def __getattr__(self, name):
            return getattr(shop.clock, name)

        def now(self):
            return shop.clock.now() + timedelta(days=1)

    done = shop("gc", "--yes", "--json", clock=Ahead())

    assert done.document["addresses"] == []


def published_over(shop, address):
    """As a pod that has tuned over what lies there: its condition is that it still does."""
    tag = shop.memory.get(address.bundle_key, limit_bytes=10**8).etag
    made = bundle(who=identity(H200) if "h200" in str(address) else identity(), nonce="fresh", epoch=2)
    return isinstance(shop.memory.put_if_match(address.bundle_key, made.encode(), tag), Written)


def register_of(shop, address):
    return parse_register(shop.memory.get(address.bundle_key, limit_bytes=10**8).body)


def after_the_first_look(shop, address, act):
    """`act` right after gc has read the register for its verdict."""
    get, done = shop.faulty.get, []

    def get_and_act(key, **limits):
        answer = get(key, **limits)
        if key == address.bundle_key and not done:
            done.append(key)
            act()
        return answer

    shop.faulty.get = get_and_act


def test_given_somebody_who_publishes_after_the_look_when_it_would_be_forgotten_then_it_stays(shop):
    address = shop.publish_beside()
    shop("retire", address, "--reason", "x", "--yes")
    shop.clock.advance(60 * DAY_S)
    after_the_first_look(shop, address, lambda: published_over(shop, address))
    before = set(keys(shop))

    done = shop("gc", "--yes", "--json")

    assert (done.code, row(done)["problem"], row(done)["deleted"]) == (27, "changed-meanwhile", 0)
    assert register_of(shop, address).nonce == "fresh"
    assert set(keys(shop)) == before | {address.claim_key}
    assert parse_claim(shop.memory.get(address.claim_key, limit_bytes=10**6).body).state == "released"


def test_given_a_bundle_that_was_published_after_the_look_when_it_would_be_retired_then_it_stays(shop):
    """a fresh bundle became a tombstone "gc: 200 days old", for the bundle before it had been judged"""
    address = shop.publish()
    shop.clock.advance(200 * DAY_S)

    def retired_and_tuned_anew():
        shop("retire", address, "--reason", "x", "--yes")
        published_over(shop, address)

    after_the_first_look(shop, address, retired_and_tuned_anew)

    done = shop("gc", "--older-than", "180d", "--yes", "--json")

    assert (done.code, row(done)["problem"]) == (27, "changed-meanwhile")
    assert register_of(shop, address).nonce == "fresh"


def test_given_a_claim_that_was_written_after_the_look_then_nothing_of_the_address_goes(shop):
    address = shop.publish_beside()
    shop("retire", address, "--reason", "x", "--yes")
    shop.clock.advance(60 * DAY_S)
    after_the_first_look(shop, address, lambda: shop.claim(who=identity(H200)))
    before = set(keys(shop))
    retired = register_of(shop, address).nonce

    done = shop("gc", "--yes", "--json")

    assert (done.code, row(done)["problem"], row(done)["deleted"]) == (27, "changed-meanwhile", 0)
    assert set(keys(shop)) == before | {address.claim_key}
    assert register_of(shop, address).nonce == retired, (
        "the pod that claimed may have seen this very tombstone"
    )


@pytest.mark.parametrize(
    ("kind", "code"), [(ErrorKind.DENIED, ExitCode.DENIED), (ErrorKind.UNAVAILABLE, ExitCode.UNAVAILABLE)]
)
def test_given_a_store_that_deletes_nothing_then_it_says_so_and_the_register_is_there(shop, kind, code):
    address, _ = shop.publish_large()
    shop("retire", address, "--reason", "x", "--yes")
    shop.clock.advance(200 * DAY_S)
    shop.faulty.script(Fault("delete", Fails(kind), key="0.7.2/*", times=100))

    done = shop("gc", "--yes", "--json")

    assert (done.code, row(done)["problem"]) == (code, f"store-{kind.value}")
    assert address.bundle_key in keys(shop)


def test_without_the_right_to_list(shop):
    shop.faulty.script(Fault("list", Fails(ErrorKind.DENIED), times=10))

    done = shop("gc")

    assert done.code == ExitCode.DENIED
    assert "s3:ListBucket" in done.stderr


# -- a real server -------------------------------------------------------------------------------------------------


@pytest.fixture
def store(s3):
    opened = open_store(s3.url, environ=s3.environ, adapter="auto", request_timeout_s=10.0)
    yield opened
    opened.close()


def identities(count):
    return [identity(key=f"{number:016x}") for number in range(count)]


def test_given_two_that_collect_at_once_while_bundles_are_published_then_nothing_that_is_read_is_lost(store):
    """on a real S3 server: whatever is published is there afterwards with all its contents"""
    fresh, retired, old = identities(30)[:10], identities(30)[10:20], identities(30)[20:]
    contents = {"rank_tp0_pp0_dp0.json": rank_file(dict(identity().environment.metadata))}
    [(digest, body)] = [(digest_of(body), body) for body in contents.values()]

    def beside(who):
        return replace(
            bundle(contents, who=who, nonce=fresh_nonce()), files={}, blobs={digest: len(body)}
        ).encode()

    for who in retired + old:
        store.put_if_absent(who.address.bundle_key, tombstone(nonce=fresh_nonce()).encode())
        store.put_if_absent(who.address.blob_key(digest), body)
    now = SystemClock().now()
    aged = {who.address for who in old}
    ended = []

    def collect():
        rng = random.Random(7)
        for _ in range(6):
            objects, _, _ = sort_out(store.list(""))
            rng.shuffle(objects)
            for one in objects:
                # the old ones as gc would meet them 60 days from now
                at = now + timedelta(days=60 if one.address in aged else 0)
                verdict = judge_address(one, read_address(store, one), CollectRules(), at)
                if verdict.action != "keep":
                    ended.append(sweep(store, verdict, clock=SystemClock(), rng=rng, nonce=fresh_nonce))

    def publish():
        for who in fresh + retired:
            found = store.get(who.address.bundle_key, limit_bytes=10**7)
            assert puts_blob(store, who.address, digest, body)
            if isinstance(found, Missing):
                store.put_if_absent(who.address.bundle_key, beside(who))
            else:
                store.put_if_match(who.address.bundle_key, beside(who), found.etag)

    threads = [threading.Thread(target=work) for work in (collect, collect, publish)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)

    def read(who):
        return parse_register(store.get(who.address.bundle_key, limit_bytes=10**7).body)

    def has_contents(who):
        return isinstance(store.get(who.address.blob_key(digest), limit_bytes=10**7), StoredObject)

    assert {one.problem for one in ended} <= {None, "changed-meanwhile"}
    assert all(isinstance(read(who), Bundle) and has_contents(who) for who in fresh + retired)
    assert all(isinstance(read(who), Tombstone) and not has_contents(who) for who in old)
