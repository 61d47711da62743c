"""import: all of the file is checked first, each bundle arrives whole or not at all, and nothing published is replaced."""

import gzip
import hashlib
import io
import json
import random
import tarfile
import threading
from dataclasses import replace

import pytest
from click.testing import CliRunner
from tests.bundles import H200, bundle, identity, rank_file, tombstone
from tests.cli.conftest import Shop

from cache_store.bundle import Bundle
from cache_store.bundle_json import parse_register
from cache_store.errors import ErrorKind
from cache_store.exit_codes import ExitCode
from cache_store.objects.open_url import open_store
from cache_store.placing_bundles import Placer
from cache_store.take_bundle import take_bundle
from cache_store.testing.faulty import AppliesLate, Fails, Fault, LosesAnswer, Says

ADDRESS = identity().address
LARGE = identity(H200).address


@pytest.fixture
def archive(tmp_path):
    """An export of a bundle and of one with a blob."""
    source = Shop()
    source.publish(bundle(nonce="first"))
    source.publish_beside()
    path = tmp_path / "b.tar"
    assert source("export", path).code == 0
    return path


def stored(shop):
    """Every object but the probe's."""
    return {
        one.key: shop.memory.get(one.key, limit_bytes=10**9).body
        for one in shop.memory.list("")
        if not one.key.startswith(".probe/")
    }


def contents(path):
    with tarfile.open(path) as archive:
        return {one.name: archive.extractfile(one).read() for one in archive}


def verdicts(done):
    return [(row["verdict"], row["reason"]) for row in done.document["results"]]


def register(shop, address=ADDRESS):
    return parse_register(shop.memory.get(address.bundle_key, limit_bytes=10**9).body)


def test_what_was_exported_arrives_byte_for_byte_and_again_changes_nothing(shop, archive):
    done = shop("import", archive, "--yes", "--json")
    again = shop("import", archive, "--yes", "--json")

    expected = contents(archive)
    del expected["manifest.json"]
    assert (done.code, again.code) == (0, 0)
    assert stored(shop) == expected
    assert done.document["counts"] == {"changed": 2, "unchanged": 0, "refused": 0}
    assert again.document["counts"] == {"changed": 0, "unchanged": 2, "refused": 0}
    assert done.document["file"] == str(archive)
    assert shop("verify").code == 0


def test_a_compressed_file_whatever_its_name(shop, archive, tmp_path):
    (tmp_path / "c").write_bytes(gzip.compress(archive.read_bytes()))

    assert shop("import", tmp_path / "c", "--yes").code == 0
    assert shop("verify").code == 0


def test_export_of_an_import_is_the_same_file(shop, archive, tmp_path):
    shop("import", archive, "--yes")
    shop("export", tmp_path / "again.tar")

    assert (tmp_path / "again.tar").read_bytes() == archive.read_bytes()


# -- what lies there already ---------------------------------------------------------------------------------------


def test_another_published_bundle_stays(shop, archive):
    shop.publish(bundle({"rank_tp0_pp0_dp0.json": rank_file(tactic=9)}, nonce="other"))

    done = shop("import", archive, "--yes", "--over-retired", "--json")

    assert verdicts(done) == [("refused", "occupied"), ("changed", None)]
    assert done.code == ExitCode.REFUSED
    assert register(shop).nonce == "other"


def test_the_same_files_under_another_nonce_are_the_same(shop, archive):
    shop.publish(bundle(nonce="restored"))

    assert verdicts(shop("import", archive, "--yes", "--json"))[0] == ("unchanged", None)


def test_over_a_retired_one_only_where_asked_and_under_a_fresh_nonce(shop, archive):
    shop.put(ADDRESS.bundle_key, tombstone().encode())

    refused = shop("import", archive, "--yes", "--json")
    done = shop("import", archive, "--yes", "--over-retired", "--json")
    again = shop("import", archive, "--yes", "--over-retired", "--json")

    assert verdicts(refused)[0] == ("refused", "retired")
    row = done.document["results"][0]
    assert (row["verdict"], row["before"], row["after"]) == ("changed", "retired", "published")
    assert row["nonce"] == register(shop).nonce != "first", "equal bytes would satisfy conditions of before"
    assert register(shop).ranks == bundle().ranks
    assert verdicts(again)[0] == ("unchanged", None)


def test_a_quarantine_and_something_unreadable_stay(shop, archive):
    shop.put(ADDRESS.bundle_key, tombstone(may_retune=False).encode())
    shop.put(LARGE.bundle_key, b"{")
    before = stored(shop)

    done = shop("import", archive, "--yes", "--over-retired", "--json")

    assert verdicts(done) == [("refused", "quarantined"), ("refused", "bundle-corrupt")]
    assert done.code == ExitCode.CORRUPT
    assert stored(shop) == before


def test_a_blob_with_another_content_is_found(shop, archive):
    name = next(name for name in contents(archive) if "/blobs/" in name)
    shop.put(name, b"short")

    done = shop("import", archive, "--yes", "--json")

    assert verdicts(done) == [("changed", None), ("refused", "blob-differs")]
    assert LARGE.bundle_key not in stored(shop)


# -- asking --------------------------------------------------------------------------------------------------------


def test_without_a_yes_nothing_happens(shop, archive):
    assert shop("import", archive).code == ExitCode.USAGE
    assert shop.requests == {}


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 27)])
def test_on_a_terminal_it_says_what_it_would_do_and_asks(shop, archive, monkeypatch, answer, code):
    monkeypatch.setattr("cache_store.cli.carrying.is_asking_possible", lambda: True)
    invoke = CliRunner.invoke
    monkeypatch.setattr(CliRunner, "invoke", lambda *args, **more: invoke(*args, **more, input=answer))

    done = shop("import", archive)

    assert done.code == code
    assert f"would be imported  {ADDRESS}  (absent -> published)" in done.stderr
    assert "import 2 into s3://models/autotune? [y/N]" in done.stderr
    assert bool(stored(shop)) == (code == 0)


def test_given_all_is_there_when_imported_on_a_terminal_then_nothing_is_asked(shop, archive, monkeypatch):
    assert shop("import", archive, "--yes").code == 0
    before = stored(shop)
    monkeypatch.setattr("cache_store.cli.carrying.is_asking_possible", lambda: True)
    shop.requests.clear()

    done = shop("import", archive)

    assert done.code == 0
    assert "[y/N]" not in done.stderr
    assert done.stdout.count("unchanged") == 2
    assert (stored(shop), set(shop.requests)) == (before, {"get"})


def test_given_one_of_two_is_there_when_imported_on_a_terminal_then_the_question_says_how_many(
    shop, archive, monkeypatch
):
    assert shop("import", archive, "--yes").code == 0
    shop.store.delete(f"{ADDRESS}/bundle.json")
    monkeypatch.setattr("cache_store.cli.carrying.is_asking_possible", lambda: True)

    done = shop("import", archive)

    assert "import 1 of 2 into s3://models/autotune? [y/N]" in done.stderr


def test_a_dry_run_only_reads(shop, archive):
    done = shop("import", archive, "--dry-run", "--json")

    assert done.document["is_dry"]
    assert done.document["counts"]["changed"] == 2
    assert shop.requests == {"get": 2}
    assert stored(shop) == {}


# -- a bad file ----------------------------------------------------------------------------------------------------


def tar_of(members, *, manifest=None, form=tarfile.USTAR_FORMAT):
    """`members`: names and bodies (or TarInfo and body), with a manifest that fits them unless one is given."""
    if manifest is None:
        listed = [
            {"name": name, "sha256": hashlib.sha256(body).hexdigest(), "size_bytes": len(body)}
            for name, body in members
            if isinstance(name, str)
        ]
        places = sorted({"/".join(one["name"].split("/")[:4]) for one in listed})
        manifest = {"schema": "autotune-cache/export-manifest/v1", "addresses": places, "members": listed}
    body = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=form) as archive:
        for name, content in [("manifest.json", body), *members]:
            header = tarfile.TarInfo(name) if isinstance(name, str) else name
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
    return made.getvalue()


def special(name, kind, target=""):
    header = tarfile.TarInfo(name)
    header.type = kind
    header.linkname = target
    return header


GOOD = (ADDRESS.bundle_key, bundle().encode())
BLOB = b"{}"
BLOB_NAME = ADDRESS.blob_key("44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a")


def lying(**changes):
    manifest = {
        "schema": "autotune-cache/export-manifest/v1",
        "addresses": [str(ADDRESS)],
        "members": [{"name": GOOD[0], "sha256": "0" * 64, "size_bytes": len(GOOD[1])}],
    }
    return tar_of([GOOD], manifest=manifest | changes)


def member(**changes):
    return lying(members=[{"name": GOOD[0], "sha256": "0" * 64, "size_bytes": len(GOOD[1])} | changes])


def patched(body, at, value):
    """The first header with `value` at `at`, and a checksum that fits."""
    block = bytearray(body[:512])
    block[at : at + len(value)] = value
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + body[512:]


BAD = {
    "nothing at all": (b"", "export-truncated"),
    "no tar": (b"x" * 5000, "export-not-a-tar"),
    "zeros": (bytes(10240), "export-bad-manifest"),
    "no gzip": (b"\x1f\x8b" + b"x" * 100, "export-not-a-tar"),
    "no manifest": (tar_of([GOOD])[1024:], "export-bad-manifest"),
    "a manifest that is no JSON": (tar_of([], manifest=b"{"), "export-bad-manifest"),
    "a deep manifest": (tar_of([], manifest=b"[" * 10**6), "export-bad-manifest"),
    "another schema": (lying(schema="autotune-cache/export-manifest/v2"), "export-bad-manifest"),
    "a manifest with another digest": (lying(), "export-digest-mismatch"),
    "a manifest with another size": (member(size_bytes=3), "export-digest-mismatch"),
    "a manifest with a huge size": (member(size_bytes=10**15), "export-too-large"),
    "a manifest with a register too large": (member(size_bytes=33 << 20), "export-too-large"),
    "a negative size": (member(size_bytes=-1), "export-bad-manifest"),
    "an address without members": (
        lying(addresses=[str(ADDRESS), str(LARGE)]),
        "export-bad-manifest",
    ),
    "an absolute name": (tar_of([("/etc/passwd", b"x")]), "export-foreign-member"),
    "a name that climbs": (tar_of([("../../../../x", b"x")]), "export-foreign-member"),
    "a name that climbs below an address": (tar_of([(f"{ADDRESS}/../x", b"x")]), "export-foreign-member"),
    "a foreign object": (tar_of([(f"{ADDRESS}/claim.json", b"{}")]), "export-foreign-member"),
    "a retired copy": (tar_of([(f"{ADDRESS}/retired/x.json", b"{}")]), "export-foreign-member"),
    "a member that the manifest does not name": (
        tar_of([GOOD, ("x", b"x")], manifest=json.loads(tar_of([GOOD])[512:1024].rstrip(b"\0"))),
        "export-foreign-member",
    ),
    "a member twice": (tar_of([GOOD, GOOD]), "export-bad-manifest"),
    "a member twice in the tar": (
        tar_of([GOOD, GOOD], manifest=json.loads(tar_of([GOOD])[512:1024].rstrip(b"\0"))),
        "export-foreign-member",
    ),
    "a symbolic link": (
        tar_of([(special(GOOD[0], tarfile.SYMTYPE, "/etc/passwd"), b""), GOOD]),
        "export-foreign-member",
    ),
    "a hard link": (tar_of([(special(GOOD[0], tarfile.LNKTYPE, "x"), b""), GOOD]), "export-foreign-member"),
    "a directory": (tar_of([(special(str(ADDRESS), tarfile.DIRTYPE), b""), GOOD]), "export-foreign-member"),
    "a device": (tar_of([(special(GOOD[0], tarfile.CHRTYPE), b""), GOOD]), "export-foreign-member"),
    "a pipe": (tar_of([(special(GOOD[0], tarfile.FIFOTYPE), b""), GOOD]), "export-foreign-member"),
    "an extended header": (
        tar_of([(tarfile.TarInfo("x" * 300), b""), GOOD], form=tarfile.PAX_FORMAT),
        "export-foreign-member",
    ),
    "a GNU tar": (tar_of([GOOD], form=tarfile.GNU_FORMAT), "export-not-a-tar"),
    "a blob without a bundle": (tar_of([(BLOB_NAME, BLOB)]), "export-bad-manifest"),
    "a blob that nobody uses": (tar_of([(BLOB_NAME, BLOB), GOOD]), "export-foreign-member"),
    "a blob under another's digest": (
        tar_of([(ADDRESS.blob_key("0" * 64), BLOB), GOOD]),
        "export-bad-manifest",
    ),
    "a tombstone": (tar_of([(ADDRESS.bundle_key, tombstone().encode())]), "export-foreign-member"),
    "a bundle of another address": (tar_of([(LARGE.bundle_key, bundle().encode())]), "bundle-foreign"),
    "no bundle": (tar_of([(ADDRESS.bundle_key, b"{}")]), "bundle-corrupt"),
    "half": (tar_of([GOOD])[:2000], "export-truncated"),
    "all but the end": (tar_of([GOOD])[: 1024 + 512 + 2560], "export-truncated"),
    "something behind": (tar_of([GOOD]) + b"x" * 512, "export-foreign-member"),
    "another archive behind": (tar_of([GOOD]) * 2, "export-foreign-member"),
    "half a gzip": (gzip.compress(tar_of([GOOD]))[:-400], "export-truncated"),
    "a damaged gzip": (gzip.compress(tar_of([GOOD]))[:-8] + b"x" * 8, "export-not-a-tar"),
    "a size in base 256": (
        patched(tar_of([GOOD]), 124, b"\x80" + b"\xff" * 11),
        "export-not-a-tar",
    ),
    "a manifest of 8 GiB": (patched(tar_of([GOOD]), 124, b"77777777777\0"), "export-too-large"),
    "a name that is not ASCII": (patched(tar_of([GOOD]), 0, b"\xff"), "export-foreign-member"),
}


@pytest.mark.parametrize("given", BAD)
def test_given_a_bad_file_when_imported_then_nothing_is_written(shop, tmp_path, given):
    body, reason = BAD[given]
    (tmp_path / "bad.tar").write_bytes(body)

    done = shop("import", tmp_path / "bad.tar", "--yes", "--json")

    assert done.code == ExitCode.CORRUPT, done.stderr
    assert done.error["kind"] == reason
    assert shop.requests == {}, "not even the store is asked"


def test_given_a_file_cut_anywhere_when_imported_then_nothing_is_written(shop, archive, tmp_path):
    whole = tar_of([GOOD])
    assert import_code(shop, tmp_path, whole) == 0
    fresh = Shop()
    for length in range(0, len(whole) - 10240 + 1024 + 512 + 2105 + 512, 97):
        assert import_code(fresh, tmp_path, whole[:length]) == ExitCode.CORRUPT, length
    assert stored(fresh) == {}


def import_code(shop, folder, body):
    (folder / "cut.tar").write_bytes(body)
    return shop("import", folder / "cut.tar", "--yes").code


def test_given_a_missing_blob_when_imported_then_nothing_is_written(shop, archive, tmp_path):
    rest = [(name, body) for name, body in contents(archive).items() if "/blobs/" not in name][1:]
    (tmp_path / "less.tar").write_bytes(tar_of(rest))

    done = shop("import", tmp_path / "less.tar", "--yes", "--json")

    assert (done.code, done.error["kind"]) == (ExitCode.CORRUPT, "blob-missing")
    assert shop.requests == {}


def test_given_a_bomb_when_imported_then_little_of_it_is_unpacked(shop, tmp_path):
    with gzip.open(tmp_path / "bomb", "wb", compresslevel=1) as file:
        file.write(tar_of([GOOD]))
        for _ in range(256):
            file.write(bytes(1 << 20))

    assert shop("import", tmp_path / "bomb", "--yes", "--json").error["kind"] == "export-foreign-member"


def test_no_such_file(shop, tmp_path):
    assert shop("import", tmp_path / "none", "--yes").code == ExitCode.NOT_FOUND
    assert shop("import", tmp_path, "--yes").code == ExitCode.USAGE


@pytest.mark.parametrize("path", ["модель/日本語/🤖\u202e", "m/" * 2048])
def test_unusual_model_paths(shop, tmp_path, path):
    source = Shop()
    made = bundle()
    inputs = {**made.identity.key_inputs, "model_path": path}
    source.publish(replace(made, identity=replace(made.identity, key_inputs=inputs)))
    source("export", tmp_path / "b.tar")

    assert shop("import", tmp_path / "b.tar", "--yes").code == 0
    assert register(shop).identity.key_inputs["model_path"] == path
    assert stored(shop) == stored(source)
    shop("retire", ADDRESS, "--reason", "x", "--yes")
    assert shop("import", tmp_path / "b.tar", "--yes", "--over-retired").code == 0
    assert register(shop).identity.key_inputs["model_path"] == path


# -- a bad store ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["*/bundle.json", "*/blobs/*"])
@pytest.mark.parametrize(
    "effect",
    [LosesAnswer(), Fails(ErrorKind.TIMEOUT), Says(409), Says(412, is_applied=True), AppliesLate(0.01)],
)
def test_given_lost_and_wrong_answers_when_imported_then_it_arrives_once(shop, archive, key, effect):
    shop.faulty.script(Fault("put_if_absent", effect, key=key))

    done = shop("import", archive, "--yes", "--json")
    shop.faulty.settle()

    assert done.code == 0
    assert done.document["counts"]["refused"] == 0
    assert shop("verify").code == 0
    assert len(stored(shop)) == 3


def test_given_a_lost_answer_over_a_tombstone_when_imported_then_it_is_ours(shop, archive):
    shop.put(ADDRESS.bundle_key, tombstone().encode())
    shop.faulty.script(Fault("put_if_match", LosesAnswer(), key="*/bundle.json"))

    done = shop("import", archive, "--yes", "--over-retired", "--json")

    assert verdicts(done)[0] == ("changed", None)
    assert done.document["results"][0]["nonce"] == register(shop).nonce


def test_given_a_store_that_fails_in_the_middle_when_imported_again_then_it_goes_on(shop, archive):
    shop.faulty.script(Fault("put*", Fails(ErrorKind.UNAVAILABLE), key=LARGE.bundle_key, times=100))

    broken = shop("import", archive, "--yes", "--json")
    assert (broken.code, verdicts(broken)) == (10, [("changed", None), ("refused", "store-unavailable")])
    assert broken.document["results"][1]["is_unsettled"]
    assert LARGE.bundle_key not in stored(shop)

    shop.store = shop.memory
    assert verdicts(shop("import", archive, "--yes", "--json")) == [("unchanged", None), ("changed", None)]


@pytest.mark.parametrize("step", range(5))
def test_given_ctrl_c_before_any_write_when_run_again_then_all_is_there(shop, archive, step):
    writes = iter(range(100))
    plain = shop.memory.put_if_absent

    def interrupted(key, body):
        if next(writes) == step:
            raise KeyboardInterrupt
        return plain(key, body)

    shop.faulty.put_if_absent = interrupted
    stopped = shop("import", archive, "--yes")
    for row in shop("ls", "--json").document["bundles"]:
        assert row["state"] in ("published", "orphaned"), "a blob may be there, half a bundle may not"
    assert shop("verify").code == 0
    shop.faulty.put_if_absent = plain

    assert stopped.code == ExitCode.INTERRUPTED
    assert "run again, it goes on" in stopped.stderr or step < 2, "the probe comes first"
    assert shop("import", archive, "--yes").code == 0
    assert len(stored(shop)) == 3


def test_given_a_store_that_ignores_conditions_when_imported_then_nothing_is_written(shop, archive):
    def overwrite(key, body):
        shop.memory.delete(key)
        return type(shop.memory).put_if_absent(shop.memory, key, body)

    shop.memory.put_if_absent = overwrite

    done = shop("import", archive, "--yes", "--json")

    assert (done.code, done.error["kind"]) == (ExitCode.UNFIT, "store-ignores-conditions")
    assert stored(shop) == {}


@pytest.mark.parametrize("is_retired", [False, True])
def test_given_many_imports_at_once_when_done_then_one_bundle_and_no_failure(shop, is_retired):
    if is_retired:
        shop.put(ADDRESS.bundle_key, tombstone().encode())
    source = Shop()
    large = source.publish_beside()
    source.publish(bundle(nonce="first"))
    parcels = [take_bundle(source.memory, address) for address in (ADDRESS, large)]
    barrier = threading.Barrier(8)
    outcomes = []

    def work(which):
        placer = Placer(
            shop.faulty, shop.clock, random.Random(which), lambda: f"nonce-{which}", over_retired=True
        )
        barrier.wait()
        outcomes.extend(placer.place(parcel) for parcel in parcels)

    threads = [threading.Thread(target=work, args=(which,)) for which in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(type(one).__name__ for one in outcomes) == ["Changed"] * 2 + ["Unchanged"] * 14
    assert isinstance(register(shop), Bundle)
    assert len(stored(shop)) == 3


def test_into_a_real_server_and_out_of_it(shop, s3, archive, tmp_path):
    world = {"environ": s3.environ, "opener": open_store}

    done = shop("--store", s3.url, "import", archive, "--yes", "--json", **world)
    again = shop("--store", s3.url, "import", archive, "--yes", "--json", **world)
    out = shop("--store", s3.url, "export", tmp_path / "out.tar", **world)

    assert [one.code for one in (done, again, out)] == [0, 0, 0], done.stderr
    assert verdicts(done) == [("changed", None)] * 2
    assert verdicts(again) == [("unchanged", None)] * 2
    assert (tmp_path / "out.tar").read_bytes() == archive.read_bytes()


# -- odd files, and a stderr that is one object --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "code", "kind"),
    [
        ("n" * 300, ExitCode.USAGE, "input"),
        ("loop", ExitCode.USAGE, "input"),
        ("file/below", ExitCode.NOT_FOUND, "not-found"),
        ("nothing", ExitCode.NOT_FOUND, "not-found"),
        ("", ExitCode.USAGE, "usage"),
    ],
)
def test_given_a_place_where_no_file_can_be_when_imported_then_it_says_so(shop, tmp_path, name, code, kind):
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").write_text("x")

    done = shop("import", tmp_path / name, "--yes", "--json")

    assert (done.code, done.error["kind"]) == (code, kind)


def test_given_a_store_that_is_away_when_imported_with_json_then_the_answer_says_that_it_ended_early(
    shop, tmp_path
):
    source = Shop()
    for number in range(5):
        source.publish(bundle(who=identity(key=f"{number:016x}")))
    source("export", tmp_path / "five.tar")
    shop.faulty.script(Fault("get", Fails(ErrorKind.UNAVAILABLE), key="*/bundle.json", times=1000))

    done = shop("import", tmp_path / "five.tar", "--yes", "--json")

    assert (done.code, done.stderr) == (ExitCode.UNAVAILABLE, "")
    assert done.document["is_cut_short"] is True
    assert len(done.document["results"]) == 3
    assert "does not answer" in shop("import", tmp_path / "five.tar", "--yes").stderr


def test_something_between_two_members_is_found(shop, archive):
    """Padding is no place for a second reader's bytes."""
    body = bytearray(archive.read_bytes())
    size = int(body[124:136].rstrip(b"\0 "), 8)
    assert size % 512, "the manifest does not fill its last block"
    body[512 + size] = 1
    archive.write_bytes(bytes(body))

    done = shop("import", archive, "--yes", "--json")

    assert (done.code, done.error["kind"]) == (ExitCode.CORRUPT, "export-not-a-tar")
    assert stored(shop) == {}


def from_stdin(archive):
    invoke = CliRunner.invoke
    return lambda *args, **more: invoke(*args, **more, input=archive)


def test_an_export_comes_through_stdin(shop, archive, monkeypatch):
    monkeypatch.setattr(CliRunner, "invoke", from_stdin(archive.read_bytes()))

    done = shop("import", "-", "--yes", "--json")

    assert (done.code, done.document["counts"]["changed"], done.document["file"]) == (0, 2, "-")
    assert shop("verify").code == 0


def test_given_a_cut_stdin_when_imported_then_nothing_is_written(shop, archive, monkeypatch):
    monkeypatch.setattr(CliRunner, "invoke", from_stdin(archive.read_bytes()[:-3000]))

    done = shop("import", "-", "--yes", "--json")

    assert (done.code, stored(shop)) == (ExitCode.CORRUPT, {})


def test_given_more_on_stdin_than_any_export_has_when_imported_then_it_is_refused(shop, archive, monkeypatch):
    monkeypatch.setattr(CliRunner, "invoke", from_stdin(archive.read_bytes()))
    monkeypatch.setattr("cache_store.cli.import_.MAX_STDIN_BYTES", 100)

    assert shop("import", "-", "--yes", "--json").error["kind"] == "export-too-large"
