"""The main job on one machine: two pods, one directory store. Run it with `make demo` (or `make demo-gpu`)."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
RECORDING = EXAMPLES / "h100-sample" / "bmm_fp8_tuned.json"
TOLD = ("outcome", "reason", "key", "environment", "ranks", "seconds", "requests", "tune_s", "saved_s")
ENGINE = [
    "python3", "-m", "sglang.launch_server",
    "--model-path", "examples/model",
    "--dtype", "bfloat16",
    "--quantization", "modelopt_fp8",
    "--moe-runner-backend", "flashinfer_cutlass",
    "--tp", "1",
]  # fmt: skip


def start_pod(name: str, demo: Path, flags: list[str]) -> dict[str, object]:
    print(f"\n--- {name} starts with an empty cache dir", flush=True)
    environ = {k: v for k, v in os.environ.items() if not k.startswith("AUTOTUNE_")}
    command = [
        sys.executable, "-m", "autotune_init", "run",
        "--store", (demo / "store").as_uri(),
        "--cache-dir", str(demo / name / "cache"),
        "--holder", name,
        "--strict",
        *flags,
        "--", *ENGINE,
    ]  # fmt: skip
    began = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"{done.stdout}\n{name} ended with exit code {done.returncode}")
    report: dict[str, object] = json.loads(done.stdout)
    (demo / name / "report.json").write_text(done.stdout)
    print(
        json.dumps({field: report[field] for field in TOLD}),
        f"(all of it: {demo.name}/{name}/report.json)",
        flush=True,
    )
    print(
        f"--- {name}: {report['outcome']} ({report['reason']}) after {time.monotonic() - began:.2f} s",
        flush=True,
    )
    return report


def show_tree(root: Path) -> None:
    for path in sorted(root.rglob("*")):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts):
            print(f"  {path.relative_to(root)}  {path.stat().st_size} bytes")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gpu", action="store_true", help="tune on this machine's GPU instead of replaying")
    parser.add_argument(
        "--python", default=sys.executable, help="with --gpu: the Python that has torch and flashinfer"
    )
    parser.add_argument(
        "--engine-version", default="0.5.23", help="with --gpu: pretend this SGLang is installed"
    )
    arguments = parser.parse_args()
    demo = ROOT / (".demo-gpu" if arguments.gpu else ".demo")
    shutil.rmtree(demo, ignore_errors=True)
    (demo / "store").mkdir(parents=True)
    if arguments.gpu:
        flags = ["--tuner", "flashinfer-ops", "--python", arguments.python]
        flags += ["--engine-version", arguments.engine_version, "--max-tokens", "4096"]
    else:
        replay = f"{sys.executable} {EXAMPLES / 'replay_tuner.py'} {RECORDING}"
        flags = [
            "--tuner",
            "command",
            "--tuner-command",
            replay,
            "--facts",
            str(EXAMPLES / "facts-h100.json"),
        ]

    first = start_pod("pod-a", demo, flags)
    second = start_pod("pod-b", demo, flags)

    print("\nThe store now holds")
    show_tree(demo / "store")
    print("\npod-b's engine would find")
    show_tree(demo / "pod-b" / "cache")
    print(f"\npod-a tuned for {first['tune_s']} s; pod-b found it with {second['requests']} request and saved "
          f"{second['saved_s']} s.")  # fmt: skip
    if not arguments.gpu:
        print(
            "Said plainly: the tune was a recording of one H100's output, replayed, so the seconds are the replay's."
        )
    return 0 if (first["outcome"], second["outcome"]) == ("tuned", "hit") else 1


if __name__ == "__main__":
    sys.exit(main())
