"""Every flag has one variable; a misspelled one is refused; a flag beats its variable."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune_init.flags import build_parser, plain_flags
from autotune_init.options import OPTIONS
from autotune_init.settings import (
    BadSettings,
    Settings,
    settings_from,
    split_engine_argv,
    wants_strict,
)


def parse(*argv, **environ):
    ours, engine_argv = split_engine_argv(argv)
    return settings_from(vars(build_parser("run", "x").parse_args(ours)), engine_argv, environ)


GOOD = {
    "text": "some/text",
    "seconds": "12.5",
    "count": "3",
    "flag": "1",
    "pairs": "name=value",
    "names": "copied-rank-keys",
    "mode": "0640",
}


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_every_flag_and_its_variable_mean_the_same(option):
    value = option.choices[0] if option.kind == "choice" else GOOD[option.kind]
    argv = [option.flag] if option.kind == "flag" else [option.flag, value]
    companion = {"node-rank": ["--group-size", "9"]}.get(option.name, [])

    by_flag = parse(*argv, *companion)
    by_variable = parse(*companion, **{option.variable: value})

    assert by_flag == by_variable
    if value != option.default:
        assert by_flag != Settings()


@pytest.mark.parametrize(
    "option", [o for o in OPTIONS if o.default is not None], ids=lambda option: option.name
)
def test_the_documented_default_is_the_default(option):
    assert parse(option.flag, option.default) == Settings()


def test_a_flag_beats_its_variable():
    assert parse("--wait", "5", AUTOTUNE_WAIT="6").wait_s == 5.0


def test_an_unknown_variable_is_refused_with_the_nearest_name():
    with pytest.raises(BadSettings, match=r"AUTOTUNE_STOER; did you mean AUTOTUNE_STORE\?"):
        parse(AUTOTUNE_STOER="s3://x")


def test_other_peoples_variables_are_none_of_our_business():
    assert parse(SGLANG_CACHE_DIR="/x", autotune_lower="1") == Settings()


SERVICE = {
    "AUTOTUNE_CACHE_SERVICE_HOST": "10.0.0.1",
    "AUTOTUNE_CACHE_SERVICE_PORT": "80",
    "AUTOTUNE_CACHE_SERVICE_PORT_HTTP": "80",
    "AUTOTUNE_CACHE_PORT": "tcp://10.0.0.1:80",
    "AUTOTUNE_CACHE_PORT_80_TCP": "tcp://10.0.0.1:80",
    "AUTOTUNE_CACHE_PORT_80_TCP_PROTO": "tcp",
    "AUTOTUNE_CACHE_PORT_80_TCP_PORT": "80",
    "AUTOTUNE_CACHE_PORT_80_TCP_ADDR": "10.0.0.1",
}


def test_given_a_service_called_autotune_cache_when_kubernetes_tells_of_it_then_its_variables_are_no_settings():
    assert parse(**SERVICE) == Settings()
    assert parse(**{name.replace("_CACHE", ""): value for name, value in SERVICE.items()}) == Settings()


@pytest.mark.parametrize("name", [name for name in SERVICE if name != "AUTOTUNE_CACHE_SERVICE_HOST"])
def test_given_no_such_service_when_a_name_looks_like_its_then_it_is_still_refused(name):
    with pytest.raises(BadSettings, match=f"unknown variable {name}"):
        parse(**{name: "1"})


def test_an_empty_variable_means_not_said():
    assert parse(AUTOTUNE_STORE="") == Settings()


@pytest.mark.parametrize(
    "argv",
    [
        ["--wait", "soon"],
        ["--wait", "-1"],
        ["--wait", "nan"],
        ["--deadline", "1e300"],
        ["--max-tokens", "1.5"],
        ["--tuner", "magic"],
        ["--file-mode", "0899"],
        ["--field", "no-equals"],
        ["--node-rank", "2", "--group-size", "2"],
        ["--tuner", "command"],
        ["--allow-known-bad", "no-such-hazard"],
        ["--resolver", "sometimes"],
        ["--resolve-timeout", "0"],
        ["--no-such-flag"],
        ["--wai", "5"],
        ["stray"],
    ],
    ids=" ".join,
)
def test_bad_values_are_refused_by_name(argv):
    with pytest.raises(BadSettings):
        parse(*argv)


def test_fields_in_a_variable_are_one_per_line():
    settings = parse(AUTOTUNE_FIELD="moe_runner_backend=auto\n model_path=a=b ")

    assert dict(settings.field) == {"moe_runner_backend": "auto", "model_path": "a=b"}


def test_hazards_may_be_allowed_by_name_and_in_a_variable_one_per_line():
    by_flag = parse("--allow-known-bad", "copied-rank-keys", "--allow-known-bad", "metadata-missing")
    by_variable = parse(AUTOTUNE_ALLOW_KNOWN_BAD="copied-rank-keys\n metadata-missing\n")

    assert by_flag == by_variable
    assert by_flag.allow_known_bad == ("copied-rank-keys", "metadata-missing")


def test_what_follows_two_dashes_is_the_engines():
    settings = parse("--tuner", "none", "--", "python3", "-m", "sglang.launch_server", "--", "--tp", "2")

    assert settings.engine_argv == ("python3", "-m", "sglang.launch_server", "--", "--tp", "2")


def test_strict_is_known_even_when_the_settings_are_bad():
    assert wants_strict(["--strict", "--bogus"], {})
    assert wants_strict([], {"AUTOTUNE_STRICT": "true"})
    assert not wants_strict(["--", "--strict"], {})


words = st.one_of(
    st.sampled_from([option.flag for option in OPTIONS]),
    st.sampled_from(["value", "", "-1", "--", "-h", "--json", "--no-such", "name=value", "-", "--stor", "a b", "-x y"]),
    st.tuples(st.sampled_from([option.flag for option in OPTIONS]), st.sampled_from(["", "v", "a=b", "-1"])).map("=".join),
)  # fmt: skip


@settings(max_examples=1500, deadline=None)
@given(st.lists(words, max_size=6))
def test_what_is_read_without_argparse_is_what_argparse_reads(argv):
    ours, _ = split_engine_argv(argv)
    plain = plain_flags(ours)

    if plain is not None:
        given = vars(build_parser("run", "x").parse_args(ours))
        assert plain == {name: value for name, value in given.items() if value is not None}


def test_a_usual_command_line_needs_no_argparse():
    argv = ["--store", "s3://b/p", "--strict", "--field=a=1", "--field", "b=2", "--termination-log", ""]

    assert plain_flags(argv) == {
        "store": "s3://b/p",
        "strict": True,
        "field": ["a=1", "b=2"],
        "termination_log": "",
    }
    assert plain_flags([*argv, "--json"]) is None
