"""What a pod's template says of the engine in it: which container, its words, its variables, our settings. Pure.

An injected or overlaid pod is read through its own init container, so that the fleet's tools see what the pod sees.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from autotune_init.flags import build_parser
from autotune_init.fleet_pods import ANNOTATION, INIT, PROGRAM, Raw, Template
from autotune_init.settings import BadSettings, Settings, settings_from, split_engine_argv
from cache_store.dataclass import dataclass

_STARTERS = frozenset({"start", "autotune-init"})
_REFERENCE = re.compile(r"\$(?:\$|\(([A-Za-z0-9_.-]+)\))")
# annotation -> the option that it stands for, where nothing was injected yet
_ANNOTATED = {
    "engine": "AUTOTUNE_ENGINE",
    "engine-version": "AUTOTUNE_ENGINE_VERSION",
    "cache-dir": "AUTOTUNE_CACHE_DIR",
    "gpu-name": "AUTOTUNE_GPU_NAME",
    "tuner": "AUTOTUNE_TUNER",
}
# what decides a key is set by variables of these names only
_DECIDING = ("SGLANG_", "SGL_", "VLLM_", "FLASHINFER_", "AUTOTUNE_")


class Unclear(Exception):  # noqa: N818 -- reads as what it is
    """The template does not say what is needed. `reason` is one of outcomes.REASONS."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Variables:
    """A container's own variables. `hidden` have a value that only the pod knows; `sources` bring names as well."""

    known: Mapping[str, str]
    hidden: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()

    @property
    def deciding(self) -> str:
        """What hides something that may decide a key, "" where nothing does."""
        names = [name for name in self.hidden if name.startswith(_DECIDING)]
        return ", ".join([*names, *self.sources])


@dataclass(frozen=True)
class Engine:
    """The engine of a template. `init` is our init container, None before it is injected; `settings` are the pod's.

    `words` is the engine's command line, `$(NAME)` replaced as the kubelet does it.
    """

    container: Raw
    init: Raw | None
    program: Raw | None
    words: tuple[str, ...]
    variables: Variables
    settings: Settings


def engine_of(template: Template) -> Engine:
    """Raises `Unclear`: bad-settings, key-argv."""
    container = engine_container(template)
    variables = variables_of(container)
    init = template.init_container(INIT)
    if init is None:
        words = _words(container, variables.known)
        flags: tuple[str, ...] = ()
        ours: dict[str, str] = {
            variable: template.annotations[ANNOTATION + name]
            for name, variable in _ANNOTATED.items()
            if template.annotations.get(ANNOTATION + name)
        }
    else:
        known = variables_of(init).known
        ours = {name: text for name, text in known.items() if name.startswith("AUTOTUNE_")}
        flags, words = run_arguments(_words(init, known))
    return Engine(
        container=container,
        init=init,
        program=template.init_container(PROGRAM),
        words=words,
        variables=variables,
        settings=_settings(flags, words, ours),
    )


def engine_container(template: Template) -> Raw:
    """As the admission policy chooses it: by annotation, else the only one, else the only one that asks for a GPU."""
    containers = template.containers
    named = template.annotations.get(ANNOTATION + "container")
    if named is not None:
        containers = [one for one in containers if one.get("name") == named]
    if len(containers) > 1:
        containers = [one for one in containers if _asks_for_gpu(one)]
    if len(containers) != 1:
        detail = "no one container is the engine's: name it by the annotation autotune-cache.dev/container"
        raise Unclear("key-argv", detail)
    return containers[0]


def variables_of(container: Raw) -> Variables:
    known: dict[str, str] = {}
    hidden: list[str] = []
    for one in container.get("env") or ():
        name, value = str(one.get("name")), one.get("value", "")
        if one.get("valueFrom") or not isinstance(value, str):
            hidden.append(name)
            known.pop(name, None)
        else:
            known[name] = expand(value, known)
    sources = [
        f"{kind} {one[reference].get('name')}"
        for one in container.get("envFrom") or ()
        for reference, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret"))
        if isinstance(one.get(reference), dict)
    ]
    return Variables(known, tuple(hidden), tuple(sources))


def expand(text: str, known: Mapping[str, str]) -> str:
    """`$(NAME)` by its value, `$$` by `$`; a name that is not known stays (Kubernetes 1.36, third_party/forked/golang/expansion)."""
    return _REFERENCE.sub(
        lambda found: "$" if found[1] is None else known.get(found[1], found[0]),
        text,
    )


def run_arguments(words: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(our options, the engine's command line) of the init container's words. Raises `Unclear`."""
    if len(words) < 2 or words[0].rpartition("/")[2] not in _STARTERS or words[1] != "run":
        raise Unclear(
            "bad-settings", f"the init container {INIT} does not begin with /opt/autotune/start run"
        )
    flags, argv = split_engine_argv(words[2:])
    return tuple(flags), argv


def _words(container: Raw, known: Mapping[str, str]) -> tuple[str, ...]:
    both: list[Any] = [*(container.get("command") or ()), *(container.get("args") or ())]
    return tuple(expand(str(word), known) for word in both)


def _settings(flags: tuple[str, ...], words: tuple[str, ...], ours: Mapping[str, str]) -> Settings:
    if {"-h", "--help"} & set(flags):
        raise Unclear("bad-settings", "the init container only prints help")
    try:
        return settings_from(vars(build_parser("run", "").parse_args(flags)), words, ours)
    except BadSettings as problem:
        raise Unclear("bad-settings", str(problem)) from None


def _asks_for_gpu(container: Raw) -> bool:
    resources = container.get("resources") or {}
    asked = {**(resources.get("requests") or {}), **(resources.get("limits") or {})}
    return bool(resources.get("claims")) or any(
        name.startswith("nvidia.com/") or "gpu" in name for name in asked
    )
