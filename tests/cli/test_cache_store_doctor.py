import json

import pytest
from tests.servers import KEYS, free_port

from cache_store.cli.diagnosis import S3_ACTIONS, Check, diagnose, iam_policy
from cache_store.cli.reach import reach_of
from cache_store.clock import SystemClock
from cache_store.errors import ErrorKind
from cache_store.objects import Written
from cache_store.objects.open_url import open_store
from cache_store.probe import ProbeResult, RaceReport, StoreClass
from cache_store.testing.clock import ManualClock
from cache_store.testing.faulty import AppliesLate, Fails, Fault, Says

DENIED = Fails(ErrorKind.DENIED)


def results(done):
    return {check["name"]: check["result"] for check in done.document["checks"]}


def test_an_honest_store(shop):
    done = shop("doctor", "--json")

    assert done.code == 0
    assert (done.document["class"], done.document["use"]) == ("full", "tune")
    assert set(results(done).values()) == {"passed"}
    assert done.document["clock_ahead_s"] == 0
    assert done.document["latency_s"] == 0
    assert (done.document["missing_rights"], done.document["policy"], done.document["race"]) == (
        [],
        None,
        None,
    )
    assert list(shop.memory.list("")) == []


def test_a_full_store_under_a_race(shop):
    done = shop("doctor", "--race", "--race-rounds", "2", "--json")

    assert done.code == 0
    assert done.document["race"] == {
        "rounds": 2,
        "threads": 32,
        "unanswered": 0,
        "is_atomic": True,
        "problems": [],
    }
    assert "one winner each" in shop("doctor", "--race", "--race-rounds", "1").stdout
    assert list(shop.memory.list("")) == []


class Racy:
    """Honest to the probe, and tells every writer of a race (numbered objects) that it won."""

    def __init__(self, store):
        self._store = store

    def __getattr__(self, name):
        return getattr(self._store, name)

    def put_if_absent(self, key, body):
        if "-0" in key or "-1" in key:
            self._store.delete(key)
            answer = self._store.put_if_absent(key, body)
            return answer if isinstance(answer, Written) else Written('"x"')
        return self._store.put_if_absent(key, body)


def test_a_store_that_keeps_conditions_only_alone(shop):
    shop.store = Racy(shop.memory)

    done = shop("doctor", "--race", "--race-rounds", "2", "--json")

    assert (done.code, done.document["use"], done.document["class"]) == (21, "read", "full")
    assert done.document["race"]["is_atomic"] is False


@pytest.mark.parametrize(
    ("faults", "store_class"),
    [
        ([Fault("put_if_absent", Fails(ErrorKind.UNSUPPORTED), times=9)], "rejects"),
        ([Fault("put_if_absent", Fails(ErrorKind.UNSUPPORTED), skip=1)], "rejects"),
        ([Fault("put_if_absent", Says(412), times=9)], "rejects"),
        ([Fault("put_if_match", Fails(ErrorKind.UNSUPPORTED))], "create-only"),
        ([Fault("put_if_match", Says(412), times=9)], "create-only"),
    ],
)
def test_stores_that_do_not_keep_conditions(shop, faults, store_class):
    shop.faulty.script(*faults)

    done = shop("doctor", "--json")

    assert (done.code, done.document["class"], done.document["use"]) == (21, store_class, "read")


@pytest.mark.parametrize(
    ("faults", "missing", "use", "code"),
    [
        ([Fault("*", DENIED, times=99)], ["list", "read", "write"], "nothing", 14),
        ([Fault("put*", DENIED, times=99)], ["write"], "read", 14),
        ([Fault("list", DENIED), Fault("get", DENIED)], ["list"], "read", 14),
        ([Fault("get", DENIED, times=99)], ["read"], "nothing", 14),
        ([Fault("list", DENIED)], ["list"], "tune", 0),
        ([Fault("delete", DENIED, times=99)], ["delete"], "tune", 0),
        ([Fault("put_if_match", DENIED)], ["write"], "read", 14),
    ],
    ids=["everything", "put", "list, so that a miss is a 403", "get", "list alone", "delete", "overwriting"],
)
def test_what_is_refused_names_the_right_that_is_missing(shop, faults, missing, use, code):
    shop.faulty.script(*faults)

    done = shop("doctor", "--json")

    assert (done.document["missing_rights"], done.document["use"], done.code) == (missing, use, code)
    assert done.document["exit_code"] == code
    granted = [one for statement in done.document["policy"]["Statement"] for one in statement["Action"]]
    assert granted == [S3_ACTIONS[right] for right in S3_ACTIONS if right in missing]
    assert done.document["policy_gc"]["Statement"][0]["Resource"] == ["arn:aws:s3:::models/autotune/*"]


def test_missing_rights_in_text_are_s3_actions_and_a_policy(shop):
    shop.faulty.script(Fault("put*", DENIED, times=99))

    text = shop("doctor").stdout

    assert "missing  the right to write (s3:PutObject)" in text
    policy, at = json.JSONDecoder().raw_decode(text, text.index("{"))
    assert [(one["Action"], one["Resource"]) for one in policy["Statement"]] == [
        (["s3:PutObject"], ["arn:aws:s3:::models/autotune/*"])
    ]
    of_gc = json.loads(text[text.index("{", at) :])
    assert of_gc["Statement"][0]["Action"] == ["s3:DeleteObject"]


def test_how_the_store_is_reached_is_told_without_secrets():
    keys = {
        "AWS_ACCESS_KEY_ID": "AKIAEXAMPLEQ7DL",
        "AWS_SECRET_ACCESS_KEY": "hunter2hunter2",
        "AWS_REGION": "eu-west-1",
    }
    reach = reach_of(
        "s3://b/p", "cache_store.objects.obstore_cloud", {**keys, "AWS_ENDPOINT_URL": "http://u:p@h:1"}
    )

    assert vars(reach) == {
        "adapter": "obstore",
        "endpoint": "http://h:1",
        "region": "eu-west-1",
        "credentials": "AWS_ACCESS_KEY_ID",
        "access_key_end": "Q7DL",
    }
    profile = reach_of("s3://b/p", "cache_store.objects.fsspec_any", {"AWS_PROFILE": "x"})
    assert (profile.adapter, profile.credentials) == ("fsspec", "AWS_PROFILE")
    assert reach_of("s3://b", "obstore_cloud", {}).credentials == "the role of this machine"
    assert vars(reach_of("file:///d", "cache_store.objects.directory", keys))["credentials"] is None
    assert reach_of("gs://b", "obstore_cloud", {}).credentials == "what the client finds by itself"


def test_rounds_of_no_race_are_wrong_usage(shop):
    assert shop("doctor", "--race-rounds", "3").code == 2


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (ErrorKind.UNAVAILABLE, 10),
        (ErrorKind.TIMEOUT, 10),
        (ErrorKind.NOT_FOUND, 10),
        (ErrorKind.INVALID, 2),
        (ErrorKind.INTERNAL, 1),
    ],
)
def test_a_store_that_cannot_be_asked(shop, kind, code):
    shop.faulty.script(Fault("get", Fails(kind)))

    done = shop("doctor", "--json")

    assert (done.code, done.document["use"], done.document["class"]) == (code, "nothing", None)
    assert results(done) == {"get": "failed"} | dict.fromkeys(
        ("list", "write", "read", "conditions", "delete"), "skipped"
    )
    assert len(done.document["advice"]) == 1


def test_writes_that_are_not_answered(shop):
    shop.faulty.script(Fault("put_if_absent", AppliesLate(1)))

    done = shop("doctor", "--json")

    assert (done.code, done.document["use"]) == (10, "read")


def test_a_clock_that_is_off_gets_advice(shop):
    shop.clock.advance(86400)
    own = ManualClock()

    done = shop("doctor", "--json", clock=own)

    assert done.document["clock_ahead_s"] == 86400
    assert "86400 s behind the store's: set it (NTP)" in done.document["advice"][0]
    assert "misjudged" in shop("doctor", clock=own).stdout


def test_a_probe_object_that_stays_behind_is_named(shop):
    shop.faulty.script(Fault("delete", DENIED, times=9))

    done = shop("doctor", "--race", "--json")

    assert done.code == 0
    left = {entry.key for entry in shop.memory.list("")}
    assert set(done.document["left_objects"]) == left
    assert len(left) == 2
    assert done.document["left_behind"] in left
    assert all(key in done.document["advice"][-1] for key in left)
    assert "lifecycle rule" in done.document["advice"][-1]
    assert results(done)["race"] == "skipped", "each of its rounds would leave one more"


def test_control_c_in_the_middle_leaves_nothing_behind(shop, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("cache_store.cli.doctor.probe_store", interrupt)

    done = shop("doctor", "--json")

    assert (done.code, done.error["kind"], done.stdout) == (130, "interrupted", "")
    assert list(shop.memory.list("")) == []


# -- through the real adapters -----------------------------------------------------------------------------------------


@pytest.fixture(params=["obstore", "fsspec"])
def at(request, shop):
    """The doctor on a real endpoint."""

    def examine(endpoint):
        flags = ("--store", "s3://b/p", "--adapter", request.param, "--timeout", "2", "--json")
        environ = {**KEYS, "AWS_ENDPOINT_URL_S3": endpoint}
        return shop("doctor", *flags, environ=environ, opener=open_store, clock=SystemClock())

    return examine


@pytest.mark.parametrize(
    ("dialect", "store_class", "code"),
    [
        ("honest", "full", 0),
        ("ignores", "ignores", 21),
        ("overwrites", "ignores", 21),
        ("creates-only", "create-only", 21),
        ("rejects-501", "rejects", 21),
        ("rejects-400", "rejects", 21),
    ],
)
def test_real_adapters_on_each_kind_of_store(stub, at, dialect, store_class, code):
    stub.dialect = dialect

    done = at(stub.endpoint)

    assert (done.document["class"], done.code) == (store_class, code)
    assert done.document["latency_s"] > 0
    if dialect == "honest":
        assert abs(done.document["clock_ahead_s"]) < 5
    assert not stub.objects


@pytest.mark.parametrize(
    ("fault", "code", "kind"), [("403", 14, "denied"), ("503", 10, "unavailable"), ("hang", 10, "timeout")]
)
def test_real_adapters_on_a_store_in_trouble(stub, at, fault, code, kind):
    stub.fault = fault

    done = at(stub.endpoint)

    assert (done.code, done.document["checks"][0]["kind"]) == (code, kind)


@pytest.mark.parametrize(
    ("fault", "fault_code", "told"),
    [
        ("403", "SignatureDoesNotMatch", "the secret key does not belong to the access key"),
        ("403", "InvalidAccessKeyId", "does not know this access key"),
        ("403", "RequestTimeTooSkewed", "clock is far from the store's"),
        ("400", "ExpiredToken", "have expired"),
        ("400", "InvalidToken", "the session token does not belong"),
    ],
)
def test_given_credentials_that_are_refused_when_asked_then_it_says_so_and_names_no_right(
    stub, at, fault, fault_code, told
):
    stub.fault, stub.fault_code = fault, fault_code

    done = at(stub.endpoint)

    assert (done.code, done.document["checks"][0]["kind"], done.document["use"]) == (14, "denied", "nothing")
    assert told in done.document["sentence"]
    assert (done.document["missing_rights"], done.document["policy"]) == ([], None)
    assert {check["result"] for check in done.document["checks"][1:]} == {"skipped"}


def test_a_bucket_that_is_not_there(stub, at):
    stub.fault, stub.fault_code = "404", "NoSuchBucket"

    assert at(stub.endpoint).code == 10


def test_nobody_listens(at):
    assert at(f"http://127.0.0.1:{free_port()}").code == 10


# -- the decision alone ------------------------------------------------------------------------------------------------

FULL = ProbeResult(StoreClass.FULL, "")


@pytest.mark.parametrize(
    ("race", "code"),
    [
        (RaceReport(10, (), 0), 0),
        (RaceReport(10, (), 9), 0),
        (RaceReport(10, (), 10), 10),
        (RaceReport(10, ("two winners",), 0), 21),
    ],
)
def test_what_a_race_says(race, code):
    checks = [Check("get", "passed", ""), Check("race", "passed", "")]

    assert diagnose(checks, FULL, race).exit_code == code


def test_no_probe_is_no_verdict():
    assert diagnose([Check("get", "passed", "")], None).exit_code == 10


@pytest.mark.parametrize(
    ("url", "region", "below"),
    [
        ("s3://b", "", "arn:aws:s3:::b/*"),
        ("s3://b/p/q/", "us-gov-west-1", "arn:aws-us-gov:s3:::b/p/q/*"),
        ("s3://b/p", "cn-north-1", "arn:aws-cn:s3:::b/p/*"),
    ],
)
def test_the_policy_reaches_no_further_than_the_prefix(url, region, below):
    policy = iam_policy(url, region)

    assert policy["Statement"][1]["Resource"] == [below]
    assert policy["Statement"][2] == {
        "Sid": "AutotuneCacheProbe",
        "Effect": "Allow",
        "Action": ["s3:DeleteObject"],
        "Resource": [below.replace("/*", "/.probe/*")],
    }
    assert iam_policy("gs://b/p", "") is None
