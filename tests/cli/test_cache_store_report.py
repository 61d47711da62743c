"""`cache-store report`: the file, what it says, and what it does where something is missing. The page itself: tests/report_page."""

import json
import re
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


def data_of(path):
    text = path.read_text()
    return json.loads(
        re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1]
    )


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

    data = data_of(tmp_path / "fleet.html")
    (row,) = [row for row in data["rows"] if data["texts"][row[1]] == "published"]
    facts = [data["texts"][at] for at in row[14]]
    told = {(facts[at], facts[at + 1]): facts[at + 2] for at in range(0, len(facts), 3)}
    assert told["Environment", "gpu"] == "NVIDIA H100 80GB HBM3"
    assert told["Key", "quantization"] == "modelopt_fp8"
    assert told["Key", "skip_ops"] == "none"
    assert told["Coverage", "fp8_gemm"] == "1 entries"
    assert told["Made", "tuned in"] == "1m34s"


def test_pods_records_are_summed(filled, tmp_path):
    for number, outcome in enumerate(["hit", "hit", "cold"]):
        reason = "found" if outcome == "hit" else "known-bad-copied-rank-keys"
        one = UseRecord(at="2026-11-22T12:00:00Z", outcome=outcome, reason=reason, saved_s=30.0)
        filled.put(record_key(filled.clock.now(), f"r{number}"), one.encode())

    done = filled("report", "--html", tmp_path / "fleet.html", "--json")

    assert done.document["starts"] == 3
    text = tmp_path.joinpath("fleet.html").read_text()
    assert "66.7 %" in text
    assert "1m30s" in text
    assert "known-bad-copied-rank-keys" in text
    assert "foreign" not in re.search(r'<dl class="tiles">.*?</dl>', text, re.DOTALL)[0]


def test_an_empty_bucket_is_a_page_too(shop, tmp_path):
    done = shop("report", "--html", tmp_path / "fleet.html")

    assert done.code == 0
    assert "No workloads yet." in tmp_path.joinpath("fleet.html").read_text()


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

    assert (done.code, done.error["kind"]) == (1, "output")


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
    inputs = ({"model_path": "org/a"}, {"model": "org/b"}, {"workload": "0123456789abcdef"}, {"dtype": "bf16"})
    for number, one in enumerate(inputs):
        shop.publish(who=replace(bundles.identity(key=f"{number:016x}"), key_inputs=one))

    shop("report", "--html", tmp_path / "fleet.html")
    document = shop("stats", "--json").document
    rows = shop("ls", "--json", "--model", "org/B", "--long").stdout.splitlines()

    data = data_of(tmp_path / "fleet.html")
    models = {data["texts"][row[3]] for row in data["rows"]}
    assert models == {"org/a", "org/b", "workload 0123456789ab", "key 000000000000"}
    assert {row["name"] for row in document["by_model"]} == {"org/a", "org/b", "workload 0123456789ab", "(unknown)"}
    assert ["org/b" in one for one in rows if '"key": "0000000000000001"' in one] == [True]


def test_given_no_bundle_when_another_of_the_same_key_has_one_then_it_tells_the_model(shop, tmp_path):
    shop.publish(who=bundles.identity(key="a" * 16))
    shop.claim(bundles.identity(bundles.H200, key="a" * 16))
    shop.put(bundles.identity(bundles.H200, key="b" * 16).address.bundle_key, b"{")
    shop.put(bundles.identity(key="a" * 16, site="x").address.bundle_key, bundles.tombstone().encode())

    shop("report", "--html", tmp_path / "fleet.html")

    data = data_of(tmp_path / "fleet.html")
    models = [data["texts"][row[3]] for row in data["rows"]]
    assert sorted(models) == ["key bbbbbbbbbbbb", "m", "m", "m"]
