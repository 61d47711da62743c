"""Containers as people write them, and stranger ones. Deterministic by the dice that are given."""

from tests.chart.chart_tools import RESTRICTED


def maybe(dice, into, chance, name, make):
    if dice.random() < chance:
        into[name] = make()


def varied_container(dice, name, volumes, is_hardened, *, is_engine):
    made = {
        "name": name,
        "image": dice.choice(["lmsysorg/sglang:v0.5.23", "vllm/vllm-openai@sha256:" + "a" * 64, "busybox"]),
    }
    if dice.random() < 0.75:
        made["command"] = dice.choice(
            [
                ["python3", "-m", "sglang.launch_server"],
                ["sh", "-c", "exec python3 -m sglang.launch_server --tp $TP"],
                ["vllm", "serve"],
                ["/bin/true"],
                ["env", "A=B", "python3"],
            ]
        )
    maybe(
        dice,
        made,
        0.75,
        "args",
        lambda: dice.choice(
            [["--model-path", "/m"], ["--model", "$(MODEL)", '--x={"a": "b\'c"}'], ["-"], ["a" * 5000]]
        ),
    )
    maybe(dice, made, 0.5, "env", lambda: _env(dice))
    maybe(
        dice,
        made,
        0.3,
        "envFrom",
        lambda: dice.sample(
            [
                {"configMapRef": {"name": "settings"}},
                {"secretRef": {"name": "keys", "optional": True}},
                {"prefix": "P_", "configMapRef": {"name": "more"}},
            ],
            2,
        ),
    )
    mounts = varied_mounts(dice, volumes)
    if mounts:
        made["volumeMounts"] = mounts
    if any(volume["name"] == "block" for volume in volumes) and dice.random() < 0.5:
        made["volumeDevices"] = [
            {"name": "block", "devicePath": dice.choice(["/dev/xvda", "/opt/autotune", "/autotune-cache"])}
        ]
    maybe(dice, made, 0.7, "resources", lambda: _resources(dice, is_engine))
    if is_hardened:
        made["securityContext"] = dict(RESTRICTED)
        maybe(dice, made["securityContext"], 0.5, "runAsUser", lambda: dice.choice([1000, 65532, 1000710000]))
        maybe(dice, made["securityContext"], 0.2, "appArmorProfile", lambda: {"type": "RuntimeDefault"})
    else:
        maybe(
            dice,
            made,
            0.4,
            "securityContext",
            lambda: dice.choice(
                [
                    {"privileged": True},
                    {"privileged": True, "allowPrivilegeEscalation": True},
                    {"runAsUser": 0},
                    {"capabilities": {"add": ["SYS_PTRACE", "IPC_LOCK"]}},
                    {"capabilities": {"add": ["SYS_ADMIN"]}, "allowPrivilegeEscalation": True},
                    {"procMount": "Default"},
                    {"readOnlyRootFilesystem": False},
                    {"seLinuxOptions": {"level": "s0:c1,c2"}},
                    {"runAsNonRoot": True, "runAsUser": 7, "runAsGroup": 7},
                    {},
                ]
            ),
        )
    maybe(dice, made, 0.5, "ports", lambda: [{"containerPort": dice.randrange(1, 65535)}])
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        maybe(
            dice,
            made,
            0.3,
            probe,
            lambda: dice.choice(
                [{"httpGet": {"path": "/health", "port": 30000}}, {"exec": {"command": ["true"]}}]
            ),
        )
    maybe(dice, made, 0.2, "lifecycle", lambda: {"preStop": {"exec": {"command": ["sleep", "5"]}}})
    maybe(dice, made, 0.15, "stdin", lambda: True)
    if made.get("stdin"):
        maybe(dice, made, 0.5, "stdinOnce", lambda: True)
    maybe(dice, made, 0.15, "tty", lambda: True)
    maybe(dice, made, 0.2, "workingDir", lambda: dice.choice(["/", "/app", "/data/kernels/here", "relative"]))
    maybe(dice, made, 0.1, "terminationMessagePath", lambda: "/tmp/message")
    maybe(dice, made, 0.1, "imagePullPolicy", lambda: "Always")
    maybe(dice, made, 0.1, "restartPolicy", lambda: "Always" if dice.random() < 0.3 else "Never")
    maybe(dice, made, 0.1, "resizePolicy", lambda: [{"resourceName": "cpu", "restartPolicy": "NotRequired"}])
    return made


def _env(dice):
    all_of_them = [
        {"name": "MODEL", "value": "qwen"}, {"name": "TP", "value": "2"}, {"name": "EMPTY"}, {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hf", "key": "t"}}},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}, {"name": "MODEL", "value": "twice"},
        {"name": "NVIDIA_VISIBLE_DEVICES", "value": dice.choice(["all", "0,1", "void"])}, {"name": "AUTOTUNE_TUNER", "value": "none"}, {"name": "AUTOTUNE_STORE", "value": "file:///x"},
        {"name": "AWS_REGION", "value": "eu-central-1"}, {"name": "AWS_ENDPOINT_URL_S3", "value": ""}, {"name": "POD_NAME", "value": "mine"},
        {"name": "SGLANG_CACHE_DIR", "value": dice.choice(["/root/.cache/sglang", "/data/kernels", "/data", "", "$(HOME)/x", "/tmp", "/cache/", "rel", "/etc/sglang"])},
        {"name": "SGLANG_CACHE_DIR", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}},
        {"name": "VLLM_FLASHINFER_AUTOTUNE_CACHE_DIR", "value": dice.choice(["/autotune-cache/mine", "/v"])},
        {"name": "FLASHINFER_AUTOTUNE_CACHE_DIR", "value": "/data/fi"},
    ]  # fmt: skip
    return dice.sample(all_of_them, dice.choice([0, 1, 2, 3, 6]))


def _resources(dice, is_engine):
    plain = dice.choice(
        [
            {},
            {"cpu": "2", "memory": "4Gi"},
            {"memory": "1Gi"},
            {"cpu": "1", "memory": "1Gi", "ephemeral-storage": "10Gi"},
            {"cpu": "1", "hugepages-2Mi": "64Mi", "memory": "1Gi"},
        ]
    )
    device = (
        dice.choice(
            [
                {},
                {"nvidia.com/gpu": "1"},
                {"nvidia.com/mig-1g.5gb": "2"},
                {"nvidia.com/gpu": "8", "rdma/hca_shared_devices_a": "1"},
                {"vendor.example/fpga_x": "1"},
            ]
        )
        if is_engine or dice.random() < 0.15
        else {}
    )
    made = {"limits": {**plain, **device}}
    maybe(dice, made, 0.4, "requests", lambda: {"cpu": "100m"} if "cpu" in plain else dict(device))
    if is_engine and dice.random() < 0.1:
        made["claims"] = [{"name": "gpus"}]
    return made


def varied_mounts(dice, volumes):
    usable = [volume["name"] for volume in volumes if volume["name"] != "block"]
    paths = [
        "/models",
        "/data",
        "/dev/shm",
        "/root/.cache",
        "/autotune-cache",
        "/autotune-cache/sub",
        "/opt",
        "/opt/autotune",
        "/autotune-ca",
        "/cache/",
        "/var/run/secrets/kubernetes.io/serviceaccount",
        "/m/" + "x" * 200,
    ]
    weights = [8, 5, 8, 3, 1, 1, 1, 1, 1, 3, 2, 3]
    made, taken = [], set()
    for name in usable:
        path = dice.choices(paths, weights)[0]
        if path not in taken:
            taken.add(path)
            made.append(
                {
                    "name": name,
                    "mountPath": path,
                    **dice.choice([{}, {}, {"readOnly": True}, {"subPath": "part"}]),
                }
            )
    return made
