"""Compiles a tree for the Python that runs this: `python3 compile_tree.py TREE [3.12]`, where that is what it must be.

Unchecked: a copy has new times, and comparing them or the sources would cost what compiling ahead has saved. A
changed source needs another tree.

Our own modules go into one file, which `own_modules.py` reads: a start imports a hundred of them, and looking for each in
its folder takes a tenth of the start. It also leaves 190 files less to copy for each Python.
"""

import ast
import importlib.util
import marshal
import os
import py_compile
import sys
from collections.abc import Iterator
from pathlib import Path

INSTALLED_AT = "/opt/autotune"
OWN = ("autotune_init", "cache_store")
IN_ONE = "own_modules.bin"
# these run as programs of their own on the engine's Python, and import each other from their folder
APART = "autotune_init/inside/"
# every start imports these and what they import at once; tests/image/test_tree.py compares that with a hit's
AT_EVERY_START = (
    "autotune_init.__main__",
    "autotune_init.pod",
    "autotune_init.story",
    "cache_store.objects.obstore_cloud",
    "cache_store.objects.open_url",
)


def compile_tree(tree: Path) -> int:
    version = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    count = 0
    own: dict[str, Path] = {}
    common = tree / "lib" / "common"
    for folder in (common, tree / "lib" / version):
        for source in sorted(folder.rglob("*.py")):
            count += 1
            below = source.relative_to(folder).as_posix()
            if below.startswith(OWN) and not below.startswith(APART):
                own[below.removesuffix(".py").removesuffix("/__init__").replace("/", ".")] = source
            else:
                compile_alone(source, tree)
    compile_alone(tree / "own_modules.py", tree)
    (tree / "lib" / version).mkdir(exist_ok=True)
    (tree / "lib" / version / IN_ONE).write_bytes(in_one(own, common))
    return count


def compile_alone(source: Path, tree: Path) -> None:
    py_compile.compile(
        str(source),
        dfile=f"{INSTALLED_AT}/{source.relative_to(tree)}",
        doraise=True,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )


def in_one(own: dict[str, Path], common: Path) -> bytes:
    """Python's magic number, two sizes, then the index and the code of that many bytes. `own`: name -> source.

    The code begins with what every start imports, in one piece: the index has them first, in the order in which they can be
    run, with that piece's size in place of a place, and no size. Nothing reads a docstring of ours in a pod.
    """
    trees = {name: ast.parse(source.read_bytes()) for name, source in own.items()}
    codes = {
        name: compile(
            trees[name], f"{INSTALLED_AT}/lib/common/{source.relative_to(common)}", "exec", optimize=2
        )
        for name, source in own.items()
    }
    together = imported_by(AT_EVERY_START, trees)
    code = bytearray(marshal.dumps({name: codes[name] for name in together}))
    places = dict.fromkeys(together, (len(code), 0))
    for name in sorted(own.keys() - places.keys()):
        one = marshal.dumps(codes[name])
        places[name] = (len(code), len(one))
        code += one
    index = {
        name: (f"common/{own[name].relative_to(common)}", own[name].name == "__init__.py", *place)
        for name, place in places.items()
    }
    indexed = marshal.dumps(index)
    sizes = len(indexed).to_bytes(4, "little") + len(code).to_bytes(4, "little")
    return importlib.util.MAGIC_NUMBER + sizes + indexed + code


def imported_by(roots: tuple[str, ...], trees: dict[str, ast.Module]) -> list[str]:
    """The modules that importing `roots` imports, of those in `trees`, each behind what it imports itself.

    What a function imports waits until it runs, and what stands below an `if` or a `try` is left to Python.
    """
    begun: set[str] = set()
    order: list[str] = []

    def visit(name: str) -> None:
        if name not in trees or name in begun:
            return
        begun.add(name)
        for inner in (name.rpartition(".")[0], *names_imported(trees[name])):
            visit(inner)
        order.append(name)

    for root in roots:
        visit(root)
    return order


def names_imported(module: ast.Module) -> Iterator[str]:
    for statement in module.body:
        if isinstance(statement, ast.Import):
            yield from (one.name for one in statement.names)
        elif isinstance(statement, ast.ImportFrom) and statement.module:
            yield statement.module
            yield from (f"{statement.module}.{one.name}" for one in statement.names)


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0" or "no_debug_ranges" not in sys._xoptions:  # noqa: SLF001 -- its documented name
        # the order of sets among a module's constants would change from build to build; column tables are 7 % of the bytes
        os.execve(
            sys.executable,
            [sys.executable, "-X", "no_debug_ranges", *sys.argv],
            {**os.environ, "PYTHONHASHSEED": "0"},
        )
    found = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if sys.argv[2:] not in ([], [found]):
        sys.exit(f"this is Python {found}, not {sys.argv[2]}: pass another base image")
    print(f"{sys.version.split()[0]}: {compile_tree(Path(sys.argv[1]))} modules")
