"""Where an engine will look for its autotune files, and why: the question, the answers, and who can answer."""

from __future__ import annotations

from collections.abc import Mapping

from cache_store.annotation import Literal
from cache_store.dataclass import dataclass, field

FieldValue = str | int | bool | None


@dataclass(frozen=True)
class Question:
    """Everything that decides where one pod's engine looks. Values only: no file, GPU or environment is read.

    `capability` is (major, minor), e.g. (9, 0). `model_config` is the parsed config.json of the model, or None where
    it could not be had. `fields` are the operator's `--field name=value` statements; they win over everything.
    `environ` is the engine container's environment. `node_rank` is what the controller says; argv's wins.
    `quant_config` is hf_quant_config.json beside config.json; `draft_config` and `draft_quant_config` are the draft
    model's, where it is another one. `driver` is the NVIDIA driver's version, like "580.95".
    `metadata` is FlashInfer's, of this node; only FlashInfer's own store is named after it.
    """

    engine: str
    engine_version: str
    flashinfer_version: str
    capability: tuple[int, int]
    argv: tuple[str, ...] = ()
    model_config: Mapping[str, object] | None = None
    environ: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, FieldValue] = field(default_factory=dict)
    cache_dir: str | None = None
    gpu_uuids: tuple[str, ...] = ()
    node_rank: int | None = None
    driver: str | None = None
    quant_config: Mapping[str, object] | None = None
    draft_config: Mapping[str, object] | None = None
    draft_quant_config: Mapping[str, object] | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Input:
    """One input of the key: what it is, its value as the engine spells it, and where we have it from."""

    name: str
    value: FieldValue
    source: str


@dataclass(frozen=True)
class EngineCache:
    """Where the engine will look.

    `directory` is absolute and ends in the key. `rank_files` are the names that this pod's ranks will open,
    `all_rank_files` those of the whole replica (equal for a replica of one pod). `key_text` is the text that was
    hashed. `ranks_must_agree` says that the engine throws the files away unless they are equal as JSON.
    `bound_to_gpu` says that the file names carry a GPU's UUID: such files cannot be shared.
    `resolved` are the fields in the spelling of docs (tp_size, quantization, ...), for tuners.
    `nnodes` pods make one replica, and this one is number `node_rank` of them.
    `tunes` says whether the engine tunes at all in this configuration; None where only the loaded model decides.
    `draft` is the draft worker's own cache, where there is one that may tune.
    `kind` "entries": FlashInfer's own store, one file an entry. Then `directory` ends in the environment's hash, and no
    rank has a file of its own (both tuples are empty).
    """

    engine: str
    engine_version: str
    flashinfer_version: str
    arch: str
    key: str
    key_text: str
    inputs: tuple[Input, ...]
    directory: str
    rank_files: tuple[str, ...]
    all_rank_files: tuple[str, ...]
    resolved: Mapping[str, FieldValue]
    source: str
    ranks_must_agree: bool = False
    bound_to_gpu: bool = False
    nnodes: int = 1
    node_rank: int = 0
    tunes: bool | None = None
    tunes_why: str = ""
    draft: EngineCache | None = None
    kind: Literal["rank-files", "entries"] = "rank-files"


@dataclass(frozen=True)
class Refusal:
    """We will not say where the engine looks. `reason` is a stable code, `detail` a sentence for a person."""

    reason: str
    detail: str


@dataclass(frozen=True)
class NotCached:
    """The engine itself will not use shared files in this configuration, so there is nothing to do."""

    reason: str
    detail: str


KeyAnswer = EngineCache | Refusal | NotCached
