"""What annotations and class statements take from `typing`, for programs whose start others wait for.

`typing` and what it imports are 9 of a hit's 210 million instructions, and nothing at run time asks for what it makes.
Type checkers see the real ones (ruff by its setting `typing-modules`); a Protocol that `isinstance` is to understand,
and pydantic's models, take theirs from `typing` itself.
"""

from __future__ import annotations

TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any, BinaryIO, Final, Generic, Literal, NoReturn, Protocol, TextIO, TypeVar, cast
else:

    class _Name:
        """Stands where a type stands: alone, in `X | None`, with square brackets, or as the base of a class."""

        def __class_getitem__(cls, _):
            return cls

    class Protocol(_Name):
        pass

    class Generic(_Name):
        pass

    Any = BinaryIO = Final = Literal = NoReturn = TextIO = _Name

    def TypeVar(*_, **__):  # noqa: N802 -- as typing's
        return _Name

    def cast(_, value):
        return value


__all__ = [
    "TYPE_CHECKING",
    "Any",
    "BinaryIO",
    "Final",
    "Generic",
    "Literal",
    "NoReturn",
    "Protocol",
    "TextIO",
    "TypeVar",
    "cast",
]
