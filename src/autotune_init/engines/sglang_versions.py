"""SGLang's recipe for the cache path, release by release, as data.

Each row was read in the release's own wheel, and every release's own path function gives the same path for the
vectors of tests/data/sglang_golden.json (`tools/make_sglang_golden.py`). Common to all rows:

    key text  model_path|dtype|quantization|moe_runner_backend|tp|pp|attention dp|moe ep|config class[|...]
    key       sha256(text)[:16]
    file      <SGLANG_CACHE_DIR>/flashinfer/autotune/<flashinfer version>/sm<major><minor>/<key>/
              rank_tp<tp>_pp<pp>_dp<dp or 0>.json
"""

from __future__ import annotations

from cache_store.dataclass import dataclass

_MODEL_RUNNER = "srt/model_executor/model_runner.py::ModelRunner._flashinfer_autotune_cache_path"
_BASE_RUNNER = "srt/model_executor/runner/base_runner.py::_flashinfer_autotune_cache_path"
_AUTOTUNE = "srt/model_executor/runner/flashinfer_autotune.py::flashinfer_autotune_cache_path"


@dataclass(frozen=True)
class Release:
    """One release's spelling.

    `skip_ops`: None, the part is not in the text; else the ops that the release always adds to the user's.
    `selection`: a literal part before skip_ops. `drafts_tune`: draft workers have files, under their own key.
    `megamoe_by_gpu`: the target's files for flashinfer_megamoe carry the GPU's UUID.
    `ranks_must_agree`: files that differ over the TP group are deleted at start (`_drop_diverged_autotune_cache`).
    `can_switch_off`: knows SGLANG_FLASHINFER_AUTOTUNE_CACHE.
    """

    version: str
    source: str
    skip_ops: tuple[str, ...] | None = None
    selection: str | None = None
    drafts_tune: bool = False
    megamoe_by_gpu: bool = False
    ranks_must_agree: bool = False
    can_switch_off: bool = True


RELEASES: tuple[Release, ...] = (
    Release("0.5.12", _MODEL_RUNNER, can_switch_off=False),
    Release("0.5.12.post1", _MODEL_RUNNER, can_switch_off=False),
    Release("0.5.13", _MODEL_RUNNER),
    Release("0.5.13.post1", _MODEL_RUNNER),
    Release("0.5.14", _BASE_RUNNER),
    Release("0.5.15", _AUTOTUNE, drafts_tune=True),
    Release("0.5.15.post1", _AUTOTUNE, drafts_tune=True),
    Release("0.5.16", _AUTOTUNE, drafts_tune=True),
    # FLASHINFER_AUTOTUNE_WORKAROUND_SKIPS = {"mxfp8_gemm"} is in the text in this one release only
    Release("0.5.17", _AUTOTUNE, skip_ops=("mxfp8_gemm",), drafts_tune=True),
    Release("0.5.18", _AUTOTUNE, skip_ops=(), drafts_tune=True),
    Release("0.5.19", _AUTOTUNE, skip_ops=(), drafts_tune=True, ranks_must_agree=True),
    Release("0.5.20", _AUTOTUNE, skip_ops=(), drafts_tune=True, ranks_must_agree=True),
    Release("0.5.21", _AUTOTUNE, skip_ops=(), drafts_tune=True, ranks_must_agree=True),
    Release("0.5.22", _AUTOTUNE, skip_ops=(), drafts_tune=True, ranks_must_agree=True, megamoe_by_gpu=True),
    Release(
        "0.5.23",
        _AUTOTUNE,
        skip_ops=(),
        selection="candidate_selection=v2_default",
        drafts_tune=True,
        ranks_must_agree=True,
        megamoe_by_gpu=True,
    ),
)

BY_VERSION = {release.version: release for release in RELEASES}
PLACES = {release.version: place for place, release in enumerate(RELEASES)}
FIRST, LAST = RELEASES[0].version, RELEASES[-1].version

# 0.5.11 and before call flashinfer.autotune() without a path: they tune at every start
LAST_WITHOUT_CACHE = (0, 5, 11)


def is_from(release: Release, version: str) -> bool:
    """Whether `release` is `version` or a later one."""
    return PLACES[release.version] >= PLACES[version]
