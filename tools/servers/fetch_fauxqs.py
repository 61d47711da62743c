"""Installs fauxqs, pinned by hash in fauxqs/package-lock.json, into .tools/fauxqs. Needs python3, Node >= 20 and npm.

python tools/servers/fetch_fauxqs.py            a second run does nothing
python tools/servers/fetch_fauxqs.py --check    ends with 1 where it is not there
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

RECIPE = Path(__file__).resolve().parent / "fauxqs"
HOME = RECIPE.parent.parent.parent / ".tools" / "fauxqs"
FILES = ("package.json", "package-lock.json", "serve.mjs")


def is_there() -> bool:
    """Installed completely, and from today's recipe."""
    done = HOME / ".done"
    return done.exists() and done.read_text() == recipe()


def recipe() -> str:
    return "".join((RECIPE / name).read_text() for name in FILES)


def fetch() -> int:
    npm = shutil.which("npm")
    if npm is None:
        sys.stderr.write("[servers] ERROR: fauxqs needs Node 20 or newer, with npm\n")
        return 1
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir(parents=True)
    for name in FILES:
        shutil.copy(RECIPE / name, HOME / name)
    # no package of it needs a script, and none may run one
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error"]
    code = subprocess.run(command, cwd=HOME, check=False).returncode
    if code == 0:
        (HOME / ".done").write_text(recipe())
    return code


if __name__ == "__main__":
    if "--check" in sys.argv[1:]:
        sys.exit(not is_there())
    sys.exit(0 if is_there() else fetch())
