# ruff: noqa: PTH100, PTH112, PTH118, PTH120, PTH208 -- pathlib costs a start 5 ms
"""How `main.py` loads the program: our modules out of one file, beside the tree's wheels and in front of the engine's.

The file is `compile_tree.py`'s: what every start imports is one piece, so that a name that a hundred modules use is read
once; the others are a piece each.
"""

from __future__ import annotations

import gc
import marshal
import os
import sys
import warnings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, ModuleType
    from typing import Any, NoReturn

IN_ONE = "own_modules.bin"


def load(tree: str) -> Callable[[], NoReturn]:
    """The program's entry, with the one compiled module that a hit needs. Raises whatever keeps it from loading.

    What else is compiled is for the same C library and Python. pydantic above all waits until somebody tunes: it takes
    80 ms.
    """
    # as in autotune_init/__main__.py, and for the modules that it imports
    gc.set_threshold(100000)
    # an engine's PYTHONWARNINGS=error is meant for the engine; nobody reads our deprecations in a pod
    warnings.simplefilter("ignore")
    forget_loaded(put_in_front(tree))
    ours = take_own_modules(os.path.join(tree, "lib"))
    import_obstore()
    import_pathlib()
    if ours and sys.argv[1:2] == ["run"]:
        ours.run_all_of_every_start()
    from autotune_init.__main__ import main

    return main


def put_in_front(tree: str) -> list[str]:
    """Our modules before the engine's, whose other versions stay visible for what only asks which are installed."""
    major, minor = sys.version_info[:2]
    ours = [os.path.join(tree, "lib", f"cp{major}{minor}"), os.path.join(tree, "lib", "common")]
    # the tree itself is there for the sake of this file, and means nothing to the engine
    others = [entry for entry in sys.path if os.path.abspath(entry) != tree]
    sys.path[:] = ours + others
    return ours


def forget_loaded(ours: list[str]) -> None:
    """What a .pth file or a sitecustomize of the engine's (OpenTelemetry's, Datadog's) has imported of the same name."""
    names: set[str] = set()
    for directory in ours:
        if os.path.isdir(directory):
            names.update(entry.split(".")[0] for entry in os.listdir(directory))
    for name in list(sys.modules):
        if name.split(".")[0] in names:
            del sys.modules[name]


class OwnModules:
    """Our modules out of the one file that `compile_tree.py` has made of them."""

    def __init__(
        self, lib: str, opened: int, start: int, modules: dict[str, tuple[str, bool, int, int]]
    ) -> None:
        """`opened`: the file's descriptor. `start`: where its code begins. `modules`: source, is it a package, place, bytes.

        Those of no bytes are in the piece for every start, which lies before the others.
        """
        self.lib = lib
        self.opened = opened
        self.start = start
        self.modules = modules
        self.of_every_start: dict[str, CodeType] = {}

    def find_spec(self, name: str, _path: Any = None, _target: Any = None) -> Any:
        if name not in self.modules:
            return None
        below, is_package, _, _ = self.modules[name]
        origin = self.lib + "/" + below
        # importlib.machinery's ModuleSpec, without the import
        make: Any = type(sys.__spec__)
        spec = make(name, self, origin=origin, is_package=is_package)
        spec.has_location = True
        if is_package:
            spec.submodule_search_locations = [os.path.dirname(origin)]
        return spec

    def create_module(self, spec: Any) -> None:
        """As Python makes them."""

    def exec_module(self, module: ModuleType) -> None:
        _, _, place, size = self.modules[module.__name__]
        if size:
            code = marshal.loads(os.pread(self.opened, size, self.start + place))
        else:
            code = self.code_of_every_start(module.__name__, place)
        exec(code, module.__dict__)

    def code_of_every_start(self, name: str, size: int) -> CodeType:
        """One of the piece that has `size` bytes, which is kept until all are taken."""
        if name not in self.of_every_start:  # at first, and where a module is imported anew
            self.of_every_start = marshal.loads(os.pread(self.opened, size, self.start))
        return self.of_every_start.pop(name)

    def run_all_of_every_start(self) -> None:
        """As if all were imported, without Python's 60 us for each: whatever one imports has been run before it."""
        make: Any = type(sys)
        for name, (below, is_package, place, size) in self.modules.items():
            if size or name in sys.modules:
                continue
            code = self.code_of_every_start(name, place)
            module = make(name)
            module.__loader__, module.__file__ = self, f"{self.lib}/{below}"
            module.__package__ = name if is_package else name.rpartition(".")[0]
            if is_package:  # what importing one of its modules later looks at
                module.__spec__ = self.find_spec(name)
                module.__path__ = module.__spec__.submodule_search_locations
            sys.modules[name] = module
            try:
                exec(code, module.__dict__)
            except BaseException:
                del sys.modules[name]
                raise
            parent, _, child = name.rpartition(".")
            if parent:
                setattr(sys.modules[parent], child, module)


def take_own_modules(lib: str) -> OwnModules | None:
    """None without the file, or where it is cut or of another build of this Python: they are found as any others are."""
    try:
        major, minor = sys.version_info[:2]
        opened = os.open(f"{lib}/cp{major}{minor}/{IN_ONE}", os.O_RDONLY)
        magic: bytes = sys.modules["_frozen_importlib_external"].MAGIC_NUMBER
        head = os.pread(opened, len(magic) + 8, 0)
        index_bytes = int.from_bytes(head[len(magic) : -4], "little")
        code_bytes = int.from_bytes(head[-4:], "little")
        if head.startswith(magic) and os.fstat(opened).st_size == len(head) + index_bytes + code_bytes:
            modules = marshal.loads(os.pread(opened, index_bytes, len(head)))
            ours = OwnModules(lib, opened, len(head) + index_bytes, modules)
            sys.meta_path.insert(0, ours)
            return ours
    except (OSError, EOFError, ValueError, TypeError, KeyError):
        pass
    return None


def import_obstore() -> None:
    """To see whether it can be loaded here.

    Its two Python files take two names of `typing`, which would be 4 ms for nothing: so they find those two.
    """
    stand_in: Any = type(sys)("typing")
    stand_in.TYPE_CHECKING, stand_in.overload = False, lambda function: function
    import_beside("obstore", stand_in)


def import_pathlib() -> None:
    """Up to Python 3.11 it takes one function of `urllib.parse`, which is 2 ms, for `Path.as_uri`."""

    def quote_from_bytes(*given: Any) -> str:
        from urllib.parse import quote_from_bytes

        return quote_from_bytes(*given)

    stand_in: Any = type(sys)("urllib.parse")
    stand_in.quote_from_bytes = quote_from_bytes
    import_beside("pathlib", stand_in)


def import_beside(name: str, stand_in: ModuleType) -> None:
    """Imports `name`, which finds `stand_in` in place of the module that is called so. A release that wants more of it
    finds the whole."""
    replaced = stand_in.__name__
    if replaced not in sys.modules:
        sys.modules[replaced] = stand_in
        try:
            __import__(name)
        except (ImportError, AttributeError):
            for loaded in [loaded for loaded in sys.modules if loaded.partition(".")[0] == name]:
                del sys.modules[loaded]
        finally:
            del sys.modules[replaced]
    __import__(name)
