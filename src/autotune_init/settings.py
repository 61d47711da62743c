"""Flags and variables become one frozen value, validated once. Unknown AUTOTUNE_* names are refused.

A misspelled variable that is silently ignored is the classic way to run without the thing one installed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autotune_init.options import BY_NAME, OPTIONS, VARIABLES, Option
from cache_store.dataclass import dataclass
from cache_store.dataclass import field as a_field  # a setting is called `field`
from cache_store.pattern import pattern
from cache_store.store_environ import is_for_store

MAX_SECONDS = 7 * 24 * 3600.0
_SERVICE_LINK = pattern(
    r"(AUTOTUNE(?:_[A-Z0-9_]+?)??)_(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?"
    r"|PORT(?:_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)"
)


class BadSettings(ValueError):  # noqa: N818 -- reads as what it is
    """The message names the setting and says what it takes."""


@dataclass(frozen=True)
class Settings:
    """All settings. Durations in seconds, modes as integers; None means "not said"."""

    store: str | None = None
    store_adapter: str = "auto"
    request_timeout_s: float = 10.0
    engine: str | None = None
    engine_version: str | None = None
    model_config: str | None = None
    field: Mapping[str, str] = a_field(default_factory=dict)
    resolver: str = "auto"
    resolve_timeout_s: float = 180.0
    allow_known_bad: tuple[str, ...] = ()
    cache_dir: str | None = None
    node_rank: int | None = None
    group_size: int | None = None
    group_name: str | None = None
    group_scope: str | None = None
    group_wait_s: float = 300.0
    pod_uid: str | None = None
    facts: str | None = None
    gpu_name: str | None = None
    identity_extra: Mapping[str, str] = a_field(default_factory=dict)
    python: str | None = None
    tuner: str = "none"
    tuner_command: str | None = None
    max_tokens: int = 8192
    cooldown_s: float = 600.0
    tune_time_s: float | None = None
    holder: str | None = None
    deadline_s: float = 1800.0
    wait_s: float = 900.0
    local: str = "trust"
    report_to_store: bool = False
    otlp_endpoint: str | None = None
    strict: bool = False
    file_mode: int = 0o644
    dir_mode: int = 0o755
    uid: int | None = None
    gid: int | None = None
    event: bool = False
    termination_log: str = "/dev/termination-log"
    engine_argv: tuple[str, ...] = ()


def split_engine_argv(argv: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """(our flags, the engine's argv): what follows the first `--` is the engine's."""
    if "--" not in argv:
        return list(argv), ()
    at = list(argv).index("--")
    return list(argv[:at]), tuple(argv[at + 1 :])


def wants_strict(argv: Sequence[str], environ: Mapping[str, str]) -> bool:
    """Whether failure should be an exit code, asked before the settings are known to be good."""
    ours, _ = split_engine_argv(argv)
    return "--strict" in ours or environ.get("AUTOTUNE_STRICT", "").lower() in ("1", "true", "yes", "on")


def settings_from(
    flags: Mapping[str, object], engine_argv: tuple[str, ...], environ: Mapping[str, str]
) -> Settings:
    """Flags over variables over defaults. `flags`: option name with underscores -> what was given. Raises `BadSettings`."""
    refuse_unknown_variables(environ)
    values: dict[str, object] = {}
    for option in OPTIONS:
        given = flags.get(option.name.replace("-", "_"))
        origin = option.flag
        if given is None and environ.get(option.variable, "") != "":
            given, origin = environ[option.variable], option.variable
            if option.kind in ("pairs", "names"):
                given = [line for line in (part.strip() for part in str(given).splitlines()) if line]
        if given is not None:
            values[option.attribute] = _value(option, given, origin)
    settings = Settings(**values, engine_argv=engine_argv)  # type: ignore[arg-type] # _value gave each its type
    if settings.tuner == "command" and not settings.tuner_command:
        raise BadSettings("--tuner command needs --tuner-command")
    if settings.allow_known_bad:
        _refuse_unknown_hazards(settings.allow_known_bad)
    if settings.group_size is not None and (settings.node_rank or 0) >= settings.group_size:
        raise BadSettings("--node-rank must be smaller than --group-size")
    return settings


def _refuse_unknown_hazards(named: Sequence[str]) -> None:
    from autotune_init.engines.known_bad import ids

    for name in named:
        if name not in ids():
            raise BadSettings(f"--allow-known-bad: {name[:80]!r} is none of {', '.join(sorted(ids()))}")


def refuse_unknown_variables(environ: Mapping[str, str]) -> None:
    """Raises `BadSettings` for an AUTOTUNE_* name that means nothing here."""
    for name in sorted(environ):
        if not name.startswith("AUTOTUNE_") or name in VARIABLES or is_for_store(name):
            continue
        if not _is_service_link(name, environ):
            import difflib

            close = difflib.get_close_matches(name, VARIABLES, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise BadSettings(f"unknown variable {name}{hint}")


def _is_service_link(name: str, environ: Mapping[str, str]) -> bool:
    """Kubernetes tells every container of the Services beside it, a Service called autotune-cache too.

    The names are those of docker's links (Kubernetes 1.36 pkg/kubelet/envvars/envvars.go, FromServices).
    """
    link = _SERVICE_LINK.fullmatch(name)
    return link is not None and f"{link[1]}_SERVICE_HOST" in environ


def _value(option: Option, given: object, origin: str) -> object:
    text = str(given)
    try:
        if option.kind == "flag":
            return _truth(text)
        if option.kind == "seconds":
            seconds = float(text)
            if not 0 < seconds <= MAX_SECONDS:
                raise ValueError(text)
            return seconds
        if option.kind == "count":
            if not text.isdecimal() or int(text) > 2**31:
                raise ValueError(text)
            return int(text)
        if option.kind == "mode":
            mode = int(text, 8)
            if not 0 <= mode <= 0o7777:
                raise ValueError(text)
            return mode
        if option.kind == "choice" and text not in option.choices:
            raise ValueError(text)
        if option.kind == "pairs":
            return _pairs(given)
        if option.kind == "names":
            return tuple(str(name) for name in (given if isinstance(given, list) else [given]))
    except ValueError:
        raise BadSettings(f"{origin}: {text[:80]!r} is not {_takes(option)}") from None
    return text


def _truth(text: str) -> bool:
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off"):
        return False
    raise ValueError(text)


def _pairs(given: object) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for item in given if isinstance(given, list) else [given]:
        name, equals, value = str(item).partition("=")
        if not equals or not name.strip():
            raise ValueError(item)
        pairs[name.strip()] = value
    return pairs


def _takes(option: Option) -> str:
    return {
        "flag": "1 or 0",
        "seconds": f"a number of seconds above 0 and at most {MAX_SECONDS:g}",
        "count": "a whole number, 0 or more",
        "mode": "an octal mode such as 0644",
        "pairs": "NAME=VALUE",
        "choice": "one of " + ", ".join(option.choices),
    }.get(option.kind, "text")


def _assert_table_and_settings_agree() -> None:
    attributes = {option.attribute for option in BY_NAME.values()} | {"engine_argv"}
    if attributes != set(Settings.__match_args__):
        raise AssertionError(f"options.py and Settings differ: {attributes ^ set(Settings.__match_args__)}")


_assert_table_and_settings_agree()
