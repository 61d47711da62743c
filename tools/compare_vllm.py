"""Asks an installed vLLM 0.33.0 about every case of tests/data/vllm_cases.json twice, and writes what it said.

    uv venv V && uv pip install --python V/bin/python vllm==0.33.0        # about 9 GB
    V/bin/python tools/compare_vllm.py tests/data/vllm_golden.json [fork | fresh]

The program that the product runs in the engine's image (autotune_init/inside/resolve_vllm.py) does the asking. First all
cases of one GPU in forks of one process, then each answered case alone in a fresh process from another HOME, as a pod
does it: an answer that depends on what was asked before, or on the process, is counted as wrong, and so is a file that
appeared where the engine runs. `fork` and `fresh` do only that half, `fresh` against the file. Needs a C compiler and
a CUDA toolkit's nvcc (CUDA_HOME), no GPU and no network. On two busy cores the forks took 4 to 7 minutes; a fresh
process takes half a minute of CPU.
"""

import contextlib
import functools
import importlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
INSIDE = ROOT / "src" / "autotune_init" / "inside"
PROGRAM = INSIDE / "resolve_vllm.py"
CASES = json.loads((ROOT / "tests" / "data" / "vllm_cases.json").read_text())
MARK = "AUTOTUNE-ANSWER "


def write_models(folder: Path) -> None:
    for name, config in CASES["models"].items():
        (folder / name).mkdir(parents=True)
        (folder / name / "config.json").write_text(json.dumps(config))


def askin_forks(arch: str) -> list[dict]:
    """Every line in a fork of one process that has imported the engine; a process per GPU, which vLLM remembers."""
    with tempfile.TemporaryDirectory() as folder:
        write_models(Path(folder))
        command = [sys.executable, __file__, "--forks", arch]
        done = subprocess.run(
            command, cwd=folder, env={**os.environ, "HOME": folder}, stdout=subprocess.PIPE, check=True
        )
    return [
        json.loads(line[len(MARK) :]) for line in done.stdout.decode().splitlines() if line.startswith(MARK)
    ]


def forks(arch: str) -> None:
    sys.path.insert(0, str(INSIDE))
    import asked_in_fork
    import resolve_vllm
    import vllm_surroundings
    import vllm_worker_steps

    with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stdout(sys.stderr):
        vllm_surroundings.no_network()
        vllm_surroundings.use_scratch(Path(scratch))
        vllm_surroundings.PretendedGpu(CASES["gpus"][arch], Path(scratch))
        import flashinfer  # noqa: F401 -- imported once, for all forks
        import vllm.engine.arg_utils
        import vllm.entrypoints.cli.serve  # noqa: F401 -- as before

        vllm_worker_steps.preload()
        for module in ("llama", "qwen3", "qwen3_moe", "mixtral", "deepseek_v2"):
            importlib.import_module(f"vllm.model_executor.models.{module}")
        for line in CASES["lines"]:
            try:
                answer = asked_in_fork.in_fork(functools.partial(resolve_vllm.resolve, list(line)))
            except asked_in_fork.CannotResolve as problem:
                answer = {"refused": "undecidable", "detail": str(problem)}
            print(MARK + json.dumps(answer), file=sys.__stdout__, flush=True)


def ask_fresh(arch: str, line: list[str]) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        write_models(Path(folder))
        job = json.dumps({"argv": line, "gpu": CASES["gpus"][arch], "node_rank": 0})
        done = subprocess.run(
            [sys.executable, str(PROGRAM)],
            cwd=folder, input=job.encode(), capture_output=True, check=True, env={**os.environ, "HOME": folder},
        )  # fmt: skip
        made = sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*"))
    models = {name for model in CASES["models"] for name in (model, f"{model}/config.json")}
    answer = json.loads(done.stdout.decode().split(MARK)[-1])
    strange = [name for name in made if name not in models]
    return {**answer, "made": strange} if strange else answer


def gist(answer: dict) -> object:
    """What may not differ: the workers, or the name of the rule that refused."""
    return answer["workers"] if "workers" in answer else str(answer.get("detail")).split(": ")[0]


def report(arch: str, answers: list[dict], wrong: list[str]) -> None:
    answered = sum("workers" in one for one in answers)
    print(
        arch,
        len(answers),
        "cases,",
        answered,
        "answered,",
        len(answers) - answered,
        "refused,",
        len(wrong),
        "wrong",
    )
    for text in wrong:
        print("  wrong:", text)


def main() -> int:
    if sys.argv[1] == "--forks":
        forks(sys.argv[2])
        return 0
    out, halves = Path(sys.argv[1]), sys.argv[2:] or ["fork", "fresh"]
    if "fork" in halves:
        document = {"note": "made by tools/compare_vllm.py", "answers": []}
        for arch in CASES["gpus"]:
            answers = askin_forks(arch)
            report(arch, answers, [] if len(answers) == len(CASES["lines"]) else ["answers are missing"])
            document["answers"] += [
                {"arch": arch, "argv": line, **answer}
                for line, answer in zip(CASES["lines"], answers, strict=True)
            ]
        out.write_text(json.dumps(document, indent=1) + "\n")
    count = 0
    if "fresh" in halves:
        kept = json.loads(out.read_text())["answers"]
        for arch in CASES["gpus"]:
            fresh, wrong = [], []
            for first in (one for one in kept if one["arch"] == arch and "workers" in one):
                fresh.append(ask_fresh(arch, first["argv"]))
                if "made" in fresh[-1] or gist(fresh[-1]) != gist(first):
                    wrong.append(f"{' '.join(first['argv'])}: {json.dumps(fresh[-1])[:600]}")
                print(arch, len(fresh), "asked afresh,", len(wrong), "wrong", file=sys.stderr, flush=True)
            report(arch, fresh, wrong)
            count += len(wrong)
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
