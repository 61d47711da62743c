"""The engine's command line as containers spell it: programs, wrappers, shell lines, arguments alone. Pure.

What cannot be read for certain is refused: a wrong word would be a wrong cache key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from autotune_init.engines.started import SHOWN, Started, Unreadable
from cache_store.dataclass import dataclass, replace
from cache_store.pattern import pattern

__all__ = ["CommandLine", "Unreadable", "read_command"]

MAX_DEPTH = 8  # wrappers and shells inside of each other
ENGINE_MODULES = {
    "sglang.launch_server": ("sglang", ()),
    "sglang.cli.main": ("sglang", ("serve",)),
    "vllm.entrypoints.openai.api_server": ("vllm", ()),
    "vllm.entrypoints.cli.main": ("vllm", ("serve",)),
}
ENGINES = ("sglang", "vllm")
_PYTHON = pattern(r"python(?:3(?:\.[0-9]{1,2})?)?\Z")
_PYTHON_SWITCHES = frozenset("bBdEiIOPqRsSuvx")
_SCRIPT = pattern(
    r"(?:.*\.(?:sh|bash|py|pl|rb)|.*entry-?point.*|(?:run|start|launch|serve)[\w.-]*)\Z", re.IGNORECASE
)
_KUBELETS = pattern(r"\$\(([A-Za-z_.-][A-Za-z0-9_.-]*)\)")
_HUB_NAME = pattern(r"[A-Za-z0-9][\w.-]*/[\w.-]+\Z", re.ASCII)
_BEHIND = "put the engine's own command line behind --"


@dataclass(frozen=True)
class CommandLine:
    """What the engine is started with.

    `argv` are the words behind the program; `program` is how that was spelled ("sglang serve",
    "vllm.entrypoints.openai.api_server", ...) or "" where only arguments were given. `environ` is the environment that
    the engine gets: the given one with what the line changes. `directory` is where relative paths in `argv` begin,
    None for the container's own. `assumes` are sentences on what this reading rests on and cannot be seen from here.
    """

    engine: str
    program: str
    argv: tuple[str, ...]
    environ: Mapping[str, str]
    directory: str | None = None
    assumes: tuple[str, ...] = ()


def read_command(words: Sequence[str], environ: Mapping[str, str], engine: str | None) -> CommandLine:
    """A container's command and args, or its args alone where `engine` says whose.

    Raises `Unreadable`: no-command, engine-not-said, engine-mismatch, two-engines, unknown-program, unknown-wrapper,
    entrypoint-script, unexpanded-variable, too-deep, shell-<what is not followed>.
    """
    # a line that was copied out of a script; no program has that name
    words = tuple(words[1:] if words[:1] in (["exec"], ("exec",)) else words)
    if not words or not words[0].strip():
        raise Unreadable("no-command", f"no command; {_BEHIND}")
    alone = _arguments_alone(words, engine)
    if alone is not None:
        _refuse_unexpanded(alone.argv)
        return replace(alone, environ=dict(environ))
    found = [_read_program(start) for start in _programs(Started(words, dict(environ)), MAX_DEPTH)]
    if not found:
        raise Unreadable("no-command", f"the shell line starts no engine; {_BEHIND}")
    if len(found) > 1:
        raise Unreadable("two-engines", f"{found[0].program} and {found[1].program} in one line")
    if engine is not None and found[0].engine != engine:
        raise Unreadable(
            "engine-mismatch", f"the command starts {found[0].engine}, and the engine is to be {engine}"
        )
    _refuse_unexpanded(found[0].argv)
    return found[0]


def _arguments_alone(words: tuple[str, ...], engine: str | None) -> CommandLine | None:
    """Words that the image's own entrypoint gets; None where they begin with a program."""
    first = words[0]
    if first == "serve" and engine in ENGINES:
        return CommandLine(engine, f"{engine} serve", words[1:], {})
    is_model = (
        engine == "vllm" and not _is_program(first) and (first.startswith("/") or _HUB_NAME.match(first))
    )
    if not first.startswith("-") and not is_model:
        return None
    if engine is None:
        raise Unreadable(
            "engine-not-said", f"only arguments ({first[:SHOWN]!r} ...): say whose with --engine"
        )
    return CommandLine(engine, "", words, {})


def _is_program(word: str) -> bool:
    """Whether a path would be run rather than served as a model; said too often rather than too seldom."""
    path = PurePosixPath(word)
    name = path.name
    if {"bin", "sbin"} & set(path.parent.parts) or _is_engine(name) or _SCRIPT.match(name):
        return True
    from autotune_init.engines.program_wrappers import WRAPPERS
    from autotune_init.engines.shell_line import SHELLS

    return name in SHELLS or name in WRAPPERS


def _is_engine(name: str) -> bool:
    return name in ENGINES or bool(_PYTHON.match(name))


def _programs(start: Started, depth: int) -> list[Started]:
    """The programs behind wrappers and shells."""
    if not depth:
        raise Unreadable("too-deep", f"more than {MAX_DEPTH} wrappers inside of each other")
    name = PurePosixPath(start.words[0]).name
    if _is_engine(name):
        return [start]
    # what follows a shell costs a start 3 ms, and most containers name the engine itself
    from autotune_init.engines.program_wrappers import WRAPPERS, unwrap
    from autotune_init.engines.shell_line import SHELLS, read_shell

    if name in SHELLS:
        return [inner for one in read_shell(start) for inner in _programs(one, depth - 1)]
    if name in WRAPPERS:
        return _programs(unwrap(start, name), depth - 1)
    return [start]


def _read_program(start: Started) -> CommandLine:
    path, words = start.words[0], start.words[1:]
    name = PurePosixPath(path).name
    if _PYTHON.match(name):
        name, words = _python_runs(path, words)
        if name in ENGINE_MODULES:
            engine, subcommand = ENGINE_MODULES[name]
            if words[: len(subcommand)] != subcommand:
                raise Unreadable(
                    "unknown-program", f"{name} {' '.join(words[:1])[:SHOWN]} serves no model; {_BEHIND}"
                )
            program = f"{engine} serve" if subcommand else name
            return _found(start, engine, program, words[len(subcommand) :])
    if name in ENGINES:
        if words[:1] != ("serve",):
            raise Unreadable(
                "unknown-program", f"{name} {' '.join(words[:1])[:SHOWN]} serves no model; {_BEHIND}"
            )
        return _found(start, name, f"{name} serve", words[1:])
    if _SCRIPT.match(name):
        raise Unreadable("entrypoint-script", f"the script {path[:SHOWN]!r} cannot be read; {_BEHIND}")
    raise Unreadable("unknown-program", f"{path[:SHOWN]!r} is no engine that is known; {_BEHIND}")


def _found(start: Started, engine: str, program: str, argv: tuple[str, ...]) -> CommandLine:
    directory = None if start.directory is None else str(start.directory)
    return CommandLine(engine, program, argv, start.environ, directory, start.assumes)


def _python_runs(python: str, words: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """(module, or name of the script, and the words behind it). Python's own options stand in front of both."""
    at = 0
    while at < len(words) and words[at].startswith("-"):
        word = words[at] if words[at] != "-" else "- (standard input)"
        at += 1
        if word == "--check-hash-based-pycs":
            at += 1
            continue
        for position, letter in enumerate(word[1:], 1):
            if letter in _PYTHON_SWITCHES:
                continue
            if letter not in "mXW":
                raise Unreadable(
                    "unknown-program", f"{python[:SHOWN]} {word[:SHOWN]} cannot be read; {_BEHIND}"
                )
            value = word[position + 1 :]
            if not value:
                value, at = "".join(words[at : at + 1]), at + 1
            if letter == "m":
                if value not in ENGINE_MODULES:
                    raise Unreadable(
                        "unknown-program", f"module {value[:SHOWN]!r} is no engine that is known; {_BEHIND}"
                    )
                return value, words[at:]
            break
    if at >= len(words):
        raise Unreadable("no-command", f"{python[:SHOWN]} without a module")
    return PurePosixPath(words[at]).name, words[at + 1 :]


def _refuse_unexpanded(argv: Sequence[str]) -> None:
    for word in argv:
        left = _KUBELETS.search(word) if "$(" in word else None
        if left:
            raise Unreadable(
                "unexpanded-variable",
                f"{left.group()[:SHOWN]} was not expanded: the container has no variable {left.group(1)[:SHOWN]}",
            )
