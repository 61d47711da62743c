"""export: one file that is the same for the same bundles, and holds sound ones only."""

import errno
import gzip
import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from tests.bundles import H200, bundle, identity, rank_file, tombstone

from cache_store.errors import ErrorKind
from cache_store.exit_codes import ExitCode
from cache_store.testing.faulty import Fails, Fault, LosesAnswer


def several(shop):
    """Three bundles, one with a blob; their addresses."""
    first, second = shop.publish(), shop.publish(who=identity(key="f" * 16))
    third = shop.publish_beside(identity(H200))
    return [first, third, second]


def members(path):
    with tarfile.open(path) as archive:
        return {one.name: archive.extractfile(one).read() for one in archive}


def test_the_file_holds_a_manifest_and_every_object_as_stored(shop, tmp_path):
    addresses = several(shop)

    done = shop("export", tmp_path / "b.tar", "--json")

    found = members(tmp_path / "b.tar")
    manifest = json.loads(found["manifest.json"])
    assert done.code == 0
    assert next(iter(found)) == "manifest.json"
    assert sorted(manifest["addresses"]) == sorted(map(str, addresses)) == done.document["addresses"]
    assert [one["name"] for one in manifest["members"]] == list(found)[1:]
    assert done.document["counts"] == {"exported": 3, "left_out": 0}
    for name, body in list(found.items())[1:]:
        assert shop.memory.get(name, limit_bytes=10**9).body == body


@pytest.mark.parametrize("name", ["b.tar", "b.tar.gz", "b.tgz"])
def test_the_same_bundles_make_the_same_bytes(shop, tmp_path, name):
    several(shop)

    (tmp_path / "x").mkdir()
    shop("export", tmp_path / name)
    shop.clock.advance(86400)
    shop("export", tmp_path / "x" / name)

    body = (tmp_path / name).read_bytes()
    assert body == (tmp_path / "x" / name).read_bytes()
    assert (body[:2] == b"\x1f\x8b") == (name != "b.tar")
    plain = gzip.decompress(body) if name != "b.tar" else body
    assert len(plain) % 10240 == 0
    with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
        assert {
            (one.mtime, one.uid, one.gid, one.uname, one.gname, one.mode, one.type, str(one.pax_headers))
            for one in archive
        } == {(0, 0, 0, "", "", 0o644, b"0", "{}")}


def test_addresses_and_beginnings_of_keys(shop, tmp_path):
    here = shop.publish()
    there = shop.publish(who=identity(H200))
    other = shop.publish(who=identity(key="f" * 16))

    shop("export", tmp_path / "key.tar", "0123")
    shop("export", tmp_path / "full.tar", other)

    assert set(members(tmp_path / "key.tar")) == {"manifest.json", here.bundle_key, there.bundle_key}
    assert set(members(tmp_path / "full.tar")) == {"manifest.json", other.bundle_key}
    assert shop.requests == {"get": 1}, "a full address takes no right to list"


def test_what_is_out_of_service_is_left_out_and_told(shop, tmp_path):
    shop.publish()
    retired, quarantined = identity(key="a" * 16).address, identity(key="b" * 16).address
    shop.put(retired.bundle_key, tombstone(reason="\x1b[2Jbad").encode())
    shop.put(quarantined.bundle_key, tombstone(may_retune=False).encode())

    done = shop("export", tmp_path / "b.tar", "--json")

    assert done.code == 0
    assert [one["reason"] for one in done.document["left_out"]] == ["retired", "quarantined"]
    assert done.stderr == ""
    told = shop("export", tmp_path / "b.tar").stderr
    assert f"left out  {retired}  (retired: \\x1b[2Jbad)" in told
    assert shop("export", tmp_path / "c.tar", retired, "0123").code == ExitCode.REFUSED


@pytest.mark.parametrize(
    ("reason", "spoil"),
    [
        ("bundle-corrupt", lambda shop, who: shop.put(who.address.bundle_key, b"{}")),
        ("bundle-foreign", lambda shop, who: shop.put(who.address.bundle_key, bundle().encode())),
        (
            "rank-file-foreign",
            lambda shop, who: shop.publish(bundle({"rank_tp0_pp0_dp0.json": rank_file(H200)}, who)),
        ),
        (
            "blob-missing",
            lambda shop, who: shop.memory.delete(
                next(shop.memory.list(f"{shop.publish_beside(who)}/blobs/")).key
            ),
        ),
    ],
)
def test_what_is_unsound_is_left_out_and_is_the_verdict(shop, tmp_path, reason, spoil):
    good = shop.publish(who=identity(key="a" * 16))
    spoil(shop, identity(key="b" * 16))

    done = shop("export", tmp_path / "b.tar", "--json")

    assert done.code == ExitCode.CORRUPT
    assert [one["reason"] for one in done.document["left_out"]] == [reason]
    assert set(members(tmp_path / "b.tar")) == {"manifest.json", good.bundle_key}


def test_given_nothing_to_export_when_exported_then_no_file(shop, tmp_path):
    (tmp_path / "old.tar").write_text("old")

    assert shop("export", tmp_path / "old.tar").code == ExitCode.NOT_FOUND
    shop.put(identity().address.bundle_key, b"{}")
    done = shop("export", tmp_path / "old.tar", "--json")

    assert (done.code, done.error["kind"]) == (13, "nothing-to-export")
    assert [one.name for one in tmp_path.iterdir()] == ["old.tar"]
    assert (tmp_path / "old.tar").read_text() == "old"


def test_given_a_store_that_fails_in_the_middle_when_exported_then_the_old_file_stays(shop, tmp_path):
    several(shop)
    (tmp_path / "b.tar").write_text("old")
    shop.faulty.script(Fault("get", Fails(ErrorKind.UNAVAILABLE), key="*/ffff*", times=100))

    assert shop("export", tmp_path / "b.tar").code == ExitCode.UNAVAILABLE
    assert [one.name for one in tmp_path.iterdir()] == ["b.tar"]
    assert (tmp_path / "b.tar").read_text() == "old"


def test_given_one_refused_object_when_exported_then_the_rest_is_there(shop, tmp_path):
    addresses = several(shop)
    shop.faulty.script(Fault("get", Fails(ErrorKind.DENIED), key="*/ffff*", times=100))

    done = shop("export", tmp_path / "b.tar", "--json")

    assert (done.code, len(done.document["addresses"])) == (ExitCode.DENIED, 2)
    assert done.document["left_out"][0]["address"] == str(addresses[2])


def test_given_lost_answers_when_exported_then_asked_again(shop, tmp_path):
    several(shop)
    shop.faulty.script(Fault("get", LosesAnswer(), times=2), Fault("list", LosesAnswer()))

    assert shop("export", tmp_path / "b.tar").code == 0


def test_stdout(shop):
    shop.publish()

    done = shop("export", "-")

    assert done.code == 0
    assert done.stdout.startswith("manifest.json\0")
    assert shop("export", "-", "--json").code == ExitCode.USAGE


@pytest.mark.parametrize("name", ["missing/b.tar", ".", "/dev/null", ""])
def test_given_no_place_for_the_file_when_exported_then_it_says_so(shop, tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shop.publish()

    done = shop("export", name, "--json")

    assert (done.code, done.error["kind"]) == (ExitCode.USAGE, "usage")
    assert shop.requests == {}, "it is told before anything is read"
    assert list(tmp_path.iterdir()) == []
    assert Path("/dev/null").is_char_device()


def test_given_a_full_disk_when_exported_then_it_is_no_bug_of_ours(shop, tmp_path, monkeypatch):
    shop.publish()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / ".0a.tmp"))

    monkeypatch.setattr("cache_store.whole_file.os.fsync", full)

    done = shop("export", tmp_path / "b.tar", "--json")

    assert (done.code, done.error["kind"]) == (ExitCode.OUTPUT, "output")
    assert done.error["message"] == f"{tmp_path}/b.tar could not be written: No space left on device"


def test_a_link_stays_one(shop, tmp_path):
    shop.publish()
    (tmp_path / "real.tar").write_text("old")
    (tmp_path / "link.tar").symlink_to("real.tar")

    shop("export", tmp_path / "link.tar")

    assert (tmp_path / "link.tar").is_symlink()
    assert (tmp_path / "real.tar").read_bytes().startswith(b"manifest.json\0")


def test_a_version_that_no_tar_can_name_is_left_out(shop, tmp_path):
    who = replace(identity(key="f" * 64), flashinfer_version="0.7.2+" + "x" * 58)
    shop.publish()
    shop.publish_beside(who)

    done = shop("export", tmp_path / "b.tar", "--json")

    assert (done.code, done.document["left_out"][0]["reason"]) == (ExitCode.REFUSED, "name-too-long")


@pytest.mark.parametrize("name", ["loop", "n" * 300])
def test_given_a_place_where_no_file_can_be_when_exported_then_it_says_so(shop, tmp_path, name):
    shop.publish()
    (tmp_path / "loop").symlink_to("loop")

    done = shop("export", tmp_path / name, "--json")

    assert (done.code, done.error["kind"]) == (ExitCode.USAGE, "usage")
    assert name in done.error["message"]
