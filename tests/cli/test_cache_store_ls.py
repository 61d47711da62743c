import pytest
from tests.bundles import H200, bundle, identity, tombstone

from cache_store.bundle import MAX_REGISTER_BYTES
from cache_store.errors import ErrorKind
from cache_store.testing.faulty import Fails, Fault

ESC = "\x1b[31mred\x1b[0m"


@pytest.fixture
def filled(shop):
    shop.publish(created_at="2026-01-01T00:00:00Z", engine_version="0.5.23")
    shop.publish(who=identity(H200))
    shop.claim(identity(key="a" * 16))
    shop.put(identity(key="b" * 16).address.bundle_key, tombstone().encode())
    shop.put(identity(key="c" * 16).address.bundle_key, tombstone(may_retune=False).encode())
    shop.put(identity(key="d" * 16).address.bundle_key, b"{")
    shop.put(identity(key="e" * 16).address.blob_key("0" * 64), b"left over")
    return shop


def states(done):
    return [(row["key"][:4], row["state"]) for row in done.document["bundles"]]


def test_every_state_has_its_row_in_address_order(filled):
    done = filled("ls", "--json")

    assert done.code == 0
    assert states(done) == [
        ("0123", "published"),
        ("0123", "published"),
        ("aaaa", "claimed-only"),
        ("bbbb", "tombstone"),
        ("cccc", "quarantined"),
        ("dddd", "unreadable"),
        ("eeee", "orphaned"),
    ]


def test_one_list_and_one_get_a_bundle(filled):
    filled("ls")

    assert filled.requests == {"list": 1, "get": 5}


def test_names_only_is_one_list(filled):
    done = filled("ls", "--names-only", "--json")

    assert filled.requests == {"list": 1}
    assert {row["state"] for row in done.document["bundles"]} == {None}
    assert [row["has_bundle"] for row in done.document["bundles"]] == [True] * 2 + [False] + [True] * 3 + [
        False
    ]


def test_a_row_says_what_the_bundle_says(filled):
    filled.clock.advance(90)
    row = filled("ls", "--json", "--gpu", "H100 80GB", "--key", "01").document["bundles"]

    assert len(row) == 1
    wanted = {
        "model": "m",
        "engine": "sglang 0.5.23",
        "ranks": 2,
        "entries": 1,
        "tuned_by": "pod-a",
        "tuner": "flashinfer-ops",
        "tune_s": 93.5,
        "age_s": 90,
        "objects": 1,
        "epoch": 1,
        "problem": None,
    }
    assert {name: row[0][name] for name in wanted} == wanted


@pytest.mark.parametrize(
    ("flags", "count"),
    [
        (["--flashinfer", "0.7.2"], 7),
        (["--flashinfer", "0.7"], 0),
        (["--arch", "sm90"], 7),
        (["--arch", "sm100"], 0),
        (["--flashinfer", "0.7.2", "--arch", "sm90", "--key", "0123"], 2),
        (["--key", "a"], 1),
        (["--key", "x"], 0),
        (["--gpu", "h200"], 1),
        (["--gpu", "NVIDIA H200"], 1),
    ],
)
def test_filters(filled, flags, count):
    assert len(filled("ls", "--names-only", "--json", *flags).document["bundles"]) == count


def test_piped_text_is_columns(filled):
    lines = filled("ls").stdout.splitlines()

    assert lines[0].split()[:4] == ["ADDRESS", "STATE", "MODEL", "ENGINE"]
    assert len(lines) == 8
    assert (
        len({line.index(word) for line, word in zip(lines[1:3], ("published", "published"), strict=True)})
        == 1
    )
    assert lines[1].endswith("1m34s")
    assert "unreadable (bundle-corrupt)" in lines[6]


def test_long_shows_reason_and_detail(filled):
    done = filled("ls", "--long")

    assert "bad tactic" in done.stdout
    assert "invalid JSON" in done.stdout
    assert "2026-01-01T00:00:00Z" in done.stdout


def test_foreign_objects_are_counted_and_left_alone(filled):
    filled.put("readme.txt", b"hello")
    filled.put(f"{identity().address}/note{ESC}".replace("\x1b", "e"), b"x")
    filled.put(".probe/x", b"ours")
    filled.put("_resolved/y.json", b"ours")

    done = filled("ls", "--json")

    assert done.document["foreign"]["objects"] == 2
    assert done.document["foreign"]["size_bytes"] == 6
    assert len(done.document["bundles"]) == 7
    assert "2 foreign objects" in filled("ls").stderr


def test_an_empty_store_is_an_empty_answer(shop):
    assert shop("ls", "--json").document["bundles"] == []
    done = shop("ls")
    assert (done.code, done.stdout) == (0, "")
    assert "no bundles" in done.stderr


def test_a_bundle_of_another_address_is_unreadable(shop):
    shop.put(identity(key="f" * 16).address.bundle_key, bundle().encode())

    (row,) = shop("ls", "--json").document["bundles"]

    assert (row["state"], row["problem"]) == ("unreadable", "bundle-foreign")


def test_a_huge_bundle_is_a_row(shop):
    shop.put(identity().address.bundle_key, b" " * (MAX_REGISTER_BYTES + 1))

    done = shop("ls", "--json")

    assert done.code == 0
    assert [(row["state"], row["problem"]) for row in done.document["bundles"]] == [
        ("unreadable", "bundle-too-large")
    ]


def test_deep_nesting_and_numbers_that_json_does_not_have_are_rows(shop):
    shop.put(identity(key="a" * 16).address.bundle_key, b"[" * 100_000)
    odd = bundle(who=identity(key="b" * 16)).encode()
    assert b'"tune_s": 93.5' in odd
    shop.put(identity(key="b" * 16).address.bundle_key, odd.replace(b'"tune_s": 93.5', b'"tune_s": 1e400'))

    rows = shop("ls", "--json").document["bundles"]

    assert [row["state"] for row in rows] == ["unreadable", "unreadable"]


def test_escapes_from_the_bucket_do_not_reach_the_terminal(shop):
    who = identity()
    hostile = type(who)(**{**vars(who), "key_inputs": {"model_path": f"m{ESC}\r\n\u202e\u2028x"}})
    shop.publish(who=hostile, holder=f"pod{ESC}", tuner="\x07bell", engine_version="\x9b31m")

    for flags in (["ls"], ["ls", "--long"], ["show", "0123"]):
        text = shop(*flags).stdout
        assert all(one.isprintable() or one == "\n" for one in text), flags
        assert r"\x1b[31mred" in text
    row = shop("ls", "--json")
    assert row.document["bundles"][0]["model"] == f"m{ESC}\r\n\u202e\u2028x"
    assert row.stdout.isascii()
    assert "\x1b" not in row.stdout


def test_a_terminal_gets_a_tree_without_markup_from_the_bucket(filled, monkeypatch):
    who = identity(key="9" * 16)
    hostile = type(who)(**{**vars(who), "key_inputs": {"model_path": f"[bold]m[/bold]{ESC}"}})
    filled.publish(who=hostile)
    monkeypatch.setattr("cache_store.cli.output.is_terminal", lambda: True)

    text = filled("ls").stdout

    assert "s3://models/autotune" in text.splitlines()[0]
    assert "0.7.2/sm90" in text
    assert r"[bold]m[/bold]\x1b[31m" in text
    assert "\x1b" not in text


def test_without_the_right_to_list(shop):
    shop.faulty.script(Fault("list", Fails(ErrorKind.DENIED)))

    done = shop("ls", "--json")

    assert (done.code, done.stdout) == (14, "")
    assert done.error["kind"] == "store-denied"
    assert "s3:ListBucket" in done.error["message"]
    assert done.error["exit_code"] == 14


def test_a_refused_bundle_is_a_row_and_the_exit_code_says_so(filled):
    filled.faulty.script(Fault("get", Fails(ErrorKind.DENIED), key="*bbbb*"))

    done = filled("ls", "--json")

    assert done.code == 14
    assert [row["problem"] for row in done.document["bundles"] if row["key"][0] == "b"] == ["store-denied"]
    assert len(done.document["bundles"]) == 7


def test_a_store_that_goes_away_ends_it(filled):
    filled.faulty.script(Fault("get", Fails(), times=1000))

    done = filled("ls")

    assert (done.code, done.stdout) == (10, "")
    assert done.stderr.count("\n") == 1


def test_one_failure_is_tried_again(filled):
    filled.faulty.script(Fault("get", Fails(), times=1))

    assert filled("ls").code == 0


def test_a_bundle_that_is_gone_since_it_was_listed(filled, monkeypatch):
    listed = list(filled.memory.list(""))
    filled.memory.delete(identity().address.bundle_key)
    monkeypatch.setattr(filled.memory, "list", lambda _prefix: iter(listed))

    assert states(filled("ls", "--json"))[:2] == [("0123", "orphaned"), ("0123", "published")]


def test_three_hundred_bundles_keep_their_order(shop):
    keys = [f"{number:016x}" for number in range(300)]
    for key in reversed(keys):
        shop.put(identity(key=key).address.bundle_key, tombstone().encode())

    assert [row["key"] for row in shop("ls", "--json").document["bundles"]] == keys


def test_nothing_that_fits_is_not_an_empty_store(shop):
    shop.publish()
    shop.publish(who=identity(key="b" * 16))

    assert "no bundle fits; there are 2 addresses" in shop("ls", "--model", "no such").stderr


def test_the_model_of_what_was_taken_out_of_service_is_known(shop):
    address = shop.publish()
    assert shop("retire", address, "--reason", "x", "--yes").code == 0

    [row] = shop("ls", "--model", "m", "--json").document["bundles"]

    assert (row["state"], row["model"]) == ("tombstone", "m")
