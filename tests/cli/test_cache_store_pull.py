"""pull: the files of one bundle into a directory, checked, and nothing else there is touched."""

import itertools
import json
import os
import stat
from dataclasses import replace

import pytest
from tests.bundles import ENTRY, H100, H200, bundle, identity, rank_file, tombstone
from tests.pods import Pod

from autotune_init.engines.flashinfer_store import env_hash
from cache_store.bundle import MAX_FILE_BYTES, digest_of
from cache_store.exit_codes import ExitCode
from cache_store.objects.open_url import open_store
from cache_store.store_entries import encode_manifest, entry_name

NAMES = ["rank_tp0_pp0_dp0.json", "rank_tp1_pp0_dp0.json"]


def files(directory):
    return {one.name: one.read_bytes() for one in directory.iterdir()}


def test_the_files_are_those_of_the_bundle(shop, tmp_path):
    address = shop.publish()
    place = tmp_path / "a" / "b"
    old = os.umask(0o077)
    try:
        done = shop("pull", address, place, "--json")
    finally:
        os.umask(old)

    assert done.code == 0
    assert files(place) == dict.fromkeys(NAMES, rank_file())
    assert {stat.S_IMODE((place / name).stat().st_mode) for name in NAMES} == {0o644}
    assert (done.document["written"], done.document["kept"], done.document["replaced"]) == (NAMES, [], [])
    assert done.document["nonce"] == "n" * 8


def test_again_keeps_what_is_right(shop, tmp_path):
    shop.publish()
    shop("pull", "0123", tmp_path)
    before = (tmp_path / NAMES[0]).stat().st_ino
    (tmp_path / NAMES[1]).unlink()

    done = shop("pull", "0123", tmp_path)

    assert done.stdout == f"kept  {tmp_path / NAMES[0]}\nwritten  {tmp_path / NAMES[1]}\n"
    assert (tmp_path / NAMES[0]).stat().st_ino == before
    assert shop("pull", "0123", tmp_path, "--json").document["written"] == []


def test_a_blob(shop, tmp_path):
    address, body = shop.publish_large()

    assert shop("pull", address, tmp_path).code == 0
    assert files(tmp_path) == {NAMES[0]: body}


@pytest.mark.parametrize("there", ["shorter", "x" * 10**5, rank_file(tactic=9).decode()])
def test_given_a_file_that_differs_when_pulled_then_nothing_is_changed_without_force(shop, tmp_path, there):
    shop.publish()
    (tmp_path / NAMES[1]).write_text(there)
    (tmp_path / "other").write_text("other")

    done = shop("pull", "0123", tmp_path, "--json")

    assert (done.code, done.error["kind"]) == (ExitCode.REFUSED, "file-differs")
    assert files(tmp_path) == {NAMES[1]: there.encode(), "other": b"other"}
    forced = shop("pull", "0123", tmp_path, "--force", "--json").document
    assert (forced["written"], forced["replaced"]) == (NAMES, NAMES[1:])
    assert files(tmp_path) == {**dict.fromkeys(NAMES, rank_file()), "other": b"other"}


@pytest.mark.parametrize("points_to", ["victim", "nowhere", "same"])
def test_given_a_link_when_pulled_then_it_is_never_followed(shop, tmp_path, points_to):
    shop.publish()
    victim, same, place = tmp_path / "victim", tmp_path / "same", tmp_path / "place"
    victim.write_text("mine")
    same.write_bytes(rank_file())
    place.mkdir()
    (place / NAMES[0]).symlink_to(tmp_path / points_to)

    refused = shop("pull", "0123", place)
    forced = shop("pull", "0123", place, "--force")

    assert (refused.code, forced.code) == (ExitCode.REFUSED, 0)
    assert "symbolic link" in refused.stderr
    assert not (place / NAMES[0]).is_symlink()
    assert victim.read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()


def test_given_a_pipe_or_a_directory_when_pulled_then_it_does_not_wait(shop, tmp_path):
    shop.publish()
    os.mkfifo(tmp_path / NAMES[0])
    assert shop("pull", "0123", tmp_path).code == ExitCode.REFUSED
    (tmp_path / NAMES[1]).mkdir()

    done = shop("pull", "0123", tmp_path, "--force")

    assert done.code == ExitCode.REFUSED
    assert stat.S_ISFIFO((tmp_path / NAMES[0]).stat().st_mode), "nothing was changed"


def test_given_a_full_disk_when_pulled_then_the_old_files_stay(shop, tmp_path, monkeypatch):
    shop.publish()
    for name in NAMES:
        (tmp_path / name).write_text("old")
    real, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)

    done = shop("pull", "0123", tmp_path, "--force", "--json")

    assert (done.code, done.error["kind"]) == (ExitCode.OUTPUT, "output")
    assert files(tmp_path) == dict.fromkeys(NAMES, b"old")


@pytest.mark.parametrize("where", ["file", "file/below", "dangling"])
def test_given_no_directory_when_pulled_then_it_says_so(shop, tmp_path, where):
    shop.publish()
    (tmp_path / "file").write_text("x")
    (tmp_path / "dangling").symlink_to("nowhere")

    assert shop("pull", "0123", tmp_path / where, "--json").error["kind"] == "output"
    assert (tmp_path / "file").read_text() == "x"


def test_a_dry_run_writes_nothing(shop, tmp_path):
    shop.publish()

    done = shop("pull", "0123", tmp_path / "new", "--dry-run")

    assert done.stdout.startswith("would be written  ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("body", "code", "kind"),
    [
        (None, ExitCode.NOT_FOUND, "not-found"),
        (tombstone().encode(), ExitCode.REFUSED, "retired"),
        (tombstone(may_retune=False).encode(), ExitCode.REFUSED, "quarantined"),
        (b"{}", ExitCode.CORRUPT, "bundle-corrupt"),
        (bundle(who=identity(H200)).encode(), ExitCode.CORRUPT, "bundle-foreign"),
        (bundle().encode().replace(b"rank_tp1", b"../../tp1"), ExitCode.CORRUPT, "bundle-corrupt"),
        (bundle({NAMES[0]: b"{}"}).encode(), ExitCode.CORRUPT, "rank-file-no-metadata"),
    ],
)
def test_what_is_no_bundle_to_use(shop, tmp_path, body, code, kind):
    address = identity().address
    if body is not None:
        shop.put(address.bundle_key, body)

    done = shop("pull", address, tmp_path / "new", "--json")

    assert (done.code, done.error["kind"]) == (code, kind)
    assert list(tmp_path.iterdir()) == []


def test_the_longest_name(shop, tmp_path):
    name = "r" * 241 + ".json"
    address = shop.publish(bundle({name: rank_file()}))

    assert shop("pull", address, tmp_path).code == 0
    assert files(tmp_path) == {name: rank_file()}


def test_an_empty_bundle(shop, tmp_path):
    address = shop.publish(bundle({}))

    done = shop("pull", address, tmp_path)

    assert (done.code, done.stdout) == (0, "")
    assert "nothing to tune" in done.stderr


def test_from_a_real_server(shop, s3, tmp_path):
    store = open_store(s3.url, environ=s3.environ)
    store.put_if_absent(identity().address.bundle_key, bundle().encode())

    done = shop("pull", "--store", s3.url, "0123", tmp_path, environ=s3.environ, opener=open_store)

    assert done.code == 0, done.stderr
    assert files(tmp_path) == dict.fromkeys(NAMES, rank_file())


@pytest.mark.parametrize("command", ["pull", "diff", "export"])
def test_more_blobs_than_may_be_held_are_refused_before_the_first_is_fetched(shop, tmp_path, command):
    digests = [digest_of(str(number).encode()) for number in range(33)]
    ranks = {f"rank_tp{number}_pp0_dp0.json": digest for number, digest in enumerate(digests)}
    address = shop.publish(
        replace(bundle(), ranks=ranks, files={}, blobs=dict.fromkeys(digests, MAX_FILE_BYTES))
    )
    args = {
        "pull": [address, tmp_path / "a"],
        "diff": [address, address],
        "export": [tmp_path / "a", address],
    }

    done = shop(command, *args[command])

    assert done.code == ExitCode.CORRUPT
    assert "512" in done.stderr or "536870912" in done.stderr
    assert shop.requests == {"get": 1}


# -- FlashInfer's own store ----------------------------------------------------------------------------------------

MANIFEST = {**H100, "cache_schema": "v2"}
ENTRY_NAME = entry_name(ENTRY)


def store_bundle(workload="llama"):
    """A bundle of FlashInfer's own store, of the identity that `autotune-init run --engine flashinfer` has."""
    text = f"flashinfer-v2|{env_hash(H100)}|{workload}"
    who = replace(identity(), engine="flashinfer", key=digest_of(text.encode())[:16], key_text=text)
    body = json.dumps({"key": ENTRY, "runner": "CublasFp8GemmRunner", "tactic": 3}).encode()
    return bundle({ENTRY_NAME: body, "manifest.json": encode_manifest(MANIFEST)}, who=who)


def tree(directory):
    return {
        str(one.relative_to(directory)): (one.read_bytes(), stat.S_IMODE(one.stat().st_mode))
        for one in directory.rglob("*")
        if one.is_file()
    }


def test_entries_lie_where_the_init_container_puts_them(shop, tmp_path):
    made = store_bundle()
    address = shop.publish(made)
    (tmp_path / "store").mkdir()
    open_store((tmp_path / "store").as_uri(), environ={}).put_if_absent(address.bundle_key, made.encode())
    facts = {"gpu": {"name": H100["gpu"], "capability": [9, 0]}, "packages": {}, "metadata": H100}
    (tmp_path / "facts.json").write_text(json.dumps(facts))
    pod = Pod(
        tmp_path / "pod",
        (tmp_path / "store").as_uri(),
        facts=tmp_path / "facts.json",
        flags=("--engine", "flashinfer", "--field", "workload=llama", "--tuner", "none"),
    )

    report = pod.run().report
    done = shop("pull", address, tmp_path / "out", "--json")

    assert report["outcome"] == "hit", report
    assert done.document["written"] == [f"entries/{ENTRY_NAME}", "manifest.json"]
    assert tree(tmp_path / "out") == tree(pod.cache / "v2" / env_hash(H100))
    assert shop("pull", address, tmp_path / "out", "--json").document["written"] == []


def test_a_dry_run_of_entries_writes_nothing(shop, tmp_path):
    address = shop.publish(store_bundle())

    assert f"entries/{ENTRY_NAME}" in shop("pull", address, tmp_path, "--dry-run").stdout
    assert list(tmp_path.iterdir()) == []


def test_given_a_link_for_the_entries_folder_when_pulled_then_it_is_not_followed(shop, tmp_path):
    address = shop.publish(store_bundle())
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "entries").symlink_to(tmp_path / "elsewhere")

    assert shop("pull", address, tmp_path / "out", "--json").error["kind"] == "output"
    assert tree(tmp_path) == {}


# -- odd places ----------------------------------------------------------------------------------------------------


def test_given_a_file_in_a_temporary_files_place_when_pulled_then_nothing_is_placed(shop, tmp_path):
    shop.publish()
    shop.nonces = itertools.repeat(7)
    (tmp_path / f".{7:032x}.1.tmp").write_text("somebody's")

    done = shop("pull", "0123", tmp_path, "--json")

    assert (done.code, done.error["kind"]) == (ExitCode.OUTPUT, "output")
    assert not [name for name in NAMES if (tmp_path / name).exists()]


def test_given_a_disk_that_fails_between_two_renames_when_pulled_then_it_says_what_is_new(
    shop, tmp_path, monkeypatch
):
    shop.publish()
    real, calls = os.replace, []

    def failing(*args, **more):
        calls.append(args)
        if len(calls) == 2:
            raise OSError(5, "Input/output error")
        real(*args, **more)

    monkeypatch.setattr(os, "replace", failing)

    done = shop("pull", "0123", tmp_path, "--json")

    assert done.error["message"].endswith(f"1 of 2 files were written before ({NAMES[0]})")
    assert files(tmp_path) == {NAMES[0]: rank_file()}


@pytest.mark.parametrize("name", ["loop", "n" * 300])
def test_given_a_place_that_cannot_be_when_pulled_then_it_says_which(shop, tmp_path, name):
    shop.publish()
    (tmp_path / "loop").symlink_to("loop")

    error = shop("pull", "0123", tmp_path / name, "--json").error

    assert error["kind"] == "output"
    assert name in error["message"]
    assert "File exists" not in error["message"]
