"""Holds the recipe against whole released engines: installs each, asks it about the case matrix, compares, removes it.

    python tools/test_engines.py                    # every release that the fixtures hold whole; hours, 10 GB at a time
    python tools/test_engines.py 0.5.23 lines       # one release, without the product of families and checkpoints
    python tools/test_engines.py vllm               # vLLM's answers in forks and in fresh processes, against the kept ones

Prints per release: cases, decided by the recipe, refused, wrong (must be 0); exit 1 where one is wrong.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from tests.engines import sglang_golden  # noqa: E402 -- found by the line above
from tests.engines.sglang_matrix import all_cases  # noqa: E402 -- as above
from tests.engines.sglang_replay import tally  # noqa: E402 -- as above
from tests.engines.test_sglang_matrix import WHOLE  # noqa: E402 -- as above

UV = os.environ.get("UV", str(ROOT / ".uv" / "bin" / "uv"))
# a few days after each release: what it runs with, and not what came later
UP_TO = {
    "0.5.12": "2026-05-20", "0.5.12.post1": "2026-05-27", "0.5.13": "2026-06-14", "0.5.13.post1": "2026-06-19",
    "0.5.14": "2026-06-30", "0.5.15": "2026-07-13", "0.5.15.post1": "2026-07-18", "0.5.16": "2026-07-29",
    "0.5.17": "2026-08-12", "0.5.18": "2026-08-25", "0.5.19": "2026-09-09", "0.5.20": "2026-09-22",
    "0.5.21": "2026-10-05", "0.5.22": "2026-10-20", "0.5.23": "2026-11-20",
}  # fmt: skip
VLLM = "0.33.0"
LIVE = "0.5.23"  # the release that also runs tests/engines_live
# cuda-tile 1.6.0rc5 is a stub that wants another index
OVERRIDES = "cuda-tile==1.7.0\n"


def install(version: str, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    python = folder / f"sglang-{version}" / "bin" / "python"
    overrides = folder / "overrides.txt"
    overrides.write_text(OVERRIDES)
    subprocess.run(
        [UV, "venv", "--quiet", "--clear", "--python", sys.executable, str(python.parent.parent)], check=True
    )
    up_to = ["--exclude-newer", UP_TO[version], "--exclude-newer-package", "cuda-tile=2026-11-20"]
    subprocess.run(
        [UV, "pip", "install", "--quiet", "--python", str(python), *up_to, "--override", str(overrides), f"sglang=={version}"],
        check=True,
    )  # fmt: skip
    return python


def compare(version: str, mode: str, folder: Path) -> bool:
    out = folder / f"answers-{version}.json"
    out.unlink(missing_ok=True)
    kept = folder / f"sglang-{version}" / "bin" / "python"
    is_kept = kept.exists() and "KEEP_ENGINES" in os.environ
    python = kept if is_kept else install(version, folder)
    with (folder / f"log-{version}.txt").open("w") as log:
        subprocess.run(
            [str(python), str(ROOT / "tools" / "ask_sglang.py"), str(out), mode], check=True, stderr=log
        )
    is_live = version != LIVE or _live_tests(python)
    if "KEEP_ENGINES" not in os.environ:
        shutil.rmtree(python.parent.parent)
    own = {
        (one["arch"], tuple(one["argv"])): sglang_golden.own_of(one)
        for one in json.loads(out.read_text())["answers"]
    }
    found = tally(version, sglang_golden.asked(all_cases(), own), own)
    starts = found.decided + len(found.refused)
    print(
        f"SGLang {version}: {len(own)} cases, {starts} that the engine decides, {found.decided} decided by the recipe "
        f"({found.share:.1%}), {len(found.refused)} refused, {len(found.wrong)} wrong",
        flush=True,
    )
    for line in found.wrong:
        print("  wrong:", line)
    stale = [case for case, one in sglang_golden.load()[version].items() if case in own and own[case] != one]
    for arch, argv in stale:
        print("  the fixture says otherwise:", arch, *argv)
    return not found.wrong and not stale and is_live


def _live_tests(python: Path) -> bool:
    """The main job with the engine as the one who says where it will look."""
    environ = {**os.environ, "AUTOTUNE_TEST_SGLANG_PYTHON": str(python)}
    command = [sys.executable, "-m", "pytest", "-q", str(ROOT / "tests" / "engines_live")]
    return subprocess.run(command, env=environ, cwd=ROOT, check=False).returncode == 0


def compare_vllm(folder: Path) -> bool:
    """vLLM's keys depend on the installed transformers too, so what is kept is compared, not expected."""
    python = folder / f"vllm-{VLLM}" / "bin" / "python"
    folder.mkdir(parents=True, exist_ok=True)
    overrides = folder / "vllm-overrides.txt"
    overrides.write_text("certifi>=2024\n")  # its own bound is newer than some indexes
    if not (python.exists() and "KEEP_ENGINES" in os.environ):
        uv = [UV, "pip", "--quiet"]
        subprocess.run(
            [UV, "venv", "--quiet", "--clear", "--python", sys.executable, str(python.parents[1])], check=True
        )
        into = ["--python", str(python)]
        subprocess.run([*uv, "install", *into, "--override", str(overrides), f"vllm=={VLLM}"], check=True)
        # cuda-python 12.6.2.post1 overwrites files of cuda-bindings 13, and flashinfer does not import then
        subprocess.run([*uv, "uninstall", *into, "cuda-python"], check=True)
        again = ["cuda-bindings", "cuda-core", "cuda-pathfinder"]
        subprocess.run([*uv, "install", *into, "--reinstall", "--no-deps", *again], check=True)
    toolkit = next(python.parents[1].glob("lib/python3*/site-packages/nvidia/cu13"))
    path = f"{python.parent}:{toolkit / 'bin'}:{os.environ['PATH']}"
    environ = {**os.environ, "CUDA_HOME": str(toolkit), "PATH": path}
    out = folder / "vllm-golden.json"
    program = [str(python), str(ROOT / "tools" / "compare_vllm.py"), str(out)]
    is_same = subprocess.run(program, env=environ, check=False).returncode == 0
    kept = json.loads((ROOT / "tests" / "data" / "vllm_golden.json").read_text())
    print("vLLM", VLLM, "equals what is kept:", json.loads(out.read_text()) == kept)
    if "KEEP_ENGINES" not in os.environ:
        shutil.rmtree(python.parents[1])
    return is_same


def main() -> int:
    if "vllm" in sys.argv:
        return 0 if compare_vllm(ROOT / ".tools" / "engines") else 1
    modes = [word for word in sys.argv[1:] if word == "lines"]
    versions = [word for word in sys.argv[1:] if word != "lines"] or list(WHOLE)
    folder = ROOT / ".tools" / "engines"
    results = [compare(version, modes[0] if modes else "all", folder) for version in versions]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
