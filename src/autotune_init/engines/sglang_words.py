"""The words of an SGLang command line, read as the release's own parser reads them: Python's argparse. Pure.

Aliases, `--flag=value`, unambiguous beginnings of flags, the last repeat winning, how many words a flag takes: all as
argparse does it (Python 3.10 to 3.13 Lib/argparse.py `_parse_optional`, `_match_argument`), over the options that the
release really has (sglang_options.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from autotune_init.engines.sglang_choices import CHOICES
from autotune_init.engines.sglang_options import OPTIONS
from autotune_init.engines.sglang_versions import PLACES, Release
from cache_store.dataclass import dataclass, field
from cache_store.pattern import pattern

_LONGEST_SHOWN = 80
_NEGATIVE_NUMBER = pattern(r"-\d+\Z|-\d*\.\d+\Z")
_FEWEST_AND_MOST = {"one": (1, 1), "none": (0, 0), "some": (1, None), "any": (0, None), "maybe": (0, 1)}

Value = str | bool | tuple[str, ...]


@dataclass(frozen=True)
class Option:
    """Where the parser puts what follows a flag, and how many words that is ("one", "none", "some", ...)."""

    dest: str
    count: str


@dataclass(frozen=True)
class NotUnderstood:
    """A word, shortened for people, and why it is refused. `is_flag` is False for what is no flag at all."""

    word: str
    why: str
    is_flag: bool = True


@dataclass(frozen=True)
class Typed:
    """What the command line says, by the parser's name of each setting; and what the engine would not take.

    A value is a text, a tuple of texts where the flag takes several, True for a switch and False for a `--no-` one.
    `flags` are the flags as typed, for people.
    """

    values: Mapping[str, Value]
    flags: Mapping[str, str] = field(default_factory=dict)
    not_understood: tuple[NotUnderstood, ...] = ()

    def text(self, dest: str) -> str | None:
        value = self.values.get(dest)
        return value if isinstance(value, str) else None

    def is_on(self, dest: str) -> bool:
        return self.values.get(dest) is True


def options_of(release: Release) -> Mapping[str, Option]:
    return _options(PLACES[release.version])


@lru_cache(maxsize=2)
def _options(at: int) -> Mapping[str, Option]:
    found: dict[str, Option] = {}
    count, is_here = "", False
    for line in OPTIONS.splitlines():
        if not line.startswith("--"):
            since, until, count = line.split()
            is_here = PLACES[since] <= at <= PLACES[until]
        elif is_here:
            for one in line.split():
                flag, _, dest = one.partition("=")
                found[flag] = Option(dest or flag[2:].replace("-", "_"), count)
    return found


@lru_cache(maxsize=2)
def _choices(at: int) -> Mapping[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    dest, is_here = "", False
    for line in CHOICES.splitlines():
        if not line.startswith(" "):
            since, until, dest = line.split()
            is_here = PLACES[since] <= at <= PLACES[until]
        elif is_here:
            found[dest] = found.get(dest, frozenset()) | frozenset(line.split())
    return found


def read_argv(argv: tuple[str, ...], release: Release) -> Typed:
    """Every word accounted for; `argv` is what follows the program's name."""
    options, choices = options_of(release), _choices(PLACES[release.version])
    values: dict[str, Value] = {}
    flags: dict[str, str] = {}
    problems: list[NotUnderstood] = []
    at = 0
    while at < len(argv):
        word = argv[at]
        at += 1
        if _is_value(word, options):
            problems.append(NotUnderstood(word[:_LONGEST_SHOWN], "is no flag", is_flag=False))
            continue
        flag, attached, problem = _flag_of(word, options)
        if problem is not None:
            is_flag = word != "--"
            problems.append(NotUnderstood(word[:_LONGEST_SHOWN], problem, is_flag=is_flag))
            at = _after_values(argv, at, options)
            continue
        option = options[flag]
        taken, problem = _take(option, attached, argv[at : _after_values(argv, at, options)])
        if problem is not None:
            problems.append(NotUnderstood(flag, problem))
            continue
        at += len(taken) if attached is None else 0
        odd = next((one for one in taken if one not in choices.get(option.dest, taken)), None)
        if odd is not None:
            problems.append(NotUnderstood(flag, f"{odd[:40]!r} is no choice of {release.version}"))
        values[option.dest] = _value_of(flag, option, taken)
        flags[option.dest] = flag
    return Typed(values, flags, tuple(problems))


def _value_of(flag: str, option: Option, taken: tuple[str, ...]) -> Value:
    if option.count == "none":
        return not (flag.startswith("--no-") and not option.dest.startswith("no_"))
    if option.count == "one":
        return taken[0]
    if option.count == "maybe":
        return taken[0] if taken else True
    return taken


def _take(
    option: Option, attached: str | None, following: tuple[str, ...]
) -> tuple[tuple[str, ...], str | None]:
    """(the words that the flag takes, what is wrong)."""
    if option.count == "gone":
        return (), "was removed from this release"
    fewest, most = _FEWEST_AND_MOST[option.count]
    if attached is not None:
        return ((), "takes no value") if most == 0 else ((attached,), None)
    taken = following if most is None else following[:most]
    return (taken, "without a value" if len(taken) < fewest else None)


def _flag_of(word: str, options: Mapping[str, Option]) -> tuple[str, str | None, str | None]:
    """(the flag in full, the value behind "=", what is wrong)."""
    if word in options:
        return word, None, None
    if word == "--" or not word.startswith("--"):
        return word, None, "is no flag of this release"
    name, equals, attached = word.partition("=")
    value = attached if equals else None
    if name in options:
        return name, value, None
    meant = sorted(flag for flag in options if flag.startswith(name))
    if len(meant) == 1:
        return meant[0], value, None
    if meant:
        return name, value, f"is ambiguous to the engine itself ({', '.join(meant[:3])})"
    return name, value, "is no flag of this release"


def _is_value(word: str, options: Mapping[str, Option]) -> bool:
    """Whether argparse takes a word for a value although flags may begin like it."""
    if not word.startswith("-") or word == "-":
        return True
    if word in options or word == "--":
        return False
    name = word.partition("=")[0]
    if name in options or (word.startswith("--") and any(flag.startswith(name) for flag in options)):
        return False
    return bool(_NEGATIVE_NUMBER.match(word)) or " " in word


def _after_values(argv: tuple[str, ...], at: int, options: Mapping[str, Option]) -> int:
    while at < len(argv) and _is_value(argv[at], options):
        at += 1
    return at
