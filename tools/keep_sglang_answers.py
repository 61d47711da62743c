"""Keeps what tools/ask_sglang.py wrote as the fixture tests/data/sglang_matrix_golden.json.

    python tools/keep_sglang_answers.py A-0.5.12.json A-0.5.13.json ...

Answers of other releases that are in the fixture already stay.
"""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from tests.engines import sglang_golden  # noqa: E402 -- as above
from tests.engines.sglang_matrix import all_cases  # noqa: E402 -- as above

from autotune_init.engines.sglang_versions import RELEASES  # noqa: E402 -- found by the line above


def main() -> int:
    cases = all_cases()
    kept = {}
    if sglang_golden.FILE.exists():
        for version, own in sglang_golden.load().items():
            kept[version] = {case: sglang_golden.spell(one) for case, one in own.items()}
    for path in sys.argv[1:]:
        document = json.loads(Path(path).read_text())
        kept[document["release"]] = {
            (one["arch"], tuple(one["argv"])): sglang_golden.spell(sglang_golden.own_of(one))
            for one in document["answers"]
        }
    lines = [sglang_golden.line_of(case.arch, case.argv) for case in cases]
    releases = {
        release.version: [kept[release.version].get((case.arch, case.argv)) for case in cases]
        for release in RELEASES
        if release.version in kept
    }
    text = '{"cases": [\n' + ",\n".join(map(json.dumps, lines)) + '\n], "releases": {\n'
    text += ",\n".join(f"{json.dumps(version)}: {json.dumps(texts)}" for version, texts in releases.items())
    sglang_golden.FILE.write_text(text + "\n}}\n")
    for version, texts in releases.items():
        print(version, sum(text is not None for text in texts), "of", len(lines), "cases")
    return 0


if __name__ == "__main__":
    sys.exit(main())
