"""How many of the golden SGLang command lines are answered, and how many answers are the release's own key."""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.engines.command_lines import (  # noqa: E402 -- the tests' own questions, from the repository
    CASES,
    question,
)

from autotune_init.engines import EngineCache  # noqa: E402
from autotune_init.engines.registry import ask  # noqa: E402


def main() -> int:
    golden = json.loads((ROOT / "tests" / "data" / "sglang_argv_golden.json").read_text())
    counts = {"lines": 0, "same key": 0, "another key": 0, "refused": 0}
    for version, keys in golden.items():
        for case, key in zip(CASES["cases"], keys, strict=True):
            capability = tuple(case["capability"])
            answer = ask(
                question(*case["argv"], config=case["config"], version=version, capability=capability)
            )
            counts["lines"] += 1
            if not isinstance(answer, EngineCache):
                counts["refused"] += 1
            else:
                counts["same key" if answer.key == key else "another key"] += 1
    print(json.dumps({"releases": len(golden), **counts}))
    return 1 if counts["another key"] else 0


if __name__ == "__main__":
    sys.exit(main())
