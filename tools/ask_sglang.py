"""Asks one installed SGLang release about every case of tests/engines/sglang_matrix.py, and for its parser.

    uv venv R && uv pip install --python R/bin/python sglang==0.5.23      # about 9 GB
    R/bin/python tools/ask_sglang.py OUT.json [lines|new|only=WORD,..]    # a C compiler; no GPU, no network

The program that the product runs in the engine's image (autotune_init/inside/resolve_sglang.py) does the asking; here
one import serves all cases, each in a fork, because resolution leaves state behind. `lines` leaves the product out;
`only=WORD,..` asks about the command lines with one of these words and `new` about those that an OUT.json that is there lacks; both
add to it.
"""

import contextlib
import functools
import json
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests" / "engines"), str(ROOT / "src" / "autotune_init" / "inside")]

import offline  # noqa: E402 -- siblings are found by the line above
import resolve_sglang  # noqa: E402 -- as above
import sglang_matrix  # noqa: E402 -- as above
import sglang_surroundings  # noqa: E402 -- as above


def become(gpu, arch: str) -> None:
    """Another GPU in a fork: everything that the engine remembers of the first one is forgotten."""
    gpu.become(sglang_matrix.gpu_of(arch))
    for name, module in list(sys.modules.items()):
        if name.startswith("sglang"):
            for value in list(vars(module).values()):
                if isinstance(value, functools._lru_cache_wrapper):  # noqa: SLF001 -- its only name
                    value.cache_clear()


def start(case, gpu) -> tuple[int, int]:
    """A child that answers one case: (its pid, the end of the pipe to read)."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        log = os.open("children.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        try:
            become(gpu, case.arch)
            answer = {"workers": resolve_sglang.resolve(list(case.argv))["workers"]}
        except BaseException as error:  # noqa: BLE001 -- SystemExit too
            answer = {"refused": f"{type(error).__name__}: {error}"[:300]}
        os.write(write, json.dumps(answer).encode())
        os._exit(0)
    os.close(write)
    return child, read


def ask_all(cases: list, gpu, version: str) -> list[dict]:
    """In order, as many at a time as there are cores."""
    answers, running = [], []
    for at in range(len(cases) + (os.cpu_count() or 1)):
        if at < len(cases):
            running.append(start(cases[at], gpu))
        if len(running) > (os.cpu_count() or 1) or (at >= len(cases) and running):
            child, read = running.pop(0)
            with os.fdopen(read, "rb") as stream:
                text = stream.read()
            os.waitpid(child, 0)
            answers.append(json.loads(text) if text else {"refused": "the child died"})
            if len(answers) % 200 == 0:
                print(version, len(answers), "of", len(cases), file=sys.stderr, flush=True)
    return answers


def parser_table() -> list[dict]:
    """Every option of the release's own parser, as its argparse action describes it."""
    import argparse

    from sglang.srt.server_args import ServerArgs

    parser = argparse.ArgumentParser()
    ServerArgs.add_cli_args(parser)
    return [
        {
            "flags": action.option_strings,
            "dest": action.dest,
            "nargs": action.nargs,
            "type": getattr(action.type, "__name__", None),
            "choices": [str(choice) for choice in action.choices] if action.choices is not None else None,
            "kind": type(action).__name__,
            "const": action.const if isinstance(action.const, str | int | bool) else None,
            "default": action.default if isinstance(action.default, str | int | bool | float) else None,
        }
        for action in parser._actions  # noqa: SLF001 -- no other way to list them
    ]


def main() -> int:
    out = Path(sys.argv[1]).resolve()
    cases = sglang_matrix.all_cases(with_product="lines" not in sys.argv)
    only = next((word.partition("=")[2] for word in sys.argv if word.startswith("only=")), None)
    known = {}
    if out.exists() and (only is not None or "new" in sys.argv):
        known = {(one["arch"], *one["argv"]): one for one in json.loads(out.read_text())["answers"]}
    if only is not None:
        asked = only.split(",")
        cases = [case for case in cases if any(one in word for one in asked for word in case.argv)]
    elif known:
        cases = [case for case in cases if (case.arch, *case.argv) not in known]
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        sglang_matrix.write_models(Path(folder), cases)
        offline.no_network()
        sglang_surroundings.use_scratch(Path(folder))
        os.environ["HOME"] = folder
        gpu = sglang_surroundings.PretendedGpu(sglang_matrix.gpu_of("sm100"), Path(folder))
        with contextlib.redirect_stdout(sys.stderr):
            import flashinfer
            import sglang
            import sglang.srt.configs.model_config
            import sglang.srt.server_args

            resolve_sglang.preload()
        answers = ask_all(cases, gpu, sglang.__version__)
        document = {
            "release": sglang.__version__,
            "flashinfer": flashinfer.__version__,
            "parser": parser_table(),
            "answers": list(
                {
                    **known,
                    **{
                        (case.arch, *case.argv): {
                            "arch": case.arch,
                            "argv": list(case.argv),
                            "model": case.model,
                            **answer,
                        }
                        for case, answer in zip(cases, answers, strict=True)
                    },
                }.values()
            ),
        }
        if os.environ.get("KEEP_LOG"):
            Path(os.environ["KEEP_LOG"]).write_bytes(Path("children.log").read_bytes())
    out.write_text(json.dumps(document))
    print(sglang.__version__, sum("workers" in one for one in answers), "answered of", len(cases))
    return 0


if __name__ == "__main__":
    sys.exit(main())
