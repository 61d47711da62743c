"""docs/evidence/pull-peers.json as a picture beside it. Runs with the peers' Python, which has matplotlib."""

import json
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt


def main():
    source = Path(sys.argv[1])
    rows = json.loads(source.read_text())["rows"]
    names = list(rows)[::-1]
    mpl.rcParams["svg.hashsalt"] = "autotune-cache"  # equal figures give equal bytes
    figure, axes = plt.subplots(figsize=(7, 2.6))
    bars = axes.barh(names, [rows[name]["wall_ms"] for name in names], color="#4477aa")
    axes.bar_label(
        bars, [f"{rows[n]['wall_ms']} ms, {rows[n]['requests']} requests" for n in names], padding=4
    )
    axes.set_xlabel("8 rank files into an empty directory, median wall time, ms")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlim(right=max(row["wall_ms"] for row in rows.values()) * 1.35)
    figure.savefig(source.with_suffix(".svg"), bbox_inches="tight", metadata={"Date": None})


main()
