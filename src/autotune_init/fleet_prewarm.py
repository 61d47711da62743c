"""Prewarm Jobs: a missing bundle is tuned once, by the workload's own engine container with our program in front. Pure.

A Job and not the pods' init containers, because an init container that held GPUs can get its pod killed when the
kubelet restarts (kubernetes#138446).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from autotune_init.fleet_identity import Refused, Wanted
from autotune_init.fleet_pods import ANNOTATION, INIT, PRODUCT, PROGRAM, Raw
from autotune_init.fleet_rows import Row
from autotune_init.fleet_template import Engine, run_arguments
from cache_store.dataclass import dataclass
from cache_store.sha256 import sha256_hex

PROGRAM_DIR = "/opt/autotune"
CACHE_VOLUME = "autotune-cache"
CACHE_DIR = "/autotune-cache"
TUNERS = ("engine", "flashinfer-ops", "command")
LEAST_DEADLINE_S = 1800.0
KEPT_S = 3600  # a finished Job, for whoever asks why
_COPIES = "/autotune-program"  # not PROGRAM_DIR: a volume there would hide the program that is to be copied
_RESTARTS = 1
_CONTAINERS_OWN = frozenset({
    "command", "args", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "ports", "resizePolicy",
    "restartPolicy", "stdin", "stdinOnce", "tty", "terminationMessagePath", "terminationMessagePolicy",
})  # fmt: skip
# what decides where and as whom the engine may run, but nothing that makes it a replica
_PODS_OWN = (
    "automountServiceAccountToken", "dnsConfig", "dnsPolicy", "enableServiceLinks", "hostAliases", "hostIPC",
    "imagePullSecrets", "os", "priorityClassName", "resourceClaims", "runtimeClassName", "schedulerName",
    "securityContext", "serviceAccountName", "tolerations",
)  # fmt: skip
_DEFAULTS: Mapping[str, object] = {
    "dnsPolicy": "ClusterFirst", "enableServiceLinks": True, "schedulerName": "default-scheduler",
    "securityContext": {}, "serviceAccountName": "default",
}  # fmt: skip
# the service account plugin mounts this into every pod, under a fresh name
_TOKEN_VOLUME = "kube-api-access-"  # noqa: S105 -- the beginning of a volume's name
_EVERY_POD_TOLERATES = frozenset({"node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"})


@dataclass(frozen=True)
class Choices:
    """What the person at the terminal says. None: as the workload's own init container has it."""

    image: str | None = None
    tuner: str | None = None
    store: str | None = None


@dataclass(frozen=True)
class Plan:
    """`jobs` to create, a sentence for each row that needs one and gets none, and one for each Job to think about."""

    jobs: tuple[Mapping[str, Any], ...]
    left_out: tuple[str, ...]
    doubts: tuple[str, ...] = ()


def plan_jobs(rows: Iterable[Row], choices: Choices) -> Plan:
    """One Job for each identity and GPU, made of the first workload (by namespace and name) that wants it."""
    jobs: dict[str, Mapping[str, Any]] = {}
    left_out: list[str] = []
    doubts: list[str] = []
    for row in sorted(rows, key=lambda one: (one.workload.namespace, one.workload.name)):
        if not row.is_to_tune or not isinstance(row.wants, Wanted):
            continue
        name = job_name(row.wants, row.gpu)
        if name in jobs:
            continue
        why_not = _why_not(row, choices)
        if why_not or isinstance(row.engine, Refused):
            left_out.append(f"{row.workload.path}: {why_not}")
        else:
            jobs[name] = job_of(name, row, row.engine, row.wants, choices)
            if not row.is_label:
                doubts.append(
                    f"{name}: which GPU {row.workload.path} runs on is not known; on another it tunes for that"
                )
    return Plan(tuple(jobs.values()), tuple(left_out), tuple(doubts))


def job_name(wants: Wanted, gpu: str) -> str:
    """The same for the same bundle and GPU, so that a second run finds the first one's Job."""
    text = f"{wants.address}|{wants.draft or ''}|{gpu}"
    return f"autotune-prewarm-{sha256_hex(text.encode())[:12]}"


def job_of(name: str, row: Row, engine: Engine, wants: Wanted, choices: Choices) -> dict[str, Any]:
    labels = {"app.kubernetes.io/name": "autotune-prewarm", "app.kubernetes.io/managed-by": "autotune-init"}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": row.workload.namespace,
            "labels": labels,
            "annotations": {
                f"{ANNOTATION}workload": f"{row.workload.kind}/{row.workload.name}",
                f"{ANNOTATION}address": str(wants.address),
                f"{ANNOTATION}gpu": row.gpu,
            },
        },
        "spec": {
            "backoffLimit": _RESTARTS,
            "ttlSecondsAfterFinished": KEPT_S,
            "template": {"metadata": {"labels": labels}, "spec": _pod(row, engine, choices)},
        },
    }


def _why_not(row: Row, choices: Choices) -> str:
    engine = row.engine
    if isinstance(engine, Refused):
        return engine.detail
    if engine.init is None and choices.image is None:
        return "no pod of it has our init containers yet: state --image IMAGE (of autotune-cache)"
    if not choices.store and not _has_store(engine):
        return "which store is not known: state --store"
    if choices.tuner == "command" and not engine.settings.tuner_command:
        return "--tuner command, and the workload states no --tuner-command"
    return ""


def _has_store(engine: Engine) -> bool:
    names = [one.get("name") for one in (engine.init or {}).get("env") or ()]
    # by reference, only the pod knows its value
    return bool(engine.settings.store) or "AUTOTUNE_STORE" in names


def _pod(row: Row, engine: Engine, choices: Choices) -> dict[str, Any]:
    spec = row.workload.template.spec
    made: dict[str, Any] = {
        name: copy.deepcopy(spec[name])
        for name in _PODS_OWN
        if spec.get(name) not in (None, [], _DEFAULTS.get(name))
    }
    if "tolerations" in made:
        made["tolerations"] = [
            one for one in made["tolerations"] if one.get("key") not in _EVERY_POD_TOLERATES
        ]
    selector = dict(spec.get("nodeSelector") or {})
    if row.is_label:
        selector[PRODUCT] = row.gpu
    affinity = (spec.get("affinity") or {}).get("nodeAffinity")
    made |= {"nodeSelector": selector} if selector else {}
    made |= {"affinity": {"nodeAffinity": copy.deepcopy(affinity)}} if affinity else {}
    made["restartPolicy"] = "Never"
    made["initContainers"] = _before(row, choices)
    made["containers"] = [_container(engine, choices)]
    made["volumes"] = _volumes(spec, engine)
    return {name: part for name, part in made.items() if part != []}


def _before(row: Row, choices: Choices) -> list[Any]:
    """All that runs before our init container: the owner's may be what brings the model's config.json."""
    given: list[Raw] = row.workload.template.spec.get("initContainers") or []
    names = [one.get("name") for one in given]
    before = [_without_token(one) for one in (given[: names.index(INIT)] if INIT in names else given)]
    if INIT not in names:
        before.append(
            {
                "name": PROGRAM,
                "image": choices.image,
                "command": [f"{PROGRAM_DIR}/start", "copy", _COPIES],
                "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "256Mi"}},
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                    "readOnlyRootFilesystem": True,
                    "runAsNonRoot": True,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "volumeMounts": [{"name": PROGRAM, "mountPath": _COPIES}],
            }
        )
    return before


def _container(engine: Engine, choices: Choices) -> dict[str, Any]:
    """The engine's, as our init container has it, with the engine's own GPUs."""
    base = _without_token(engine.init or engine.container)
    settings = engine.settings
    container: dict[str, Any] = {"name": "prewarm"}
    container |= {name: part for name, part in base.items() if name not in _CONTAINERS_OWN and name != "name"}
    words = [*(base.get("command") or ()), *(base.get("args") or ())]
    flags: tuple[str, ...] = ()
    start = f"{PROGRAM_DIR}/start"
    if engine.init is not None:
        start = str(words[0])  # in an image volume it lies deeper
        flags, argv = run_arguments(words)  # as written: the kubelet expands them again
        words = list(argv)
    tuner = choices.tuner or (settings.tuner if settings.tuner in TUNERS else "engine")
    deadline_s = max(settings.deadline_s, LEAST_DEADLINE_S)
    ours = [*flags, "--strict", "--tuner", tuner, "--deadline", f"{deadline_s:g}"]
    if choices.store and not _has_store(engine):  # a terminal may reach the pods' store under another URL
        ours += ["--store", choices.store]
    container |= {
        "command": [start, "run", *ours, "--"],
        "args": words,
        "env": _env(base, engine),
    }
    if engine.container.get("resources"):
        container["resources"] = copy.deepcopy(engine.container["resources"])
    if engine.init is None:
        mounts = [
            *(base.get("volumeMounts") or ()),
            {"name": PROGRAM, "mountPath": PROGRAM_DIR},
            {"name": CACHE_VOLUME, "mountPath": CACHE_DIR},
        ]
        container["volumeMounts"] = mounts
    container["terminationMessagePolicy"] = "FallbackToLogsOnError"
    return container


def _env(base: Mapping[str, Any], engine: Engine) -> list[Any]:
    """The init container's, with the GPUs that the engine sees: where pods only pull, theirs are hidden."""
    hidden = "NVIDIA_VISIBLE_DEVICES"
    given = [one for one in base.get("env") or () if one.get("name") != hidden]
    seen = [one for one in engine.container.get("env") or () if one.get("name") == hidden]
    env: list[Any] = [*given, *seen]
    if engine.init is None:
        settings = engine.settings
        stated = {
            "AUTOTUNE_ENGINE": settings.engine,
            "AUTOTUNE_ENGINE_VERSION": settings.engine_version,
            "AUTOTUNE_CACHE_DIR": settings.cache_dir or CACHE_DIR,
        }
        env += [{"name": name, "value": value} for name, value in stated.items() if value]
    return env


def _volumes(spec: Raw, engine: Engine) -> list[Any]:
    """The pod's; an empty one in place of its cache, or files that are there already would end the Job as `local`."""
    kept = [one for one in spec.get("volumes") or () if not str(one.get("name")).startswith(_TOKEN_VOLUME)]
    volumes = [copy.deepcopy(one) for one in kept if one.get("name") != CACHE_VOLUME]
    if engine.init is None:
        volumes = [one for one in volumes if one.get("name") != PROGRAM]
        volumes.append({"name": PROGRAM, "emptyDir": {}})
    return [*volumes, {"name": CACHE_VOLUME, "emptyDir": {}}]


def _without_token(container: Raw) -> dict[str, Any]:
    made = copy.deepcopy(dict(container))
    mounts = [
        one for one in made.get("volumeMounts") or () if not str(one.get("name")).startswith(_TOKEN_VOLUME)
    ]
    if mounts:
        made["volumeMounts"] = mounts
    else:
        made.pop("volumeMounts", None)
    if made.get("terminationMessagePath") == "/dev/termination-log":
        made.pop("terminationMessagePath")
    return made
