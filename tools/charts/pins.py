"""What fetch.py brings, as data. Nothing of it is kept in this repository.

A published Go module comes through the `go` command, which checks its sum against the checksum database; `digest` is
that sum. Everything else comes by git at a commit, and `digest` is over the files that were taken out (`tree_digest`),
so that a mirror need not be trusted.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pin:
    """One source. `paths` are the files and folders that are kept, below .tools/charts/<name>."""

    name: str
    origin: str  # a Go module's path, or host/owner/name of a git repository
    version: str  # what people call it
    digest: str
    paths: tuple[str, ...]
    commit: str = ""  # git only
    why: str = ""

    @property
    def is_go_module(self) -> bool:
        return not self.commit


PINS = (
    Pin(
        "production-stack",
        "github.com/vllm-project/production-stack",
        "vllm-stack-0.1.12",
        "sha256:DseKWvto8h+gb8eLE43Iv8vS1K9wKO5reqlRaBpPZJU=",
        ("helm", "tutorials/assets"),
        commit="66b60661aa3052810859a417559e9e830772a091",
        why="the chart of the vLLM production stack; not a Go module",
    ),
    Pin(
        "llm-d-modelservice",
        "github.com/llm-d-incubation/llm-d-modelservice",
        "llm-d-modelservice-v0.4.12",
        "sha256:otkS9Pdd+3vDPuQBuhuAXLY135GcDNah6hmPPOWUtv4=",
        ("charts/llm-d-modelservice", "examples"),
        commit="3051935eb5a49f6df21cd6aeb5e4f05b98799262",
        why="the chart of llm-d; not a Go module",
    ),
    Pin(
        "rbg",
        "github.com/sgl-project/rbg",
        "v0.7.0",
        "sha256:S0mNnliOrvRBqv4BTHLsx1Y6UHAB19iuq8G0FWsXHYA=",
        ("config/crd/bases", "examples/inference"),
        commit="01df6fc39e3e979b4adade9ceef16d9fdaa3b48e",
        why="RoleBasedGroup; its Go module sigs.k8s.io/rbgs is not on the module proxy in this version",
    ),
    Pin(
        "lws",
        "sigs.k8s.io/lws",
        "v0.9.0",
        "h1:DcJCgxjjoGOx//QHZkeKpyiblxYq70aCRZNYSfykWyI=",
        ("config/crd/bases", "docs/examples"),
        why="LeaderWorkerSet; v0.10.0 is not on the module proxy",
    ),
    Pin(
        "kserve",
        "github.com/kserve/kserve",
        "v0.20.0",
        "h1:Bs7HxmGV4KFqqptDcWseKv+mwD4YOYHJWcuVgPG2Gug=",
        ("config/crd/full", "config/llmisvcconfig"),
        why="InferenceService and LLMInferenceService",
    ),
)
