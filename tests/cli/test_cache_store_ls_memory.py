"""What `ls` remembers: never more than it would read again."""

import json

import pytest
from tests.bundles import H200, identity, tombstone

from cache_store.errors import ErrorKind
from cache_store.testing.faulty import Fails, Fault


@pytest.fixture
def kept(shop, tmp_path):
    """A bucket with three bundles, listed once with a cache directory."""
    shop.home = tmp_path / "cache"
    shop.home.mkdir()
    shop.environ = {"AUTOTUNE_STORE": "s3://models/autotune", "XDG_CACHE_HOME": str(shop.home)}
    shop.publish()
    shop.publish(who=identity(H200))
    shop.put(identity(key="b" * 16).address.bundle_key, tombstone().encode())
    shop.first = ls(shop)
    assert shop.requests == {"list": 1, "get": 3}
    return shop


def ls(shop, *flags):
    done = shop("ls", "--json", *flags, environ=shop.environ)
    assert done.code == 0, done.stderr
    return done.document["bundles"]


def change(shop, who, body):
    key = who.address.bundle_key
    shop.memory.delete(key)
    shop.put(key, body)


def test_nothing_changed_means_one_list_and_the_same_answer(kept):
    assert ls(kept) == kept.first
    assert kept.requests == {"list": 1}


def test_what_changed_is_read_again_and_nothing_else(kept):
    change(kept, identity(H200), tombstone(may_retune=False).encode())

    assert [row["state"] for row in ls(kept)] == ["published", "quarantined", "tombstone"]
    assert kept.requests == {"list": 1, "get": 1}
    ls(kept)
    assert kept.requests == {"list": 1}


def test_ages_and_claims_are_the_listings(kept):
    kept.clock.advance(60)
    kept.claim(identity(H200))

    rows = ls(kept)
    assert [row["age_s"] for row in rows] == [60, 60, 60]
    assert [row["has_claim"] for row in rows] == [False, True, False]
    assert kept.requests == {"list": 1}


def test_filters_and_orders_take_what_is_remembered(kept):
    assert [row["state"] for row in ls(kept, "--state", "tombstone")] == ["tombstone"]
    assert len(ls(kept, "--model", "m", "--sort", "-took")) == 2
    assert kept.requests == {"list": 1}


def test_no_cache_reads_all_and_leaves_the_file(kept):
    (file,) = (kept.home / "autotune-cache").iterdir()
    before = file.read_bytes()
    kept.publish(who=identity(key="c" * 16))

    assert len(ls(kept, "--no-cache")) == 4
    assert kept.requests == {"list": 1, "get": 4}
    assert file.read_bytes() == before


def test_what_is_gone_is_forgotten_below_the_listed_prefix_only(kept):
    kept.memory.delete(identity(H200).address.bundle_key)
    kept.memory.delete(identity(key="b" * 16).address.bundle_key)
    arch, key = identity(H200).arch, identity(H200).key

    ls(kept, "--flashinfer", identity(H200).flashinfer_version, "--arch", arch, "--key", key)

    (file,) = (kept.home / "autotune-cache").iterdir()
    known = [json.loads(line)[0] for line in file.read_text().splitlines()[1:]]
    assert identity(H200).address.bundle_key not in known
    assert identity(key="b" * 16).address.bundle_key in known


@pytest.mark.parametrize("flags", [["--names-only"], ["--arch", "sm10"], ["--older-than", "1d"]])
def test_a_listing_that_reads_less_forgets_nothing(kept, flags):
    ls(kept, *flags)
    ls(kept)

    assert kept.requests == {"list": 1}


def test_what_could_not_be_read_is_asked_for_again(kept):
    denied = identity(key="d" * 16).address.bundle_key
    kept.publish(who=identity(key="d" * 16))
    kept.faulty.script(Fault("get", Fails(ErrorKind.DENIED), key=denied))
    shown = kept("ls", "--json", environ=kept.environ)
    assert [row["state"] for row in shown.document["bundles"]].count("unreadable") == 1

    assert [row["state"] for row in ls(kept)].count("unreadable") == 0


@pytest.mark.parametrize(
    "spoil",
    [
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(b"\xff\xfe not ours \n" * 9),
        lambda file: file.write_bytes(b"[" * 100_000),
        lambda file: file.write_bytes(file.read_bytes().replace(b"ls-memory/v2", b"ls-memory/v0")),
        lambda file: file.write_bytes(file.read_bytes()[:-40]),
        lambda file: file.write_bytes(file.read_bytes().splitlines(keepends=True)[0] + b'["x", 1, []]\n3\n'),
        lambda file: (file.unlink(), file.mkdir()),
    ],
    ids=["empty", "bytes", "deep", "other release", "cut", "strange rows", "directory"],
)
def test_a_spoiled_memory_is_read_past(kept, spoil):
    (file,) = (kept.home / "autotune-cache").iterdir()
    spoil(file)

    assert ls(kept) == kept.first
    assert kept.requests["get"] >= 1


@pytest.mark.parametrize("home", [{}, {"HOME": "/nonexistent"}, {"XDG_CACHE_HOME": "relative"}])
def test_without_a_directory_nothing_is_kept(kept, home):
    kept.environ = {"AUTOTUNE_STORE": "s3://models/autotune", **home}
    ls(kept)

    assert ls(kept) == kept.first
    assert kept.requests == {"list": 1, "get": 3}


@pytest.mark.parametrize("has_cache", [True, False])
def test_a_home_is_enough(kept, tmp_path, has_cache):
    if has_cache:
        (tmp_path / ".cache").mkdir()
    kept.environ = {"AUTOTUNE_STORE": "s3://models/autotune", "HOME": str(tmp_path)}
    ls(kept)
    ls(kept)

    assert kept.requests == {"list": 1}
    assert (tmp_path / ".cache" / "autotune-cache").stat().st_mode & 0o077 == 0


def test_another_endpoint_is_another_store(kept):
    kept.environ["AWS_ENDPOINT_URL_S3"] = "http://elsewhere:9000"
    ls(kept)

    assert kept.requests == {"list": 1, "get": 3}


@pytest.mark.parametrize("value", [5, True, ["x"], {}, 1e400])
@pytest.mark.parametrize("at", range(18))
def test_given_a_value_that_no_bundle_has_when_listed_then_it_is_a_miss(kept, at, value):
    [file] = kept.home.rglob("*.jsonl")
    head, *lines = file.read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    for row in rows:
        row[2][at] = value if value != 5 or not isinstance(row[2][at], (int, float)) else "five"
    file.write_text("\n".join([head, *map(json.dumps, rows)]) + "\n")

    assert ls(kept, "--sort", "model,epoch,took") != []
    assert [row["model"] for row in ls(kept, "--model", "M")] == ["m", "m"]
