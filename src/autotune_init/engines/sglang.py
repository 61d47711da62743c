"""SGLang: resolved fields -> key, directory and rank file names, exactly as the release itself would."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from autotune_init.engines import FieldValue, NotCached, Refusal
from autotune_init.engines.sglang_versions import BY_VERSION, FIRST, LAST, LAST_WITHOUT_CACHE, Release
from autotune_init.ranks import Rank
from cache_store.dataclass import dataclass
from cache_store.pattern import pattern
from cache_store.sha256 import sha256_hex

_VERSION = pattern(r"(\d+)\.(\d+)\.(\d+)(?:\.post\d+)?\Z")
_FLASHINFER_VERSION = pattern(r"(?!\.)[A-Za-z0-9._+-]{1,64}\Z")
_UUID = pattern(r"(?:GPU-)?([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\Z")
_MEGAMOE = "flashinfer_megamoe"

# EnvBool.parse, SGLang 0.5.12 to 0.5.23 srt/environ.py; any other text warns and means the default, which is true
_FALSE = frozenset({"false", "0", "no", "n"})


class Refused(Exception):  # noqa: N818 -- carries a refusal up to the one who answers
    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.refusal = Refusal(reason, detail)


@dataclass(frozen=True)
class Resolved:
    """The inputs of the key as the engine resolved them. None is spelled "None", as Python does.

    `dtype` as `str(torch.dtype)` ("torch.bfloat16"). `attn_dp_size` is dp_size under DP attention, else 1.
    `skip_ops` are the user's. `draft_quantization` is the draft model's own, for a draft worker.
    """

    model_path: str
    dtype: str | None
    quantization: str | None
    moe_runner_backend: str | None
    tp_size: int
    pp_size: int
    attn_dp_size: int
    moe_ep_size: int
    config_class: str
    skip_ops: tuple[str, ...] = ()
    is_draft: bool = False
    draft_quantization: str | None = None


def release_of(version: str) -> Release:
    """The row of this version. Raises `Refused`: an unknown version is never guessed."""
    release = BY_VERSION.get(version)
    if release is not None:
        return release
    raise_if_without_cache(version)
    raise Refused("unknown-engine-version", f"SGLang {version!r} is not in the table ({FIRST} to {LAST})")


def raise_if_without_cache(version: str) -> None:
    """Raises `Refused` for a version from before the cache."""
    match = _VERSION.match(version)
    if match and tuple(map(int, match.groups())) <= LAST_WITHOUT_CACHE:
        raise Refused(
            "engine-has-no-cache", f"SGLang {version} keeps no autotune cache; the first that does is {FIRST}"
        )


def key_text(release: Release, resolved: Resolved) -> str:
    parts: list[FieldValue] = [
        resolved.model_path,
        resolved.dtype,
        resolved.quantization,
        resolved.moe_runner_backend,
        resolved.tp_size,
        resolved.pp_size,
        resolved.attn_dp_size,
        resolved.moe_ep_size,
        resolved.config_class,
    ]
    if release.selection is not None:
        parts.append(release.selection)
    if release.skip_ops is not None:
        parts.append("skip_ops=" + ",".join(sorted({*resolved.skip_ops, *release.skip_ops})))
    if resolved.is_draft:
        parts.append(f"draft_quant={resolved.draft_quantization}")
    return "|".join(map(str, parts))


def key_of(text: str) -> str:
    return sha256_hex(text.encode())[:16]


def directory(root: str, flashinfer_version: str, capability: tuple[int, int], key: str) -> str:
    """Raises `Refused` for a FlashInfer version that is no directory name."""
    if not _FLASHINFER_VERSION.match(flashinfer_version):
        raise Refused("key-inputs", f"not a FlashInfer version: {flashinfer_version[:80]!r}")
    return str(
        PurePosixPath(root) / "flashinfer" / "autotune" / flashinfer_version / arch_of(capability) / key
    )


def arch_of(capability: tuple[int, int]) -> str:
    return f"sm{capability[0]}{capability[1]}"


def is_bound_to_gpu(release: Release, resolved: Resolved) -> bool:
    return release.megamoe_by_gpu and resolved.moe_runner_backend == _MEGAMOE and not resolved.is_draft


def rank_file(release: Release, resolved: Resolved, rank: Rank, gpu_uuid: str | None) -> str:
    """The file name of one rank. Raises `Refused` where the name carries a GPU's UUID that is not known.

    SGLang 0.5.22 srt/platforms/cuda.py uses `str(torch.cuda.get_device_properties(i).uuid)`, which is NVML's UUID
    without "GPU-" (srt/checkpoint_engine/checkpoint_engine_worker.py adds that prefix itself).
    """
    stem = f"rank_tp{rank.tp}_pp{rank.pp}_dp{rank.dp}"
    if is_bound_to_gpu(release, resolved):
        match = _UUID.match(gpu_uuid or "")
        if match is None:
            raise Refused(
                "key-needs-gpu-uuid", f"{_MEGAMOE} names files after the GPU; its UUID is {gpu_uuid!r}"
            )
        stem += f"_gpu{match.group(1)}"
    return f"{stem}.json"


def cache_root(cache_dir: str | None, environ: Mapping[str, str]) -> str:
    """SGLANG_CACHE_DIR as the engine reads it. Raises `Refused`.

    `os.path.expanduser("~/.cache/sglang")` is only the default; a `~` that a user sets is not expanded in this path.
    """
    root = cache_dir if cache_dir is not None else environ.get("SGLANG_CACHE_DIR")
    if root is None:
        home = environ.get("HOME")
        if not home:
            raise Refused("undecidable", "neither SGLANG_CACHE_DIR nor HOME is set; state --cache-dir")
        root = f"{home.rstrip('/') or '/'}/.cache/sglang"
    if not root.startswith("/"):
        raise Refused(
            "undecidable", f"SGLANG_CACHE_DIR {root[:200]!r} is relative to wherever the engine will start"
        )
    return root


def is_switched_off(release: Release, environ: Mapping[str, str]) -> NotCached | None:
    """With SGLANG_FLASHINFER_AUTOTUNE_CACHE=0 every start writes a fresh file below <key>/runs/ and reads none."""
    value = environ.get("SGLANG_FLASHINFER_AUTOTUNE_CACHE")
    if release.can_switch_off and value is not None and value.lower() in _FALSE:
        return NotCached(
            "engine-cache-off", f"SGLANG_FLASHINFER_AUTOTUNE_CACHE={value}: the engine tunes afresh"
        )
    return None


def resolved_from(fields: Mapping[str, object]) -> Resolved:
    """Typed from untyped. Raises `Refused` naming the first field that is missing or wrong."""
    return Resolved(
        model_path=_text(fields, "model_path"),
        dtype=_dtype(fields),
        quantization=_text_or_none(fields, "quantization"),
        moe_runner_backend=_text_or_none(fields, "moe_runner_backend"),
        tp_size=_size(fields, "tp_size"),
        pp_size=_size(fields, "pp_size"),
        attn_dp_size=_size(fields, "attn_dp_size"),
        moe_ep_size=_size(fields, "moe_ep_size"),
        config_class=_text(fields, "config_class"),
        skip_ops=_skip_ops(fields.get("skip_ops")),
        is_draft=_truth(fields, "is_draft"),
        draft_quantization=_text_or_none({"draft_quantization": None, **fields}, "draft_quantization"),
    )


def _text(fields: Mapping[str, object], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value:
        raise Refused("key-inputs", f"{name} is {value!r}; a text is needed")
    return value


def _text_or_none(fields: Mapping[str, object], name: str) -> str | None:
    if name not in fields:
        raise Refused("key-inputs", f"{name} is missing (null means None)")
    value = fields[name]
    if value is not None and not isinstance(value, str):
        raise Refused("key-inputs", f"{name} is {value!r}; a text or null is needed")
    return value


def _dtype(fields: Mapping[str, object]) -> str | None:
    value = _text_or_none(fields, "dtype")
    if value in (None, "auto"):
        raise Refused("key-inputs", f"dtype is {value!r}; the resolved one is needed, e.g. torch.bfloat16")
    return value if value.startswith("torch.") else f"torch.{value}"


def _size(fields: Mapping[str, object], name: str) -> int:
    value = fields.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 65536:
        raise Refused("key-inputs", f"{name} is {value!r}; a whole number from 1 is needed")
    return value


def _truth(fields: Mapping[str, object], name: str) -> bool:
    value = fields.get(name)
    if value not in (None, False, True):
        raise Refused("key-inputs", f"{name} is {value!r}; true or false is needed")
    return bool(value)


def _skip_ops(value: object) -> tuple[str, ...]:
    """`set(flag or ())`: duplicates collapse, and "a,b" typed as one word is one op."""
    if value is None or value == "":
        return ()
    if isinstance(value, str):
        if value != ",".join(sorted(value.split(","))):
            raise Refused("key-inputs", f"skip_ops {value!r}: one op with a comma, or several? give a list")
        return (value,)
    if isinstance(value, Sequence) and all(isinstance(op, str) for op in value):
        return tuple(value)
    raise Refused("key-inputs", f"skip_ops is {value!r}; a list of texts is needed")
