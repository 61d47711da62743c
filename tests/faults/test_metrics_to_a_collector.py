"""`--otlp-endpoint`: one request about each start, and never the reason of a late or another one.

What arrives is read by OpenTelemetry's own definitions (opentelemetry-proto), unknown fields refused.
"""

import json
import socket
import ssl
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import trustme
from google.protobuf import json_format
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_DELTA
from tests.pods import REPLAY, Pod

from autotune_init.outcomes import Outcome
from autotune_init.report import Report
from autotune_init.send_metrics import BUDGET_S, send_metrics
from cache_store.clock import SystemClock

TUNE = ("--tuner", "command", "--tuner-command", REPLAY)
HIT = Report(Outcome.HIT, "found", seconds=0.4)


@dataclass
class Collector:
    """An OTLP receiver over HTTP on loopback: answers `status` and `body` to everything, and keeps what it got."""

    endpoint: str = ""
    status: int = 200
    body: bytes = b"{}"
    asked: list = field(default_factory=list)

    @property
    def requests(self):
        return [json_format.Parse(body, ExportMetricsServiceRequest()) for _, _, body in self.asked]


def serve(tls=None):
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.asked.append((self.path, dict(self.headers), body))
            self.send_response(collector.status)
            if collector.status in (302, 307):
                self.send_header("Location", f"{collector.endpoint}/elsewhere")
            self.send_header("Content-Length", str(len(collector.body)))
            self.end_headers()
            self.wfile.write(collector.body)

        do_GET = do_POST

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request, client_address):
            pass  # a client that refuses our certificate is one of the tests

    server = Quiet(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    collector.endpoint = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield collector
    server.shutdown()
    server.server_close()
    thread.join(5)


@pytest.fixture
def collector():
    yield from serve()


@pytest.fixture
def store(tmp_path):
    (tmp_path / "store").mkdir()
    return (tmp_path / "store").as_uri()


def said(attributes):
    return {one.key: one.value.string_value for one in attributes}


def read(request):
    """(resource, attributes, name -> value) of one request."""
    (of_resource,) = request.resource_metrics
    (scope,) = of_resource.scope_metrics
    points = {metric.name: metric.sum.data_points for metric in scope.metrics}
    assert all(metric.sum.is_monotonic for metric in scope.metrics)
    assert {metric.sum.aggregation_temporality for metric in scope.metrics} == {AGGREGATION_TEMPORALITY_DELTA}
    assert {len(of_metric) for of_metric in points.values()} == {1}
    attributes = [said(point.attributes) for (point,) in points.values()]
    assert all(one == attributes[0] for one in attributes)
    values = {name: point.as_int or point.as_double for name, (point,) in points.items()}
    return said(of_resource.resource.attributes), attributes[0], values


def send(endpoint, report=HIT, environ=None, left_s=60.0):
    return send_metrics(report, endpoint, environ or {}, SystemClock(), version="1.2.3", left_s=left_s)


# -- what arrives ------------------------------------------------------------------------------------------------------


def test_each_start_tells_how_it_ended(tmp_path, store, collector):
    inside = {"POD_NAME": "qwen3-0", "POD_UID": "7b58", "POD_NAMESPACE": "models", "NODE_NAME": "gpu-1"}
    here = {"AUTOTUNE_OTLP_ENDPOINT": collector.endpoint}
    tuned = Pod(tmp_path / "a", store, environ=here).run(*TUNE)
    hit = Pod(tmp_path / "b", store, environ=inside).run("--otlp-endpoint", collector.endpoint)

    (first, second) = [read(one) for one in collector.requests]
    resource, attributes, values = second
    assert resource == {
        "service.name": "autotune-init",
        "service.version": hit.report["program"].split()[-1],
        "service.instance.id": "7b58",
        "k8s.pod.name": "qwen3-0",
        "k8s.pod.uid": "7b58",
        "k8s.namespace.name": "models",
        "k8s.node.name": "gpu-1",
    }
    assert attributes == {
        "outcome": "hit",
        "reason": "found",
        "engine": "sglang",
        "flashinfer_version": hit.report["flashinfer_version"],
        "gpu": "nvidia-h100-80gb-hbm3",
        "arch": "sm90",
    }
    assert values == {
        "autotune_cache.starts": 1,
        "autotune_cache.wait_s": hit.report["seconds"],
        "autotune_cache.tune_s": 0,
        "autotune_cache.saved_s": hit.report["saved_s"],
        "autotune_cache.requests": 1,
    }
    assert first[1]["outcome"] == "tuned"
    assert first[2]["autotune_cache.tune_s"] == tuned.report["tune_s"] > 0
    assert first[0]["service.instance.id"] not in ("", "7b58")
    assert not [one for done in (tuned, hit) for one in done.report["warnings"] if "metrics" in one]


def test_a_pod_that_knows_no_address_tells_too(tmp_path, store, collector):
    pod = Pod(tmp_path / "a", store, engine=("python3", "serve.py"))

    done = pod.run("--otlp-endpoint", collector.endpoint)

    (only,) = collector.requests
    assert read(only)[1] == {"outcome": "skipped", "reason": done.report["reason"]}


def test_the_engines_own_variables_switch_nothing_on_and_give_nothing_away(tmp_path, store, collector):
    own = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": collector.endpoint,
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=secret",
        "OTEL_SERVICE_NAME": "my-llm",
    }
    assert Pod(tmp_path / "a", store, environ=own).run().ending == ("cold", "miss")
    assert collector.asked == []

    Pod(tmp_path / "b", store, environ=own).run("--otlp-endpoint", collector.endpoint)

    ((_, headers, body),) = collector.asked
    assert "secret" not in json.dumps(headers)
    assert b"my-llm" not in body


@pytest.mark.parametrize(
    ("below", "path"),
    [
        ("", "/v1/metrics"),
        ("/", "/v1/metrics"),
        ("/tenant/a/", "/tenant/a/v1/metrics"),
        ("/v1/metrics", "/v1/metrics"),
    ],
)
def test_the_path_is_below_the_endpoint(collector, below, path):
    assert send(collector.endpoint + below) == ""

    assert [one[0] for one in collector.asked] == [path]
    assert collector.asked[0][1]["Content-Type"] == "application/json"


def test_given_a_collector_behind_a_private_authority_when_it_is_trusted_then_it_is_told(tmp_path, store):
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.crt"))
    for collector in serve(context):
        trusting = {"SSL_CERT_FILE": str(tmp_path / "ca.crt")}
        done = Pod(tmp_path / "a", store, environ=trusting).run("--otlp-endpoint", collector.endpoint)

        assert len(collector.requests) == 1
        assert not [one for one in done.report["warnings"] if "metrics" in one]


# -- what goes wrong ---------------------------------------------------------------------------------------------------


def unharmed(pod, endpoint, warning):
    """A hit as ever, with that warning; how long it took."""
    began = time.monotonic()
    done = pod.run("--strict", "--otlp-endpoint", endpoint)
    took = time.monotonic() - began
    assert (done.code, *done.ending) == (0, "hit", "found")
    (told,) = [one for one in done.report["warnings"] if one.startswith("no metrics: ")]
    assert warning in told
    return took


@pytest.fixture
def pod(tmp_path, store):
    assert Pod(tmp_path / "seed", store).run(*TUNE).ending == ("tuned", "published")
    return Pod(tmp_path / "pod", store)


def unused_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_given_no_collector_when_a_pod_hits_then_a_warning_says_so(pod):
    unharmed(pod, f"http://127.0.0.1:{unused_port()}", "Connection refused")


def test_given_a_name_that_is_none_when_a_pod_hits_then_a_warning_says_so(pod):
    unharmed(pod, "http://collector.invalid:4318", "no metrics: ")


def test_given_a_collector_that_hangs_when_a_pod_hits_then_it_costs_three_seconds(pod):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        took = unharmed(pod, f"http://127.0.0.1:{listener.getsockname()[1]}", "no metrics: ")

    assert took < BUDGET_S + 3


def test_given_a_collector_that_drips_when_metrics_are_sent_then_the_bound_is_for_all_of_it():
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip():
            connection, _ = listener.accept()
            with connection:
                for _ in range(100):
                    connection.sendall(b"H")
                    time.sleep(0.2)

        threading.Thread(target=drip, daemon=True).start()
        began = time.monotonic()
        problem = send(f"http://127.0.0.1:{listener.getsockname()[1]}", left_s=0.7)

    assert problem == "no answer within 0.7 s"
    assert time.monotonic() - began < 2


def test_given_a_deadline_that_is_over_when_metrics_are_sent_then_nothing_is_asked(collector):
    assert send(collector.endpoint, left_s=-0.1) == "the deadline is over"

    assert collector.asked == []


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 503])
def test_given_a_collector_that_refuses_when_metrics_are_sent_then_they_are_sent_once(collector, status):
    collector.status = status

    assert f"answered {status}" in send(collector.endpoint)

    assert len(collector.asked) == 1


def test_given_a_collector_that_is_broken_when_a_pod_hits_then_a_warning_says_so(pod, collector):
    collector.status = 500

    unharmed(pod, collector.endpoint, "answered 500")


@pytest.mark.parametrize("status", [302, 307])
def test_given_a_redirect_when_metrics_are_sent_then_it_is_not_followed(collector, status):
    collector.status = status

    assert f"answered {status}" in send(collector.endpoint)

    assert [path for path, _, _ in collector.asked] == ["/v1/metrics"]


def test_given_a_foreign_authority_when_a_pod_hits_then_nothing_is_told_to_it(pod):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    for collector in serve(context):
        unharmed(pod, collector.endpoint, "CERTIFICATE_VERIFY_FAILED")

        assert collector.asked == []


def test_given_http_where_tls_was_said_when_metrics_are_sent_then_a_warning_says_so(collector):
    assert "SSL" in send(collector.endpoint.replace("http:", "https:"))


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (
            b'{"partialSuccess": {"rejectedDataPoints": "2", "errorMessage": "too old"}}',
            "2 rejected: too old",
        ),
        (b'{"partialSuccess": {"errorMessage": "a hint"}}', ""),
        (b'{"partialSuccess": {"rejectedDataPoints": {}}}', ""),
        (b"[]", ""),
        (b"\xff\x00 no JSON", ""),
        (b"", ""),
        (b"{" + b" " * 100_000, ""),
    ],
)
def test_given_a_collector_that_takes_a_part_when_metrics_are_sent_then_what_it_says_is_told(
    collector, body, problem
):
    collector.body = body

    told = send(collector.endpoint)

    assert told.endswith(problem)
    assert bool(told) is bool(problem)


@pytest.mark.parametrize(
    "endpoint",
    [
        "collector:4318",
        "grpc://collector:4317",
        "http://",
        "http://user:secret@127.0.0.1:1",
        "http://127.0.0.1:1?token=secret",
        "http://127.0.0.1:99999999",
        "http://[::1",
        "http://127.0.0.1:1/a b\r\nX: y",
    ],
)
def test_given_an_endpoint_that_is_none_when_metrics_are_sent_then_it_says_what_it_takes(endpoint):
    told = send(endpoint)

    assert told
    assert "secret" not in told


def test_given_words_of_a_bucket_when_metrics_are_sent_then_they_stay_short(collector):
    report = Report(Outcome.COLD, "tuner-" + "x" * 5000, environment="gpu-" + "\u00e9" * 5000 + "-1")

    assert send(collector.endpoint, report) == ""

    ((_, attributes, _),) = [read(one) for one in collector.requests]
    assert {len(value) for value in attributes.values()} == {4, 256}
