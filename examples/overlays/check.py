"""Does what stands behind `--` still say what the engine runs? For overlays that write a chart's command line twice.

    helm template my-release CHART -f values.yaml | python examples/overlays/check.py

Reads YAML documents on stdin and looks at every pod template that has a container autotune-init. Prints one line for
each difference that could lead to another cache key, to files that the engine does not see or cannot rewrite, or to a
pod that PodSecurity refuses. Exit 0: none and at
least one template seen; 1: some; 2: no template has an autotune-init. Needs PyYAML.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

INIT = "autotune-init"
PROGRAM = "autotune-program"
CACHE = "autotune-cache"
PROGRAM_AT = "/opt/autotune"
# what the policy and the overlays point into the cache volume, one variable per engine
ENGINE_VARIABLES = ("SGLANG_CACHE_DIR", "VLLM_FLASHINFER_AUTOTUNE_CACHE_DIR", "FLASHINFER_AUTOTUNE_CACHE_DIR")

Json = dict[str, Any]


def pod_specs(document: object, path: str = "") -> Iterator[tuple[str, Json]]:
    """(path, spec) of everything in a document that has the shape of a pod spec: any kind, built-in or not."""
    if isinstance(document, dict):
        if isinstance(document.get("containers"), list):
            yield path.strip("/"), document
            return
        for key, value in document.items():
            yield from pod_specs(value, f"{path}/{key}")
    elif isinstance(document, list):
        for index, value in enumerate(document):
            yield from pod_specs(value, f"{path}/{index}")


def is_attached(spec: Json) -> bool:
    return any(container["name"] == INIT for container in spec.get("initContainers") or [])


def problems(spec: Json) -> list[str]:
    """What is wrong with one attached pod spec, in sentences; empty where all is well."""
    containers = spec.get("initContainers") or []
    names = [container["name"] for container in containers]
    init = containers[names.index(INIT)]
    engine = engine_of(spec)
    if engine is None:
        return [f"no container, or more than one, mounts the volume {CACHE}"]
    found = [
        *order_problems(containers, names),
        *program_problems(spec, init),
        *mount_problems(init, engine),
        *variable_problems(init, engine),
        *user_problems(containers, engine),
    ]
    if init.get("image") != engine.get("image"):
        found.append(f"image: {INIT} has {init.get('image')}, {engine['name']} has {engine.get('image')}")
    if words_after_dashes(init) != words(engine):
        found.append(
            f"command line: {INIT} has {words_after_dashes(init)}, {engine['name']} has {words(engine)}"
        )
    return found


def engine_of(spec: Json) -> Json | None:
    """The one container that mounts our cache; None where there is not exactly one."""
    mounting = [container for container in spec["containers"] if CACHE in mounts(container)]
    return mounting[0] if len(mounting) == 1 else None


def words(container: Json) -> list[str]:
    return [str(word) for word in [*(container.get("command") or []), *(container.get("args") or [])]]


def words_after_dashes(container: Json) -> list[str] | None:
    line = words(container)
    return line[line.index("--") + 1 :] if "--" in line else None


def mounts(container: Json) -> dict[str, Json]:
    return {mount["name"]: mount for mount in container.get("volumeMounts") or []}


def order_problems(containers: list[Json], names: list[str]) -> list[str]:
    at = names.index(INIT)
    found = []
    if PROGRAM in names and names.index(PROGRAM) > at:
        found.append(f"order: {PROGRAM} comes after {INIT}")
    later = [container["name"] for container in containers[at + 1 :] if container["name"] != PROGRAM]
    if later:
        found.append(f"order: {', '.join(later)} after {INIT}; what it brings (the model?) is not there yet")
    return found


def program_problems(spec: Json, init: Json) -> list[str]:
    """Our tree comes by a copying container, as an image volume, or lies in the image (then nothing mounts it)."""
    mount = mounts(init).get(PROGRAM)
    if mount is None:
        has_volume = any(volume["name"] == PROGRAM for volume in spec.get("volumes") or [])
        return [f"the volume {PROGRAM} is not mounted by {INIT}"] if has_volume else []
    if mount["mountPath"] != PROGRAM_AT:
        return [f"{PROGRAM} is mounted at {mount['mountPath']}, not at {PROGRAM_AT}"]
    volume = next((one for one in spec.get("volumes") or [] if one["name"] == PROGRAM), None)
    if volume is None:
        return [f"no volume {PROGRAM}"]
    copies = any(container["name"] == PROGRAM for container in spec["initContainers"])
    if "image" not in volume and not copies:
        return [f"nothing fills the volume {PROGRAM}"]
    return []


def mount_problems(init: Json, engine: Json) -> list[str]:
    theirs, ours = mounts(engine), mounts(init)
    found = []
    for name, mount in theirs.items():
        if mount["mountPath"] == "/dev/shm":
            continue  # memory between the engine's processes; nothing there says what the engine will run
        if name not in ours:
            found.append(f"volume {name} ({mount['mountPath']}) is not mounted by {INIT}")
        elif ours[name]["mountPath"] != mount["mountPath"]:
            found.append(f"volume {name}: at {ours[name]['mountPath']} here, at {mount['mountPath']} there")
    return found


def variable_problems(init: Json, engine: Json) -> list[str]:
    theirs = {one["name"]: one for one in engine.get("env") or []}
    ours = {one["name"]: one for one in init.get("env") or []}
    found = [
        f"variable {name}: {INIT} has {shown(ours.get(name))}, {engine['name']} has {shown(one)}"
        for name, one in theirs.items()
        if ours.get(name) != one
    ]
    root = PurePosixPath(mounts(engine)[CACHE]["mountPath"])
    directories = [
        PurePosixPath(str(theirs[name].get("value"))) for name in ENGINE_VARIABLES if name in theirs
    ]
    if not directories:
        found.append(f"{engine['name']} has none of {', '.join(ENGINE_VARIABLES)}")
    found += [f"{one} is not below {root}" for one in directories if root not in (one, *one.parents)]
    return found


def user_problems(containers: list[Json], engine: Json) -> list[str]:
    """Ours must run wherever the engine may, as its user: it rewrites the files that we place."""
    wanted = engine.get("securityContext") or {}
    found = []
    for container in containers:
        has = dict(container.get("securityContext") or {})
        if not wanted.get("readOnlyRootFilesystem"):
            has.pop("readOnlyRootFilesystem", None)  # stricter is fine, we write to volumes only
        if container["name"] in (INIT, PROGRAM) and has != wanted:
            found.append(f"securityContext: {container['name']} has {has}, {engine['name']} has {wanted}")
    return found


def shown(variable: Json | None) -> str:
    if variable is None:
        return "none"
    return repr(variable["value"]) if "value" in variable else "another source"


def main() -> int:
    import yaml

    seen, wrong = 0, 0
    for document in yaml.safe_load_all(sys.stdin):
        if not isinstance(document, dict):
            continue
        label = f"{document.get('kind')}/{(document.get('metadata') or {}).get('name')}"
        for path, spec in pod_specs(document):
            if not is_attached(spec):
                continue
            seen += 1
            for problem in problems(spec):
                wrong += 1
                print(f"{label} {path}: {problem}")
    if not seen:
        print(f"no pod template has a container {INIT}", file=sys.stderr)
        return 2
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
