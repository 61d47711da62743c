"""A shell line cut into simple commands and words, in the part of the grammar that dash and bash read alike. Pure.

Source: POSIX.1-2017, Shell Command Language, 2.2 (quoting), 2.3 (tokens), 2.4 (reserved words), 2.7 (redirection).
"""

from __future__ import annotations

import re

from autotune_init.engines.shell_words import (
    NAME,
    SHELLS_OWN,
    Command,
    Piece,
    Word,
    assignment_of,
    literal_of,
)
from autotune_init.engines.started import SHOWN, Unreadable

RESERVED = frozenset(
    [
        "if",
        "then",
        "else",
        "elif",
        "fi",
        "for",
        "while",
        "until",
        "do",
        "done",
        "case",
        "esac",
        "in",
        "{",
        "}",
        "!",
        "[[",
        "]]",
        "function",
        "select",
        "time",
        "coproc",
    ]
)
_OPERATORS = (":-", ":+", ":?", "-", "+", "?")
_PLAIN_ALTERNATIVE = re.compile(r"[A-Za-z0-9_./:=,@%+ -]+")
_REDIRECTION = re.compile(r">>|>&|>")
_ESCAPES = {"n": "\n", "t": "\t", "\\": "\\", "'": "'", '"': '"', "a": "\a", "b": "\b", "r": "\r"}
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def commands_of(line: str, *, is_bash: bool) -> tuple[Command, ...]:
    """The simple commands of a line in order, whether `;`, a newline or `&&` joins them; without redirections.

    Raises `Unreadable`: shell-syntax, shell-<what is not followed>.
    """
    found = _UNPRINTABLE.search(line)
    if found:
        raise Unreadable("shell-syntax", f"a control character ({found.group()!r}) in the shell line")
    return _Lexer(line, is_bash=is_bash).commands()


class _Lexer:
    def __init__(self, line: str, *, is_bash: bool) -> None:
        self.line = line
        self.is_bash = is_bash
        self.at = 0

    def commands(self) -> tuple[Command, ...]:
        commands: list[Command] = []
        words: list[Word] = []
        is_empty, is_owed = True, False  # nothing of this command yet; a command must follow (after &&)
        while True:
            mark = self._skip_blanks()
            if mark in ("", "\n", ";", "&"):
                if is_empty and (mark in (";", "&") or (mark == "" and is_owed)):
                    raise Unreadable("shell-syntax", f"no command before {mark or 'the end'!r}")
                if words:
                    commands.append(tuple(words))
                if not mark:
                    return tuple(commands)
                is_owed = self._separator() == "&&" or (is_owed and is_empty)
                words, is_empty = [], True
                continue
            is_empty = False
            if not self._redirection():
                words.append(self._word(is_first=all(assignment_of(word) for word in words)))

    def _peek(self, length: int = 1) -> str:
        return self.line[self.at : self.at + length]

    def _skip_blanks(self) -> str:
        while True:
            if self._peek(2) == "\\\n":
                self.at += 2
            elif self._peek() in (" ", "\t"):
                self.at += 1
            elif self._peek() == "#":
                end = self.line.find("\n", self.at)
                self.at = len(self.line) if end < 0 else end
            else:
                return self._peek()

    def _separator(self) -> str:
        for mark in ("&&", ";;", "&>", "&", ";", "\n"):
            if self._peek(len(mark)) == mark:
                self.at += len(mark)
                if mark in (";;", "&>", "&"):
                    what = "a command in the background" if mark == "&" else f"{mark!r}"
                    raise Unreadable("shell-operator", f"{what} is not followed")
                return mark
        raise AssertionError(self._peek())

    def _redirection(self) -> bool:
        """Passes over `>file`, `>>file`, `2>&1`: they move what the engine prints and no word of its command."""
        begin = self.at + (1 if re.match(r"[12]>", self._peek(2)) else 0)
        found = _REDIRECTION.match(self.line, begin)
        if found is None:
            return False
        self.at = found.end()
        if found.group() == ">&":
            if not re.match(r"[12](?![^\s;&])", self._peek(2)):
                raise Unreadable("shell-redirection", ">& is followed with 1 or 2 only")
            self.at += 1
            return True
        if self._skip_blanks() in ("", "\n", ";", "&", ">", "<", "|", "(", ")"):
            raise Unreadable("shell-redirection", f"{found.group()!r} without a plain file name")
        target = self._word(is_first=False)
        if any(
            piece.kind != "literal" or not (piece.is_quoted or re.match(r"[\w./:-]+\Z", piece.text))
            for piece in target
        ):
            raise Unreadable("shell-redirection", f"{found.group()!r} to a file whose name is not literal")
        return True

    def _word(self, *, is_first: bool) -> Word:
        pieces: list[Piece] = []
        begin = self.at
        while (mark := self._peek()) and mark not in " \t\n;&":
            if mark in "|<>()`" or self._peek(2) == "\\":
                if not (mark == ">" and pieces):
                    raise Unreadable(*_not_followed(self._peek(3), self.line[begin : self.at]))
                if re.match(r"[0-9]+\Z", self.line[begin : self.at]):
                    raise Unreadable("shell-redirection", "only 1 and 2 are redirected")
                break
            if self._peek(2) == "\\\n":
                self.at += 2
            else:
                pieces += self._piece(mark)
        if not pieces:
            raise Unreadable("shell-syntax", "a line continuation in an odd place")
        word = _merged(pieces)
        if is_first and literal_of(word) in RESERVED:
            raise Unreadable("shell-compound", f"{literal_of(word)!r} is not followed")
        return word

    def _piece(self, mark: str) -> list[Piece]:
        if mark == "'":
            return [self._single_quoted()]
        if mark == '"':
            return self._double_quoted()
        if mark == "$":
            return [self._dollar(is_quoted=False)]
        if mark == "\\":
            self.at += 2
            return [Piece("literal", self.line[self.at - 1], is_quoted=True)]
        self.at += 1
        return [Piece("literal", mark, is_quoted=False)]

    def _single_quoted(self) -> Piece:
        end = self.line.find("'", self.at + 1)
        if end < 0:
            raise Unreadable("shell-syntax", "a ' that is not closed")
        text = self.line[self.at + 1 : end]
        self.at = end + 1
        return Piece("literal", text, is_quoted=True)

    def _double_quoted(self) -> list[Piece]:
        pieces = [Piece("literal", "", is_quoted=True)]
        self.at += 1
        while mark := self._peek():
            if mark == '"':
                self.at += 1
                # "$@" without arguments is no field at all, unlike ""
                return pieces[1:] if len(pieces) == 2 and pieces[1].kind == "arguments" else pieces
            if mark == "`":
                raise Unreadable("shell-substitution", "a command substitution (`...`)")
            if mark == "$":
                pieces.append(self._dollar(is_quoted=True))
            elif mark == "\\" and self._peek(2)[1:] in ("$", "`", '"', "\\", "\n"):
                text = self._peek(2)[1:].strip("\n")
                self.at += 2
                pieces.append(Piece("literal", text, is_quoted=True))
            else:
                self.at += 1
                pieces.append(Piece("literal", mark, is_quoted=True))
        raise Unreadable("shell-syntax", 'a " that is not closed')

    def _dollar(self, *, is_quoted: bool) -> Piece:
        following = self.line[self.at + 1 : self.at + 2]
        if following == "(":
            raise Unreadable("shell-substitution", f"a substitution ({self._peek(SHOWN)!r})")
        if following == "{":
            return self._braced(is_quoted=is_quoted)
        if following == "@" and is_quoted:
            self.at += 2
            return Piece("arguments", "@", is_quoted=True)
        if following == "'" and not is_quoted:
            return self._ansi_quoted()
        found = NAME.match(self.line, self.at + 1)
        if found is None and following not in tuple("0123456789"):
            if (
                following in ("", " ", "\t", "\n", ".", "/", ",", ":", "%", "=", "+", "]", "^", "~", "}")
            ) or (is_quoted and following in ('"', "'", ")", "|", ";", "&", "<", ">")):
                self.at += 1
                return Piece("literal", "$", is_quoted=True)
            raise Unreadable("shell-parameter", f"{self._peek(4)!r} is not followed")
        name = found.group() if found else following
        self.at += 1 + len(name)
        if self._peek(2) == "\\\n":
            raise Unreadable("shell-syntax", f"a line continuation behind ${name}")
        return Piece("variable", _checked(name), is_quoted)

    def _braced(self, *, is_quoted: bool) -> Piece:
        found = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*|[0-9]+)").match(self.line, self.at)
        if found is None:
            raise Unreadable("shell-parameter", f"{self._peek(SHOWN)!r} is not followed")
        self.at = found.end()
        operator = next((mark for mark in _OPERATORS if self._peek(len(mark)) == mark), "")
        self.at += len(operator)
        alternative: list[Piece] = []
        while operator and self._peek() != "}":
            plain = _PLAIN_ALTERNATIVE.match(self.line, self.at)
            if plain is not None:
                self.at = plain.end()
                alternative.append(Piece("literal", plain.group(), is_quoted=False))
            elif self._peek() == "$" and self._peek(2) != "$'":
                alternative.append(self._dollar(is_quoted=False))
            elif operator[-1] == "?" and self._peek() not in ("", "'", '"', "\\", "`"):
                self.at += 1  # a message that is never seen: without a value the line is refused
            else:
                break
        if self._peek() != "}":
            what = self.line[found.start() : self.at + 3]
            raise Unreadable("shell-parameter", f"{what[:SHOWN]!r} is not followed")
        self.at += 1
        return Piece("variable", _checked(found.group(1)), is_quoted, operator, tuple(alternative))

    def _ansi_quoted(self) -> Piece:
        """$'...': bash only; dash reads a dollar and a quoted text."""
        if not self.is_bash:
            raise Unreadable("shell-parameter", "$'...' means different things to different sh")
        text: list[str] = []
        self.at += 2
        while (mark := self._peek()) and mark != "'":
            if mark == "\\":
                escape = self._peek(2)[1:]
                if escape not in _ESCAPES:
                    raise Unreadable("shell-parameter", f"\\{escape} in $'...' is not followed")
                mark = _ESCAPES[escape]
                self.at += 1
            self.at += 1
            text.append(mark)
        if not mark:
            raise Unreadable("shell-syntax", "a $' that is not closed")
        self.at += 1
        return Piece("literal", "".join(text), is_quoted=True)


def _checked(name: str) -> str:
    if SHELLS_OWN.match(name):
        raise Unreadable("shell-parameter", f"${name} is the shell's own")
    return name


def _merged(pieces: list[Piece]) -> Word:
    merged: list[Piece] = []
    for piece in pieces:
        last = merged[-1] if merged else None
        if last and piece.kind == last.kind == "literal" and piece.is_quoted == last.is_quoted:
            merged[-1] = Piece("literal", last.text + piece.text, piece.is_quoted)
        else:
            merged.append(piece)
    return tuple(merged)


def _not_followed(mark: str, before: str) -> tuple[str, str]:
    if mark[:2] == "||" or mark[:1] == "|":
        return "shell-operator", "|| is not followed" if mark[:2] == "||" else "a pipeline is not followed"
    if mark[:1] in "<>":
        return "shell-redirection", f"{mark[:3]!r} is not followed"
    if mark[:1] == "`":
        return "shell-substitution", "a command substitution (`...`)"
    if mark[:1] == "\\":
        return "shell-syntax", "the line ends in a backslash"
    return "shell-compound", f"a parenthesis behind {before[:SHOWN]!r} is not followed"
