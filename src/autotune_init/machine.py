"""The machine as the probes see it: the engine's Python, its packages and libraries, NVML, FlashInfer's collector."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Mapping

from autotune_init.collector import CollectorFailed, Run, ask_flashinfer, search_path_of
from autotune_init.environment import EnvironmentUnknown, Machine
from autotune_init.installed import InstalledPackages
from autotune_init.nvml import read_gpus
from cache_store.annotation import TYPE_CHECKING

if TYPE_CHECKING:
    from autotune_init.shared_libraries import Libraries

_SEARCH_PATH_DEADLINE_S = 30.0


def this_machine(
    environ: Mapping[str, str], python: str | None, *, collector_deadline_s: float, run: Run
) -> Machine:
    """`python` is --python: the engine's interpreter, or None where it is the one that runs us.

    Another interpreter is asked for its search path in a child (20 ms); an interpreter that does not run is
    `EnvironmentUnknown`.
    """
    is_engine_python = python is None or _is_ours(python, environ)
    engine_python = sys.executable if python is None or is_engine_python else python
    try:
        search_path = (
            tuple(sys.path)
            if is_engine_python
            else search_path_of(engine_python, environ, _SEARCH_PATH_DEADLINE_S, run)
        )
    except CollectorFailed as failure:
        raise EnvironmentUnknown(failure.reason, failure.detail) from failure
    return Machine(
        environ=environ,
        packages=InstalledPackages(search_path),
        libraries=_loaded_libraries,
        read_gpus=functools.cache(read_gpus),
        ask_flashinfer=lambda: ask_flashinfer(engine_python, environ, collector_deadline_s, run),
        is_engine_python=is_engine_python,
    )


def _loaded_libraries() -> Libraries:
    from autotune_init.shared_libraries import LoadedLibraries

    return LoadedLibraries()


def _is_ours(python: str, environ: Mapping[str, str]) -> bool:
    """By path, links unresolved: a virtual environment's python links to one that knows none of its packages."""
    import shutil

    found = shutil.which(python, path=environ.get("PATH"))
    return found is not None and os.path.abspath(found) == os.path.abspath(sys.executable)  # noqa: PTH100 -- Path.resolve follows links
