"""Takes out of the slim image's environment what the tree beside it has already: `share_tree.py VENV TREE`.

The tree is there for pods anyway; without sharing, botocore's tables alone would take 28 MB a second time. What says
that a package is installed stays, for `pip list` and scanners.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

PTH = "autotune_tree.pth"


def share(environment: Path, tree: Path) -> list[str]:
    """Removes the packages, points to the tree's, and returns what was removed."""
    [site] = (environment / "lib").glob("python3.*/site-packages")
    version = site.parent.name.removeprefix("python3.")
    folders = [tree / "lib" / f"cp3{version}", tree / "lib" / "common"]
    removed = []
    for name in sorted({path.name for folder in folders for path in folder.iterdir()} - {"__pycache__"}):
        found = site / name
        if found.is_dir():
            shutil.rmtree(found)
        elif found.exists():
            found.unlink()
        else:
            continue
        removed.append(name)
    (site / PTH).write_text("".join(f"{folder}\n" for folder in folders))
    return removed


if __name__ == "__main__":
    print("shared:", *share(Path(sys.argv[1]), Path(sys.argv[2])))
