"""The pod's own command line, turned into one that only tunes. Pure.

What stays: everything that the cache key or the tuned shapes may depend on (model, dtype, quantization, backends, sizes,
speculative decoding, CUDA graph and memory settings). What goes: whatever opens another port, talks to another host,
writes elsewhere or reads the weights. Each row of the tables carries its reason; they were made from the parsers of
SGLang 0.5.12 (srt/server_args.py) and 0.5.23 (srt/arg_groups/fields/*.py) and of vLLM 0.33.0 (engine/arg_utils.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from cache_store.dataclass import dataclass, field

Values = Literal["none", "one", "many"]
LOOPBACK = "127.0.0.1"

_MODULES = {
    "sglang": ("-m", "sglang.launch_server"),
    "vllm": ("-m", "vllm.entrypoints.cli.main", "serve"),
}
_OPENAI_SERVER = ("-m", "vllm.entrypoints.openai.api_server")
_NUMBER = re.compile(r"\d+")


class NotStartable(Exception):  # noqa: N818 -- reads as what it is
    """Such a command line cannot be started for tuning alone; the message says which word of it, and why."""


@dataclass(frozen=True)
class EngineCommand:
    """What to start. `taken_out` are the flags that were left away, without their values (some are secrets)."""

    argv: tuple[str, ...]
    environ: Mapping[str, str]
    taken_out: tuple[str, ...]


@dataclass(frozen=True)
class Start:
    """How the engine is to be started: with which Python (or `program` in place of Python and module), the files where.

    `scratch` is the cache root of this start, empty. `kept_root` is the pod's own cache root, where compiled kernels
    are of use to the engine afterwards; "" leaves them in `scratch`.
    """

    python: str
    scratch: str
    port: int
    kept_root: str = ""
    program: tuple[str, ...] | None = None
    environ: Mapping[str, str] = field(default_factory=dict)


_Rows = tuple[tuple[str, Values, str], ...]  # reason, how many values its flags take, the flags

_SGLANG_OUT: _Rows = (
    ("Prometheus files, counters per request, a file of them", "none",
     "--enable-metrics --enable-metrics-for-all-schedulers --enable-mfu-metrics --enable-expert-distribution-metrics "
     "--export-metrics-to-file"),
    ("only of use to metrics; the folder may exist in the engine's container alone", "one", "--export-metrics-to-file-dir"),
    ("ZMQ publisher of every forward pass", "none", "--enable-forward-pass-metrics"),
    ("ZMQ publishers on ports or sockets of their own", "one",
     "--forward-pass-metrics-ipc-name --forward-pass-metrics-worker-id --kv-events-config --load-publish-endpoint"),
    ("connects to an OpenTelemetry collector", "none", "--enable-trace"),
    ("write requests and tensors to disk", "none", "--log-requests"),
    ("write requests, crashes and tensors to disk, or read an input and end the server", "one",
     "--log-requests-level --log-requests-format --crash-dump-folder --debug-tensor-dump-output-folder "
     "--debug-tensor-dump-input-file --debug-tensor-dump-inject --msprobe-dump-config --spec-trace-dir"),
    ("as before, several values", "many", "--log-requests-target --debug-tensor-dump-layers"),
    ("another server than the HTTP one, or further listeners", "none",
     "--grpc-mode --smg-grpc-mode --enable-http2 --enable-http-worker-reuseport"),
    ("ports of their own, a second program, requests to tool servers", "one",
     "--grpc-port --smg-http-sidecar-port --grpc-http-sidecar-port --sidecar --sidecar-args --tool-server "
     "--engine-info-bootstrap-port --encoder-bootstrap-port"),
    ("every rank waits for a POST from outside", "one", "--gated-launch-port"),
    ("binds the pod's address, which one node does not need", "one", "--dist-init-addr --nccl-init-addr"),
    ("keys and secrets: nobody but us can reach the port, and argv is readable", "one",
     "--api-key --admin-api-key --ssl-keyfile --ssl-certfile --ssl-ca-certs --ssl-keyfile-password"),
    ("watches files that may be mounted in the engine's container only", "none", "--enable-ssl-refresh"),
    ("requests to itself after the start", "one", "--warmups"),
    ("caches shared with other hosts, over connections of their own", "none",
     "--enable-lmcache --enable-flexkv --enable-mm-global-cache --enable-unified-cache-external-linker "
     "--enable-linker-mla-dedup --enable-elastic-expert-backup"),
    ("as before", "one",
     "--lmcache-config-file --flexkv-config-file --mm-global-cache-backend --unified-cache-external-linker-backend "
     "--unified-cache-external-linker-config --hicache-storage-backend --hicache-storage-prefetch-policy "
     "--hicache-storage-backend-extra-config --hicache-storage-prefetch-retry-poll-interval "
     "--hicache-storage-prefetch-retry-max-attempts"),
    ("says how weights come in; the dummy loader dies on the first (model_loader/loader.py DummyModelLoader)", "one",
     "--model-loader-extra-config --speculative-draft-load-format --weight-cache-mode --weight-cache-socket "
     "--weight-cache-timeout --startup-weight-load-mode --modelexpress-config --weight-loader-prefetch-num-threads "
     "--remote-instance-weight-loader-seed-instance-ip --remote-instance-weight-loader-seed-instance-service-port "
     "--remote-instance-weight-loader-send-weights-group-ports --remote-instance-weight-loader-backend"),
    ("as before", "none",
     "--weight-loader-prefetch-checkpoints --weight-loader-drop-cache-after-load "
     "--remote-instance-weight-loader-start-seed-via-transfer-engine"),
    ("as before", "many", "--custom-weight-loader"),
    ("reads every weight file", "many", "--model-checksum"),
    ("deletes the checkpoint once the server is ready", "none", "--delete-ckpt-after-loading"),
    ("never ready before somebody sends weights", "none", "--checkpoint-engine-wait-weights-before-ready"),
    ("write a checkpoint", "one", "--modelopt-checkpoint-save-path --modelopt-export-path"),
)  # fmt: skip

_VLLM_OUT: _Rows = (
    ("keys and secrets: nobody but us can reach the port, and argv is readable", "many", "--api-key"),
    ("as before, or files of the engine's container", "one",
     "--ssl-keyfile --ssl-certfile --ssl-ca-certs --ssl-cert-reqs --log-config-file --tool-server --middleware"),
    ("a Unix socket in place of the port", "one", "--uds"),
    ("connects to an OpenTelemetry collector", "one", "--otlp-traces-endpoint --collect-detailed-traces"),
    ("watches files; writes requests to the log", "none", "--enable-ssl-refresh --enable-log-requests"),
    ("the dummy loader dies on it (model_executor/model_loader/dummy_loader.py)", "one", "--model-loader-extra-config"),
)  # fmt: skip

# flag -> why it cannot be started; taking it out would change the key, the shapes or what the engine is
_SGLANG_NOT: Mapping[str, str] = {
    "--config": "a file of further flags is not looked through",
    "--use-ray": "Ray starts processes that outlive ours",
    "--encoder-only": "an encoder server has nothing to tune and registers itself elsewhere",
    "--language-only": "it waits for encoder servers",
    "--encoder-urls": "it talks to encoder servers",
    "--encoder-register-urls": "it registers itself elsewhere",
    "--decoupled-spec-role": "it needs its other half",
    "--decoupled-spec-bind-endpoint": "it needs its other half",
    "--decoupled-spec-connect-endpoints": "it needs its other half",
    "--enable-pd-role-switch": "it opens a bootstrap server",
    "--elastic-ep-join-mode": "it joins a running group",
    "--elastic-ep-rejoin": "it joins a running group",
}
_VLLM_NOT: Mapping[str, str] = {
    "--config": "a file of further flags is not looked through",
    "--headless": "it waits for another node",
    "--kv-transfer-config": "it talks to other servers, and is part of the key",
    "--ec-transfer-config": "it talks to other servers, and is part of the key",
    "--kv-events-config": "it opens a publisher, and changes the cache's configuration",
    "--data-parallel-address": "it needs other nodes",
    "--data-parallel-rank": "it needs other pods",
    "--data-parallel-start-rank": "it needs other nodes",
    "--data-parallel-hybrid-lb": "it needs other pods",
    "--data-parallel-external-lb": "it needs other pods",
    "--data-parallel-multi-port-external-lb": "it opens further ports",
}
# the one whole flag of either engine that is a beginning of a row above, and no abbreviation of it
_WHOLE = "--model"

# as in srt/environ.py `third_party_cache_defaults`; called since 0.5.18
_COMPILED_BELOW_ROOT = {
    "TRITON_CACHE_DIR": "triton",
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
    "CUDA_CACHE_PATH": "nv",
    "TILELANG_CACHE_DIR": "tilelang",
    "FLASHINFER_WORKSPACE_BASE": "",
}
_REDIRECTS_SINCE = (0, 5, 18)
_VLLM_HASHED_ENVIRONMENT = (0, 30)  # until then every VLLM_* variable was part of the key


def engine_command(engine: str, version: str, argv: Sequence[str], start: Start) -> EngineCommand:
    """The command and environment of a start that tunes, and then serves nobody. Raises `NotStartable`.

    `argv` are the pod's engine's words, with or without the program in front.
    """
    if engine == "sglang":
        return _sglang(version, tuple(argv), start)
    if engine == "vllm":
        return _vllm(version, tuple(argv), start)
    raise NotStartable(f"how to start {engine!r} is not known")


def _sglang(version: str, argv: tuple[str, ...], start: Start) -> EngineCommand:
    flags = _behind(argv, (_MODULES["sglang"], ("sglang", "serve")))
    if not flags or not flags[0].startswith("--"):
        raise NotStartable(f"not a command line of the engine: {' '.join(argv[:3])[:80]!r}")
    kept, taken_out = _filtered(flags, _SGLANG_OUT, _SGLANG_NOT)
    for name, value in _pairs(kept):
        if name == "--disaggregation-mode" and value != "null":
            # without it CUDA graphs, and so the shapes, differ; with it the engine needs its other half
            raise NotStartable(f"{name} {value}: it opens a bootstrap server and waits for its other half")
        if name == "--nnodes" and value != "1":
            raise NotStartable(f"{name} {value}: the engine's other nodes would have to start as well")
    # the level decides what can be followed; a warmed-up server has no more entries than a ready one
    overrides = ("--load-format", "dummy", "--host", LOOPBACK, "--port", str(start.port), "--log-level", "info",
                 "--skip-server-warmup")  # fmt: skip
    environ = {name: text for name, text in start.environ.items() if name not in _SGLANG_VARIABLES_OUT}
    if start.kept_root and _numbers(version) >= _REDIRECTS_SINCE:
        root = start.kept_root.rstrip("/")
        for name, folder in _COMPILED_BELOW_ROOT.items():
            environ.setdefault(name, f"{root}/{folder}" if folder else root)
    environ["SGLANG_CACHE_DIR"] = start.scratch
    program = start.program or (start.python, *_MODULES["sglang"])
    return EngineCommand((*program, *kept, *overrides), _readable(environ), taken_out)


# a gRPC server beside the HTTP one, another HTTP server, a logging configuration that may write elsewhere
_SGLANG_VARIABLES_OUT = frozenset({"SGLANG_GRPC_PORT", "SGLANG_RUST_SERVER", "SGLANG_LOGGING_CONFIG_PATH"})


def _vllm(version: str, argv: tuple[str, ...], start: Start) -> EngineCommand:
    if _numbers(version) < _VLLM_HASHED_ENVIRONMENT:
        raise NotStartable(
            f"vLLM {version} hashes its environment variables, and other ones must be set here"
        )
    servers = (_MODULES["vllm"], _OPENAI_SERVER, ("vllm", "serve"))
    flags = _behind(argv, servers)
    kept, taken_out = _filtered(flags, _VLLM_OUT, _VLLM_NOT)
    if any(name == "--nnodes" and value != "1" for name, value in _pairs(kept)):
        raise NotStartable("--nnodes: the engine's other nodes would have to start as well")
    # `vllm serve` takes the model as a word and refuses --model; the older server is the other way round
    module = _OPENAI_SERVER if flags[:1] and flags[0].startswith("-") else _MODULES["vllm"]
    environ = {name: text for name, text in start.environ.items() if name != "VLLM_LOGGING_CONFIG_PATH"}
    environ |= {
        # not VLLM_CACHE_ROOT: what torch.compile makes stays of use; neither is part of the key (envs.py)
        "VLLM_FLASHINFER_AUTOTUNE_CACHE_DIR": start.scratch,
        "VLLM_LOGGING_LEVEL": "INFO",
        "VLLM_LOGGING_STREAM": "ext://sys.stderr",
        "VLLM_NO_USAGE_STATS": "1",
    }
    program = start.program or (start.python, *module)
    overrides = ("--load-format", "dummy", "--host", LOOPBACK, "--port", str(start.port))
    return EngineCommand((*program, *kept, *overrides), _readable(environ), taken_out)


def _readable(environ: dict[str, str]) -> dict[str, str]:
    environ["PYTHONUNBUFFERED"] = "1"
    environ.pop("TQDM_DISABLE", None)
    environ.setdefault("TQDM_MININTERVAL", "5")  # a pod's log is no terminal
    return environ


def _behind(argv: tuple[str, ...], programs: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """The words after the program's name. Raises `NotStartable` for another program."""
    for words in programs:
        for at in range(min(3, len(argv))):
            if argv[at : at + len(words)] == words:
                return argv[at + len(words) :]
    if not argv or "-m" in argv[:3]:
        raise NotStartable(f"not a command line of the engine: {' '.join(argv[:3])[:80]!r}")
    return argv


def _filtered(
    words: tuple[str, ...], rows: _Rows, refused: Mapping[str, str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(what stays, the flags that went)."""
    takes: dict[str, Values] = {flag: values for _, values, flags in rows for flag in flags.split()}
    kept: list[str] = []
    taken_out: list[str] = []
    at = 0
    while at < len(words):
        typed, equals, _ = words[at].partition("=")
        # vLLM takes --api_key for --api-key, and --kv-transfer-config.kv_role for a part of that option
        name = typed.partition(".")[0].replace("_", "-")
        for flag in refused:
            if _means(name, flag, (*takes, *refused)):
                raise NotStartable(f"{flag}: {refused[flag]}")
        found = next((flag for flag in takes if _means(name, flag, (*takes, *refused))), None)
        if found is None:
            kept.append(words[at])
            at += 1
            continue
        taken_out.append(found)
        at += 1 if equals else 1 + _values_behind(words, at, takes[found])
    return tuple(kept), tuple(taken_out)


def _means(name: str, flag: str, known: Iterable[str]) -> bool:
    """Whether argparse takes `name` for `flag`: as it stands, or as a beginning of it that is no other flag's name."""
    if name == flag:
        return True
    return len(name) > 4 and flag.startswith(name) and name not in known and name != _WHOLE


def _values_behind(words: tuple[str, ...], at: int, values: Values) -> int:
    limit = {"none": 0, "one": 1, "many": len(words)}[values]
    count = 0
    while count < limit and at + 1 + count < len(words) and not words[at + 1 + count].startswith("--"):
        count += 1
    return count


def _pairs(words: tuple[str, ...]) -> list[tuple[str, str]]:
    """(flag, the word behind it); an attached value counts as well."""
    pairs = []
    for at, word in enumerate(words):
        name, equals, attached = word.partition("=")
        behind = words[at + 1] if at + 1 < len(words) else ""
        pairs.append((name, attached if equals else behind))
    return pairs


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in _NUMBER.findall(version)[:3])
