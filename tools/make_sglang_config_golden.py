"""Asks one installed SGLang release what it makes of every `--config` file of the golden cases.

    uv venv R && uv pip install --python R/bin/python sglang==0.5.23      # about 9 GB
    R/bin/python tools/make_sglang_config_golden.py                       # no GPU, no network

Puts the release's answers into tests/data/sglang_config_file_golden.json: for each case the command line as the
release's own ConfigArgumentMerger gives it to argparse, null where it raises; an answer holds from the release beside it
on. Releases are asked one by one, in any order; other cases than the file's make it begin anew. A release's sources in front of PYTHONPATH do as well where the installed dependencies let its
srt/server_args.py be imported.
"""

import argparse
import contextlib
import importlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "data" / "sglang_config_file_golden.json"

FROM_FILE = ["--config", "engine.yaml"]
# (argv, text of engine.yaml)
BY_HAND = [
    (["--model-path", "m"], "tp-size: 8"),
    (["--model-path", "m", "--config=engine.yaml"], "tp-size: 8"),
    ([*FROM_FILE, *FROM_FILE], "tp-size: 8"),
    (["--model-path", "m", "--config"], "tp-size: 8"),
    (["--config", "engine.json"], "tp-size: 8"),
    (["--config", ""], "tp-size: 8"),
    (["--tp", "2", *FROM_FILE, "--dtype", "auto"], "tp-size: 8"),
    ([*FROM_FILE, "--tp", "2"], "tp-size: 8\nmodel-path: org/m\n"),
    ([*FROM_FILE, "--enable-metrics"], "model-path: org/m"),
    (["--served-model-name", "--config", "engine.yaml"], "tp: 8"),
    *(
        (FROM_FILE, text)
        for text in (
            "", "---\n", "# nothing\n", "null", "[]", "- tp-size", "tp-size", "7", "a: b: c", "'open", "tp-size: 8\n...\n---\ndp-size: 2",
            "model-path: org/m\ntp-size: 8\n", "tp_size: 8", "tp: 8", "tp-size: '8'", "tp-size: 08", "tp-size: 010", "tp-size: 0x10",
            "tp-size: 1_000", "tp-size: 1:30", "tp-size: 8.0", "mem-fraction-static: 0.9", "mem-fraction-static: .9",
            "mem-fraction-static: 1e-1", "mem-fraction-static: 1.0e+2", "quantization: null", "quantization: ~", "quantization:",
            "quantization: 'null'", "dtype: auto", "dtype: yes", "dtype: off", "dtype: 'on'", "enable-metrics: yes", "enable-metrics: 'true'",
            "enable-metrics: 1", "enable-metrics: null", "enable_metrics: false", "enable_metrics: true", "Enable-Metrics: false",
            "enable-metric: true", "disable-cuda-graph: true", "enable-dp-attention: true", "enable-dp-attention: false",
            "flashinfer-autotune-skip-ops: [a, b]", "flashinfer-autotune-skip-ops: []", "flashinfer-autotune-skip-ops: a",
            "flashinfer-autotune-skip-ops:\n  - a\n  - 1\n  - true\n  - null\n", "tp-size: [8]", "tp-size: []",
            "served-model-name: 'a b'", "served-model-name: --x", "served-model-name: ''", "served-model-name: |\n  a\n  b\n",
            "preferred-sampling-params: {a: 1, b: [x, null, true]}", "preferred-sampling-params: '{\"a\": 1}'",
            "preferred-sampling-params: {1: a, true: b}", "preferred-sampling-params: {a: 2020-01-01}", "preferred-sampling-params: {}",
            "preferred-sampling-params: {é: ü}", "tp-size: 8\ntp-size: 4", "tp-size: 8\ntp: 4", "random-seed: 2020-01-01", "random-seed: -1",
            "base: &base {tp-size: 8}\n", "<<: {tp-size: 8}\npp-size: 2", "tp-size: &n 8\npp-size: *n", "tp-size: *n",
            "tp-size: !!str 8", "tp-size: !!python/object:x.y {}", "1: 2", "true: 2", "null: 2", "? [a]\n: 2", "config: other.yaml",
            "random-seed: .inf", "random-seed: 0b11", "chat-template: a#b", "chat-template: a # b", 'chat-template: "a\\tb"',
            "lora-paths: [a]", "lora_paths: a", "cuda-graph-max-bs: 32", "cuda-graph-max-bs-decode: 32", "\ttp-size: 8", "tp-size:8",
            "random-seed: !!set {a}", "random-seed: !!binary aGk=", "log-level: [[a], {b: 1}]", "help: x", "'': x", "'a b': x",
            "stream-output: 1", "hybrid-kvcache-ratio: 1", "speculative-draft-window-size: 1", "dllm-fdfo: x",
        )
    ),
]  # fmt: skip


def cases() -> list[tuple[list[str], str]]:
    """Those above; and each flag of each release, switched on and off."""
    sys.path.insert(0, str(ROOT / "src"))
    from autotune_init.engines.sglang_versions import RELEASES
    from autotune_init.engines.sglang_words import options_of

    flags = sorted({flag for release in RELEASES for flag in options_of(release)})
    return BY_HAND + [(FROM_FILE, f"{flag[2:]}: {value}") for flag in flags for value in ("true", "false")]


def merger():
    """The release's own, with the release's own parser."""
    with contextlib.suppress(ImportError, AttributeError):
        # a newer transformers may know a model type already that an older release registers
        from transformers.models.auto import configuration_auto

        mapping = configuration_auto._LazyConfigMapping  # noqa: SLF001 -- has no public name
        register = mapping.register
        mapping.register = lambda self, key, value, exist_ok=True: register(self, key, value, exist_ok=True)  # noqa: ARG005 -- its signature
    from sglang.srt.server_args import ServerArgs

    parser = argparse.ArgumentParser()
    ServerArgs.add_cli_args(parser)
    for name in ("sglang.srt.utils.server_args_config_parser", "sglang.srt.server_args_config_parser"):
        with contextlib.suppress(ImportError):
            return importlib.import_module(name).ConfigArgumentMerger(parser)
    raise SystemExit("this release has no --config")


def answer(release, argv: list[str], text: str) -> list[str] | None:
    Path("engine.yaml").write_text(text)
    Path("engine.json").write_text(text)
    try:
        # prepare_server_args looks for this very word
        return release.merge_config_with_args(list(argv)) if "--config" in argv else list(argv)
    except Exception:  # noqa: BLE001 -- whatever it raises, the engine does not start
        return None


def in_order(versions: Iterable[str]) -> list[str]:
    return sorted(versions, key=lambda version: [int(number) for number in re.findall(r"\d+", version)])


def answers_of(case: dict, releases: list[str]) -> dict[str, list[str] | None]:
    """Release -> answer, of a case as it lies in the file."""
    since = dict(map(tuple, case["since"]))
    answers: dict[str, list[str] | None] = {}
    for version in releases:
        answers[version] = (
            since[version] if version in since else answers[releases[releases.index(version) - 1]]
        )
    return answers


def main() -> int:
    release = merger()
    import sglang

    version = sglang.__version__
    wanted = cases()
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {"releases": [], "cases": []}
    if [(case["argv"], case["yaml"]) for case in golden["cases"]] != wanted:
        golden = {
            "releases": [],
            "cases": [{"argv": argv, "yaml": text, "since": []} for argv, text in wanted],
        }
    releases = in_order({*golden["releases"], version})
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for case in golden["cases"]:
            answers = answers_of(case, golden["releases"])
            answers[version] = answer(release, case["argv"], case["yaml"])
            changes = [
                [name, answers[name]]
                for before, name in zip([None, *releases], releases, strict=False)
                if before is None or answers[before] != answers[name]
            ]
            rows.append(json.dumps({**case, "since": changes}, ensure_ascii=False))
    GOLDEN.write_text(f'{{"releases": {json.dumps(releases)},\n"cases": [\n' + ",\n".join(rows) + "\n]}\n")
    print(version, len(rows), "cases")
    return 0


if __name__ == "__main__":
    sys.exit(main())
