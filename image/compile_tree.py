"""Compiles a tree for the Python that runs this: `python3 compile_tree.py TREE [3.12]`, where that is what it must be.

Unchecked: a copy has new times, and comparing them or the sources would cost what compiling ahead has saved. A
changed source needs another tree.
"""

import os
import py_compile
import sys
from pathlib import Path

INSTALLED_AT = "/opt/autotune"


def compile_tree(tree: Path) -> int:
    version = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    count = 0
    for folder in (tree / "lib" / "common", tree / "lib" / version):
        for source in sorted(folder.rglob("*.py")):
            py_compile.compile(
                str(source),
                dfile=f"{INSTALLED_AT}/{source.relative_to(tree)}",
                doraise=True,
                invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
            )
            count += 1
    return count


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        # the order of sets among a module's constants would change from build to build
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "PYTHONHASHSEED": "0"})
    found = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if sys.argv[2:] not in ([], [found]):
        sys.exit(f"this is Python {found}, not {sys.argv[2]}: pass another base image")
    print(f"{sys.version.split()[0]}: {compile_tree(Path(sys.argv[1]))} modules")
