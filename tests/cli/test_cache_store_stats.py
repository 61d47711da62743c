"""`stats`: sums over a bucket, whatever lies in it."""

import pytest
from tests.bundles import H200, bundle, identity, tombstone
from tests.cli.test_cache_store_claims import WithoutDate

from cache_store.cli.app import run
from cache_store.errors import ErrorKind
from cache_store.exit_codes import ExitCode
from cache_store.objects.open_url import open_store
from cache_store.tally import MAX_GROUPS, MAX_NAME, OTHERS, Counted, Prices, Tally, estimate
from cache_store.testing.faulty import Fails, Fault
from cache_store.use_record import UseRecord
from cache_store.uses import MAX_NAMES, Uses


def counts(rows):
    return {row["name"]: row["count"] for row in rows if row["count"]}


def groups(rows):
    return [(row["name"], row["bundles"], row["tune_s"]) for row in rows]


@pytest.fixture
def filled(shop):
    shop.publish(tune_s=100.0)
    shop.clock.advance(3600)
    shop.publish(who=identity(H200), tune_s=20.5)
    shop.publish(who=identity(H200, key="1" * 16), tune_s=1.0)
    shop.claim(identity(H200), state="done")
    shop.claim(identity(key="a" * 16), state="held")
    shop.claim(identity(key="b" * 16), state="failed", cooldown_s=600.0)
    shop.put(identity(key="c" * 16).address.bundle_key, tombstone().encode())
    shop.put(identity(key="d" * 16).address.bundle_key, tombstone(may_retune=False).encode())
    shop.put(identity(key="e" * 16).address.bundle_key, b"{")
    shop.put("_resolved/x.json", b"ours")
    shop.put("readme.txt", b"hello")
    return shop


def test_everything_is_counted_once(filled):
    document = filled("stats", "--json").document

    assert (document["bundles"], document["objects"]) == (6, 9)
    assert document["tune_s"] == 121.5
    assert counts(document["states"]) == {
        "published": 3,
        "tombstone": 1,
        "quarantined": 1,
        "claimed-only": 2,
        "unreadable": 1,
    }
    assert counts(document["problems"]) == {"bundle-corrupt": 1}
    assert counts(document["claims"]) == {"held": 1, "cooling-down": 1, "free": 1}
    assert groups(document["by_gpu"]) == [
        ("NVIDIA H100 80GB HBM3", 6, 100.0),
        ("NVIDIA H200", 2, 21.5),
    ]
    assert groups(document["by_model"]) == [("(unknown)", 5, 0.0), ("m", 3, 121.5)]
    assert [(row["name"], row["bundles"]) for row in document["by_arch"]] == [("sm90", 8)]
    assert sum(row["size_bytes"] for row in document["by_flashinfer"]) == document["size_bytes"]
    assert (document["oldest_age_s"], document["newest_age_s"]) == (3600, 0)
    assert (document["own"]["objects"], document["own"]["size_bytes"]) == (1, 4)
    assert (document["foreign"]["objects"], document["foreign"]["size_bytes"]) == (1, 5)


def test_one_get_for_each_bundle_and_claim_and_the_cost_of_it(filled):
    document = filled("stats", "--json", "--usd-per-1000-get", "2", "--usd-per-gib-month", "0").document

    assert filled.requests == {"list": 2, "get": 9}
    assert document["cost"] == {
        "usd_per_gib_month": 0.0,
        "usd_per_thousand_get": 2.0,
        "storage_usd_per_month": 0.0,
        "thousand_hits_usd": 2.0,
        "this_answer_usd": 0.018,
    }


def test_a_gib_costs_what_a_gib_costs():
    assert estimate(Prices(0.5, 1), 3 * 1024**3, 0).storage_usd_per_month == 1.5


def test_text_says_that_the_cost_is_an_estimate(filled):
    text = filled("stats").stdout

    assert "cost       estimate, at $0.023 per GiB and month" in text
    assert "3 published" in text
    assert "1 held" in text


def test_a_part_of_the_bucket(filled):
    assert filled("stats", "--json", "--gpu", "h200").document["bundles"] == 2
    assert filled("stats", "--json", "--flashinfer", "0.6.18").document["bundles"] == 0


def test_an_empty_bucket(shop):
    document = shop("stats", "--json").document

    assert (document["bundles"], document["tune_s"], document["oldest_age_s"]) == (0, 0.0, None)
    assert shop("stats").code == 0


@pytest.mark.parametrize("price", ["-1", "nan", "1e9", "x"])
def test_prices_that_are_none(shop, price):
    assert shop("stats", "--usd-per-1000-get", price).code == 2


def test_given_no_right_to_list_when_counted_then_14(shop):
    shop.faulty.script(Fault("list", Fails(ErrorKind.DENIED)))

    done = shop("stats", "--json")

    assert (done.code, done.stdout) == (14, "")
    assert "s3:ListBucket" in done.error["message"]


def test_given_one_refused_bundle_when_counted_then_the_rest_is_and_14(filled):
    filled.faulty.script(Fault("get", Fails(ErrorKind.DENIED), key="*cccc*"))

    done = filled("stats", "--json")

    assert done.code == 14
    assert counts(done.document["problems"]) == {"bundle-corrupt": 1, "store-denied": 1}


def test_given_endless_names_when_counted_then_memory_is_bounded():
    tally = Tally()
    for number in range(MAX_GROUPS + 50):
        tally.add(Counted("published", {"model": f"{number}-" + "m" * 4096}, 1, 0.5))

    largest = tally.largest("model")

    assert largest[0][0] == OTHERS
    assert (largest[0][1].bundles, len(largest)) == (50, MAX_GROUPS + 1)
    assert max(len(name) for name, _ in largest) == MAX_NAME


def test_given_hostile_names_when_shown_then_they_are_escaped(shop):
    who = identity()
    shop.publish(who=type(who)(**{**vars(who), "key_inputs": {"model_path": "a\x1b[31m\u202eb" * 2000}}))

    text = shop("stats").stdout

    assert "\x1b" not in text
    assert "\u202e" not in text
    assert max(map(len, text.splitlines())) < 300


def test_on_a_real_s3_server(s3, capsys):
    store = open_store(s3.url, environ=s3.environ)
    for key in ("1" * 16, "2" * 16):
        one = bundle(who=identity(key=key))
        store.put_if_absent(one.identity.address.bundle_key, one.encode())

    assert run(["stats", "--store", s3.url], s3.environ) == 0
    assert capsys.readouterr().out.startswith("bundles    2 in 2 objects, ")


def test_a_gpu_that_nobody_has_tuned_on_is_the_one_of_the_other_bundles(shop):
    shop.publish(who=identity(H200))
    shop.claim(identity(H200, key="b" * 16))

    [gpu] = shop("stats", "--json").document["by_gpu"]

    assert (gpu["name"], gpu["bundles"]) == ("NVIDIA H200", 2)


def test_a_claim_that_is_stale_by_our_own_clock_alone_is_marked(shop):
    shop.claim()
    shop.store = WithoutDate(shop.memory)
    shop.clock.advance(86400)

    done = shop("stats")

    assert "1 free, 1 stale, by this computer's clock\n" in done.stdout
    assert "`cache-store doctor` compares" in done.stderr


def test_a_claim_that_is_over_needs_no_clock(shop):
    shop.claim(state="done")
    shop.store = WithoutDate(shop.memory)

    done = shop("stats")

    assert "1 free\n" in done.stdout
    assert done.stderr == ""


def use(shop, number, outcome, reason="found", who=None, **changes):
    address = (who or identity()).address
    record = UseRecord(
        at="x", outcome=outcome, reason=reason, flashinfer_version=address.flashinfer_version, arch=address.arch,
        key=address.key, environment=address.environment, **changes,
    )  # fmt: skip
    shop.put(f"_reports/2026-01-01/{number}.json", record.encode())


def test_what_pods_recorded(shop):
    shop.publish()
    use(shop, 1, "tuned", tune_s=93.5)
    use(shop, 2, "hit", saved_s=93.5)
    use(shop, 3, "hit", saved_s=93.5)
    use(shop, 4, "cold", "store-timeout", who=identity(H200))
    shop.put("_reports/2026-01-01/5.json", b"{")

    uses = shop("stats", "--json").document["uses"]
    of_one = shop("stats", "--gpu", "h200", "--json").document["uses"]
    text = shop("stats").stdout

    assert (uses["records"], uses["unread"], uses["saved_s"], uses["tune_s"]) == (4, 1, 187.0, 93.5)
    assert counts(uses["outcomes"]) == {"hit": 2, "tuned": 1, "cold": 1}
    assert counts(uses["reasons"]) == {"store-timeout": 1}
    assert (of_one["records"], counts(of_one["outcomes"])) == (1, {"cold": 1})
    assert "starts     2 hit, 1 tuned, 1 cold; spared 3m07s of tuning" in text
    assert "not warm   1 store-timeout" in text


def test_records_that_name_anything_do_not_grow_for_ever(shop):
    uses = Uses()
    for number in range(MAX_NAMES + 50):
        uses.add(UseRecord(at="x", outcome=f"o{number}", reason=f"r{number}"))

    assert len(uses.outcomes) == MAX_NAMES + 1
    assert uses.outcomes["(others)"] == 50


def test_given_a_claim_that_may_not_be_read_when_counted_then_the_status_says_so(shop):
    shop.claim()
    shop.publish(bundle(who=identity(H200)))
    shop.faulty.script(Fault("get", Fails(ErrorKind.DENIED), key="*/claim.json", times=10))

    assert shop("stats").code == ExitCode.DENIED
