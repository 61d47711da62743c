"""`--otlp-endpoint`: how this start ended, to an OpenTelemetry collector, in one request that is never repeated.

Only our own switch is looked at. An engine has OTEL_* variables for traces of its own, whose endpoint is another
collector's and whose headers are secrets.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import SplitResult, urlsplit

from autotune_init.otlp_metrics import request_of
from autotune_init.report import Report
from autotune_init.within_budget import within_budget
from cache_store.clock import Clock, fresh_nonce

BUDGET_S = 3.0  # of a pod that could start by now
PATH = "/v1/metrics"
_MAX_ANSWER_BYTES = 4096


class MetricsNotSent(Exception):  # noqa: N818 -- reads as what it is
    """Why the collector has nothing; the message says what to do about it."""


def send_metrics(
    report: Report, endpoint: str, environ: Mapping[str, str], clock: Clock, *, version: str, left_s: float
) -> str:
    """Why they were not sent; empty where they were. Takes at most `BUDGET_S`, or `left_s` if that is less; raises nothing."""
    budget_s = min(BUDGET_S, left_s)

    def send() -> None:
        instance = environ.get("POD_UID") or fresh_nonce()
        ended_ns = int(clock.now().timestamp() * 1e9)
        body = request_of(report, environ, version=version, instance=instance, ended_ns=ended_ns)
        post(endpoint, json.dumps(body).encode(), version, budget_s)

    return within_budget(send, budget_s, says=MetricsNotSent)


def post(endpoint: str, body: bytes, version: str, timeout_s: float) -> None:
    """One POST, without a proxy and without following a redirect. Raises `MetricsNotSent`."""
    url = address_of(endpoint)
    connection = connect(url, timeout_s)
    headers = {"Content-Type": "application/json", "User-Agent": f"autotune-init/{version}"}
    try:
        connection.request("POST", url.path, body, headers)
        answer = connection.getresponse()
        said = answer.read(_MAX_ANSWER_BYTES)
    except (OSError, HTTPException, ValueError) as error:
        raise MetricsNotSent(f"{url.netloc}: {type(error).__name__}: {error}"[:200]) from None
    finally:
        connection.close()
    if answer.status != 200:
        raise MetricsNotSent(f"{url.netloc} answered {answer.status}{_hint(answer.status)}")
    refused = refused_points(said)
    if refused:
        raise MetricsNotSent(f"{url.netloc} did not take all: {refused}"[:200])


def address_of(endpoint: str) -> SplitResult:
    """Where the metrics go: `/v1/metrics` below the endpoint, as OTEL_EXPORTER_OTLP_ENDPOINT means it."""
    try:
        url = urlsplit(endpoint)
        is_whole = url.scheme in ("http", "https") and url.hostname and (url.port is None or url.port > 0)
    except ValueError:
        is_whole = False
    if not is_whole:
        raise MetricsNotSent("--otlp-endpoint takes http://HOST:4318 or https://HOST")
    if url.username is not None or url.query or url.fragment:
        raise MetricsNotSent("--otlp-endpoint takes no credentials and no query")
    path = url.path.rstrip("/")
    return url._replace(path=path if path.endswith(PATH) else path + PATH)


def connect(url: SplitResult, timeout_s: float) -> HTTPConnection:
    if url.scheme == "http":
        return HTTPConnection(url.hostname or "", url.port, timeout=timeout_s)
    import ssl

    context = ssl.create_default_context()  # SSL_CERT_FILE where the collector's authority is a private one
    return HTTPSConnection(url.hostname or "", url.port, timeout=timeout_s, context=context)


def refused_points(body: bytes) -> str:
    """What a collector says in a 200 that it has dropped; empty: nothing. An answer that cannot be read is no news."""
    try:
        partial = json.loads(body).get("partialSuccess") or {}
        rejected, message = (
            int(partial.get("rejectedDataPoints") or 0),
            str(partial.get("errorMessage") or ""),
        )
    except (ValueError, AttributeError, TypeError):
        return ""
    return f"{rejected} rejected: {message}" if rejected else ""


def _hint(status: int) -> str:
    return (
        ", so it does not speak OTLP over HTTP there (port 4318; 4317 is gRPC)"
        if status in (404, 405, 415)
        else ""
    )
