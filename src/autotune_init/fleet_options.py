"""The options of `autotune-init fleet` and `autotune-init fleet prewarm`, and what they name on this computer's disk."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from autotune_init.facts import BadFacts, Facts, load_facts
from autotune_init.fleet_identity import ModelConfig, Stated
from autotune_init.fleet_prewarm import TUNERS, Choices
from autotune_init.model_config import read_model_config
from autotune_init.settings import BadSettings, Settings, settings_from
from autotune_init.workload import QUANT_FILE
from cache_store.dataclass import dataclass

DESCRIPTION = """Which workloads of a cluster find their tuned kernels in the bucket, by what their pods reported last.

hit: the next pod starts warm. miss: it is not there, or somebody tunes it, or it was taken out of service. refused: no
bundle can be named, or none would be used. Needs the right to list pods; the rest only makes the answer better.
"""
PREWARM = """One Job for each bundle that is missing, made of the workload's own engine container, printed as YAML.

--apply creates them; one that exists is left alone. They end with the exit code of their outcome (--strict).
"""
EPILOG = """exit status: 0 the answer is on stdout; 2 wrong usage or settings, no kubeconfig, no such context; 3 the cluster
cannot be reached or refuses; 10, 13, 14 and others: the store, as of cache-store."""


@dataclass(frozen=True)
class FleetOptions:
    """What was asked for. `namespace` None: the one of the kubeconfig's context; with `is_everywhere` all."""

    settings: Settings
    context: str | None
    namespace: str | None
    is_everywhere: bool
    stated: Stated
    is_json: bool = False
    is_prewarm: bool = False
    applies: bool = False
    output: str = "yaml"
    choices: Choices = Choices()


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise BadSettings(message)


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> FleetOptions:
    """Raises `BadSettings`, and `SystemExit` where help was printed."""
    is_prewarm = argv[:1] in (["prewarm"], ("prewarm",))
    given = _parser(is_prewarm=is_prewarm).parse_args(list(argv[1:] if is_prewarm else argv))
    if given.all_namespaces and given.namespace:
        raise BadSettings("--namespace and --all-namespaces exclude each other")
    settings = settings_from({"store": given.store}, (), environ)
    stated = Stated(_facts(given.facts or ()), _models(given.model_config or ()))
    common = FleetOptions(
        settings=settings,
        context=given.context,
        namespace=given.namespace,
        is_everywhere=given.all_namespaces,
        stated=stated,
        is_prewarm=is_prewarm,
        is_json=not is_prewarm and given.json,
    )
    if not is_prewarm:
        return common
    return FleetOptions(
        **{
            **vars(common),
            "applies": given.apply,
            "output": given.output or ("name" if given.apply else "yaml"),
            "choices": Choices(given.image, given.tuner, settings.store),
        }
    )


def _parser(*, is_prewarm: bool) -> argparse.ArgumentParser:
    parser = _Parser(
        prog="autotune-init fleet prewarm" if is_prewarm else "autotune-init fleet",
        usage="autotune-init fleet prewarm [options]"
        if is_prewarm
        else "autotune-init fleet [prewarm] [options]",
        description=PREWARM if is_prewarm else DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--context", metavar="NAME", help="of the kubeconfig; default: its current one")
    add("-n", "--namespace", metavar="NAME", help="default: the context's")
    add("-A", "--all-namespaces", action="store_true")
    add(
        "--store",
        metavar="URL",
        help="default: AUTOTUNE_STORE, else what each workload's own init container says",
    )
    add(
        "--model-config", metavar="NAME=DIR", action="append",
        help="config.json of a model whose pods have not reported yet; NAME is the workload, NAMESPACE/WORKLOAD or "
        "the model path of its command line; repeatable",
    )  # fmt: skip
    add(
        "--facts", metavar="GPU=FILE", action="append",
        help="what `autotune-init facts` printed in the engine's image on such a GPU (the label nvidia.com/gpu.product), "
        "for pods that have not reported yet; repeatable",
    )  # fmt: skip
    if not is_prewarm:
        add(
            "--json",
            action="store_true",
            help="one JSON object (docs/schemas/autotune-init-fleet.schema.json)",
        )
        return parser
    add("--apply", action="store_true", help="create the Jobs")
    add("-o", "--output", choices=("yaml", "name"), help="default: yaml; with --apply: name")
    add(
        "--image",
        metavar="IMAGE",
        help="of autotune-cache, where no pod of the workload has our init containers yet",
    )
    add("--tuner", choices=TUNERS, help="default: the workload's own, else engine")
    return parser


def _facts(pairs: Sequence[str]) -> dict[str, Facts]:
    found = {}
    for gpu, file in (_pair("--facts", "GPU=FILE", pair) for pair in pairs):
        try:
            # the label spells NVML's name with dashes
            found[gpu.replace(" ", "-")] = load_facts(file)
        except BadFacts as problem:
            raise BadSettings(f"--facts {gpu}: {problem.detail}") from None
    return found


def _models(pairs: Sequence[str]) -> dict[str, ModelConfig]:
    found = {}
    for name, path in (_pair("--model-config", "NAME=DIR", pair) for pair in pairs):
        try:
            config = read_model_config(path)
        except (OSError, ValueError) as problem:
            raise BadSettings(f"--model-config {name}: {problem}") from None
        folder = Path(path) if Path(path).is_dir() else Path(path).parent
        try:
            quant = read_model_config(str(folder / QUANT_FILE))
        except (OSError, ValueError):
            quant = None  # most models have none
        found[name] = ModelConfig(config, quant)
    return found


def _pair(flag: str, spelling: str, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name or not value:
        raise BadSettings(f"{flag} takes {spelling}, not {text[:80]!r}")
    return name, value
