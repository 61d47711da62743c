"""Runs on an engine's Python: one environment in many variants, seen by FlashInfer's collector or by our probe.

    python environment_variants.py flashinfer|ours < variants.json > answers.json

A variant is {"name", "path": the search path, "environ": more variables}. Each is looked at in a fork, so that
libraries and modules that one loads are not there for the next.
"""

from __future__ import annotations

import json
import os
import sys


def in_fork(look):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            answer = look()
        except BaseException as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        os.write(write, json.dumps(answer).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        answer = json.loads(pipe.read())
    os.waitpid(child, 0)
    return answer


def file_of_cudnn():
    candidates = (os.path.join(entry, "cudnn", "__init__.py") for entry in sys.path)
    return next((os.path.realpath(path) for path in candidates if os.path.exists(path)), "")


def flashinfers_look(variant):
    import flashinfer.autotuner.autotuner as autotuner
    from flashinfer.jit import cute_dsl_core

    os.environ.update(variant["environ"])
    sys.path[:] = variant["path"]
    sys.path_importer_cache.clear()
    loaded = sys.modules.get("cudnn")
    if loaded is not None and os.path.realpath(loaded.__file__) != file_of_cudnn():
        for name in [name for name in sys.modules if name == "cudnn" or name.startswith("cudnn.")]:
            del sys.modules[name]  # the variant has none, or another; the same one cannot be loaded twice
    for cached in (autotuner._get_cublas_version, cute_dsl_core._get_cute_dsl_version):
        getattr(cached, "cache_clear", lambda: None)()
    return autotuner._collect_metadata()


def our_look(variant):
    from autotune_init.environment import Machine, probe_environment
    from autotune_init.environment_fields import ProbedField
    from autotune_init.installed import InstalledPackages
    from autotune_init.shared_libraries import LoadedLibraries

    os.environ.update(variant["environ"])
    asked = []
    machine = Machine(
        environ=dict(os.environ),
        packages=InstalledPackages(variant["path"]),
        libraries=LoadedLibraries,
        read_gpus=lambda: None,
        ask_flashinfer=lambda: asked.append(1) or {"gpu": "unsure"},
    )
    found = probe_environment(machine, {"gpu": ProbedField("any", "stated")})
    return {"is_certain": not asked, **found.metadata}


def main():
    variants = json.load(sys.stdin)
    answer_to = os.dup(1)
    os.dup2(2, 1)
    if sys.argv[1] == "flashinfer":
        import flashinfer.autotuner  # noqa: F401 -- imported once, for all forks
    look = flashinfers_look if sys.argv[1] == "flashinfer" else our_look
    answers = {variant["name"]: in_fork(lambda variant=variant: look(variant)) for variant in variants}
    if sys.argv[1] == "ours":
        answers["modules"] = sorted({"torch", "flashinfer"} & set(sys.modules))
    os.write(answer_to, json.dumps(answers).encode())


if __name__ == "__main__":
    main()
