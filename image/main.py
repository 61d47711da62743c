# ruff: noqa: PTH100, PTH112, PTH118, PTH120, PTH208, UP031 -- Python 2.7 must read this; pathlib costs a start 5 ms
"""Runs autotune_init from the tree that this file lies in, on whatever Python the engine's image has.

`start` calls it with the number of a pipe, and learns there how far it came: `V` (this Python is not one of ours),
`U` (our modules do not load here) or `L` (loaded: what happens from now on is the program's own). Written so that
Python 2.7 and every Python 3 can read it: an old one shall say a sentence and not a SyntaxError.
"""

import gc
import marshal
import os
import sys
import warnings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, NoReturn, Optional, Set, Tuple  # noqa: F401, I001, UP035 -- for the type comments

OLDEST, NEWEST = (3, 10), (3, 13)
IN_ONE = "own_modules.bin"  # of compile_tree.py
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


def put_in_front(tree):
    # type: (str) -> List[str]
    """Our modules before the engine's, whose other versions stay visible for what only asks which are installed."""
    here = os.path.dirname(os.path.abspath(__file__))
    version = "cp%d%d" % sys.version_info[:2]
    ours = [os.path.join(tree, "lib", version), os.path.join(tree, "lib", "common")]
    # a script's own directory is put first, and means nothing to the engine
    others = [entry for entry in sys.path if os.path.abspath(entry) != here]
    sys.path[:] = ours + others
    return ours


class OwnModules(object):  # noqa: UP004 -- as above
    """Our modules out of the one file that `compile_tree.py` has made of them."""

    def __init__(self, lib, opened, start, modules):
        # type: (str, int, int, Dict[str, Tuple[str, bool, int, int]]) -> None
        """`opened`: the file's descriptor. `start`: where its code begins. `modules`: source, is it a package, place, bytes."""
        self.lib = lib
        self.opened = opened
        self.start = start
        self.modules = modules

    def find_spec(self, name, path=None, target=None):  # noqa: ARG002 -- how Python calls it
        # type: (str, Any, Any) -> Any
        if name not in self.modules:
            return None
        below, is_package, _, _ = self.modules[name]
        origin = self.lib + "/" + below
        # importlib.machinery's ModuleSpec, without the import
        make = type(sys.__spec__)  # type: Any
        spec = make(name, self, origin=origin, is_package=is_package)
        spec.has_location = True
        if is_package:
            spec.submodule_search_locations = [os.path.dirname(origin)]
        return spec

    def create_module(self, spec):
        # type: (Any) -> None
        """As Python makes them."""

    def exec_module(self, module):
        # type: (Any) -> None
        _, _, place, size = self.modules[module.__name__]
        exec(marshal.loads(os.pread(self.opened, size, self.start + place)), module.__dict__)


def take_own_modules(lib):
    # type: (str) -> None
    """Without the file, or where it is cut or of another build of this Python, they are found as any others are."""
    try:
        major, minor = sys.version_info[:2]
        opened = os.open("%s/cp%d%d/%s" % (lib, major, minor, IN_ONE), os.O_RDONLY)
        magic = sys.modules["_frozen_importlib_external"].MAGIC_NUMBER
        head = os.pread(opened, len(magic) + 4, 0)
        size = int.from_bytes(head[len(magic) :], "little")
        if head.startswith(magic):
            modules = marshal.loads(os.pread(opened, size, len(head)))
            start = len(head) + size
            if os.fstat(opened).st_size == start + sum(size for _, _, _, size in modules.values()):
                sys.meta_path.insert(0, OwnModules(lib, opened, start, modules))
    except (OSError, EOFError, ValueError, TypeError, KeyError):
        pass


def forget_loaded(ours):
    # type: (List[str]) -> None
    """What a .pth file or a sitecustomize of the engine's (OpenTelemetry's, Datadog's) has imported of the same name."""
    names = set()  # type: Set[str]
    for directory in ours:
        if os.path.isdir(directory):
            names.update(entry.split(".")[0] for entry in os.listdir(directory))
    for name in list(sys.modules):
        if name.split(".")[0] in names:
            del sys.modules[name]


def load():
    # type: () -> Callable[[], NoReturn]
    """The program's entry, with the one compiled module that a hit needs. Raises whatever keeps it from loading.

    What else is compiled is for the same C library and Python. pydantic above all waits until somebody tunes: it takes
    80 ms.
    """
    import obstore  # noqa: F401 -- to see whether it can be loaded here

    from autotune_init.__main__ import main

    return main


def begin():
    # type: () -> int
    pipe = int(sys.argv.pop(1)) if sys.argv[1:] and sys.argv[1].isdigit() else None
    problem = unfit()
    if problem:
        tell(pipe, "V" + problem)
        return NOT_LOADED
    # as in autotune_init/__main__.py, and for the modules that it imports
    gc.set_threshold(100000)
    # an engine's PYTHONWARNINGS=error is meant for the engine; nobody reads our deprecations in a pod
    warnings.simplefilter("ignore")
    sys.dont_write_bytecode = True
    tree = os.path.dirname(os.path.abspath(__file__))
    forget_loaded(put_in_front(tree))
    take_own_modules(os.path.join(tree, "lib"))
    try:
        main = load()
    except BaseException as error:  # noqa: BLE001 -- a foreign image may raise anything here
        tell(pipe, "U%s: %s" % (type(error).__name__, error))
        return NOT_LOADED
    tell(pipe, "L")
    return main()


if __name__ == "__main__":
    sys.exit(begin())
