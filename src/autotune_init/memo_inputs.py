"""What a resolution memo is keyed by: everything that the engine's answer may depend on, and nothing of one pod. Pure.

Two pods of one deployment must get the same inputs, and nothing secret may stand in them: they lie in the bucket in
clear. What is left out is left out by a rule below that says why; what is forgotten costs a question, or would hand one
deployment's answer to another, so prefixes are taken whole and exceptions are named one by one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from autotune_init.engines import Question
from cache_store.dataclass import dataclass
from cache_store.pattern import pattern
from cache_store.sha256 import sha256_hex

SCHEMA = "autotune-cache/resolution-inputs/v1"
HIDDEN = "***"
PER_POD = "<pod>"

# SGLang 0.5.12 to 0.5.23 (--api-key, --admin-api-key, --ssl-keyfile-password), vLLM 0.33 (--api-key, --hf-token); and
# whatever a fork calls so
_SECRET_FLAGS = ("--api-key", "--admin-api-key", "--hf-token", "--ssl-keyfile-password")
_SECRET_NAME = pattern(
    r"--.*(?:api-key|secret|secret-key|access-key|password|passphrase|credentials?|auth-token)\Z"
)
_MANY = 1 << 30
_FLAG = pattern(r"--?[A-Za-z_]")
_SHORTEST_BEGINNING = len("--hf")
# JSON for storage and loaders, where credentials may stand inside: told apart, but not shown
_DIGESTED_FLAGS = frozenset({
    "--hicache-storage-backend-extra-config", "--unified-cache-external-linker-config", "--model-loader-extra-config",
    "--modelexpress-config", "--lmcache-config-file", "--kv-transfer-config", "--ec-transfer-config",
    "--otlp-traces-endpoint",
})  # fmt: skip
# where this pod listens and whom it meets; no rule of a key reads them
_ADDRESS_FLAGS = frozenset(
    {"--host", "--dist-init-addr", "--nccl-init-addr", "--master-addr", "--data-parallel-address"}
)

_PREFIXES = ("SGLANG_", "VLLM_", "HF_", "TRANSFORMERS_", "FLASHINFER_")
# vLLM 0.33 hashes its whole configuration, which looks at these as well
_VLLM_PREFIXES = ("TORCH", "NCCL_", "CUDA_", "MODELSCOPE_")
_SECRET_VARIABLE = pattern(r"TOKEN|KEY|SECRET|PASSWORD|PASSPHRASE|CREDENTIAL")
_LEFT_OUT: Mapping[str, str] = {
    "SGLANG_CACHE_DIR": "the root of the path, which is put in front of the answer afterwards",
    "VLLM_CACHE_ROOT": "the root of the path",
    "VLLM_FLASHINFER_AUTOTUNE_CACHE_DIR": "the root of the path",
    "FLASHINFER_AUTOTUNE_CACHE_DIR": "the root of the path",
    "FLASHINFER_WORKSPACE_BASE": "where compiled kernels are kept",
    "FLASHINFER_CUBIN_DIR": "where kernels are kept",
    "SGLANG_DG_CACHE_DIR": "where compiled kernels are kept",
    "HF_HOME": "where model files lie; what they say is in the files' digests",
    "HF_HUB_CACHE": "as HF_HOME",
    "HF_ASSETS_CACHE": "as HF_HOME",
    "HF_DATASETS_CACHE": "as HF_HOME",
    "HF_MODULES_CACHE": "as HF_HOME",
    "HF_XET_CACHE": "as HF_HOME",
    "TRANSFORMERS_CACHE": "as HF_HOME",
    "VLLM_ASSETS_CACHE": "as HF_HOME",
    "SGLANG_HOST_IP": "this pod's address",
    "VLLM_HOST_IP": "this pod's address",
    "VLLM_DP_MASTER_IP": "another pod's address",
    "SGLANG_TORCH_PROFILER_DIR": "where profiles are written",
    "VLLM_TORCH_PROFILER_DIR": "where profiles are written",
    "SGLANG_LOGGING_CONFIG_PATH": "how log lines look",
    "VLLM_LOGGING_CONFIG_PATH": "how log lines look",
    # the program takes it out of the engine's environment before it asks
    "SGLANG_FLASHINFER_AUTOTUNE_CACHE": "judged by the recipe, before anybody is asked",
}
# what the downward API and Kubernetes itself tell a pod of itself
_POD_VARIABLES = ("HOSTNAME", "POD_NAME", "POD_IP", "POD_UID", "NODE_NAME", "NODE_IP", "HOST_IP")
_SHORTEST_NAME = 4
# what Kubernetes puts into every pod of a namespace that has a Service called like an engine
_SERVICE_LINK = pattern(
    r"(?:SGLANG|VLLM|HF|TRANSFORMERS|FLASHINFER)_(?:[A-Z0-9_]+_)?"
    r"(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?|PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_[A-Z]+)?)?)\Z"
)


@dataclass(frozen=True)
class AskedGpu:
    """What the engine is shown: name, memory in MiB, driver like "580.95"; `count` where the answer depends on it."""

    name: str
    memory_mib: int
    driver: str
    count: int | None = None


@dataclass(frozen=True)
class EngineCode:
    """Which code answers: `digest` is a sha256 over the installed engine's files, the versions are what it imports."""

    digest: str
    torch: str | None
    transformers: str | None


def memo_inputs(
    question: Question, gpu: AskedGpu, code: EngineCode, files: Mapping[str, str | None]
) -> dict[str, object]:
    """`files`: name of a small file that the engine reads -> sha256 of what it says, None where it is not there."""
    return {
        "schema": SCHEMA,
        "engine": question.engine,
        "engine_version": question.engine_version,
        "engine_code": code.digest,
        "flashinfer_version": question.flashinfer_version,
        "torch": code.torch,
        "transformers": code.transformers,
        "arch": f"sm{question.capability[0]}{question.capability[1]}",
        "gpu": gpu.name,
        "memory_mib": gpu.memory_mib,
        "gpu_count": gpu.count,
        "driver_major": gpu.driver.partition(".")[0],
        "node_rank": question.node_rank,
        "argv": list(shown_argv(question.argv)),
        # vLLM's folder has another form where its root is overridden
        "has_root_override": bool(question.environ.get("VLLM_FLASHINFER_AUTOTUNE_CACHE_DIR")),
        "environ": relevant_environ(question.engine, question.environ),
        "files": dict(files),
    }


def shown_argv(argv: Sequence[str]) -> tuple[str, ...]:
    """The command line without secrets and without this pod's addresses. Words keep their places.

    A pod's name inside of other words stays: in a model path it is part of the key.
    """
    shown: list[str] = []
    rule, left = "", 0
    for word in argv:
        if _FLAG.match(word):
            flag, equals, value = word.partition("=")
            rule, left = _rule_of(flag)
            shown.append(f"{flag}={_shown(value, rule)}" if equals else word)
            left = 0 if equals else left
        else:
            shown.append(_shown(word, rule if left else ""))
            left -= 1
    return tuple(shown)


def relevant_environ(engine: str, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that the engine's answer may depend on, in clear."""
    own = _own_names(environ)
    prefixes = (*_PREFIXES, *_VLLM_PREFIXES) if engine == "vllm" else _PREFIXES
    return {
        name: _without(own, _shown(value, "digest" if "@" in value else ""))
        for name, value in sorted(environ.items())
        if name.startswith(prefixes)
        and name not in _LEFT_OUT
        and not _SECRET_VARIABLE.search(name)
        and not _SERVICE_LINK.match(name)
    }


def digest_of_json(document: Mapping[str, object] | None) -> str | None:
    """Of what the file says, however it is laid out."""
    if document is None:
        return None
    return sha256_hex(json.dumps(document, sort_keys=True, separators=(",", ":")).encode())


def digest_of_text(text: str | None) -> str | None:
    return None if text is None else sha256_hex(text.encode())


def _rule_of(flag: str) -> tuple[str, int]:
    """(how its values are shown, how many words that are). Only --api-key takes several (vLLM); a model may come next."""
    name = flag.replace("_", "-").partition(".")[0]
    if len(name) >= _SHORTEST_BEGINNING and _SECRET_FLAGS[0].startswith(name):
        return "hide", _MANY
    is_beginning = len(name) >= _SHORTEST_BEGINNING and any(one.startswith(name) for one in _SECRET_FLAGS)
    if is_beginning or _SECRET_NAME.match(name):
        return "hide", 1
    if name in _DIGESTED_FLAGS:
        return "digest", 1
    return ("address", 1) if name in _ADDRESS_FLAGS else ("", 0)


def _shown(value: str, rule: str) -> str:
    if rule == "hide":
        return HIDDEN
    if rule == "address":
        return PER_POD
    if rule == "digest":
        return f"sha256:{sha256_hex(value.encode())}"
    return value


def _own_names(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The longest first, since one may be the beginning of another."""
    names = {environ[name] for name in _POD_VARIABLES if len(environ.get(name, "")) >= _SHORTEST_NAME}
    return tuple(sorted(names, key=len, reverse=True))


def _without(own: tuple[str, ...], value: str) -> str:
    for name in own:
        value = value.replace(name, PER_POD)
    return value
