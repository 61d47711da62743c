"""How one start ended, as OpenTelemetry metrics: the body of one OTLP request in its JSON encoding. Pure.

Written out here because OpenTelemetry's own SDK with its HTTP exporter and protobuf costs each pod that uses it a third of
a second to import and each pod that does not 8 MB more to copy; docs/cli.md has the figures. The encoding is fixed by
opentelemetry-proto 1.x (docs/specification.md, "JSON Protobuf Encoding"): 64-bit integers are text, enums are numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from autotune_init.report import Report

SCOPE = "autotune-cache"
_DELTA = 1  # AGGREGATION_TEMPORALITY_DELTA: a start is over when it is told, so nobody holds a total
_KUBERNETES = {
    "POD_NAME": "k8s.pod.name",
    "POD_UID": "k8s.pod.uid",
    "POD_NAMESPACE": "k8s.namespace.name",
    "NODE_NAME": "k8s.node.name",
}


def request_of(
    report: Report, environ: Mapping[str, str], *, version: str, instance: str, ended_ns: int
) -> dict[str, Any]:
    """ExportMetricsServiceRequest. `instance` tells this start from all others; `ended_ns`: since 1970."""
    resource = {"service.name": "autotune-init", "service.version": version, "service.instance.id": instance}
    resource |= {name: environ[said] for said, name in _KUBERNETES.items() if environ.get(said)}
    began_ns = ended_ns - int(report.seconds * 1e9)
    point = {
        "attributes": _attributes(attributes_of(report)),
        "startTimeUnixNano": str(began_ns),
        "timeUnixNano": str(ended_ns),
    }
    metrics = [
        {
            "name": f"autotune_cache.{name}",
            "unit": unit,
            "description": told,
            "sum": {
                "aggregationTemporality": _DELTA,
                "isMonotonic": True,
                "dataPoints": [{**point, **_value(value)}],
            },
        }
        for name, unit, told, value in values_of(report)
    ]
    scope = {"scope": {"name": SCOPE, "version": version}, "metrics": metrics}
    return {"resourceMetrics": [{"resource": {"attributes": _attributes(resource)}, "scopeMetrics": [scope]}]}


def values_of(report: Report) -> Iterator[tuple[str, str, str, int | float]]:
    """(name, unit, what it is, value)."""
    yield "starts", "{start}", "starts of pods, by how they ended", 1
    yield "wait_s", "s", "how long the engines waited for autotune-init", float(report.seconds)
    yield (
        "tune_s",
        "s",
        "what the tunes of these pods took",
        float(report.tune_s or 0) if _tuned(report) else 0.0,
    )
    yield "saved_s", "s", "tuning that the pods did not have to do", float(report.saved_s)
    yield "requests", "{request}", "requests to the store", report.requests


def attributes_of(report: Report) -> dict[str, str]:
    """Few values each: a key or a pod's name here would make one time series a pod."""
    gpu = report.environment.rpartition("-")[0] if report.environment else None
    said = {
        "outcome": report.outcome.value,
        "reason": report.reason,
        "engine": report.engine,
        "flashinfer_version": report.flashinfer_version,
        "gpu": gpu,
        "arch": report.arch,
    }
    return {name: value for name, value in said.items() if value}


def _tuned(report: Report) -> bool:
    # of a hit the report has the tune of the bundle, which another pod made and told
    return report.outcome.value == "tuned"


def _attributes(said: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"key": name, "value": {"stringValue": value[:256]}} for name, value in said.items()]


def _value(value: float) -> dict[str, Any]:
    return {"asInt": str(value)} if isinstance(value, int) else {"asDouble": value}
