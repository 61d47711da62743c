"""`python -m cache_store.testing.simulation 2000`, or `5000-7000`; `--tell SEED` prints one seed's whole history."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

from cache_store.testing.simulation.fleet import Result, run_seed

CHUNK = 250


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m cache_store.testing.simulation", description=__doc__)
    parser.add_argument("seeds", nargs="?", default="2000", help="how many, or FIRST-LAST")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--tell", type=int, metavar="SEED")
    asked = parser.parse_args(arguments)
    if asked.tell is not None:
        told = run_seed(asked.tell, is_told=True)
        sys.stdout.write("\n".join([*told.history, told.violation or "everything held", ""]))
        return bool(told.violation)
    first, _, last = asked.seeds.rpartition("-")
    seeds = range(int(first), int(last) + 1) if first else range(int(last))
    return report(seeds, asked.jobs)


def report(seeds: range, jobs: int) -> int:
    """Runs them and says what came of it; 1 where an invariant broke."""
    began = time.perf_counter()
    parts = [seeds[at : at + CHUNK] for at in range(0, len(seeds), CHUNK)]
    if jobs > 1:
        with ProcessPoolExecutor(jobs) as pool:
            results = [one for part in pool.map(run_part, parts) for one in part]
    else:
        results = [one for part in parts for one in run_part(part)]
    seconds = time.perf_counter() - began
    broken = [one for one in results if one.violation]
    for one in broken[:20]:
        sys.stdout.write(f"seed {one.seed}: {one.violation}\n    python -m {__package__} --tell {one.seed}\n")
    steps = sum(one.steps for one in results)
    counts: Counter[str] = Counter()
    for one in results:
        counts.update(one.counts)
    tunes = Counter(min(one.tunes, 4) for one in results)
    sys.stdout.write(
        f"{len(results)} seeds, {len(broken)} broken; {steps} steps in {seconds:.0f} s ({steps / seconds:.0f}/s)\n"
        f"tunes per run (4: or more): {dict(sorted(tunes.items()))}\n"
        f"endings: {dict(sorted(counts.items()))}\n"
    )
    return 1 if broken else 0


def run_part(seeds: range) -> list[Result]:
    return [run_seed(seed) for seed in seeds]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))  # noqa: TID251 -- the one that exits
