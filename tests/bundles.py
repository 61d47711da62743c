"""Small makers of nouns, for tests."""

import json

from cache_store.bundle import Bundle, CoverageRecord, IdentityRecord, Provenance, Tombstone, pack
from cache_store.identity import Environment, Identity

H100 = {
    "flashinfer_version": "0.7.2",
    "cuda_version": "13.0",
    "cublas_version": "13.1.0",
    "cudnn_version": "91900",
    "cudnn_frontend_version": "unknown",
    "cutlass_dsl_version": "unknown",
    "gpu": "NVIDIA H100 80GB HBM3",
}
H200 = {**H100, "gpu": "NVIDIA H200"}
ENTRY = (
    "('fp8_gemm', 'CublasFp8GemmRunner', ((1, 1024, 4096), (1, 4096, 4096), (1,), (1,), (1, -1, 4096), (-1,)), "
    "(torch.float8_e4m3fn, torch.float8_e4m3fn, torch.bfloat16))"
)


def identity(metadata=H100, key="0123456789abcdef", **extra):
    return Identity(
        engine="sglang",
        flashinfer_version="0.7.2",
        arch="sm90",
        key=key,
        key_text="m|torch.bfloat16|modelopt_fp8|flashinfer_cutlass|2|1|1|1|Qwen3Config",
        key_inputs={"model_path": "m", "tp_size": 2, "quantization": "modelopt_fp8", "skip_ops": None},
        environment=Environment(metadata, extra),
    )


def rank_file(metadata=H100, tactic=3):
    return json.dumps({"_metadata": metadata, ENTRY: ["CublasFp8GemmRunner", tactic]}, indent=2).encode()


def bundle(contents=None, who=None, nonce="n" * 8, epoch=1, **provenance):
    who = who or identity()
    if contents is None:
        body = rank_file(dict(who.environment.metadata))
        contents = {"rank_tp0_pp0_dp0.json": body, "rank_tp1_pp0_dp0.json": body}
    ranks, files, blobs = pack(contents)
    return Bundle(
        identity=IdentityRecord.of(who),
        ranks=ranks,
        files=files,
        blobs={digest: len(body) for digest, body in blobs.items()},
        epoch=epoch,
        nonce=nonce,
        provenance=Provenance(**{"tune_s": 93.5, "tuner": "flashinfer-ops", "holder": "pod-a", **provenance}),
        coverage=CoverageRecord(ops={"fp8_gemm": 1}, entries=1, max_bucket=1024),
    )


def tombstone(*, may_retune=True, nonce="t1", reason="bad tactic", epoch=1):
    return Tombstone(reason=reason, retired_by="ops", may_retune=may_retune, epoch=epoch, nonce=nonce)
