"""Evidence files as pictures beside them. Runs with the peers' Python, which has matplotlib.

.tools/peers/bin/python benchmarks/plot.py docs/evidence/NAME.json...
"""

import json
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt

OURS, PEER = "autotune-init as pods run it", "rclone copy"
COLORS = {OURS: "#4477aa", PEER: "#bbaa44"}
# who is no program of ours; the last is a yardstick
OTHERS = {
    **dict.fromkeys(
        (PEER, "s5cmd cp", "boto3 script", "KServe storage initializer", "s5cmd cat */bundle.json"), "#bbaa44"
    ),
    **dict.fromkeys(
        ("Python, obstore, one GET", "python -c pass", "obstore, LIST and GETs alone"), "#bbbbbb"
    ),
}
GROWN = {
    "ranks": "ranks of a node, 27 KB each",
    "bundle_bytes": "bytes of a bundle of 8 ranks",
    "objects": "other bundles in the bucket",
}


VERDICTS = {"right": "#cfe8d5", "nothing": "#dce6f4", "broken": "#f6cfcb"}
PARTS = {"import_s": "importing torch and FlashInfer", "jit_s": "building kernels", "autotune_s": "tuning"}


def bars(rows, label, value, text):
    """One bar a program, the first on top."""
    names = list(rows)[::-1]
    figure, axes = plt.subplots(figsize=(7, 0.5 * len(names) + 0.6))
    colors = [OTHERS.get(name, COLORS[OURS]) for name in names]
    drawn = axes.barh(names, [value(rows[name]) for name in names], color=colors)
    axes.bar_label(drawn, [text(rows[name]) for name in names], padding=4)
    axes.set_xlabel(label)
    axes.set_xlim(right=max(map(value, rows.values())) * 1.35)
    return figure


def pull_peers(document):
    return bars(
        document["rows"],
        "8 rank files into an empty directory, median wall time, ms",
        lambda row: row["wall_ms"],
        lambda row: f"{row['wall_ms']} ms, {row['requests']} request{'s' * (row['requests'] != 1)}",
    )


def hit_path(document):
    return bars(
        document["rows"],
        "one start, least wall time, ms",
        lambda row: row["wall_ms"],
        lambda row: f"{row['wall_ms']} ms, {row['peak_rss_mib']} MiB",
    )


def crowd(document):
    return bars(
        document["rows"],
        f"until the last of {document['pods']} pods has its files, s",
        lambda row: row["last_s"],
        lambda row: f"{row['last_s']} s, {row['cpu_s_a_pod']} s of CPU a pod"
        + (f" ({row['pods']} pods)" if row.get("pods", document["pods"]) != document["pods"] else ""),
    )


def spoiled_store(document):
    """Stores by programs: what lies in the directory, and when."""
    stores, programs = list(document["rows"]), list(next(iter(document["rows"].values())))
    figure, axes = plt.subplots(figsize=(11, 0.5 * len(stores) + 0.6))
    for y, store in enumerate(stores):
        for x, program in enumerate(programs):
            row = document["rows"][store][program]
            verdict = row["directory"].partition(":")[0]
            axes.add_patch(plt.Rectangle((x, y), 1, 1, facecolor=VERDICTS[verdict], edgecolor="white"))
            told = row["directory"].removesuffix(", 0 cut").replace("broken: ", "")
            axes.text(x + 0.5, y + 0.5, f"{told}, {row['seconds']} s", ha="center", va="center", fontsize=8)
    axes.set(xlim=(0, len(programs)), ylim=(len(stores), 0))
    axes.set_xticks([x + 0.5 for x in range(len(programs))], programs, fontsize=8)
    axes.set_yticks([y + 0.5 for y in range(len(stores))], stores, fontsize=8)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def gpu_start(document):
    """What a start consists of, without a cache and with one."""
    starts = [name for name, found in document.items() if isinstance(found, dict) and "autotune_s" in found][
        ::-1
    ]
    figure, axes = plt.subplots(figsize=(8, 0.4 * len(starts) + 0.8))
    left = [0.0] * len(starts)
    for (part, label), color in zip(PARTS.items(), ("#bbbbbb", "#bbaa44", "#4477aa"), strict=True):
        widths = [document[name][part] for name in starts]
        axes.barh(starts, widths, left=left, color=color, label=label)
        left = [one + more for one, more in zip(left, widths, strict=True)]
    axes.set_xlabel(f"s, {document['gpu'].partition(',')[0]}, FlashInfer {document['flashinfer']}")
    axes.legend(frameon=False)
    return figure


def growth(document):
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


def ops_cli(document):
    return bars(
        document["commands"],
        f"{document['bundles']} bundles on MinIO, median wall time, s",
        lambda row: row["wall_s"],
        lambda row: f"{row['wall_s']} s, {row['peak_rss_mib']} MiB",
    )


def fleet(document):
    """One tune, many waiters: what each of them asks, and how late it hears."""
    says = {
        f"the holder says {row['holder_expects_s']:g} s"
        if row["holder_expects_s"]
        else "the holder says nothing": row
        for row in document["fleets"]
    }
    return bars(
        says,
        f"requests of a waiting pod, median of {document['fleets'][0]['pods']} during one tune",
        lambda row: row["requests_per_waiter"]["median"],
        lambda row: f"{row['requests_per_waiter']['median']:g}, at most {row['requests_per_waiter']['max']}; "
        f"{row['extra_wait_s']['worst']} s late at worst",
    )


def pod_start(document):
    rows = {"without the label": document["without_label"]} | {
        f"program.source: {source}": document[source]["to_first_line"] for source in ("copy", "imageVolume")
    }
    return bars(
        rows,
        "from the pod's creation to its engine's first line, median, s",
        lambda row: row["median_s"],
        lambda row: f"{row['median_s']} s",
    )


def admission(document):
    return bars(
        document["rows"],
        "creating one pod, 9 of 10 are within, ms",
        lambda row: row["p90_ms"],
        lambda row: f"{row['p90_ms']} ms",
    )


def metrics_cost(document):
    return bars(
        document["rows"],
        "median wall time, ms",
        lambda row: row["wall_ms"],
        lambda row: f"{row['wall_ms']} ms",
    )


KINDS = {
    "admission": admission,
    "crowd": crowd,
    "fleet-1000": fleet,
    "growth": growth,
    "h100-start": gpu_start,
    "h200-start": gpu_start,
    "hit-path": hit_path,
    "metrics-cost": metrics_cost,
    "ops-cli": ops_cli,
    "ops-cli-100k": ops_cli,
    "pod-start": pod_start,
    "pull-peers": pull_peers,
    "spoiled-store": spoiled_store,
}


def main():
    mpl.rcParams["svg.hashsalt"] = "autotune-cache"  # equal figures give equal bytes
    mpl.rcParams["axes.spines.top"] = mpl.rcParams["axes.spines.right"] = False
    for source in map(Path, sys.argv[1:]):
        figure = KINDS[source.stem](json.loads(source.read_text()))
        figure.savefig(source.with_suffix(".svg"), bbox_inches="tight", metadata={"Date": None})


main()
