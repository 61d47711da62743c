"""Options, errors and exit codes of the program as a whole."""

import errno

import pytest
from tests.bundles import identity

from autotune_init.options import OPTIONS
from cache_store import __version__
from cache_store.cli import output
from cache_store.cli.session import VARIABLES
from cache_store.errors import CREDENTIALS, ErrorKind, StoreError
from cache_store.objects.open_url import open_store
from cache_store.testing.faulty import Fails, Fault

COMMANDS = ["ls", "verify", "claims", "doctor", "show"]


def arguments(command):
    return [command, str(identity().address)] if command == "show" else [command]


@pytest.mark.parametrize("command", COMMANDS)
def test_no_store_is_wrong_usage(shop, command):
    done = shop(*arguments(command), "--json", environ={})

    assert (done.code, done.stdout, done.error["kind"]) == (2, "", "no-store")


@pytest.mark.parametrize("before", [True, False])
def test_options_stand_on_either_side(shop, before):
    options = ["--store", "s3://models/autotune", "--json", "--timeout", "3", "--adapter", "fsspec"]
    seen = {}

    def opener(url, **settings):
        seen.update(settings, url=url)
        return shop.open(url)

    done = shop(*([*options, "ls"] if before else ["ls", *options]), environ={"X": "1"}, opener=opener)

    assert done.document["bundles"] == []
    assert seen == {
        "url": "s3://models/autotune",
        "adapter": "fsspec",
        "request_timeout_s": 3.0,
        "environ": {"X": "1"},
    }


def test_the_option_next_to_the_command_wins_and_beats_the_variable(shop):
    urls = []

    def opener(url, **_):
        urls.append(url)
        return shop.memory

    shop("--store", "s3://a", "ls", "--store", "s3://b", environ={"AUTOTUNE_STORE": "s3://c"}, opener=opener)
    shop("--store", "s3://a", "ls", environ={"AUTOTUNE_STORE": "s3://c"}, opener=opener)
    shop("ls", environ={"AUTOTUNE_STORE": "s3://c"}, opener=opener)

    assert urls == ["s3://b", "s3://a", "s3://c"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["ls", "--bogus"],
        ["bogus"],
        ["show"],
        ["ls", "extra"],
        ["ls", "--timeout", "0"],
        ["ls", "--timeout", "nan"],
        ["ls", "--timeout", "inf"],
        ["ls", "--timeout", "soon"],
        ["ls", "--adapter", "boto3"],
        ["doctor", "--race-rounds", "0"],
        ["ls", "--flashinfer", ".."],
        [],
    ],
    ids=" ".join,
)
def test_wrong_usage(shop, arguments):
    done = shop(*arguments)
    assert (done.code, done.stdout) == (2, "")
    assert "error: " in done.stderr

    done = shop("--json", *arguments)
    assert (done.code, done.stdout, done.error["exit_code"]) == (2, "", 2)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--store", "", "ls"],
        ["gc", "--yes", "--store", ""],
        ["ls", "--store", " "],
        ["ls", "--adapter", ""],
        ["cp", "", "--yes"],
        ["cp", "s3://models/prod", "--to-endpoint", "", "--yes"],
        ["diff", str(identity().address), str(identity().address), "--other-store", ""],
    ],
    ids=" ".join,
)
def test_an_option_that_an_unset_variable_left_empty_is_never_taken_for_none(shop, arguments):
    shop.publish()

    done = shop(*arguments, "--json")

    assert (done.code, done.stdout, done.error["kind"]) == (2, "", "usage")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AUTOTUNE_STORE_ADAPTER", "boto3"),
        ("AUTOTUNE_REQUEST_TIMEOUT", "soon"),
        ("AUTOTUNE_REQUEST_TIMEOUT", "-1"),
        ("AUTOTUNE_REQUEST_TIMEOUT", "nan"),
    ],
)
def test_wrong_variables(shop, name, value):
    done = shop("ls", "--json", environ={"AUTOTUNE_STORE": "s3://models/autotune", name: value})

    assert (done.code, done.error["kind"]) == (2, "usage")
    assert name in done.error["message"]


@pytest.mark.parametrize(
    "url", ["file://relative", "s3://", "memory://", "no such\x1bthing", "s3://user:pass@b/p"]
)
def test_urls_that_are_none(shop, url):
    done = shop("ls", "--store", url, "--json", opener=open_store)

    assert (done.code, done.error["kind"]) == (2, "store-invalid")
    assert "pass" not in done.error["message"].replace("pass them", "")


KINDS = [
    (ErrorKind.UNAVAILABLE, 10),
    (ErrorKind.TIMEOUT, 10),
    (ErrorKind.NOT_FOUND, 10),
    (ErrorKind.DENIED, 14),
    (ErrorKind.INVALID, 2),
    (ErrorKind.INTERNAL, 1),
]


@pytest.mark.parametrize("command", ["ls", "verify", "claims"])
@pytest.mark.parametrize(("kind", "code"), KINDS)
def test_a_listing_that_fails(shop, command, kind, code):
    shop.faulty.script(Fault("list", Fails(kind), times=99))

    done = shop(command, "--json")

    assert (done.code, done.stdout) == (code, "")
    assert (done.error["kind"], done.error["exit_code"]) == (f"store-{kind.value}", code)


@pytest.mark.parametrize("command", ["ls", "verify", "claims", "stats"])
def test_refused_credentials_are_told_as_such_and_not_as_a_missing_right(shop, command):
    refused = StoreError(ErrorKind.DENIED, "403 InvalidAccessKeyId", CREDENTIALS["InvalidAccessKeyId"])

    class Refusing:
        url = "s3://models/autotune"

        def list(self, _prefix):
            raise refused

        def close(self):
            pass

    done = shop(command, "--json", opener=lambda *_, **__: Refusing())

    assert (done.code, done.error["kind"]) == (14, "store-denied")
    assert done.error["message"].startswith("the store does not know this access key")
    assert "ListBucket" not in done.error["message"]


def test_a_bug_is_an_exit_code_and_no_traceback(shop):
    def opener(*_, **__):
        raise RuntimeError("boom\x1b[2J")

    done = shop("ls", opener=opener)

    assert (done.code, done.stdout) == (1, "")
    assert "RuntimeError: boom\\x1b[2J" in done.stderr
    assert done.stderr.count("\n") == 1


def test_control_c(shop):
    def opener(*_, **__):
        raise KeyboardInterrupt

    assert shop("ls", opener=opener).code == 130


def test_an_answer_that_cannot_be_written(shop, monkeypatch):
    shop.publish()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(output, "emit_json", full)

    done = shop("ls", "--json")

    assert (done.code, done.error["kind"]) == (16, "output")
    assert done.error["message"] == "the answer could not be written: No space left on device"


def test_the_version(shop):
    assert shop("--version").stdout == f"cache-store {__version__}\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (float("inf"), "-"),
        (float("nan"), "-"),
        (0, "0s"),
        (59.6, "1m00s"),
        (200, "3m20s"),
        (18120, "5h02m"),
        (12 * 86400, "12d"),
        (1e300, ">9999d"),
    ],
)
def test_durations_for_people(seconds, text):
    assert output.for_people_seconds(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0B"), (1023, "1023B"), (1024, "1.0KiB"), (1 << 20, "1.0MiB"), (1 << 42, "4096.0GiB")],
)
def test_sizes_for_people(size, text):
    assert output.for_people_bytes(size) == text


def test_store_errors_have_one_exit_code_each(shop):
    def opener(*_, **__):
        raise StoreError(ErrorKind.UNSUPPORTED, "no")

    assert shop("ls", opener=opener).code == 21


@pytest.mark.parametrize(
    "name", ["AUTOTUNE_STOR", "AUTOTUNE_STORE_URL", "AUTOTUNE_STORE_ADAPTOR", "AUTOTUNE_REQUEST_TIMEOUT_S"]
)
def test_a_variable_that_is_nearly_ours_is_refused(shop, name):
    done = shop("ls", "--json", environ={"AUTOTUNE_STORE": "s3://models/autotune", name: "x"})

    assert (done.code, done.error["kind"]) == (2, "usage")
    assert f"{name} is not read; is AUTOTUNE_" in done.error["message"]


def test_no_variable_of_the_init_container_is_refused(shop):
    theirs = {one.variable: "x" for one in OPTIONS if one.variable not in VARIABLES}
    clouds = {
        "AUTOTUNE_STORE_AWS_REGION": "x",
        "AUTOTUNE_TO_AWS_REGION": "x",
        "AUTOTUNE_FIELD_MODEL_PATH": "x",
    }

    assert shop("ls", environ={"AUTOTUNE_STORE": "s3://models/autotune", **theirs, **clouds}).code == 0


def test_no_line_of_the_exit_status_is_wider_than_a_terminal(shop):
    for command in ("ls", "verify", "gc", "completion"):
        text = shop(command, "--help").stdout
        assert max(map(len, text[text.index("EXIT STATUS") :].splitlines())) <= 80
