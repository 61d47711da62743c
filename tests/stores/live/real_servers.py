"""Real S3 servers on loopback, each in its own processes, and buckets on them.

A server that is not built is a skip that names it and the command; where it is required it is a failure: with CI=true
MinIO, versitygw and MiniStack, else those that AUTOTUNE_REQUIRE_STORES names (comma-separated).
"""

import contextlib
import os
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import botocore.session
import pytest
from botocore.config import Config
from tests.processes import minio, radosgw
from tests.servers import KEYS, MINISTACK, free_port

from cache_store.objects.open_url import open_store

ROOT = Path(__file__).resolve().parents[3]
VERSITYGW = ROOT / ".tools" / "bin" / "versitygw"
FAUXQS = ROOT / ".tools" / "fauxqs"
REQUIRED_IN_CI = "minio,versitygw,ministack"
ADAPTERS = ("obstore", "fsspec")
REQUEST_TIMEOUT_S = 60.0  # 32 writers at once on two busy cores
_numbers = count(1)


@dataclass
class Server:
    """A running server. `etag_form`: how it wants If-Match, as the probe finds it (test_conditions holds that)."""

    name: str
    endpoint: str
    access: str
    secret: str
    etag_form: str = "quoted"
    _client: list = field(default_factory=list)

    @property
    def environ(self):
        return {
            "AWS_ACCESS_KEY_ID": self.access,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL_S3": self.endpoint,
        }

    @property
    def port(self):
        return int(self.endpoint.rpartition(":")[2])

    @property
    def beside(self):
        """A client that does not go through the product."""
        if not self._client:
            config = Config(s3={"addressing_style": "path"}, connect_timeout=5, read_timeout=60)
            session = botocore.session.get_session()
            keys = {"aws_access_key_id": self.access, "aws_secret_access_key": self.secret}
            self._client.append(
                session.create_client(
                    "s3", region_name="us-east-1", endpoint_url=self.endpoint, config=config, **keys
                )
            )
        return self._client[0]

    def create_bucket(self, *, is_versioned=False):
        name = f"bucket-{os.getpid()}-{next(_numbers)}"
        self.beside.create_bucket(Bucket=name)
        if is_versioned:
            self.beside.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        return name

    def versions_of(self, bucket, key_end):
        """The versions and deletions of all keys with that end, one row each."""
        pages = self.beside.get_paginator("list_object_versions").paginate(Bucket=bucket)
        return [
            (kind, row["Key"])
            for page in pages
            for kind in ("Versions", "DeleteMarkers")
            for row in page.get(kind, [])
            if row["Key"].endswith(key_end)
        ]

    def open(self, bucket, adapter, *, etag_form=""):
        """A store as the product has it after its probe: with the ETag form that this server wants, unless said."""
        store = open_store(
            f"s3://{bucket}/some/prefix",
            environ=self.environ,
            adapter=adapter,
            request_timeout_s=REQUEST_TIMEOUT_S,
        )
        store.etag_form = etag_form or self.etag_form
        return store


class NotBuilt(Exception):
    """What is missing, and the command that makes it."""


@contextlib.contextmanager
def _minio(folder):
    if not minio.MINIO.exists():
        raise NotBuilt("minio is not built: make servers")
    with minio.serve(folder / "minio") as endpoint:
        yield Server("minio", endpoint, minio.ACCESS, minio.SECRET)


@contextlib.contextmanager
def _radosgw(folder):
    if not radosgw.is_there():
        raise NotBuilt("radosgw is not fetched: python -m tests.processes.radosgw")
    # a socket of a daemon lies below, and its path may be 107 bytes long
    with radosgw.serve(folder / "rgw") as endpoint:
        yield Server("radosgw", endpoint, radosgw.ACCESS, radosgw.SECRET, "unquoted")


@contextlib.contextmanager
def _versitygw(folder):
    if not VERSITYGW.exists():
        raise NotBuilt("versitygw is not built: make servers")
    port = free_port()
    for name in ("objects", "versions"):
        (folder / name).mkdir()
    command = [
        str(VERSITYGW), "--port", f"127.0.0.1:{port}", "--access", "access", "--secret", "very-secret", "--quiet",
        "posix", "--versioning-dir", str(folder / "versions"), str(folder / "objects"),
    ]  # fmt: skip
    with _process(command, folder, port):
        yield Server("versitygw", f"http://127.0.0.1:{port}", "access", "very-secret")


@contextlib.contextmanager
def _ministack(folder):
    if not MINISTACK.exists():
        raise NotBuilt("ministack is not installed: make ministack")
    port = free_port()
    with _process([str(MINISTACK)], folder, port, BIND_HOST="127.0.0.1", GATEWAY_PORT=str(port)):
        yield Server(
            "ministack", f"http://127.0.0.1:{port}", KEYS["AWS_ACCESS_KEY_ID"], KEYS["AWS_SECRET_ACCESS_KEY"]
        )


@contextlib.contextmanager
def _fauxqs(folder):
    if not (FAUXQS / ".done").exists():
        raise NotBuilt("fauxqs is not installed: python tools/servers/fetch_fauxqs.py")
    port = free_port()
    with _process(["node", str(FAUXQS / "serve.mjs"), str(port)], folder, port):
        yield Server("fauxqs", f"http://127.0.0.1:{port}", "test", "test")


@contextlib.contextmanager
def _process(command, folder, port, **environ):
    """Runs it until the block ends; ready as soon as it speaks HTTP."""
    log = folder / "log"
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), **environ}
    with log.open("wb") as file:
        process = subprocess.Popen(command, env=environ, cwd=folder, stdout=file, stderr=file)
    try:
        for _ in range(300):
            if process.poll() is not None:
                break
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2):
                    break
            except urllib.error.HTTPError:
                break
            except OSError:
                time.sleep(0.1)
        else:
            process.kill()
        if process.poll() is not None:
            raise RuntimeError(f"{command[0]} did not start:\n{log.read_text(errors='replace')[-2000:]}")
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


STARTERS = {
    "minio": _minio, "versitygw": _versitygw, "radosgw": _radosgw, "ministack": _ministack, "fauxqs": _fauxqs,
}  # fmt: skip


class Park:
    """Servers of one test session, each started when it is first asked for."""

    def __init__(self, make_folder, required):
        self._make_folder = make_folder
        self._required = required
        self._running = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stack.close()

    def get(self, name):
        if name not in self._running:
            try:
                self._running[name] = self._stack.enter_context(STARTERS[name](self._make_folder(name)))
            except NotBuilt as missing:
                if name in self._required:
                    pytest.fail(f"{missing} (it is required here)", pytrace=False)
                pytest.skip(str(missing))
        return self._running[name]


def required(environ):
    """The servers without which a run is worth nothing. Raises ValueError for a name that is none."""
    default = REQUIRED_IN_CI if environ.get("CI") == "true" else ""
    names = {name.strip() for name in environ.get("AUTOTUNE_REQUIRE_STORES", default).split(",")} - {""}
    if unknown := names - set(STARTERS):
        raise ValueError(f"AUTOTUNE_REQUIRE_STORES names {', '.join(sorted(unknown))}")
    return names
