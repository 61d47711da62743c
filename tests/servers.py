"""Servers on loopback for the store tests: MiniStack (a real S3 emulator in its own process) and a stub that misbehaves."""

import hashlib
import itertools
import os
import socket
import ssl
import struct
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from xml.sax.saxutils import escape

import pytest
import trustme

MINISTACK = Path(__file__).parent.parent / ".tools" / "ministack" / "bin" / "ministack"
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def ministack(tmp_path_factory):
    """The endpoint URL of a running MiniStack. Each xdist worker starts its own (75 MB)."""
    if not MINISTACK.exists():
        pytest.fail("MiniStack is not installed: run `make ministack`", pytrace=False)
    port = free_port()
    folder = tmp_path_factory.mktemp("ministack")
    environ = {**os.environ, "BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "HOME": str(folder)}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([str(MINISTACK)], env=environ, cwd=folder, stdout=log, stderr=log)
    endpoint = f"http://127.0.0.1:{port}"
    try:
        _wait_until_ready(process, endpoint, folder / "log")
        yield endpoint
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(process, endpoint, log):
    for _ in range(300):
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{endpoint}/_ministack/health", timeout=2):
                return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.1)
    pytest.fail(f"MiniStack did not start:\n{log.read_text()[-2000:]}", pytrace=False)


_buckets = iter(range(1, 1 << 30))


@pytest.fixture
def bucket(ministack):
    """A fresh, empty bucket on MiniStack: its name."""
    name = f"bucket-{os.getpid()}-{next(_buckets)}"
    with urllib.request.urlopen(urllib.request.Request(f"{ministack}/{name}", method="PUT"), timeout=10):
        return name


# -- the stub ----------------------------------------------------------------------------------------------------------


_NUMBERS = itertools.count()


@dataclass
class Stub:
    """An S3 of 150 lines. `fault` spoils every answer; `dialect` says how conditions on PUT are read.

    fault: "" | a status as text ("403", "503", ...) | hang | truncate | drip | garbage | drop-answer (of writes) | drop-answer-once |
        forget-dates
    dialect: honest | ignores | creates-only | unquoted | rejects-501 | rejects-400 | overwrites (412, yet written)
    drop_answer_of: the number of the one write whose answer is lost, from 1
    fault_code, condition: the <Code> and <Condition> of its error bodies, where they should not be the usual ones
    """

    endpoint: str = ""
    fault: str = ""
    fault_code: str = ""
    dialect: str = "honest"
    condition: str = ""
    drop_answer_of: int = 0
    writes: int = 0
    ca_pem: bytes = b""
    objects: dict = field(default_factory=dict)
    requests: list = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    over: threading.Event = field(default_factory=threading.Event)
    number: int = field(default_factory=_NUMBERS.__next__)

    @property
    def access_key(self):
        # never one of another stub: ports are given again, and so are the addresses of objects
        return f"stub{os.getpid()}x{self.number}x{self.endpoint.rpartition(':')[2]}"

    @property
    def environ(self):
        return {**KEYS, "AWS_ACCESS_KEY_ID": self.access_key, "AWS_ENDPOINT_URL_S3": self.endpoint}


def _etag(body):
    return f'"{hashlib.md5(body).hexdigest()}"'


def _condition_fails(stub, headers, body):
    """The status to answer instead of writing; 0: write."""
    create, match = headers.get("If-None-Match"), headers.get("If-Match")
    if create is None and match is None:
        return 0
    if stub.dialect == "ignores":
        return 0
    if stub.dialect.startswith("rejects"):
        return int(stub.dialect[-3:])
    if create is not None:
        return 412 if body is not None else 0
    if stub.dialect == "creates-only":
        return 0
    if body is None:
        return 404
    tag = _etag(body)
    return 0 if match == (tag.strip('"') if stub.dialect == "unquoted" else tag) else 412


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet: two would cost 40 ms each (Nagle against delayed ACK)
    stub: Stub

    def log_message(self, *_):
        pass

    def handle_expect_100(self):
        self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.wfile.flush()
        return True

    def do_GET(self):
        self._serve()

    do_PUT = do_DELETE = do_HEAD = do_POST = do_GET

    def _serve(self):
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        stub = self.stub
        credential = self.headers.get("Authorization", "")
        if "Credential=stub" in credential and stub.access_key not in credential:
            # a client of an earlier stub on this port, which sends again what was never answered
            self._send(403, b"")
            return
        with stub.lock:
            stub.requests.append(
                (self.command, self.path, {name.lower(): value for name, value in self.headers.items()})
            )
        if stub.fault == "hang":
            stub.over.wait(30)
            self.close_connection = True
        elif stub.fault == "garbage":
            self.wfile.write(b"\x00\xff not http at all \r\n\r\n")
            self.close_connection = True
        elif stub.fault.isdigit():
            self._error(int(stub.fault))
        else:
            self._answer(sent)

    def _answer(self, sent):
        url = urllib.parse.urlsplit(self.path)
        key = urllib.parse.unquote(url.path).lstrip("/")
        if self.command == "GET" and "list-type" in urllib.parse.parse_qs(url.query):
            self._send(200, self._listing(key.rstrip("/"), urllib.parse.parse_qs(url.query)))
        elif self.command == "GET":
            with self.stub.lock:
                kept = self.stub.objects.get(key)
            if kept is None:
                self._error(404, "NoSuchKey")
            else:
                self._send(
                    200, kept[0], {"ETag": _etag(kept[0]), "Last-Modified": formatdate(kept[1], usegmt=True)}
                )
        elif self.command == "PUT":
            self._put(key, sent)
        elif self.command == "DELETE":
            with self.stub.lock:
                self.stub.objects.pop(key, None)
            self._send(204, b"")
        else:
            self._error(501, "NotImplemented")

    def _put(self, key, sent):
        stub = self.stub
        with stub.lock:
            kept = stub.objects.get(key)
            status = _condition_fails(stub, self.headers, kept[0] if kept else None)
            if not status or stub.dialect == "overwrites":
                stub.objects[key] = (sent, time.time())
            stub.writes += 1
            is_lost = stub.writes == stub.drop_answer_of
        if is_lost or stub.fault.startswith("drop-answer"):
            if stub.fault == "drop-answer-once":
                stub.fault = ""
            # a reset, as from a load balancer that dies
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
        elif status:
            self._error(status)
        else:
            self._send(200, b"", {"ETag": _etag(sent)})

    def _listing(self, bucket, query):
        prefix = f"{bucket}/{query.get('prefix', [''])[0]}"
        with self.stub.lock:
            found = sorted(
                (key, body, at) for key, (body, at) in self.stub.objects.items() if key.startswith(prefix)
            )
        rows = "".join(
            f"<Contents><Key>{escape(key[len(bucket) + 1 :])}</Key><Size>{len(body)}</Size>"
            f"<LastModified>{time.strftime('%Y-%m-%dT%H:%M:%S.000Z', time.gmtime(at))}</LastModified>"
            f"<ETag>{escape(_etag(body))}</ETag></Contents>"
            for key, body, at in found
        )
        return f"<ListBucketResult><Name>{bucket}</Name><IsTruncated>false</IsTruncated>{rows}</ListBucketResult>".encode()

    def _error(self, status, code=""):
        code = (
            self.stub.fault_code
            or code
            or {
                400: "NotImplemented",
                401: "InvalidToken",
                403: "AccessDenied",
                404: "NoSuchKey",
                409: "ConditionalRequestConflict",
                412: "PreconditionFailed",
                501: "NotImplemented",
                503: "SlowDown",
            }.get(status, "InternalError")
        )
        condition = self.stub.condition and f"<Condition>{self.stub.condition}</Condition>"
        self._send(
            status,
            f"<Error><Code>{code}</Code><Message>stub says {code}</Message>{condition}</Error>".encode(),
        )

    def _send(self, status, body, headers=None):
        fault = self.stub.fault
        self.send_response_only(status)
        if fault != "forget-dates":
            self.send_header("Date", self.date_time_string())
        for name, value in (headers or {}).items():
            if not (fault == "forget-dates" and name == "Last-Modified"):
                self.send_header(name, value)
        is_spoiled = fault in {"truncate", "drip"} and body and self.command == "GET"
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if is_spoiled and fault == "truncate":
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
        elif is_spoiled:
            self.wfile.flush()
            for byte in body:
                if self.stub.over.wait(0.5):
                    break
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
        else:
            self.wfile.write(body)


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request, client_address):
        pass  # clients that give up are what these tests are about


def run_stub(tls=None, address="127.0.0.1"):
    stub = Stub()
    server = _QuietServer((address, 0), type("Handler", (_Handler,), {"stub": stub}))
    scheme = "http"
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        scheme = "https"
    stub.endpoint = f"{scheme}://{address}:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield stub
    finally:
        stub.over.set()
        server.shutdown()
        server.server_close()
        thread.join(5)


@pytest.fixture(scope="session")
def _one_stub():
    yield from run_stub()


@pytest.fixture
def stub(_one_stub):
    """A stub S3 that knows every bucket; one server, cleared for each test."""
    _one_stub.fault = _one_stub.fault_code = _one_stub.condition = ""
    _one_stub.dialect = "honest"
    _one_stub.objects.clear()
    _one_stub.requests.clear()
    return _one_stub


@pytest.fixture
def tls_stub():
    """The same behind TLS with a certificate of a private CA (`ca_pem`)."""
    ca = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    for stub in run_stub(context):
        stub.ca_pem = ca.cert_pem.bytes()
        yield stub
