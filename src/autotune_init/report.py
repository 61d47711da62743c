"""One JSON object says how it ended: on stdout, and in the termination log where Kubernetes shows it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from autotune_init.outcomes import Outcome
from cache_store.annotation import TextIO
from cache_store.dataclass import dataclass, field

REPORT_SCHEMA = "autotune-cache/report/v1"
TERMINATION_LOG_BYTES = 4096  # kubelet cuts at 4096 per container

# given up first when the termination log is too small; what an operator needs most goes last
_SHED = ("tail", "coverage", "ranks", "warnings", "moved_aside", "directory", "detail")


@dataclass(frozen=True)
class Report:
    """The ending of one run. Documented field by field in docs/cli.md; the schema is docs/schemas/run-report.json."""

    outcome: Outcome
    reason: str
    detail: str = ""
    exit_code: int = 0
    engine: str | None = None
    engine_version: str | None = None
    flashinfer_version: str | None = None
    arch: str | None = None
    key: str | None = None
    key_source: str | None = None
    environment: str | None = None
    directory: str | None = None
    ranks: tuple[str, ...] = ()
    seconds: float = 0.0
    requests: int = 0
    bytes: int = 0
    saved_s: float = 0.0
    tuner: str | None = None
    tune_s: float | None = None
    verified: str | None = None
    coverage: Mapping[str, object] | None = None
    epoch: int | None = None
    nonce: str | None = None
    draft: Mapping[str, object] | None = None
    moved_aside: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    tail: tuple[str, ...] = ()
    program: str = ""

    def as_dict(self) -> dict[str, object]:
        document: dict[str, object] = {"schema": REPORT_SCHEMA}
        document.update(vars(self))
        document["outcome"] = self.outcome.value
        return document

    def line(self) -> str:
        return json.dumps(self.as_dict())  # ASCII: a path with stray bytes must not end in an encoding error


def fit(report: Report, limit_bytes: int = TERMINATION_LOG_BYTES) -> bytes:
    """The report as JSON in at most `limit_bytes`: shortened field by field, always one whole JSON object."""
    document = report.as_dict()
    for name in ("", *_SHED):
        if name == "ranks":
            document["ranks"] = len(report.ranks)
            if report.draft is not None:
                document["draft"] = {name: report.draft[name] for name in ("key", "outcome", "reason")}
        elif name == "detail":
            document["detail"] = report.detail[:300]
        elif name:
            document.pop(name)
        body = json.dumps(document, separators=(",", ":")).encode()
        if len(body) <= limit_bytes:
            return body
    essential = {name: document[name] for name in ("schema", "outcome", "reason", "exit_code")}
    return json.dumps(essential).encode()


def publish_report(report: Report, stdout: TextIO, termination_log: Path | None) -> None:
    """Write it out. A log that cannot be written changes nothing."""
    stdout.write(report.line() + "\n")
    stdout.flush()
    if termination_log is None or not termination_log.exists():
        return
    try:
        termination_log.write_bytes(fit(report))
    except OSError:
        return  # the same text is on stdout
