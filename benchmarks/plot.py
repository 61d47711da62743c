"""An evidence file as a picture beside it. Runs with the peers' Python, which has matplotlib.

.tools/peers/bin/python benchmarks/plot.py docs/evidence/growth.json
"""

import json
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt

OURS, PEER = "autotune-init run (a hit)", "rclone copy"
COLORS = {OURS: "#4477aa", PEER: "#bbaa44"}
GROWN = {
    "ranks": "ranks of a node, 27 KB each",
    "bundle_bytes": "bytes of a bundle of 8 ranks",
    "objects": "other bundles in the bucket",
}


def bars(document):
    rows = document["rows"]
    names = list(rows)[::-1]
    figure, axes = plt.subplots(figsize=(7, 2.6))
    drawn = axes.barh(names, [rows[name]["wall_ms"] for name in names], color=COLORS[OURS])
    axes.bar_label(
        drawn, [f"{rows[n]['wall_ms']} ms, {rows[n]['requests']} requests" for n in names], padding=4
    )
    axes.set_xlabel("8 rank files into an empty directory, median wall time, ms")
    axes.set_xlim(right=max(row["wall_ms"] for row in rows.values()) * 1.35)
    return figure


def lines(document):
    figure, all_axes = plt.subplots(1, len(GROWN), figsize=(10, 2.8), sharey=True)
    for axes, (name, label) in zip(all_axes, GROWN.items(), strict=True):
        sizes = [int(size) for size in document[name]]
        for program in (OURS, PEER):
            walls = [row[program]["wall_ms"] for row in document[name].values()]
            axes.plot(sizes, walls, marker="o", color=COLORS[program], label=program)
        axes.set_xscale("log")
        axes.set_xlabel(label)
    all_axes[0].set_ylabel("median wall time, ms")
    all_axes[0].set_ylim(bottom=0)
    all_axes[0].legend(frameon=False)
    return figure


def main():
    source = Path(sys.argv[1])
    document = json.loads(source.read_text())
    mpl.rcParams["svg.hashsalt"] = "autotune-cache"  # equal figures give equal bytes
    mpl.rcParams["axes.spines.top"] = mpl.rcParams["axes.spines.right"] = False
    figure = bars(document) if "rows" in document else lines(document)
    figure.savefig(source.with_suffix(".svg"), bbox_inches="tight", metadata={"Date": None})


main()
