"""vLLM: what its own resolver answered -> where its ranks will look. Pure.

There is no recipe: the key is a hash over the whole configuration of a worker that has loaded the model. So an answer
comes from inside/resolve_vllm.py or from a memo of it, and here every text of it is checked before a path is made.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath

from autotune_init.engines import EngineCache, Input, NotCached, Question, Refusal
from autotune_init.engines.resolution import BadResolution, Worker, workers_of
from autotune_init.engines.vllm_versions import BY_VERSION, FIRST, LAST, LAST_WITHOUT_CACHE, Release
from cache_store.dataclass import dataclass

ROOT_VARIABLE = "VLLM_FLASHINFER_AUTOTUNE_CACHE_DIR"
FOLDER = "flashinfer_autotune_cache"

# a build for a CUDA version has the release's code; anything else behind the number may not
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)(?:\+cu\d{3})?\Z", re.ASCII)
_FLASHINFER_VERSION = re.compile(r"(?!\.)[A-Za-z0-9._+-]{1,64}\Z")
_KEY = re.compile(r"[0-9a-f]{64}\Z")
_ARCH = re.compile(r"\d{2,3}[a-z]?\Z", re.ASCII)
_SIZES = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "world_size", "nnodes")
_MAX_RANKS = 4096
_SWITCHES = {
    "--enable-flashinfer-autotune": True,
    "--no-disable-flashinfer-autotune": True,
    "--disable-flashinfer-autotune": False,
    "--no-enable-flashinfer-autotune": False,
}


@dataclass(frozen=True)
class ManagedStore:
    """One rank, so the engine uses FlashInfer's own store (`engines.flashinfer_store`) below `root`."""

    root: str


def release_of(version: str) -> Release | Refusal | NotCached:
    """The row of this version; an unknown version is never guessed."""
    match = _VERSION.match(version)
    if match is None:
        return Refusal(
            "unknown-engine-version", f"vLLM {version[:80]!r} is not a release ({FIRST} to {LAST} are known)"
        )
    major, minor, patch = (int(number) for number in match.groups())
    if (major, minor) <= LAST_WITHOUT_CACHE:
        return NotCached(
            "engine-has-no-cache", f"vLLM {version} keeps no autotune cache; the first that does is {FIRST}"
        )
    release = BY_VERSION.get(f"{major}.{minor}.{patch}")
    if release is None:
        return Refusal("unknown-engine-version", f"vLLM {version} is not in the table ({FIRST} to {LAST})")
    if not release.resolvable:
        return Refusal(
            "undecidable", f"engine-version: what vLLM {version} hashes has not been compared with it"
        )
    return release


def switched_off(question: Question) -> NotCached | None:
    """Where the command line alone says that nothing is tuned; else the resolver's `tunes` decides.

    vLLM 0.33.0, utils/argparse_utils.py `EnableDisableAction`: four spellings, `_` for `-`, the last one counts. A
    configuration file's words stand in front of all others, so they cannot win over one that is given.
    """
    state = None
    for word in question.argv:
        name = word.replace("_", "-")
        if name in _SWITCHES:
            state = None if _SWITCHES[name] else word
    return NotCached("engine-does-not-tune", f"{state} is given") if state else None


def cache_root(question: Question) -> str | Refusal:
    """The root of which a worker's `folder` is a part: the override where it is set, else VLLM_CACHE_ROOT.

    vLLM 0.33.0, envs.py: an empty override is none; `~` is expanded in both; the default is `$XDG_CACHE_HOME/vllm`, or
    `~/.cache/vllm`. Our --cache-dir stands for VLLM_CACHE_ROOT, or for the override where that is set.
    """
    environ = question.environ
    override = environ.get(ROOT_VARIABLE)
    name = ROOT_VARIABLE if override else "VLLM_CACHE_ROOT"
    if question.cache_dir is not None:
        root = question.cache_dir
        name = "--cache-dir"
    else:
        default = str(PurePosixPath(environ.get("XDG_CACHE_HOME", "~/.cache")) / "vllm")
        root = override or environ.get("VLLM_CACHE_ROOT", default)
        root = _expanded(root, environ)
    if not root.startswith("/"):
        return Refusal("undecidable", f"{name}: {root[:200]!r} depends on HOME or on where the engine starts")
    return root


def managed_root(question: Question) -> str | Refusal:
    """The root of FlashInfer's own store as vLLM 0.33.0 hands it over, or as FlashInfer 0.7 finds it.

    `$VLLM_FLASHINFER_AUTOTUNE_CACHE_DIR`, `$FLASHINFER_AUTOTUNE_CACHE_DIR`, else
    `${FLASHINFER_WORKSPACE_BASE:-~}/.cache/flashinfer/autotune`.
    """
    environ = question.environ
    given = environ.get("FLASHINFER_AUTOTUNE_CACHE_DIR")
    base = environ.get("FLASHINFER_WORKSPACE_BASE", environ.get("HOME"))
    root = environ.get(ROOT_VARIABLE)
    if root:
        root = _expanded(root, environ)
    elif given:
        root = given  # FlashInfer 0.7.2, autotune_cache.py get_default_cache_root: `~` stays `~`
    elif base:
        root = str(PurePosixPath(base) / ".cache" / "flashinfer" / "autotune")
    if not root or not root.startswith("/"):
        return Refusal(
            "undecidable", f"FlashInfer's own store, {str(root)[:200]!r}, depends on where the engine starts"
        )
    return root


def _expanded(path: str, environ: Mapping[str, str]) -> str:
    """`~` as os.path.expanduser reads it, of this user only; left alone where HOME is not set."""
    home = environ.get("HOME")
    if home and (path == "~" or path.startswith("~/")):
        return f"{home.rstrip('/')}{path[1:]}" or "/"
    return path


def cache_from(
    question: Question, answer: Mapping[str, object], source: str = "resolver"
) -> EngineCache | ManagedStore | Refusal | NotCached:
    """The resolver's whole answer (or a memo of it) as a cache. Raises `BadResolution` for an answer that cannot be."""
    release = release_of(question.engine_version)
    if not isinstance(release, Release):
        return release
    if "refused" in answer:
        return Refusal("undecidable", str(answer.get("detail", ""))[:1000])
    workers = workers_of(answer, question)
    if len(workers) != 1:
        raise BadResolution(f"vLLM has one worker that tunes, the answer has {len(workers)}")
    worker = workers[0]
    if worker.tunes is False:
        return NotCached("engine-does-not-tune", worker.tunes_why[:300])
    if worker.kind == "v2":
        return _managed(question, release, worker)
    if worker.kind != "v1":
        raise BadResolution(f"kind is {worker.kind[:40]!r}")
    return _files(question, release, worker, source)


def _managed(question: Question, release: Release, worker: Worker) -> ManagedStore | Refusal:
    if not release.managed_store or _sizes(worker)["world_size"] != 1 or worker.key or worker.files:
        raise BadResolution("FlashInfer's own store is for a world of one rank")
    root = managed_root(question)
    return root if isinstance(root, Refusal) else ManagedStore(root)


def _files(question: Question, release: Release, worker: Worker, source: str) -> EngineCache | Refusal:
    sizes = _sizes(worker)
    if not _KEY.match(worker.key):
        raise BadResolution(f"the key is {worker.key[:80]!r}")
    arch = _arch(question, worker)
    node_rank = worker.fields.get("node_rank")
    # 0 is the parser's default, so it cannot be told from a stated one: the controller knows better
    node = node_rank if isinstance(node_rank, int) and node_rank else question.node_rank or 0
    every = _rank_files(release, sizes, bool(worker.fields.get("is_moe")))
    if worker.files != every:
        raise BadResolution(f"the rank files are {list(worker.files)[:4]}, not {list(every)[:4]}")
    nnodes = sizes["nnodes"]
    if len(every) % nnodes or not 0 <= node < nnodes:
        raise BadResolution(f"node {node} of {nnodes} holds no whole number of {len(every)} ranks")
    share = len(every) // nnodes
    root = cache_root(question)
    if isinstance(root, Refusal):
        return root
    inputs = [Input(name, value, source) for name, value in worker.fields.items()]
    inputs += [
        Input("engine_version", question.engine_version, release.source),
        Input("flashinfer_version", question.flashinfer_version, "installed"),
        Input("arch", arch, "the engine's own answer"),
        Input(
            "cache_root",
            root,
            "--cache-dir" if question.cache_dir is not None else "the engine's environment",
        ),
    ]
    return EngineCache(
        engine="vllm",
        engine_version=question.engine_version,
        flashinfer_version=question.flashinfer_version,
        arch=f"sm{question.capability[0]}{question.capability[1]}",
        key=worker.key,
        key_text="",
        inputs=tuple(inputs),
        directory=str(PurePosixPath(root) / worker.folder),
        # consecutive ranks share a node (vLLM 0.33.0, config/parallel.py local_world_size)
        rank_files=every[node * share : (node + 1) * share],
        all_rank_files=every,
        resolved=dict(worker.fields),
        source=source,
        nnodes=nnodes,
        node_rank=node,
        tunes=worker.tunes,
        tunes_why=worker.tunes_why,
    )


def _sizes(worker: Worker) -> dict[str, int]:
    sizes = {}
    for name in _SIZES:
        value = worker.fields.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _MAX_RANKS:
            raise BadResolution(f"{name} is {value!r}"[:200])
        sizes[name] = value
    stages = sizes["tensor_parallel_size"] * sizes["pipeline_parallel_size"]
    if sizes["world_size"] % stages or sizes["world_size"] * sizes["data_parallel_size"] > _MAX_RANKS:
        raise BadResolution(f"sizes do not fit each other: {sizes}"[:300])
    return sizes


def _rank_files(release: Release, sizes: Mapping[str, int], is_moe: bool) -> tuple[str, ...]:
    """In rank order. Replicas of a dense model are all dp0 (vLLM 0.33.0, v1/engine/core.py `run_engine_core`)."""
    if release.files == "one":
        return ("autotune_configs.json",)
    world = sizes["world_size"]
    return tuple(
        f"autotune_configs_dp{replica}_rank{replica * world + rank}.json"
        for replica in range(sizes["data_parallel_size"] if is_moe else 1)
        for rank in range(world)
    )


def _arch(question: Question, worker: Worker) -> str:
    """The architecture in the folder's name, after a check that the folder is the one that the question implies.

    FlashInfer 0.7.2, compilation_context.py: the capability with a suffix ("90a", "120f"), or what
    FLASHINFER_CUDA_ARCH_LIST says, joined by "_". The override leaves the key alone.
    """
    if not _FLASHINFER_VERSION.match(question.flashinfer_version):
        raise BadResolution(f"not a FlashInfer version: {question.flashinfer_version[:80]!r}")
    if question.environ.get(ROOT_VARIABLE):
        if worker.folder != worker.key:
            raise BadResolution(f"the folder is {worker.folder[:200]!r}, and {ROOT_VARIABLE} is set")
        return f"sm{question.capability[0]}{question.capability[1]}"
    parts = worker.folder.split("/")
    if parts[:2] != [FOLDER, question.flashinfer_version] or parts[3:] != [worker.key]:
        raise BadResolution(f"the folder is {worker.folder[:200]!r}")
    named = parts[2].split("_")
    stated = question.environ.get("FLASHINFER_CUDA_ARCH_LIST")
    expected = f"{question.capability[0]}{question.capability[1]}"
    if not all(_ARCH.match(one) for one in named) or (
        stated is None and [one.rstrip("abcdefghijklmnopqrstuvwxyz") for one in named] != [expected]
    ):
        raise BadResolution(f"the folder names {parts[2][:80]!r} for capability {question.capability}")
    return parts[2]
