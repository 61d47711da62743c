"""Compiles a tree for the Python that runs this: `python3 compile_tree.py TREE [3.12]`, where that is what it must be.

Unchecked: a copy has new times, and comparing them or the sources would cost what compiling ahead has saved. A
changed source needs another tree.

Our own modules go into one file, which `main.py` reads: a start imports a hundred of them, and looking for each in its
folder takes a tenth of the start. It also leaves 190 files less to copy for each Python.
"""

import importlib.util
import marshal
import os
import py_compile
import sys
from pathlib import Path

INSTALLED_AT = "/opt/autotune"
OWN = ("autotune_init", "cache_store")
IN_ONE = "own_modules.bin"
# these run as programs of their own on the engine's Python, and import each other from their folder
APART = "autotune_init/inside/"


def compile_tree(tree: Path) -> int:
    version = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    count = 0
    own: dict[str, tuple[str, bool, int, int]] = {}
    codes = bytearray()
    for folder in (tree / "lib" / "common", tree / "lib" / version):
        for source in sorted(folder.rglob("*.py")):
            compiled = Path(importlib.util.cache_from_source(str(source)))
            py_compile.compile(
                str(source),
                dfile=f"{INSTALLED_AT}/{source.relative_to(tree)}",
                doraise=True,
                invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
            )
            count += 1
            below = source.relative_to(folder).as_posix()
            if below.startswith(OWN) and not below.startswith(APART):
                is_package = source.name == "__init__.py"
                name = below.removesuffix("/__init__.py" if is_package else ".py").replace("/", ".")
                code = compiled.read_bytes()[16:]  # behind the header of PEP 552
                own[name] = (f"common/{below}", is_package, len(codes), len(code))
                codes += code
                compiled.unlink()
    (tree / "lib" / version).mkdir(exist_ok=True)
    index = marshal.dumps(own)
    head = importlib.util.MAGIC_NUMBER + len(index).to_bytes(4, "little")
    (tree / "lib" / version / IN_ONE).write_bytes(head + index + codes)
    return count


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
