"""A proxy before a real S3 server that spoils what its rule says, and writes down every request.

Unlike `tests.processes.fault_proxy` it does not draw lots: a rule sees the request and names the effect.
"""

import http.client
import itertools
import random
import socket
import struct
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import formatdate, parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HELD_S = 8.0  # a half-open connection lasts at most so long; clients give up sooner
HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive"}

# what a rule may answer; "" passes the request on
EFFECTS = {
    "cut-after": "the server did it, the client sees a reset",
    "cut-before": "a reset, and the server never hears of it",
    "cut-body": "half of the body, then the end",
    "half-open": "the server did it, no answer comes",
    "late": "a reset; the server gets the request 1.5 s later",
    "slow": "2 s late",
    "no-dates": "neither Date nor Last-Modified",
    "future": "Last-Modified lies a day ahead",
    "stale": "what was the answer to this GET before the last write",
    "409": "ConditionalRequestConflict, not written",
    "412": "PreconditionFailed, not written",
    "503": "SlowDown, not asked",
    "400": "NotImplemented, as Alibaba OSS says",
    "501": "NotImplemented, as Backblaze B2 says",
    "403": "AccessDenied",
}
CODES = {
    "400": "NotImplemented",
    "403": "AccessDenied",
    "409": "ConditionalRequestConflict",
    "412": "PreconditionFailed",
    "501": "NotImplemented",
    "503": "SlowDown",
}
REGISTERS = ("bundle.json", "claim.json")


@dataclass(frozen=True)
class Request:
    """`number` counts the requests of this method and path, from 1. `condition` is "" where there is none."""

    method: str
    path: str
    number: int
    condition: str

    @property
    def name(self):
        return self.path.rpartition("/")[2]


def first(effect, count, *, method="PUT", names=REGISTERS):
    """The first `count` requests of that method on each object of those names get the effect."""
    return lambda request: (
        effect if request.method == method and request.name in names and request.number <= count else ""
    )


def first_of_all(effect, count, method="PUT"):
    """The first `count` requests of that method get it, whatever they are about: the probe's are the first."""
    numbers = itertools.count(1)
    return lambda request: effect if request.method == method and next(numbers) <= count else ""


def always(effect, method="PUT"):
    return lambda request: effect if request.method == method else ""


def by_lot(seed, share):
    """A share of all requests gets one of the effects that a network has."""
    rng, lock = random.Random(seed), threading.Lock()
    effects = ["cut-after", "cut-before", "cut-body", "half-open", "late", "slow", "503"]

    def rule(request):
        with lock:
            return rng.choice(effects) if rng.random() < share else ""

    return rule


class SpoilingProxy:
    def __init__(self, upstream_port, rule):
        self.upstream_port = upstream_port
        self.rule = rule
        self.requests = []
        self.puts = []  # (path, status of the server, condition)
        self.spoiled = []
        self._counts = {}
        self._answers = {}
        self._older = {}
        self._lock = threading.Lock()
        self.over = threading.Event()
        self.endpoint = ""

    def note(self, method, path, condition):
        with self._lock:
            number = self._counts[method, path] = self._counts.get((method, path), 0) + 1
            request = Request(method, path, number, condition)
            self.requests.append(request)
        effect = self.rule(request)
        if effect:
            self.spoiled.append((effect, request))
        return request, effect

    def ask(self, handler, body):
        """(status, headers, body) of the server."""
        connection = http.client.HTTPConnection("127.0.0.1", self.upstream_port, timeout=60)
        try:
            connection.putrequest(handler.command, handler.path, skip_host=True, skip_accept_encoding=True)
            for name, value in handler.headers.items():
                if name.lower() not in {"expect", "connection"}:
                    connection.putheader(name, value)
            connection.endheaders(body or None)
            answer = connection.getresponse()
            told = answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()
        path = handler.path.partition("?")[0]
        with self._lock:
            if handler.command == "PUT":
                self.puts.append((path, answer.status, condition_of(handler.headers)))
                if answer.status == 200:
                    self._older[path] = self._answers.pop(path, None)
            elif handler.command == "GET":
                self._answers[path] = told
        return told

    def older(self, path):
        with self._lock:
            return self._older.get(path)

    def puts_of(self, name):
        return [put for put in self.puts if put[0].endswith("/" + name)]


def condition_of(headers):
    return " ".join(
        f"{name.lower()}: {value}" for name, value in headers.items() if name.lower().startswith("if-")
    )


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    proxy: SpoilingProxy

    def log_message(self, *_):
        pass

    def handle_expect_100(self):
        self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.wfile.flush()
        return True

    def do_GET(self):
        proxy = self.proxy
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path if "list-type" in self.path else self.path.partition("?")[0]
        request, effect = proxy.note(self.command, path, condition_of(self.headers))
        if effect == "cut-before":
            return self._reset()
        if effect in CODES:
            text = f"<Error><Code>{CODES[effect]}</Code><Message>spoiled</Message></Error>".encode()
            return self._send(int(effect), [("Content-Type", "application/xml")], text)
        if effect == "late":
            self._reset()
            proxy.over.wait(1.5)
        if effect == "slow":
            proxy.over.wait(2.0)
        status, headers, told = proxy.ask(self, body)
        if effect == "late":
            return None
        if effect == "half-open":
            proxy.over.wait(HELD_S)
            return self._reset()
        if effect == "cut-after":
            return self._reset()
        if effect == "stale":
            status, headers, told = proxy.older(request.path) or (
                404,
                [],
                b"<Error><Code>NoSuchKey</Code></Error>",
            )
        return self._send(status, [pair for pair in map(self._dated(effect), headers) if pair], told, effect)

    do_PUT = do_DELETE = do_HEAD = do_POST = do_GET

    @staticmethod
    def _dated(effect):
        def spoil(pair):
            name = pair[0].lower()
            if effect == "no-dates" and name in {"date", "last-modified"}:
                return None
            if effect == "future" and name == "last-modified":
                return (pair[0], formatdate(parsedate_to_datetime(pair[1]).timestamp() + 86400, usegmt=True))
            return pair

        return spoil

    def _send(self, status, headers, body, effect=""):
        self.send_response_only(status)
        length = len(body)
        for name, value in headers:
            if self.command == "HEAD" and name.lower() == "content-length":
                length = int(value)
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        if effect == "cut-body" and body:
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            self.close_connection = True
        elif self.command != "HEAD":
            self.wfile.write(body)

    def _reset(self):
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request, client_address):
        pass  # clients that went away are what it is for


@contextmanager
def spoiling(server, rule=lambda _: ""):
    """A running proxy before `server`; its `endpoint` is what pods are told."""
    proxy = SpoilingProxy(server.port, rule)
    listener = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"proxy": proxy}))
    proxy.endpoint = f"http://127.0.0.1:{listener.server_address[1]}"
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.over.set()
        time.sleep(0.05)
        listener.shutdown()
        listener.server_close()
        thread.join(5)
