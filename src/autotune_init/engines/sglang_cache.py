"""SGLang: resolved fields, whoever resolved them -> the cache of the target and of its draft worker. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from autotune_init.engines import EngineCache, FieldValue, Input, Question, sglang
from autotune_init.engines.resolution import BadResolution, Worker
from autotune_init.engines.sglang_versions import BY_VERSION, Release
from autotune_init.ranks import Sizes, all_ranks, ranks_of_node
from cache_store.dataclass import dataclass, replace
from cache_store.pattern import pattern

_FOLDER = pattern(
    r"(?:[A-Za-z0-9_-]{1,64}/){1,4}(?P<version>[0-9][A-Za-z0-9.+_-]{0,63})/sm[0-9]{2,4}[a-z]?/(?P<key>[0-9a-f]{16,64})\Z"
)
_RANK_FILE = pattern(r"[A-Za-z0-9_]{1,100}\.json\Z")
_KEY_FIELDS = ("model_path", "dtype", "quantization", "moe_runner_backend", "tp_size", "pp_size", "attn_dp_size",
               "config_class")  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """The replica's sizes as the rank files need them."""

    dp_size: int
    enable_dp_attention: bool
    nnodes: int
    node_rank: int


@dataclass(frozen=True)
class Tunes:
    """Whether this worker tunes, and who says so."""

    value: bool | None = None
    why: str = ""


def compose(
    question: Question,
    release: Release,
    resolved: sglang.Resolved,
    shape: Shape,
    inputs: Sequence[Input],
    *,
    source: str,
    tunes: Tunes,
) -> EngineCache:
    """Raises `sglang.Refused` and `BadRanks`."""
    sizes = Sizes(
        tp=resolved.tp_size,
        pp=resolved.pp_size,
        dp=shape.dp_size,
        dp_attention=shape.enable_dp_attention,
        nnodes=shape.nnodes,
    )
    text = sglang.key_text(release, resolved)
    key = sglang.key_of(text)
    root = sglang.cache_root(question.cache_dir, question.environ)
    uuid = question.gpu_uuids[0] if question.gpu_uuids else None
    is_bound = sglang.is_bound_to_gpu(release, resolved)
    if is_bound and len(all_ranks(sizes)) > 1:
        # each rank's name carries the UUID of the GPU that the engine will give it
        raise sglang.Refused("key-needs-gpu-uuid", "several ranks whose file names carry GPUs' UUIDs")
    arch = sglang.arch_of(question.capability)
    around = (
        Input("engine_version", release.version, release.source),
        Input("flashinfer_version", question.flashinfer_version, "installed"),
        Input("arch", arch, "compute capability"),
        Input(
            "cache_root",
            root,
            "--cache-dir" if question.cache_dir is not None else "the engine's environment",
        ),
    )
    return EngineCache(
        engine="sglang",
        engine_version=release.version,
        flashinfer_version=question.flashinfer_version,
        arch=arch,
        key=key,
        key_text=text,
        inputs=(*inputs, *around),
        directory=sglang.directory(root, question.flashinfer_version, question.capability, key),
        rank_files=tuple(
            sglang.rank_file(release, resolved, rank, uuid) for rank in ranks_of_node(sizes, shape.node_rank)
        ),
        all_rank_files=tuple(sglang.rank_file(release, resolved, rank, uuid) for rank in all_ranks(sizes)),
        resolved={one.name: one.value for one in inputs},
        source=source,
        ranks_must_agree=release.ranks_must_agree,
        bound_to_gpu=is_bound,
        nnodes=sizes.nnodes,
        node_rank=shape.node_rank,
        tunes=tunes.value,
        tunes_why=tunes.why,
    )


def from_workers(question: Question, workers: Sequence[Worker], source: str) -> EngineCache:
    """The engine's own answer as caches. Raises `BadResolution`, `sglang.Refused` and `BadRanks`.

    The engine's key must be what our text gives for the engine's own fields, and its rank files those that we name:
    an answer that does not agree with itself is not believed.
    """
    release = BY_VERSION.get(question.engine_version)
    if release is None:
        sglang.raise_if_without_cache(question.engine_version)
    target = _from_worker(question, release, workers[0], source)
    for worker in workers[1:]:
        if worker.tunes is not False and (release is None or release.drafts_tune):
            return replace(target, draft=_from_worker(question, release, worker, source))
    return target


def _from_worker(question: Question, release: Release | None, worker: Worker, source: str) -> EngineCache:
    if release is None:
        return _of_unknown_release(question, worker, source)
    fields: dict[str, object] = {name: worker.fields[name] for name in _KEY_FIELDS if name in worker.fields}
    fields["moe_ep_size"] = worker.fields.get("ep_size")
    fields["is_draft"] = worker.role == "draft"
    fields["draft_quantization"] = worker.fields.get("model_quantization")
    # the engine gives them joined; one op with a comma in its name gives the same text as two
    skip_ops = str(worker.fields.get("skip_ops") or "")
    fields["skip_ops"] = skip_ops.split(",") if skip_ops else []
    shape = shape_of(worker.fields, question.node_rank)
    inputs = tuple(
        Input(name, value if value is None or isinstance(value, str | int | bool) else skip_ops, source)
        for name, value in {
            **fields,
            "dp_size": shape.dp_size,
            "nnodes": shape.nnodes,
            "node_rank": shape.node_rank,
            "enable_dp_attention": shape.enable_dp_attention,
        }.items()
    )
    cache = compose(
        question,
        release,
        sglang.resolved_from(fields),
        shape,
        inputs,
        source=source,
        tunes=Tunes(worker.tunes, worker.tunes_why),
    )
    if cache.key != worker.key:
        raise BadResolution(
            f"the engine's key is {worker.key[:64]}, its fields give {cache.key} ({cache.key_text})"
        )
    if not cache.directory.endswith(f"/{worker.folder}"):
        raise BadResolution(f"the engine's folder is {worker.folder[:200]!r}, not {cache.directory}")
    if not cache.bound_to_gpu and sorted(cache.all_rank_files) != sorted(worker.files):
        raise BadResolution(
            f"the engine's rank files are {list(worker.files)[:4]}, not {list(cache.all_rank_files)[:4]}"
        )
    return cache


def _of_unknown_release(question: Question, worker: Worker, source: str) -> EngineCache:
    """A release that no table knows: its own word for folder, key and files, and the strictest rules of install."""
    match = _FOLDER.match(worker.folder)
    if match is None or match["key"] != worker.key or match["version"] != question.flashinfer_version:
        raise BadResolution(f"the engine's folder is {worker.folder[:200]!r} for the key {worker.key[:64]!r}")
    if not worker.files or not all(_RANK_FILE.match(name) for name in worker.files):
        raise BadResolution(f"the engine's rank files are {list(worker.files)[:4]}")
    if any("_gpu" in name for name in worker.files):
        raise BadResolution("the engine's rank files carry a GPU's UUID, and the release is not known")
    shape = shape_of(worker.fields, question.node_rank)
    if shape.nnodes > 1:
        raise BadResolution("which of the rank files are this node's is not known for this release")
    root = sglang.cache_root(question.cache_dir, question.environ)
    inputs = tuple(Input(name, value, source) for name, value in worker.fields.items())
    return EngineCache(
        engine="sglang",
        engine_version=question.engine_version,
        flashinfer_version=question.flashinfer_version,
        arch=sglang.arch_of(question.capability),
        key=worker.key,
        key_text="",
        inputs=(*inputs, Input("cache_root", root, "--cache-dir or the engine's environment")),
        directory=str(PurePosixPath(root) / worker.folder),
        rank_files=tuple(sorted(worker.files)),
        all_rank_files=tuple(sorted(worker.files)),
        resolved=dict(worker.fields),
        source=source,
        ranks_must_agree=True,
        tunes=worker.tunes,
        tunes_why=worker.tunes_why,
    )


def shape_of(fields: Mapping[str, FieldValue], node_rank: int | None) -> Shape:
    """From the engine's fields: from 0.5.22 on `--dp N --enable-dp-attention` reads attn_dp_size N, dp_size 1."""
    attention_dp = fields.get("attn_dp_size")
    is_attention = isinstance(attention_dp, int) and attention_dp > 1
    dp_size, nnodes, rank = fields.get("dp_size"), fields.get("nnodes"), fields.get("node_rank")
    return Shape(
        dp_size=attention_dp
        if is_attention and isinstance(attention_dp, int)
        else (dp_size if isinstance(dp_size, int) else 1),
        enable_dp_attention=is_attention,
        nnodes=nnodes if isinstance(nnodes, int) else 1,
        # 0 is the parser's default, so it cannot be told from a stated one: the controller knows better
        node_rank=rank if isinstance(rank, int) and rank else node_rank or 0,
    )
