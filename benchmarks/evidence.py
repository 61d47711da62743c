"""Where a benchmark keeps what it measured: one JSON file in docs/evidence, and a picture beside it."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "evidence"
PLOTTER = ROOT / ".tools" / "peers" / "bin" / "python"  # has matplotlib; make .tools/peers/.ready


def keep(name, command, figures, folder=FOLDER):
    """Writes `folder`/`name`.json, with what is needed to judge the figures, and its picture."""
    document = {
        "command": command,
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load_1m": round(os.getloadavg()[0], 1),
        **figures,
    }
    path = Path(folder) / f"{name}.json"
    path.write_text(json.dumps(document, indent=1) + "\n")
    if PLOTTER.exists():
        subprocess.run([PLOTTER, ROOT / "benchmarks" / "plot.py", path], check=True)
    else:
        print(f"no picture of {path}: make .tools/peers/.ready", file=sys.stderr)
