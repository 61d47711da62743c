"""`cache-store report`: the file, what it says, and what it does where something is missing. The page itself: tests/report_page."""

import json
import re
import shlex
from dataclasses import replace

import pytest
from tests import bundles
from tests.cli.conftest import Shop

from cache_store.errors import ErrorKind
from cache_store.testing.faulty import Fails, Fault
from cache_store.use_record import UseRecord, record_key


@pytest.fixture
def filled(shop):
    shop.publish()
    shop.claim(
        who=bundles.identity(bundles.H200),
        state="failed",
        error="out of memory",
        tail=("line 1", "CUDA error"),
    )
    bad = bundles.identity(key="b" * 16).address
    shop.put(bad.bundle_key, bundles.tombstone(may_retune=False, reason="slow tactic").encode())
    shop.put(bundles.identity(key="c" * 16).address.bundle_key, b"{")
    return shop  # fmt: skip


TEXTS = ("address", "state", "claim", "coverage", "model", "gpu", "version", "engine", "by", "at", "note")


def data_of(path):
    text = path.read_text()
    return json.loads(
        re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1]
    )


def rows_of(path):
    """The rows in words; `facts`: (section, name) -> value."""
    data = data_of(path)
    found = []
    for raw in data["rows"]:
        words = [data["texts"][at] for at in raw[-1]]
        facts = {tuple(words[at].split("\n")): words[at + 1] for at in range(0, len(words), 2)}
        found.append(
            {**{name: data["texts"][at] for name, at in zip(TEXTS, raw, strict=False)}, "facts": facts}
        )
    return found


def test_a_page_is_written_and_told(filled, tmp_path):
    path = tmp_path / "fleet.html"
    done = filled("report", "--html", path, "--json")

    assert done.code == 0
    assert done.document["size_bytes"] == path.stat().st_size
    assert {row["name"]: row["count"] for row in done.document["states"]} == {
        "published": 1, "quarantined": 1, "unreadable": 1, "claimed-only": 1,
    }  # fmt: skip
    kinds = [row["kind"] for row in done.document["troubles"]]
    assert kinds == ["failed", "unreadable", "quarantined"]
    text = path.read_text()
    assert "out of memory" in text
    assert "line 1\nCUDA error" in text
    assert "slow tactic (by ops)" in text
    assert [one.name for one in tmp_path.iterdir()] == ["fleet.html"]


def test_every_request_is_a_read(filled, tmp_path):
    filled("report", "--html", tmp_path / "fleet.html")

    assert filled.requests == {"list": 2, "get": 4}


def test_identity_and_coverage_are_in_the_page(filled, tmp_path):
    filled("report", "--html", tmp_path / "fleet.html")

    (row,) = [row for row in rows_of(tmp_path / "fleet.html") if row["state"] == "published"]
    told = row["facts"]
    assert told["Environment", "gpu"] == "NVIDIA H100 80GB HBM3"
    assert told["Inputs of the key", "quantization"] == "modelopt_fp8"
    assert told["Inputs of the key", "skip_ops"] == "none"
    assert told["Entries by op", "fp8_gemm"] == "1"
    assert told["Made", "tuned in"] == "1m34s"
    assert (told["Rank files", "files"], told["Rank files", "of which different"]) == ("2", "1")


@pytest.mark.parametrize(
    ("fields", "state", "kinds", "note"),
    [
        ({"state": "held"}, "being tuned", [], "pod-a is tuning"),
        ({"state": "held", "age_s": 7200}, "stale", ["stale"], "last heard of 2h00m before this was read"),
        (
            {"state": "failed", "error": "out of memory", "cooldown_s": 600.0},
            "failed",
            ["failed"],
            "pod-a: out of memory",
        ),
        (
            {"state": "failed", "error": "out of memory", "age_s": 7200},
            "failed",
            ["failed"],
            "pod-a: out of memory",
        ),
        ({"state": "released"}, "claimed", [], "has ended its claim"),
    ],
)
@pytest.mark.parametrize("is_retired", [False, True])
def test_a_claim_is_being_tuned_only_while_it_holds(shop, tmp_path, fields, state, kinds, note, is_retired):
    age_s = fields.get("age_s", 0)
    shop.claim(**{name: value for name, value in fields.items() if name != "age_s"})
    if is_retired:
        shop.put(bundles.identity().address.bundle_key, bundles.tombstone().encode())
    shop.clock.advance(age_s)

    done = shop("report", "--html", tmp_path / "fleet.html", "--json")

    (row,) = rows_of(tmp_path / "fleet.html")
    expected = ("retired", state if state != "claimed" else "") if is_retired else (state, "")
    assert (row["state"], row["claim"]) == expected
    assert note in row["note"]
    assert [one["kind"] for one in done.document["troubles"]] == kinds
    assert row["facts"]["Claim", "holder"] == "pod-a"


def test_given_a_retired_copy_then_its_retirement_is_told_and_the_present_one_once(shop, tmp_path):
    who = bundles.identity()
    for nonce in ("old1", "old2"):
        shop.put(f"{who.address}/retired/{nonce}.json", bundles.bundle().encode())
        shop.clock.advance(2 * 86400)
    stone = replace(
        bundles.tombstone(), retired_copy="retired/old2.json", retired_at=shop.clock.now().isoformat()
    )
    shop.put(who.address.bundle_key, stone.encode())

    shop("report", "--html", tmp_path / "fleet.html")

    text = tmp_path.joinpath("fleet.html").read_text()
    assert len(re.findall(r"<title>\S+: 1 retired</title>", text)) == 2


def records(shop, outcomes):
    who = bundles.identity().address
    for number, outcome in enumerate(outcomes):
        reason = "found" if outcome == "hit" else "known-bad-copied-rank-keys"
        one = UseRecord(
            at="2026-11-22T12:00:00Z", outcome=outcome, reason=reason, saved_s=3000.0 if outcome == "hit" else 0.0,
            flashinfer_version=who.flashinfer_version, arch=who.arch, key=who.key, environment=who.environment,
        )  # fmt: skip
        shop.put(record_key(shop.clock.now(), f"r{number}"), one.encode())


def test_pods_records_are_summed(filled, tmp_path):
    records(filled, ["hit", "hit", "cold"])

    done = filled("report", "--html", tmp_path / "fleet.html", "--json")

    assert (done.document["starts"], done.document["unread_starts"]) == (3, 0)
    text = tmp_path.joinpath("fleet.html").read_text()
    tiles = re.search(r'<dl class="tiles">.*?</dl>', text, re.DOTALL)[0]
    assert "66.7 %" in tiles
    assert "<dd>1.7 h</dd>" in tiles
    assert "in 3 recorded starts since 2026-11-22" in tiles
    assert "not ours" not in tiles
    assert "2026-11-22: 2 warm" in text


def test_a_known_bad_row_that_pods_met_needs_attention_and_says_what_and_where(shop, tmp_path):
    shop.publish()
    records(shop, ["skipped", "skipped"])

    done = shop("report", "--html", tmp_path / "fleet.html")

    text = tmp_path.joinpath("fleet.html").read_text()
    assert "need attention: 1" in done.stderr
    assert "all is well" not in text
    assert "a file whose MoE entries name another rank" in text
    assert text.count(f'href="#at={bundles.identity().address}"') == 1


@pytest.mark.parametrize(("kind", "code"), [(ErrorKind.DENIED, 14), (ErrorKind.INVALID, 0)])
def test_given_one_record_that_cannot_be_read_then_the_others_count(filled, tmp_path, kind, code):
    records(filled, ["hit"] * 3)
    filled.put(record_key(filled.clock.now(), "garbage"), b"{")
    filled.faulty.script(Fault("get", Fails(kind), key="*/r1.json"))

    done = filled("report", "--html", tmp_path / "fleet.html", "--json")

    assert (done.code, done.document["starts"], done.document["unread_starts"]) == (code, 2, 2)
    text = tmp_path.joinpath("fleet.html").read_text()
    assert "2 records, 2 unreadable" in text
    assert "No pod leaves records here" not in text


def test_given_records_that_may_not_be_listed_then_the_page_says_so(filled, tmp_path):
    records(filled, ["hit"])
    filled.faulty.script(Fault("list", Fails(ErrorKind.DENIED), key="_reports/"))

    done = filled("report", "--html", tmp_path / "fleet.html", "--json")

    assert (done.code, done.document["starts"]) == (14, 0)
    assert "records could not all be read: denied" in tmp_path.joinpath("fleet.html").read_text()


def test_an_empty_bucket_is_a_page_too(shop, tmp_path):
    done = shop("report", "--html", tmp_path / "fleet.html")

    assert done.code == 0
    text = tmp_path.joinpath("fleet.html").read_text()
    assert "nothing is here yet" in text
    assert "autotune-init run --store s3://models/autotune" in text
    assert "all is well" not in text


def test_given_a_bundle_of_a_hundred_thousand_facts_then_the_page_counts_them(shop, tmp_path):
    who = bundles.identity()
    inputs = {**who.key_inputs, **{f"k{number}": f"v{number}" for number in range(100_000)}}
    body = bundles.rank_file()
    one = bundles.bundle(
        {f"{number:05d}.json": body + b" " * number for number in range(2000)},
        who=replace(who, key_inputs=inputs),
    )
    shop.publish(
        replace(one, coverage=replace(one.coverage, ops={f"op{number}": 1 for number in range(9000)}))
    )

    done = shop("report", "--html", tmp_path / "fleet.html", "--json")

    (row,) = rows_of(tmp_path / "fleet.html")
    assert len(row["facts"]) <= 220
    assert done.document["size_bytes"] < 100_000
    assert row["facts"]["Inputs of the key", "not shown"] == "99,964 more: cache-store show has all"
    assert row["facts"]["Rank files", "files"] == "2000"
    assert "tuned in" in {name for _, name in row["facts"]}, (
        "what is long does not push out what is asked for"
    )


def test_the_page_s_commands_are_commands(filled, tmp_path):
    filled("report", "--html", tmp_path / "fleet.html")

    data = data_of(tmp_path / "fleet.html")
    by_state = {row["state"]: row["address"] for row in rows_of(tmp_path / "fleet.html")}
    for name, state in (
        ("show", "published"),
        ("unlock", "failed"),
        ("release", "quarantined"),
        ("verify", "unreadable"),
    ):
        before, after = data["commands"][name]
        words = shlex.split(before + by_state[state] + after)
        assert words[0] == "cache-store"
        ran = filled(
            *words[1:], *(() if name in ("show", "verify") else ("--dry-run",)), "--json", environ={}
        )
        assert ran.code != 2, ran.stderr


def test_to_stdout(filled):
    done = filled("report", "--html", "-")

    assert done.stdout.startswith("<!doctype html>")
    assert done.stdout.rstrip().endswith("</html>")


def test_stdout_cannot_be_page_and_json(filled):
    assert filled("report", "--html", "-", "--json").error["kind"] == "usage"


def test_without_the_right_to_list(filled, tmp_path):
    filled.faulty.script(Fault("list", Fails(ErrorKind.DENIED), times=10))

    done = filled("report", "--html", tmp_path / "fleet.html", "--json")

    assert done.code == 14
    assert "s3:ListBucket" in done.error["message"]
    assert list(tmp_path.iterdir()) == []


def test_given_a_place_that_cannot_be_written_then_it_says_so(filled, tmp_path):
    done = filled("report", "--html", tmp_path / "absent" / "fleet.html", "--json")

    assert (done.code, done.error["kind"]) == (2, "usage")
    assert filled.requests == {}  # told before anything is read


def test_given_a_disk_without_room_when_written_then_it_is_no_bug_of_ours(filled, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cache_store.cli.report.whole_file", full)

    done = filled("report", "--html", tmp_path / "fleet.html", "--json")

    assert (done.code, done.error["kind"]) == (16, "output")


@pytest.mark.parametrize(
    "model", ["</script><script>alert(1)</script>", "<!--<script>", "a\u2028b\x00\x1b[31m\u202e", "m" * 9000]
)
def test_given_a_hostile_name_then_it_is_text_and_nothing_else(tmp_path, model):
    shop = Shop()
    who = replace(bundles.identity(), key_inputs={"model_path": model})
    shop.publish(who=who)

    shop("report", "--html", tmp_path / "fleet.html")

    text = tmp_path.joinpath("fleet.html").read_text()
    assert text.count("<script") == 2
    assert text.count("</script>") == 2
    assert not {"\u2028", "\x00", "\x1b", "\u202e"} & set(text)
    assert max(map(len, data_of(tmp_path / "fleet.html")["texts"])) <= 5000


@pytest.mark.parametrize(
    "created_at",
    [
        "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "1970-01-01T00:00:00Z", "2026-13-99", "2026-11-22T12:00:00", "",
    ],
)  # fmt: skip
def test_given_a_date_that_cannot_be_then_the_store_s_own_stands_in(shop, tmp_path, created_at):
    shop.publish(bundles.bundle(created_at=created_at))

    assert shop("report", "--html", tmp_path / "fleet.html").code == 0

    text = tmp_path.joinpath("fleet.html").read_text()
    drawn = re.findall(r"<title>(\S+): 1 published</title>", text)
    assert drawn == [f"{shop.clock.now():%Y-%m-%d}"]


def test_each_engine_s_way_to_name_its_model(shop, tmp_path):
    inputs = (
        {"model_path": "org/a"},
        {"model": "org/b"},
        {"workload": "0123456789abcdef"},
        {"dtype": "bf16"},
    )
    for number, one in enumerate(inputs):
        shop.publish(who=replace(bundles.identity(key=f"{number:016x}"), key_inputs=one))

    shop("report", "--html", tmp_path / "fleet.html")
    document = shop("stats", "--json").document
    rows = shop("ls", "--json", "--model", "org/B", "--long").stdout.splitlines()

    models = {row["model"] for row in rows_of(tmp_path / "fleet.html")}
    assert models == {"org/a", "org/b", "workload 0123456789ab", "key 000000000000"}
    assert {row["name"] for row in document["by_model"]} == {
        "org/a",
        "org/b",
        "workload 0123456789ab",
        "(unknown)",
    }
    assert ["org/b" in one for one in rows if '"key": "0000000000000001"' in one] == [True]


def test_given_no_bundle_when_another_of_the_same_key_has_one_then_it_tells_the_model(shop, tmp_path):
    shop.publish(who=bundles.identity(key="a" * 16))
    shop.claim(bundles.identity(bundles.H200, key="a" * 16))
    shop.put(bundles.identity(bundles.H200, key="b" * 16).address.bundle_key, b"{")
    shop.put(bundles.identity(key="a" * 16, site="x").address.bundle_key, bundles.tombstone().encode())

    shop("report", "--html", tmp_path / "fleet.html")

    models = [row["model"] for row in rows_of(tmp_path / "fleet.html")]
    assert sorted(models) == ["key bbbbbbbbbbbb", "m", "m", "m"]
