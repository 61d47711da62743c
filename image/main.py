# ruff: noqa: PTH100, PTH120, UP031 -- Python 2.7 must read this; pathlib costs a start 5 ms
"""Runs autotune_init from the tree that this file lies in, on whatever Python the engine's image has.

`start` calls it with the number of a pipe, and learns there how far it came: `V` (this Python is not one of ours),
`U` (our modules do not load here) or `L` (loaded: what happens from now on is the program's own). Written so that
Python 2.7 and every Python 3 can read it: an old one shall say a sentence and not a SyntaxError. Short, because a
program's first file is compiled at each start; the rest is `own_modules.py`.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional  # noqa: F401 -- for the type comments

OLDEST, NEWEST = (3, 10), (3, 13)
NOT_LOADED = 25


def tell(pipe, text):
    # type: (Optional[int], str) -> None
    """What `start` cannot be told, since nobody called us so, goes to stderr alone."""
    if pipe is None:
        if text != "L":
            sys.stderr.write("autotune-init: %s\n" % text[1:])
        return
    os.write(pipe, text[:1000].encode("utf-8", "replace"))
    os.close(pipe)


def unfit():
    # type: () -> Optional[str]
    """Why this Python cannot run us, or None."""
    implementation = getattr(
        getattr(sys, "implementation", None), "name", "cpython"
    )  # Python 2.7 has no such thing
    if implementation == "cpython" and OLDEST <= sys.version_info[:2] <= NEWEST:
        return None
    return "%s %s" % (implementation.replace("cpython", "Python"), sys.version.split()[0])


def begin():
    # type: () -> int
    pipe = int(sys.argv.pop(1)) if sys.argv[1:] and sys.argv[1].isdigit() else None
    problem = unfit()
    if problem:
        tell(pipe, "V" + problem)
        return NOT_LOADED
    sys.dont_write_bytecode = True
    tree = os.path.dirname(os.path.abspath(__file__))
    sys.path.insert(0, tree)
    try:
        from own_modules import load

        main = load(tree)
    except BaseException as error:  # noqa: BLE001 -- a foreign image may raise anything here
        tell(pipe, "U%s: %s" % (type(error).__name__, error))
        return NOT_LOADED
    tell(pipe, "L")
    return main()


if __name__ == "__main__":
    sys.exit(begin())
