"""Whether SGLang tunes at all in a configuration: `should_run_flashinfer_autotune` of each release as a rule. Pure.

SGLang 0.5.12 and 0.5.13 srt/model_executor/model_runner.py, 0.5.14 runner/base_runner.py, from 0.5.15 on
runner/flashinfer_autotune.py; the GEMM backends' defaults are srt/layers/quantization/{fp4,fp8}_utils.py.
"""

from __future__ import annotations

from autotune_init.engines.sglang_versions import Release, is_from
from cache_store.dataclass import dataclass

_MOE_BACKENDS = frozenset({"flashinfer_trtllm", "flashinfer_mxfp4", "flashinfer_cutedsl"})
_MOE_BACKENDS_SINCE = {
    "flashinfer_trtllm_routed": "0.5.13",
    "flashinfer_cutlass": "0.5.13",
    "flashinfer_megamoe": "0.5.22",
}
_FP4 = frozenset({"modelopt_fp4", "modelopt_mixed"})
_FP8 = frozenset({"modelopt", "modelopt_fp8", "modelopt_mixed"})
_BLACKWELL = frozenset({"sm100", "sm103"})


@dataclass(frozen=True)
class Configuration:
    """What the rule reads. `quantization` is the model's own (checkpoint or --quantization), not the key's field."""

    release: Release
    arch: str
    backend: str
    a2a: str
    quantization: str | None
    fp4_gemm: str = "auto"
    fp8_gemm: str = "auto"
    is_deterministic: bool = False


def tunes(one: Configuration) -> tuple[bool, str]:
    """(whether it tunes, why)."""
    if one.is_deterministic and is_from(one.release, "0.5.18"):
        return False, "--enable-deterministic-inference"
    if one.backend == "flashinfer_cutedsl" and one.a2a == "deepep":
        return False, "flashinfer_cutedsl behind deepep"
    since = _MOE_BACKENDS_SINCE.get(one.backend)
    if one.backend in _MOE_BACKENDS or (since is not None and is_from(one.release, since)):
        return True, f"the MoE backend {one.backend}"
    if _fp4_gemm_tunes(one):
        return True, f"NVFP4 GEMMs on {one.arch}"
    if _fp8_gemm_tunes(one):
        return True, f"FP8 GEMMs on {one.arch}"
    return (
        False,
        f"no FlashInfer kernel of {one.backend} and {one.quantization or 'bf16'} on {one.arch} is tuned",
    )


def _fp4_gemm_tunes(one: Configuration) -> bool:
    if one.quantization not in _FP4 or not is_from(one.release, "0.5.13"):
        return False
    # auto: cutedsl on sm100, marlin on sm80 to sm90, cutlass elsewhere
    backend = one.fp4_gemm
    if backend == "auto":
        backend = {"sm90": "marlin"}.get(one.arch, "flashinfer_cutlass")
    return backend in ("flashinfer_cutlass", "flashinfer_cutedsl")


def _fp8_gemm_tunes(one: Configuration) -> bool:
    if is_from(one.release, "0.5.18"):
        if one.quantization == "mxfp8":
            return one.arch != "sm90"
        return one.quantization in _FP8
    if not is_from(one.release, "0.5.14"):
        return False
    if one.quantization == "mxfp8" and not is_from(one.release, "0.5.16"):
        return False
    is_cutlass = one.fp8_gemm == "flashinfer_cutlass"
    if one.quantization == "mxfp8" and one.fp8_gemm == "auto" and one.arch in _BLACKWELL:
        is_cutlass = is_from(one.release, "0.5.16")
    return is_cutlass or (one.quantization in _FP8 and one.arch in _BLACKWELL)
