"""What a shell line starts, and with which environment and directory: the line played through without a shell. Pure.

Only commands that cannot change another command's words stand beside the program; any other one is a program itself,
and the caller judges it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from autotune_init.engines.shell_lexer import commands_of
from autotune_init.engines.shell_words import (
    NAME,
    SHELLS_OWN,
    Command,
    Values,
    Word,
    assignment_of,
    fields_of,
    literal_of,
    names_in,
    value_of,
)
from autotune_init.engines.started import SHOWN, Started, Unreadable
from cache_store.dataclass import dataclass, field

HARMLESS = frozenset(
    [
        ":",
        "cat",
        "date",
        "echo",
        "free",
        "hostname",
        "id",
        "ls",
        "mkdir",
        "nvidia-smi",
        "pwd",
        "sleep",
        "true",
        "ulimit",
        "umask",
        "uname",
    ]
)
# the shell's own commands that could change what follows; a program of that name would not be found
REFUSED = frozenset(
    [
        ".",
        "alias",
        "bg",
        "bind",
        "break",
        "builtin",
        "caller",
        "command",
        "continue",
        "declare",
        "dirs",
        "disown",
        "enable",
        "eval",
        "false",
        "fc",
        "fg",
        "getopts",
        "hash",
        "help",
        "history",
        "jobs",
        "let",
        "local",
        "logout",
        "mapfile",
        "popd",
        "printf",
        "pushd",
        "read",
        "readarray",
        "readonly",
        "return",
        "shift",
        "shopt",
        "source",
        "suspend",
        "test",
        "times",
        "trap",
        "type",
        "typeset",
        "unalias",
        "wait",
        "[",
    ]
)
_SET_OPTIONS = re.compile(r"[-+][eux]+\Z")
_SET_OPTIONS_WITH_NAME = re.compile(r"[-+][eux]*o\Z")
_SET_NAMES = frozenset({"errexit", "nounset", "xtrace", "pipefail"})
SHELLS = {"sh": False, "dash": False, "ash": False, "bash": True}
# variables by which bash takes options, files or functions from its environment
_BASH_READS = re.compile(r"(?:BASH_ENV|SHELLOPTS|BASHOPTS|POSIXLY_CORRECT|BASH_COMPAT|BASH_FUNC_.*)\Z")


def read_shell(start: Started) -> list[Started]:
    """What `sh [options] -c LINE [NAME ARGUMENT ...]` starts, in order. Raises `Unreadable`."""
    shell = PurePosixPath(start.words[0]).name
    at, has_line, assumes = 1, False, start.assumes
    while at < len(start.words) and start.words[at][:1] in ("-", "+"):
        word = start.words[at]
        at += 1
        if word in ("--", "-"):
            break
        letters = {"--login": "l", "--noprofile": "", "--norc": ""}.get(word, word[1:])
        if set(letters) - set("ceuxlo") or (word[0] == "+" and "c" in word):
            raise Unreadable("shell-option", f"{shell} {word[:SHOWN]} is not followed")
        if "l" in letters:
            assumes = (*assumes, f"the profile files that {shell} {word} reads change nothing")
        if "o" in letters:
            at += 1
            if start.words[at - 1 : at] not in [(name,) for name in _SET_NAMES]:
                raise Unreadable("shell-option", f"{shell} {word[:SHOWN]} is not followed")
        has_line = has_line or "c" in letters
    if at >= len(start.words):
        raise Unreadable("no-command", f"{shell} without a command line")
    if not has_line:
        raise Unreadable(
            "entrypoint-script", f"{shell} runs the script {start.words[at][:SHOWN]!r}, which cannot be read"
        )
    read = sorted(name for name in start.environ if SHELLS[shell] and _BASH_READS.match(name))
    if read:
        raise Unreadable("shell-environment", f"{read[0][:SHOWN]} changes what bash does")
    line, arguments = start.words[at], start.words[at + 1 :] or (start.words[0],)
    play = _Play(arguments, dict(start.environ), set(start.environ), start.directory, list(assumes))
    for command in commands_of(line, is_bash=SHELLS[shell]):
        play.run(command)
    return play.started


@dataclass
class _Play:
    arguments: Sequence[str]
    variables: dict[str, str]
    exported: set[str]
    directory: PurePosixPath | None
    assumes: list[str]
    started: list[Started] = field(default_factory=list)
    is_over: bool = False  # behind `exec program` nothing runs

    def values(self) -> Values:
        return Values(self.variables, self.arguments, self._assume_unset)

    def _assume_unset(self, name: str) -> None:
        sentence = f"{name} is not set in the engine's container either"
        if sentence not in self.assumes:
            self.assumes.append(sentence)

    def run(self, command: Command) -> None:
        assignments: list[tuple[str, Word]] = []
        words = list(command)
        while words and (assignment := assignment_of(words[0])) is not None:
            assignments.append(assignment)
            words.pop(0)
        name = literal_of(words[0]) if words else None
        if name in HARMLESS:
            return
        assigned = self._assigned(assignments)
        if not words:
            self.variables.update(assigned)
        elif name == "exec":
            self._program(words[1:], assigned, is_exec=True)
        elif name in ("set", "export", "unset", "cd"):
            if assigned:
                raise Unreadable("shell-assignment", f"an assignment in front of {name}")
            {"set": _refuse_odd_options, "export": self._export, "unset": self._unset, "cd": self._cd}[name](
                words[1:]
            )
        else:
            self._program(words, assigned, is_exec=False)

    def _assigned(self, assignments: list[tuple[str, Word]]) -> dict[str, str]:
        assigned: dict[str, str] = {}
        for name, word in assignments:
            _refuse_own(name)
            if names_in(word) & assigned.keys():
                raise Unreadable(
                    "shell-assignment", f"{name}= reads a variable of the same command; shells differ"
                )
            assigned[name] = value_of(word, self.values())
        return assigned

    def _program(self, words: Sequence[Word], assigned: Mapping[str, str], *, is_exec: bool) -> None:
        fields = [text for word in words for text in fields_of(word, self.values())]
        if is_exec and not fields and not words:
            self.variables.update(assigned)
            return
        if not fields or not fields[0]:
            raise Unreadable("no-command", "a command of the shell line is empty")
        if is_exec and fields[0].startswith("-"):
            raise Unreadable("shell-operator", f"exec {fields[0][:SHOWN]} is not followed")
        own = {*REFUSED, *HARMLESS, "exec", "set", "export", "unset", "cd", "exit"}
        if not is_exec and fields[0] in own:
            raise Unreadable("shell-command", f"{fields[0]} is not followed in a shell line")
        environ = {name: text for name, text in self.variables.items() if name in self.exported}
        self.started.append(
            Started(tuple(fields), {**environ, **assigned}, self.directory, tuple(self.assumes))
        )

    def _export(self, words: Sequence[Word]) -> None:
        for word in words:
            assignment = assignment_of(word)
            fields = fields_of(word, self.values())
            if assignment is None:
                if len(fields) != 1 or literal_of(word) is None or not NAME.fullmatch(fields[0]):
                    raise Unreadable("shell-command", "export with something else than NAME or NAME=value")
                _refuse_own(fields[0])
                self.exported.add(fields[0])
                continue
            name, value = assignment[0], value_of(assignment[1], self.values())
            _refuse_own(name)
            if fields != [f"{name}={value}"]:
                raise Unreadable(
                    "shell-assignment", f"export {name}= with an unquoted value that some shells split"
                )
            self.variables[name] = value
            self.exported.add(name)

    def _unset(self, words: Sequence[Word]) -> None:
        for word in words:
            name = literal_of(word)
            if name is None or not NAME.fullmatch(name):
                raise Unreadable("shell-command", "unset with something else than a name")
            _refuse_own(name)
            self.variables.pop(name, None)
            self.exported.discard(name)

    def _cd(self, words: Sequence[Word]) -> None:
        fields = [text for word in words for text in fields_of(word, self.values())]
        if not fields and not words:
            fields = [self.variables.get("HOME", "")]
        if len(fields) != 1 or not fields[0] or fields[0].startswith("-"):
            raise Unreadable("shell-command", "cd with something else than one directory")
        self.directory = moved(self.directory, fields[0])
        if not fields[0].startswith(("/", "./")) and self.variables.get("CDPATH"):
            raise Unreadable("shell-environment", "CDPATH decides where cd goes")


def moved(directory: PurePosixPath | None, to: str) -> PurePosixPath:
    """Where `cd to` leads. Relative where the container's own directory is the start. Raises `Unreadable` for `..`."""
    if ".." in PurePosixPath(to).parts:
        raise Unreadable("shell-command", f"cd {to[:SHOWN]!r} depends on what is a link there")
    return PurePosixPath(to) if directory is None else directory / to


def _refuse_own(name: str) -> None:
    if SHELLS_OWN.match(name):
        raise Unreadable("shell-assignment", f"{name} is the shell's own")


def _refuse_odd_options(words: Sequence[Word]) -> None:
    """`set -eux -o pipefail` changes no word; anything else may."""
    texts = [literal_of(word) or "" for word in words]
    while texts:
        text = texts.pop(0)
        if _SET_OPTIONS_WITH_NAME.match(text) and texts and texts[0] in _SET_NAMES:
            texts.pop(0)
        elif not _SET_OPTIONS.match(text):
            raise Unreadable("shell-command", "set with other options than -e, -u, -x and -o pipefail")
