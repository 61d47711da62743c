"""Programs that only start another one: their own words, as data, and what stands behind them. Pure.

Sources: GNU coreutils 9 (env, nice, nohup, stdbuf, timeout), util-linux 2.38 (ionice, setsid, taskset), numactl 2.0
(numactl.c), tini 0.19 (tini.c), dumb-init 1.2 (dumb-init.c), nvidia_entrypoint.sh of NVIDIA's CUDA images (`exec "$@"`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from autotune_init.engines.shell_line import moved
from autotune_init.engines.started import SHOWN, Started, Unreadable
from cache_store.dataclass import dataclass, replace


@dataclass(frozen=True)
class Wrapper:
    """`switches` stand alone, `valued` take one value, `operands` words of its own come before the program."""

    switches: frozenset[str] = frozenset()
    valued: frozenset[str] = frozenset()
    operands: int = 0
    takes_options: bool = True


def _wrapper(switches: str = "", valued: str = "", operands: int = 0) -> Wrapper:
    return Wrapper(frozenset(switches.split()), frozenset(valued.split()), operands)


_TINI = _wrapper("-s -v -w -g", "-p -e")
_NUMA_VALUED = (
    "-i --interleave -N --cpunodebind -p --preferred -C --physcpubind -m --membind -w --weighted-interleave"
)
WRAPPERS: Mapping[str, Wrapper] = {
    "env": _wrapper("-i --ignore-environment", "-u --unset -C --chdir"),
    "nice": _wrapper("", "-n --adjustment"),
    "nohup": _wrapper(),
    "numactl": _wrapper("-l --localalloc -a --all -b --balancing", _NUMA_VALUED),
    "ionice": _wrapper("-t --ignore", "-c --class -n --classdata"),
    "setsid": _wrapper("-c --ctty -f --fork -w --wait"),
    "taskset": _wrapper("-a --all-tasks -c --cpu-list", "", 1),
    "timeout": _wrapper("--preserve-status --foreground -v --verbose", "-s --signal -k --kill-after", 1),
    "stdbuf": _wrapper("", "-i --input -o --output -e --error"),
    "tini": _TINI,
    "tini-static": _TINI,
    "docker-init": _TINI,
    "catatonit": _TINI,
    "dumb-init": _wrapper("-c --single-child -v --verbose", "-r --rewrite"),
    "nvidia_entrypoint.sh": Wrapper(takes_options=False),
}
_ASSIGNMENT = re.compile(r"([^=]+)=(.*)\Z", re.DOTALL)


def unwrap(start: Started, name: str) -> Started:
    """What the wrapper starts. Raises `Unreadable`: unknown-wrapper, no-command."""
    wrapper, words = WRAPPERS[name], start.words[1:]
    options: list[tuple[str, str]] = []
    if name == "env" and words[:1] == ("-",):
        options, words = [("-i", "")], words[1:]
    while wrapper.takes_options and words and words[0].startswith("-") and words[0] != "--":
        found, words = _option(wrapper, name, words)
        options += found
    if wrapper.takes_options and words[:1] == ("--",):
        words = words[1:]
    words = words[wrapper.operands :]
    inner = _with_env(start, options, words) if name == "env" else replace(start, words=words)
    if not inner.words or not inner.words[0]:
        raise Unreadable("no-command", f"{name} without a command")
    if inner.words[0].startswith("-"):
        raise Unreadable("unknown-wrapper", f"{name} {inner.words[0][:SHOWN]} is not followed")
    return inner


def _option(
    wrapper: Wrapper, name: str, words: tuple[str, ...]
) -> tuple[list[tuple[str, str]], tuple[str, ...]]:
    """The first word's options with their values, and the words behind."""
    word, rest = words[0], words[1:]
    if word.startswith("--"):
        option, equals, value = word.partition("=")
        if option in wrapper.switches and not equals:
            return [(option, "")], rest
        if option in wrapper.valued and equals:
            return [(option, value)], rest
        if option in wrapper.valued and rest:
            return [(option, rest[0])], rest[1:]
        raise Unreadable("unknown-wrapper", f"{name} {word[:SHOWN]} is not followed")
    found: list[tuple[str, str]] = []
    for at, letter in enumerate(word[1:], 1):
        option = f"-{letter}"
        if option in wrapper.valued and (word[at + 1 :] or rest):
            attached = word[at + 1 :]
            found.append((option, attached or rest[0]))
            return found, rest if attached else rest[1:]
        if option not in wrapper.switches:
            raise Unreadable("unknown-wrapper", f"{name} {word[:SHOWN]} is not followed")
        found.append((option, ""))
    if not found:
        raise Unreadable("unknown-wrapper", f"{name} {word} is not followed")
    return found, rest


def _with_env(start: Started, options: list[tuple[str, str]], words: tuple[str, ...]) -> Started:
    environ, directory = dict(start.environ), start.directory
    if any(option in ("-i", "--ignore-environment") for option, _ in options):
        environ.clear()
    for option, value in options:
        if option in ("-u", "--unset"):
            environ.pop(value, None)
        elif option in ("-C", "--chdir"):
            directory = moved(directory, value)
    while words and (found := _ASSIGNMENT.match(words[0])):
        environ[found.group(1)] = found.group(2)
        words = words[1:]
    return Started(words, environ, directory, start.assumes)
