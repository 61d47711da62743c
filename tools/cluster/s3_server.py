"""A production S3 server (MinIO) for tests: on the bridge for pods, or on loopback."""

from __future__ import annotations

import os
import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tools.cluster.daemons import Daemons
from tools.cluster.errors import ClusterError
from tools.cluster.layout import BIN, S3_PORT

ACCESS_KEY = "autotune"
SECRET_KEY = "autotune-test-secret"
REGION = "us-east-1"
_NAME = "minio"


@dataclass(frozen=True)
class S3Server:
    """`endpoint` is http://ADDRESS:PORT; a bucket is a folder of `folder`, so making one needs no client."""

    endpoint: str
    folder: Path

    @property
    def settings(self) -> dict[str, str]:
        """The variables by which the program finds it."""
        return {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL_S3": self.endpoint,
        }


@contextmanager
def s3_server(address: str = "127.0.0.1", port: int = S3_PORT) -> Iterator[S3Server]:
    """Starts one in a folder of its own and ends it; the kernel ends it with the thread that called this."""
    folder = Path(tempfile.mkdtemp(prefix="atc-s3-"))
    daemons = Daemons(folder / "pids", folder / "logs")
    try:
        yield start(daemons, folder / "objects", address, port, is_tied=True)
    finally:
        daemons.stop(_NAME)
        shutil.rmtree(folder, ignore_errors=True)


def start(daemons: Daemons, folder: Path, address: str, port: int, *, is_tied: bool = False) -> S3Server:
    """Idempotent: one that is recorded and alive is kept."""
    server = S3Server(f"http://{address}:{port}", folder)
    if daemons.pid(_NAME) is None:
        folder.mkdir(parents=True, exist_ok=True)
        environ = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "HOME": str(folder.parent),
            "MINIO_ROOT_USER": ACCESS_KEY,
            "MINIO_ROOT_PASSWORD": SECRET_KEY,
            "MINIO_BROWSER": "off",
            "MINIO_UPDATE": "off",
            "MINIO_CALLHOME_ENABLE": "off",
        }
        command: list[str | Path] = [
            BIN / "minio",
            "server",
            "--quiet",
            "--address",
            f"{address}:{port}",
            folder,
        ]
        daemons.start(_NAME, command, environ=environ, is_tied=is_tied)
    daemons.wait_until("the S3 server", 30, lambda: is_ready(server.endpoint), needs=[_NAME])
    return server


def is_ready(endpoint: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{endpoint}/minio/health/ready", timeout=2):
            return True
    except (OSError, urllib.error.URLError):
        return False


def make_bucket(server: S3Server, name: str) -> str:
    """A new empty bucket; ClusterError where it exists."""
    try:
        (server.folder / name).mkdir()
    except FileExistsError as error:
        raise ClusterError(f"bucket {name} exists already") from error
    return name
