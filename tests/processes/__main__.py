"""Many rounds, and their figures.

python -m tests.processes minio --rounds 200 --out docs/evidence/kill-9-minio.json
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.processes.play import STAGES, play_rounds


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=sorted(STAGES))
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="number of the first round")
    parser.add_argument("--seed", default="kill-9")
    parser.add_argument("--share", type=float, default=0.1, help="of requests that the proxy spoils")
    parser.add_argument("--side-by-side", type=int, default=3, help="rounds at a time")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    if asked.stage == "directory-two-uids" and os.getuid() != 0:
        print("directory-two-uids needs root, to play two users; `directory` does not", file=sys.stderr)
        return 2
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="rounds-") as folder,
        STAGES[asked.stage](Path(folder), seed=asked.seed, share=asked.share) as stage,
    ):
        numbers = range(asked.first, asked.first + asked.rounds)
        tally = play_rounds(
            stage, numbers, Path(folder), seed=asked.seed, side_by_side=asked.side_by_side, tell=print
        )
        wire = stage.wire()
    figures = {
        "command": f"python -m tests.processes {asked.stage} --rounds {asked.rounds} --seed {asked.seed}",
        "spoiled_share": asked.share if wire else 0,
        "seconds": round(time.monotonic() - began),
        **tally.figures(),
        **wire,
    }
    text = json.dumps(figures, indent=1) + "\n"
    print(text)
    if asked.out:
        asked.out.write_text(text)
    return 1 if tally.problems else 0


if __name__ == "__main__":
    sys.exit(main())
