"""What an injected pod has to be, said once more and differently: compared with the pod that the owner wrote."""

import copy

from tests.chart.chart_tools import STATUS

OURS = ("autotune-program", "autotune-init")
VARIABLES = {
    "SGLANG_CACHE_DIR": "sglang",
    "VLLM_FLASHINFER_AUTOTUNE_CACHE_DIR": "vllm",
    "FLASHINFER_AUTOTUNE_CACHE_DIR": "flashinfer",
}
NOT_COPIED = (
    "ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "resizePolicy", "restartPolicy",
    "restartPolicyRules", "stdin", "stdinOnce", "tty",
)  # fmt: skip


def without_server_fields(made):
    """Without what differs from one create to the next, and without our label and status."""
    kept = copy.deepcopy(made)
    for name in ("uid", "creationTimestamp", "name", "managedFields"):
        kept["metadata"].pop(name, None)
    kept["metadata"].get("labels", {}).pop("autotune-cache.dev/inject", None)
    kept["metadata"].get("annotations", {}).pop(STATUS, None)
    if not kept["metadata"].get("annotations"):
        kept["metadata"].pop("annotations", None)
    return kept


def engine_of(before, after):
    """The name of the container that was copied, found by what was done to it."""
    lines = {
        one["name"]: one.get("command", []) + one.get("args", []) for one in before["spec"]["containers"]
    }
    line = after["spec"]["initContainers"][-1]["args"]
    return [name for name, words in lines.items() if words == line]


def check_injected(before, after, *, keeps_devices, mount_path="/autotune-cache"):
    """`before` and `after` are the pod as the API server would have made it without and with our label."""
    old, new = before["spec"], after["spec"]
    inits = new["initContainers"]
    assert [one["name"] for one in inits[-2:]] == list(OURS)
    assert inits[:-2] == old.get("initContainers", [])
    program, copied = inits[-2:]
    changed = [index for index, one in enumerate(new["containers"]) if one != old["containers"][index]]
    assert len(changed) <= 1
    candidates = changed or [
        index for index, one in enumerate(old["containers"]) if one["name"] in engine_of(before, after)
    ]
    owner, engine = old["containers"][candidates[0]], new["containers"][candidates[0]]
    kind = before["metadata"].get("annotations", {}).get("autotune-cache.dev/engine", "")
    _check_engine(owner, engine, [name for name, folder in VARIABLES.items() if kind in ("", folder)])
    _check_copy(owner, engine, copied, keeps_devices=keeps_devices)
    _check_program(owner, program)
    added = [one for one in new["volumes"] if one not in old.get("volumes", [])]
    assert [one for one in new["volumes"] if one in old.get("volumes", [])] == old.get("volumes", [])
    assert {one["name"] for one in added} <= {
        "autotune-program",
        "autotune-cache",
        "autotune-ca",
        "autotune-token",
    }
    assert after["status"]["qosClass"] == before["status"]["qosClass"]
    assert {**new, "initContainers": 0, "containers": 0, "volumes": 0, "imagePullSecrets": 0} == {
        **old, "initContainers": 0, "containers": 0, "volumes": 0, "imagePullSecrets": 0,
    }  # fmt: skip


def _check_engine(owner, engine, variables):
    env, mounts = owner.get("env", []), owner.get("volumeMounts", [])
    assert engine.get("env", [])[: len(env)] == env
    assert engine.get("volumeMounts", [])[: len(mounts)] == mounts
    assert {**engine, "env": 0, "volumeMounts": 0} == {**owner, "env": 0, "volumeMounts": 0}
    named = {one["name"] for one in env}
    added = [one["name"] for one in engine.get("env", [])[len(env) :]]
    assert added == [name for name in variables if name not in named]
    ours = engine.get("volumeMounts", [])[len(mounts) :]
    assert {one["name"] for one in ours} <= {"autotune-cache"}
    # wherever the engine will look, a volume has to be that the copy has too
    everywhere = [one["mountPath"].rstrip("/") + "/" for one in engine.get("volumeMounts", [])]
    values = {one["name"]: one.get("value", "") for one in engine.get("env", [])}
    for name in variables:
        if values[name].startswith("/"):
            assert any((values[name] + "/").startswith(path) for path in everywhere), (name, values[name])


def _check_copy(owner, engine, copied, *, keeps_devices):
    assert copied["command"] == ["/opt/autotune/start", "run", "--"]
    assert copied["args"] == owner.get("command", []) + owner.get("args", [])
    assert copied["args"]
    assert not set(NOT_COPIED) & set(copied)
    for name in ("image", "imagePullPolicy", "workingDir", "securityContext", "volumeDevices"):
        assert copied.get(name) == owner.get(name), name
    assert copied.get("envFrom", [])[-len(owner.get("envFrom", [])) or None :] == owner.get(
        "envFrom", copied.get("envFrom", [])
    )
    assert copied["volumeMounts"][: len(engine.get("volumeMounts", []))] == engine.get("volumeMounts", [])
    assert any(one["mountPath"] == "/opt/autotune" for one in copied["volumeMounts"])
    resources = owner.get("resources", {})
    assert copied["resources"] == (resources if keeps_devices else without_devices(resources))
    env = [one for one in engine.get("env", []) if keeps_devices or one["name"] != "NVIDIA_VISIBLE_DEVICES"]
    assert [one for one in copied["env"] if one in env][: len(env)] == env
    if not keeps_devices:
        visible = [one for one in copied["env"] if one["name"] == "NVIDIA_VISIBLE_DEVICES"]
        assert visible[-1] == {"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"}
    owners = {one["name"] for one in engine.get("env", [])}
    ours = [one["name"] for one in copied["env"] if one["name"] not in owners]
    assert len(ours) == len(set(ours))


def _check_program(owner, program):
    assert program["command"] == ["/opt/autotune/start", "copy", "/autotune-program"]
    assert program.get("resources", {}) == without_devices(owner.get("resources", {}))
    given, made = owner.get("securityContext", {}), program["securityContext"]
    assert (made["allowPrivilegeEscalation"], made["readOnlyRootFilesystem"], made["capabilities"]) == (
        False,
        True,
        {"drop": ["ALL"]},
    )
    assert "privileged" not in made
    for name in (
        "runAsUser",
        "runAsGroup",
        "runAsNonRoot",
        "seccompProfile",
        "seLinuxOptions",
        "appArmorProfile",
    ):
        assert made.get(name) == given.get(name), name


def without_devices(resources):
    made = {
        part: {
            name: amount for name, amount in amounts.items() if "/" not in name or "kubernetes.io/" in name
        }
        for part, amounts in resources.items()
        if part != "claims"
    }
    return {part: amounts for part, amounts in made.items() if amounts}
