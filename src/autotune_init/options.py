"""Every setting there is, as data: its flag, its AUTOTUNE_* variable, its default and one sentence.

The parser, the help text, the refusal of unknown variables and docs/configuration.md all come from this table.
"""

from __future__ import annotations

from cache_store.annotation import Literal
from cache_store.dataclass import dataclass

Kind = Literal["text", "seconds", "count", "flag", "pairs", "names", "mode", "choice"]


@dataclass(frozen=True)
class Option:
    """One setting. `name` is the flag without dashes; `pairs` (name=value) and `names` may be repeated."""

    name: str
    kind: Kind
    default: str | None
    meaning: str
    metavar: str = ""
    choices: tuple[str, ...] = ()
    group: str = "pod"

    @property
    def flag(self) -> str:
        return f"--{self.name}"

    @property
    def variable(self) -> str:
        return "AUTOTUNE_" + self.name.upper().replace("-", "_")

    @property
    def attribute(self) -> str:
        suffix = "_s" if self.kind == "seconds" else ""
        return self.name.replace("-", "_") + suffix


OPTIONS: tuple[Option, ...] = (
    # -- the store
    Option("store", "text", None, "where the fleet's results are: s3://bucket/prefix, gs://, az://, file:///dir or any "
           "fsspec URL; without it only the local cache dir is looked at", "URL", group="store"),
    Option("store-adapter", "choice", "auto", "client library for the store; auto takes obstore for s3, gs and az, and "
           "fsspec where AWS_PROFILE is set or the URL is another kind", choices=("auto", "obstore", "fsspec"),
           group="store"),
    Option("request-timeout", "seconds", "10", "how long one request to the store may take", "S", group="store"),
    # -- the engine
    Option("engine", "choice", None, "whose cache this is; default: the engine that the command line starts, else the "
           "one that is installed", choices=("sglang", "vllm", "flashinfer"), group="engine"),
    Option("engine-version", "text", None, "the engine's version; default: what is installed beside us or in --facts",
           "VERSION", group="engine"),
    Option("model-config", "text", None, "config.json of the model, or its directory; default: found through the "
           "engine's --model-path", "PATH", group="engine"),
    Option("field", "pairs", None, "state one input of the key, e.g. moe_runner_backend=auto, or for FlashInfer's own "
           "store the name of the workload=NAME; repeatable, in the variable one per line", "NAME=VALUE", group="engine"),
    Option("resolver", "choice", "auto", "when the engine itself is asked where it will look (a child process, some "
           "30 s, once for the fleet): auto where argv and config.json do not decide it, always also where they do, and "
           "then both must agree", choices=("auto", "always", "never"), group="engine"),
    Option("resolve-timeout", "seconds", "180", "how long the engine may take to say where it will look", "S",
           group="engine"),
    Option("allow-known-bad", "names", None, "use the cache although a known hazard speaks against it; repeatable, in "
           "the variable one per line", "ID", group="engine"),
    Option("cache-dir", "text", None, "root of the engine's cache (SGLANG_CACHE_DIR, VLLM_CACHE_ROOT, or of FlashInfer's own "
           "store); default: the engine's own",
           "DIR", group="engine"),
    Option("node-rank", "count", None, "this pod's number in its replica; default: from the controller's variables",
           "N", group="engine"),
    Option("group-size", "count", None, "how many pods one replica has; default: from the controller's variables",
           "N", group="engine"),
    Option("group-name", "text", None, "what all pods of this pod's replica are called, and those of no other replica; "
           "default: from the controller's variables", "NAME", group="engine"),
    Option("group-scope", "text", None, "what tells this cluster and namespace apart from others that use the same store, "
           "where two may have replicas of one name", "NAME", group="engine"),
    Option("group-wait", "seconds", "300", "how long a pod waits for the others of its replica before all start cold", "S",
           group="policy"),
    Option("pod-uid", "text", None, "this pod's UID; default: POD_UID, or what the kubelet's mounts say", "UID",
           group="engine"),
    # -- what this node is
    Option("facts", "text", None, "what this node is, instead of probing: a file (autotune-init facts prints one), or the "
           "JSON itself", "FILE|JSON", group="node"),
    Option("gpu-name", "text", None, "the GPU that the engine will run on, as NVML spells it (NVIDIA H100 80GB HBM3), where "
           "this container has none", "NAME", group="node"),
    Option("identity-extra", "pairs", None, "something more that pods must share, e.g. driver=580; repeatable, in the "
           "variable one per line", "NAME=VALUE", group="node"),
    Option("python", "text", None, "the engine's Python, for child processes; default: the one that runs us", "PATH",
           group="node"),
    # -- tuning
    Option("tuner", "choice", "none", "what to do when nothing is found: nothing, wait for one who tunes it now, start this pod's engine with random "
           "weights until it has tuned, tune FlashInfer's GEMMs for this model, or run a command",
           choices=("none", "wait", "engine", "flashinfer-ops", "command"), group="tuning"),
    Option("tuner-command", "text", None, "the command of --tuner command; it gets AUTOTUNE_RANK_FILES, AUTOTUNE_FACTS "
           "and AUTOTUNE_DEADLINE_S, and for FlashInfer's own store FLASHINFER_AUTOTUNE_CACHE_DIR", "CMD", group="tuning"),
    Option("max-tokens", "count", "8192", "tune buckets up to this many tokens", "N", group="tuning"),
    Option("cooldown", "seconds", "600", "after a failed tune nobody tries again for this long", "S", group="tuning"),
    Option("tune-time", "seconds", None, "how long a tune takes here, roughly: pods that wait for it then hardly ask before; "
           "default: as long as the last one of this key", "S", group="tuning"),
    Option("holder", "text", None, "this pod's name in the lease, for people; default: the host name", "NAME",
           group="tuning"),
    # -- time and failure
    Option("deadline", "seconds", "1800", "everything ends by then, whatever the store or the tuner does", "S",
           group="policy"),
    Option("wait", "seconds", "900", "how long to wait for another pod's tune", "S", group="policy"),
    Option("local", "choice", "trust", "what a complete valid set in the cache dir is worth: trust asks nobody, recheck "
           "asks the store once whether ops have quarantined it (for volumes that outlive a pod)",
           choices=("trust", "recheck"), group="policy"),
    Option("report-to-store", "flag", None, "leave one small object below _reports/ in the store about how this start ended; "
           "one request, sent last", group="policy"),
    Option("otlp-endpoint", "text", None, "tell an OpenTelemetry collector how this start ended, by OTLP over HTTP: one request "
           "to URL/v1/metrics, within the deadline, of at most 3 s; what fails is a warning. OTEL_* variables are the "
           "engine's and are not looked at", "URL", group="policy"),
    Option("strict", "flag", None, "exit non-zero unless the cache dir is ready (for prewarm jobs and CI)",
           group="policy"),
    # -- files
    Option("file-mode", "mode", "0644", "mode of placed files: FlashInfer's own 0600 shuts out an engine of another "
           "uid", "OCTAL", group="files"),
    Option("dir-mode", "mode", "0755", "mode of directories that we create", "OCTAL", group="files"),
    Option("uid", "count", None, "owner of placed files and created directories; needs the right to chown", "N",
           group="files"),
    Option("gid", "count", None, "group of placed files and created directories", "N", group="files"),
    Option("event", "flag", None, "post one Kubernetes Event about the outcome; needs the right to create events in "
           "events.k8s.io, and a service account token", group="files"),
    Option("termination-log", "text", "/dev/termination-log", "where the report goes besides stdout, if it exists",
           "FILE", group="files"),
)  # fmt: skip

BY_NAME = {option.name: option for option in OPTIONS}
VARIABLES = frozenset(option.variable for option in OPTIONS)
