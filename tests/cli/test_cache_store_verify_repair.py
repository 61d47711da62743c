"""`verify` that remembers, and `verify` that takes out of service what it found."""

import json
from dataclasses import replace

import pytest
from tests.bundles import H200, bundle, identity, tombstone

from cache_store.bundle import Tombstone
from cache_store.bundle_json import parse_register
from cache_store.errors import ErrorKind
from cache_store.only_over import only_over
from cache_store.operation_steps import Changed, ReadRegister, Refused
from cache_store.steps import Seen
from cache_store.testing.faulty import Fails, Fault, LosesAnswer, Says

GO = ("--repair", "--yes", "--by", "ann")


@pytest.fixture
def mixed(shop):
    """Two sound ones, one that is no JSON and one whose content is not what its digest says."""
    shop.publish()
    shop.publish(who=identity(H200))
    shop.put(identity(key="b" * 16).address.bundle_key, b"{")
    body = bundle(who=identity(key="c" * 16)).encode()
    shop.put(identity(key="c" * 16).address.bundle_key, body.replace(b'Runner\\",', b'RunneR\\",'))
    return shop


def register(shop, key):
    address = identity(key=key * 16).address
    return parse_register(shop.memory.get(address.bundle_key, limit_bytes=10**7).body)


def results(done):
    return [(row["verdict"], row["reason"]) for row in done.document["repairs"]["results"]]


def test_what_is_corrupt_is_retired_with_what_was_found(mixed):
    done = mixed("verify", *GO, "--json")

    assert done.code == 0
    assert done.document["counts"]["corrupt"] == 2
    assert [row["after"] for row in done.document["repairs"]["results"]] == ["retired", "retired"]
    assert register(mixed, "c").reason.startswith("verify found it corrupt: bundle-digest-mismatch: rank_tp0")
    assert register(mixed, "b").reason.startswith("verify found it corrupt: bundle-corrupt: bundle.json:")
    assert (register(mixed, "b").retired_by, register(mixed, "b").may_retune) == ("ann", True)
    copy = identity(key="b" * 16).address
    assert mixed.memory.get(f"{copy}/{register(mixed, 'b').retired_copy}", limit_bytes=99).body == b"{"
    assert mixed("verify", *GO, "--json").document["repairs"]["results"] == []


def test_given_a_schema_of_a_newer_release_when_repaired_then_it_is_left_alone(mixed):
    """An old program in a CronJob would otherwise empty a bucket that newer pods fill."""
    newer = identity(key="d" * 16).address.bundle_key
    body = bundle(who=identity(key="d" * 16)).encode().replace(b"bundle/v1", b"bundle/v9")
    mixed.put(newer, body)

    done = mixed("verify", *GO, "--json")

    assert done.code == 13
    assert (done.document["counts"]["corrupt"], done.document["counts"]["unknown"]) == (2, 1)
    assert len(done.document["repairs"]["results"]) == 2
    assert mixed.memory.get(newer, limit_bytes=10**7).body == body
    again = mixed("verify", *GO)
    assert again.code == 13
    assert "left alone: a newer release may have written" in again.stderr


def test_a_reason_of_ones_own(mixed):
    assert mixed("verify", *GO, "--reason", "disk died").code == 0
    assert register(mixed, "b").reason == "disk died"


def test_a_dry_run_writes_nothing_and_goes_on_being_13(mixed):
    before = {entry.key: entry.version for entry in mixed.memory.list("")}

    done = mixed("verify", "--repair", "--dry-run")

    assert done.code == 13
    assert done.stdout.count("would be retired") == 2
    assert {entry.key: entry.version for entry in mixed.memory.list("")} == before
    assert set(mixed.requests) == {"list", "get"}


def test_without_yes_and_without_a_terminal_nothing_is_asked(mixed):
    done = mixed("verify", "--repair")

    assert (done.code, mixed.requests) == (2, {})
    assert "--yes" in done.stderr


@pytest.mark.parametrize("flags", [["--yes"], ["--dry-run"], ["--reason", "x"], ["--by", "x"]])
def test_options_of_a_repair_alone_are_refused(mixed, flags):
    assert mixed("verify", *flags).code == 2


@pytest.mark.parametrize(("answer", "changed"), [("n\n", False), ("y\n", True)])
def test_on_a_terminal_a_person_is_asked(mixed, monkeypatch, answer, changed):
    monkeypatch.setattr("cache_store.cli.repair.is_asking_possible", lambda: True)
    monkeypatch.setattr("click.confirm", lambda *_, **__: answer == "y\n")

    done = mixed("verify", "--repair")

    assert done.code == (0 if changed else 27)
    assert "would be retired" in done.stderr
    assert ("nothing was done" in done.stderr) != changed
    body = mixed.memory.get(identity(key="b" * 16).address.bundle_key, limit_bytes=10**6).body
    assert (body != b"{") == changed


def test_given_no_right_to_write_when_repaired_then_14_and_nothing_is_read(mixed):
    mixed.faulty.script(Fault("put_if_absent", Fails(ErrorKind.DENIED), times=9))

    done = mixed("verify", *GO)

    assert (done.code, done.stdout) == (14, "")
    assert "list" not in mixed.requests


def test_given_a_store_that_ignores_conditions_when_repaired_then_21(mixed, monkeypatch):
    class Ignoring:
        """Overwrites, and says that all is well."""

        def __init__(self, store):
            self._store = store

        def __getattr__(self, name):
            return getattr(self._store, name)

        def put_if_absent(self, key, body):
            self._store.delete(key)
            return self._store.put_if_absent(key, body)

        def put_if_match(self, key, body, _etag):
            return self.put_if_absent(key, body)

    mixed.store = Ignoring(mixed.memory)

    assert mixed("verify", *GO).code == 21
    assert mixed.memory.get(identity(key="b" * 16).address.bundle_key, limit_bytes=9).body == b"{"


def test_given_a_publish_after_the_look_when_repaired_then_it_is_left_alone(mixed):
    """A pod that publishes between verdict and repair must not lose its bundle."""
    who = identity(key="b" * 16)
    seen = iter(range(100))
    plain = mixed.memory.get

    def get(key, **more):
        if key == who.address.bundle_key and next(seen) == 1:
            etag = plain(key, limit_bytes=99).etag
            mixed.memory.put_if_match(key, bundle(who=who).encode(), etag)
        return plain(key, **more)

    mixed.memory.get = get
    done = mixed("verify", *GO, "--json")

    assert done.code == 13
    assert results(done) == [("refused", "changed-meanwhile"), ("changed", None)]
    assert not isinstance(register(mixed, "b"), Tombstone)


def test_given_a_lost_answer_when_repaired_then_it_is_done_all_the_same(mixed):
    mixed.faulty.script(Fault("put_if_match", LosesAnswer(), key="*bbbb*", times=1))

    assert mixed("verify", *GO).code == 0
    assert register(mixed, "b").retired_by == "ann"


def test_given_a_409_when_repaired_then_it_is_tried_again(mixed):
    mixed.faulty.script(Fault("put_if_match", Says(409), key="*bbbb*", times=1))

    assert mixed("verify", *GO).code == 0


def test_given_a_foreign_quarantine_when_repaired_then_it_stays(shop):
    body = replace(tombstone(may_retune=False), identity=bundle().identity).encode()
    shop.put(identity(key="d" * 16).address.bundle_key, body)

    done = shop("verify", *GO, "--json")

    assert (done.code, results(done)) == (13, [("refused", "quarantined")])


def test_the_register_is_compared_at_the_first_look_only():
    """What is read back after a write is another register, and our own."""

    def operation():
        yield ReadRegister()
        yield ReadRegister()
        return Changed("published", "retired", "n")

    def drive(*bodies):
        driven = only_over(operation(), lambda seen: seen.body == b"seen", "look again")
        next(driven)
        for body in bodies[:-1]:
            driven.send(Seen(body, "e", None, None))
        with pytest.raises(StopIteration) as end:
            driven.send(Seen(bodies[-1], "e", None, None))
        return end.value.value

    assert isinstance(drive(b"seen", b"our tombstone"), Changed)
    assert isinstance(drive(b"other"), Refused)


# -- --state ---------------------------------------------------------------------------------------------------------


def test_a_second_run_reads_only_what_was_not_sound_or_was_written_since(mixed, tmp_path):
    file = tmp_path / "state"
    first = mixed("verify", "--state", file, "--json")
    assert mixed.requests == {"list": 1, "get": 4}
    second = mixed("verify", "--state", file, "--json")

    assert mixed.requests == {"list": 1, "get": 2}
    assert first.document["counts"] == second.document["counts"]
    assert (first.code, second.code) == (13, 13)
    assert [row["is_remembered"] for row in second.document["bundles"]] == [True, True, False, False]

    address = identity().address
    mixed.memory.delete(address.bundle_key)
    mixed.clock.advance(5)
    mixed.put(address.bundle_key, b"[")
    assert mixed("verify", "--state", file, "--json").document["counts"]["corrupt"] == 3


def test_given_a_run_that_ended_in_the_middle_when_run_again_then_it_goes_on(shop, tmp_path):
    file = tmp_path / "state"
    for number in range(200):
        shop.publish(who=identity(key=f"{number:016x}"))
    shop.faulty.script(Fault("get", Fails(), key="*00000000000000a0*", times=1000))
    assert shop("verify", "--state", file).code == 10
    kept = len(file.read_text().splitlines()) - 1
    shop.store = shop.memory

    assert shop("verify", "--state", file).code == 0
    assert kept > 50
    assert shop.requests["get"] == 200 - kept


def test_a_bundle_with_blobs_is_read_again(shop, tmp_path):
    shop.publish_large()
    for _ in range(2):
        assert shop("verify", "--state", tmp_path / "state").code == 0
        assert shop.requests["get"] == 2


@pytest.mark.parametrize(
    "content",
    [
        b"my letter\n",
        b"[" * 100_000,
        b'{"schema": "autotune-cache/verify-state/v1", "store": "s3://other/bucket"}\n',
        b'{"schema": "autotune-cache/verify-state/v9", "store": "s3://models/autotune"}\n',
        b"\xff\xfe\x00",
        b'"' + b'\\"' * 100_000,
    ],
)
def test_given_a_file_that_is_something_else_when_named_then_it_is_left_as_it_is(mixed, tmp_path, content):
    file = tmp_path / "state"
    file.write_bytes(content)

    done = mixed("verify", "--state", file)

    assert done.code == 2
    assert file.read_bytes() == content


def test_given_hostile_lines_when_read_then_they_are_skipped(mixed, tmp_path):
    file = tmp_path / "state"
    mixed("verify", "--state", file)
    lines = ["[" * 5000, '["a", 1]', '["../../x", "e"]', "9" * 5000, '{"a": "b"}', "\x00", '["0.7.2/sm9']
    file.write_text(file.read_text() + "\n".join(lines))

    done = mixed("verify", "--state", file, "--json")

    assert (done.code, mixed.requests["get"]) == (13, 2)
    assert mixed("verify", "--state", file, "--json").document["counts"]["sound"] == 2


@pytest.mark.parametrize("where", ["", "no/such/folder"])
def test_given_a_place_that_cannot_be_a_file_when_named_then_2(mixed, tmp_path, where):
    assert mixed("verify", "--state", tmp_path / where).code == 2


def test_a_state_is_for_whole_buckets(mixed, tmp_path):
    assert mixed("verify", "--state", tmp_path / "x", "0123").code == 2


def test_the_file_is_json_lines(mixed, tmp_path):
    file = tmp_path / "state"
    mixed("verify", "--state", file)

    head, *rows = [json.loads(line) for line in file.read_text().splitlines()]

    assert head == {"schema": "autotune-cache/verify-state/v1", "store": "s3://models/autotune"}
    assert {row[0] for row in rows} == {str(identity().address), str(identity(H200).address)}
