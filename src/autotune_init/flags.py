"""Our own flags on a command line: argparse reads them, and where nothing is odd about them a loop that costs nothing.

argparse takes a start 10 ms: itself, the locale that its messages are in, and the widths of a help that nobody asked for.
"""

from __future__ import annotations

from collections.abc import Sequence

from autotune_init.options import OPTIONS, Option
from autotune_init.settings import BadSettings
from cache_store.annotation import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    import argparse

_BY_FLAG = {option.flag: option for option in OPTIONS}


def plain_flags(words: Sequence[str]) -> dict[str, object] | None:
    """Option name with underscores -> what was given; None where argparse has something to say."""
    found: dict[str, object] = {}
    rest = iter(words)
    for word in rest:
        flag, has_value, value = word.partition("=")
        option = _BY_FLAG.get(flag)
        if option is None or (option.kind == "flag" and has_value):
            return None
        if option.kind == "flag":
            found[_name(option)] = True
            continue
        given = value if has_value else next(rest, None)
        if given is None or (not has_value and given.startswith("-")):
            return None
        if option.kind in ("pairs", "names"):
            found[_name(option)] = [*_listed(found.get(_name(option))), given]
        else:
            found[_name(option)] = given
    return found


def _name(option: Option) -> str:
    return option.name.replace("-", "_")


def _listed(before: object) -> list[object]:
    return before if isinstance(before, list) else []


def build_parser(command: str, description: str) -> argparse.ArgumentParser:
    """The parser of one command; the table in options.py is its only source."""
    import argparse

    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            raise BadSettings(message)

    parser = Parser(
        prog=f"autotune-init {command}",
        description=description,
        epilog="Every flag has one variable of the same name, AUTOTUNE_<FLAG>; a flag beats its variable.",
        allow_abbrev=False,
    )
    groups = {
        name: parser.add_argument_group(name) for name in dict.fromkeys(option.group for option in OPTIONS)
    }
    for option in OPTIONS:
        _add(groups[option.group], option)
    return parser


def _add(group: argparse._ArgumentGroup, option: Option) -> None:
    default = f" (default: {option.default})" if option.default is not None else ""
    meaning = (option.meaning + default).replace("%", "%%")
    if option.kind == "flag":
        group.add_argument(option.flag, action="store_true", default=None, help=meaning)
    elif option.kind in ("pairs", "names"):
        group.add_argument(option.flag, action="append", metavar=option.metavar, help=meaning)
    elif option.kind == "choice":
        # choices are checked in _value, so that a variable and a flag fail with the same sentence
        group.add_argument(option.flag, metavar="{" + ",".join(option.choices) + "}", help=meaning)
    else:
        group.add_argument(option.flag, metavar=option.metavar, help=meaning)
