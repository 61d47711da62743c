"""A shell line as commands and words, in the part of the language that dash and bash read alike. Pure.

Whatever the two read differently, or what only a running shell could answer, is refused by name. The proof is
tests/engines/test_shell_words.py, which gives generated lines to the real shells.
Source: POSIX.1-2017, Shell Command Language, 2.2 (quoting), 2.3 (tokens), 2.6.2 (parameters), 2.6.5 (fields).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from autotune_init.engines.started import SHOWN, Unreadable
from cache_store.dataclass import dataclass

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(\+?)=")
BLANKS = " \t\n"  # IFS: both shells ignore one from the environment
# what shells set by themselves, whatever the environment says
SHELLS_OWN = re.compile(
    r"(?:IFS|PWD|OLDPWD|PPID|SHLVL|RANDOM|SRANDOM|SECONDS|LINENO|UID|EUID|GROUPS|OPTIND|OPTARG|OPTERR|HOSTTYPE|MACHTYPE"
    r"|OSTYPE|EPOCH[A-Z]*|SHELLOPTS|BASH\w*|DIRSTACK|FUNCNAME|PIPESTATUS|COLUMNS|LINES|HISTCMD|COMP_\w+|COPROC|MAPFILE"
    r"|REPLY|TIMEFORMAT|GLOBIGNORE|FUNCNEST|PS[0-9]|ENV|POSIXLY_CORRECT|_)\Z"
)
# what bash, but not dash, sets where the environment does not
_SET_WHERE_MISSING = frozenset({"HOSTNAME", "PATH", "SHELL", "TERM"})


@dataclass(frozen=True)
class Piece:
    """Part of a word: literal text, a variable ($name), or all arguments ("$@").

    `operator` is that of ${name<operator>alternative}.
    """

    kind: Literal["literal", "variable", "arguments"]
    text: str
    is_quoted: bool
    operator: str = ""
    alternative: tuple[Piece, ...] = ()


Word = tuple[Piece, ...]
Command = tuple[Word, ...]


@dataclass(frozen=True)
class Values:
    """What variables and arguments stand for. `arguments` are $0, $1, ...; `assume_unset` hears of each variable
    whose absence decides a word.
    """

    variables: Mapping[str, str]
    arguments: Sequence[str]
    assume_unset: Callable[[str], None]


def literal_of(word: Word) -> str | None:
    """The text of a word that is written without quotes and variables, which is how shells know their own words."""
    if len(word) == 1 and word[0].kind == "literal" and not word[0].is_quoted:
        return word[0].text
    return None


def assignment_of(word: Word) -> tuple[str, Word] | None:
    """(name, value) of a word that is NAME=value. Raises `Unreadable` for NAME+=value, which only bash knows."""
    first = word[0]
    found = ASSIGNMENT.match(first.text) if first.kind == "literal" and not first.is_quoted else None
    if found is None:
        return None
    if found.group(2):
        raise Unreadable("shell-assignment", f"{first.text[:SHOWN]!r} appends, in bash only")
    rest = first.text[found.end() :]
    return found.group(1), ((Piece("literal", rest, is_quoted=False),) if rest else ()) + word[1:]


def fields_of(word: Word, values: Values) -> list[str]:
    """The fields that a word of a command becomes: none, one or several. Raises `Unreadable`."""
    if any(piece.kind == "arguments" for piece in word):
        if len(word) > 1:
            raise Unreadable("shell-arguments", '"$@" beside other text in one word')
        return list(values.arguments[1:])
    fields: list[str] = []
    current: str | None = None
    for piece in word:
        text = _text(piece, values, may_glob=False)
        if piece.is_quoted or (piece.kind == "literal" and text):
            current = (current or "") + text
            continue
        first, *others = re.split(f"[{BLANKS}]+", text)
        if first:
            current = (current or "") + first
        for part in others:
            fields += [] if current is None else [current]
            current = part or None
    return fields if current is None else [*fields, current]


def value_of(word: Word, values: Values) -> str:
    """The value that the right side of an assignment has: neither split nor matched with files."""
    if any(piece.kind == "arguments" for piece in word):
        raise Unreadable("shell-arguments", '"$@" in an assignment')
    return "".join(_text(piece, values, may_glob=True) for piece in word)


def names_in(word: Word) -> frozenset[str]:
    """The variables that a word reads."""
    names = {piece.text for piece in word if piece.kind == "variable"}
    return frozenset(names.union(*(names_in(piece.alternative) for piece in word)))


def _text(piece: Piece, values: Values, *, may_glob: bool) -> str:
    text = _variable(piece, values) if piece.kind == "variable" else piece.text
    if piece.is_quoted:
        return text
    if piece.kind == "literal" and any(mark in text for mark in "~{}"):
        raise Unreadable("shell-expansion", f"an unquoted ~, {{ or }} in {text[:SHOWN]!r}; quote it")
    if not may_glob and any(mark in text for mark in "*?[" + "\\" * (piece.kind == "variable")):
        raise Unreadable("shell-glob", f"{text[:SHOWN]!r} may be matched with file names; quote it")
    return text


def _variable(piece: Piece, values: Values) -> str:
    name, operator = piece.text, piece.operator
    if name.isdecimal():
        at = int(name)
        value = values.arguments[at] if at < len(values.arguments) else None
    else:
        value = values.variables.get(name)
    is_missing = value is None or (operator.startswith(":") and value == "")
    if value is None and operator[-1:] in ("-", "+"):
        if name in _SET_WHERE_MISSING:
            raise Unreadable(
                "shell-unset-variable", f"${name} is not set here, and some shells set it themselves"
            )
        values.assume_unset(name)
    if operator[-1:] == "+":
        return "" if is_missing else value_of(piece.alternative, values)
    if not is_missing and value is not None:
        return value
    if operator[-1:] == "-":
        return value_of(piece.alternative, values)
    raise Unreadable(
        "shell-unset-variable", f"${name} is not set here; give this container the engine's environment"
    )
