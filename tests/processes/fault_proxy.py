"""A proxy before an S3 server that spoils answers: lost after the write, late, half open, 503, reset.

Every connection draws its faults from its own seed. What the server really did is written down, so that a test can say
what was on the wire: how often `bundle.json` was written, and under which condition.
"""

import asyncio
import random
import re
import socket
import struct
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

_SLOW_DOWN_BODY = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
SLOW_DOWN = b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n\r\n%b" % (
    len(_SLOW_DOWN_BODY),
    _SLOW_DOWN_BODY,
)
HELD_S = 8.0  # a half-open connection is kept at most so long; clients give up sooner

FAULTS = {
    "drop-answer": "the server did it, and the client sees a reset",
    "late": "the client sees a reset; the server gets the request up to 3 s later",
    "delay-request": "up to 1 s before the server gets it",
    "delay-answer": "up to 1 s after the server did it",
    "half-open": "the server did it; no answer comes, and no end",
    "swallow": "the server never gets it; no answer comes, and no end",
    "503": "SlowDown, without asking the server",
    "reset": "without asking the server",
}


@dataclass(frozen=True)
class Exchange:
    """A PUT that the server answered."""

    path: str
    status: int
    condition: str  # "" where the request had none


@dataclass
class Wire:
    """What went through, since the proxy began."""

    puts: list = field(default_factory=list)
    faults: Counter = field(default_factory=Counter)
    requests: int = 0

    def writes_of(self, path_end):
        return [put for put in list(self.puts) if put.path.endswith(path_end) and put.status == 200]


@dataclass(frozen=True)
class Request:
    """One HTTP/1.1 request, head and body as they came."""

    head: bytes
    body: bytes

    @property
    def method(self):
        return self.head.split(b" ", 1)[0].decode()

    @property
    def path(self):
        return self.head.split(b" ", 2)[1].decode().partition("?")[0]

    @property
    def condition(self):
        return " ".join(
            line for line in self.head.decode("latin-1").lower().split("\r\n") if line.startswith("if-")
        )


class FaultProxy:
    """Runs in a thread of its own. `share` of the requests is spoiled; 0 passes everything on."""

    def __init__(self, upstream_port, *, seed, share=0.0):
        self.upstream_port = upstream_port
        self.seed = seed
        self.share = share
        self.wire = Wire()
        self.port = 0
        self._connections = 0
        self._loop = asyncio.new_event_loop()
        self._tasks = set()
        self._is_up = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="fault-proxy", daemon=True)

    def __enter__(self):
        self._thread.start()
        self._is_up.wait(10)
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.port}"

    def _serve(self):
        self._loop.run_until_complete(self._until_stopped())
        self._loop.close()

    async def _until_stopped(self):
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, backlog=1024)
        self.port = server.sockets[0].getsockname()[1]
        self._is_up.set()
        await self._stop.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader, writer):
        task = asyncio.current_task()
        self._tasks.add(task)
        self._connections += 1
        rng = random.Random(f"{self.seed}:{self._connections}")
        upstream = Upstream(self.upstream_port)
        try:
            while (request := await _read_request(reader, writer)) is not None:
                if not await self._pass_on(request, rng, upstream, writer):
                    break
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # either side went away, which is what this proxy is about
        finally:
            upstream.close()
            writer.close()
            self._tasks.discard(task)

    async def _pass_on(self, request, rng, upstream, writer):
        """False: this connection is over."""
        self.wire.requests += 1
        fault = rng.choice(list(FAULTS)) if rng.random() < self.share else ""
        if fault:
            self.wire.faults[fault] += 1
        if fault == "reset":
            return _reset(writer)
        if fault == "503":
            writer.write(SLOW_DOWN)
            await writer.drain()
            return True
        if fault == "swallow":
            await asyncio.sleep(HELD_S)
            return False
        if fault == "late":
            _reset(writer)
            await asyncio.sleep(rng.uniform(0.2, 3.0))
        if fault == "delay-request":
            await asyncio.sleep(rng.uniform(0.05, 1.0))
        answer = await self._ask(request, upstream)
        if fault == "late":
            return False
        if fault == "drop-answer":
            return _reset(writer)
        if fault == "half-open":
            await asyncio.sleep(HELD_S)
            return False
        if fault == "delay-answer":
            await asyncio.sleep(rng.uniform(0.05, 1.0))
        writer.write(answer)
        await writer.drain()
        return True

    async def _ask(self, request, upstream):
        answer = await upstream.ask(request)
        if request.method == "PUT":
            status = int(answer.split(b" ", 2)[1])
            self.wire.puts.append(Exchange(request.path, status, request.condition))
        return answer


class Upstream:
    """One connection to the server, made when it is first needed."""

    def __init__(self, port):
        self.port = port
        self.reader = self.writer = None

    async def ask(self, request):
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writer.write(request.head + request.body)
        await self.writer.drain()
        head = await self._head()
        while head.startswith(b"HTTP/1.1 100"):
            head = await self._head()
        status = int(head.split(b" ", 2)[1])
        if request.method == "HEAD" or status in (204, 304):
            return head
        return head + await _read_body(self.reader, head)

    async def _head(self):
        return await self.reader.readuntil(b"\r\n\r\n")

    def close(self):
        if self.writer is not None:
            self.writer.close()


async def _read_request(reader, writer):
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    if b"100-continue" in head.lower():  # botocore holds a body back until it is asked for
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        head = re.sub(rb"(?i)expect: 100-continue\r\n", b"", head)
    return Request(head, await _read_body(reader, head))


async def _read_body(reader, head):
    headers = dict(
        line.split(": ", 1) for line in head.decode("latin-1").lower().split("\r\n")[1:] if ": " in line
    )
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while True:
            line = await reader.readuntil(b"\r\n")
            chunk = await reader.readexactly(int(line.split(b";")[0], 16) + 2)
            body += line + chunk
            if len(chunk) == 2:
                return body
    return await reader.readexactly(int(headers.get("content-length", "0")))


def _reset(writer):
    with suppress(OSError):
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()
    return False
