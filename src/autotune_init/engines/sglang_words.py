"""The words of an SGLang command line: key flags, harmless flags, and what is not understood. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from autotune_init.engines.sglang_flags import (
    AMBIGUOUS,
    DISABLE_AUTOTUNE,
    DP_ATTENTION,
    HARMLESS_FROM_TO,
    HARMLESS_SWITCHES,
    HARMLESS_VALUES,
    HARMLESS_WITH,
    KEY_FLAGS,
    SKIP_OPS,
)
from autotune_init.engines.sglang_versions import BY_VERSION, RELEASES, Release

PROGRAMS = (("-m", "sglang.launch_server"), ("sglang", "serve"))
_LONGEST_SHOWN = 80


@dataclass(frozen=True)
class NotUnderstood:
    """A word, shortened for people, and why it is refused. `is_flag` is False for what is no flag at all."""

    word: str
    why: str
    is_flag: bool = True


@dataclass
class _Reading:
    values: dict[str, str] = field(default_factory=dict)
    skip_ops: tuple[str, ...] = ()
    switches: set[str] = field(default_factory=set)
    not_understood: list[NotUnderstood] = field(default_factory=list)


@dataclass(frozen=True)
class Typed:
    """What the command line says, last repeat winning as in argparse; and what it says that we do not understand.

    `values` by field name of KEY_FLAGS.
    """

    values: dict[str, str]
    skip_ops: tuple[str, ...]
    switches: frozenset[str]
    not_understood: tuple[NotUnderstood, ...]


def read_argv(argv: tuple[str, ...], release: Release) -> Typed:
    """Every word accounted for. Begins with a flag, `python -m sglang.launch_server` or `sglang serve`."""
    reading = _Reading()
    words = _flags_of(argv, reading)
    at = 0
    while at < len(words):
        at = _read(words, at, release, reading)
    return Typed(reading.values, reading.skip_ops, frozenset(reading.switches), tuple(reading.not_understood))


def _read(words: tuple[str, ...], at: int, release: Release, reading: _Reading) -> int:
    """Reads the flag at `at`; returns where the next one begins."""
    word = words[at]
    name, equals, attached = word.partition("=")
    if name == SKIP_OPS and not equals and release.skip_ops is not None:
        ops = tuple(_values_after(words, at))
        if ops:
            reading.skip_ops = ops
        else:
            reading.not_understood.append(NotUnderstood(name, "without a value"))
        return at + 1 + len(ops)
    if not equals and name in (DISABLE_AUTOTUNE, DP_ATTENTION):
        reading.switches.add(name)
        return at + 1
    if not equals and name in HARMLESS_SWITCHES:
        return at + 1
    problem = _cannot_follow(name, release)
    if problem is not None:
        is_flag = word.startswith("--")
        reading.not_understood.append(NotUnderstood(word[:_LONGEST_SHOWN], problem, is_flag))
        # what follows an unknown flag is its value: SGLang's parser takes no positional words
        return at + 1 + (len(tuple(_values_after(words, at))) if is_flag else 0)
    if not equals and (at + 1 == len(words) or words[at + 1].startswith("--")):
        reading.not_understood.append(NotUnderstood(name, "without a value"))
        return at + 1
    value = attached if equals else words[at + 1]
    if name in KEY_FLAGS:
        reading.values[KEY_FLAGS[name]] = value
    elif name in HARMLESS_WITH and value not in HARMLESS_WITH[name]:
        reading.not_understood.append(NotUnderstood(name, f"{value[:40]!r} may touch the key"))
    return at + 1 if equals else at + 2


def _cannot_follow(name: str, release: Release) -> str | None:
    """Why a flag that takes one value is not understood; None where it is."""
    if name in AMBIGUOUS:
        return f"is ambiguous to the engine itself (write {AMBIGUOUS[name]})"
    if name in HARMLESS_FROM_TO:
        since, until = HARMLESS_FROM_TO[name]
        at = RELEASES.index(release)
        if at < _position(since) or (until is not None and at >= _position(until)):
            return f"is no flag of {release.version}, or ambiguous in it"
        return None
    known = name in KEY_FLAGS or name in HARMLESS_VALUES or name in HARMLESS_WITH
    return None if known else "may touch the key"


def _position(version: str) -> int:
    return RELEASES.index(BY_VERSION[version])


def _values_after(words: tuple[str, ...], at: int) -> Iterator[str]:
    for word in words[at + 1 :]:
        if word.startswith("-"):
            return
        yield word


def _flags_of(argv: tuple[str, ...], reading: _Reading) -> tuple[str, ...]:
    """The words behind the program's name; a line that starts with a flag is one from its beginning."""
    if not argv or argv[0].startswith("--"):
        return argv
    for at in range(min(3, len(argv) - 1)):
        if argv[at : at + 2] in PROGRAMS and not any(word.startswith("--") for word in argv[:at]):
            return argv[at + 2 :]
    shown = repr(" ".join(argv[:3]))[:_LONGEST_SHOWN]
    reading.not_understood.append(NotUnderstood(shown, "is no SGLang command line", is_flag=False))
    return ()
