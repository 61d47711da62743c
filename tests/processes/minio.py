"""A MinIO of our own on loopback, and a client that looks at what is in it without going through the product."""

import contextlib
import os
import socket
import subprocess
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import botocore.session
from botocore.config import Config
from botocore.exceptions import ClientError

MINIO = Path(__file__).resolve().parents[2] / ".tools" / "bin" / "minio"
ACCESS, SECRET = "minioadmin", "minioadmin"
KEYS = {"AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1"}


@dataclass(frozen=True)
class Bucket:
    """One bucket, seen from beside. `keeps_versions`: the server keeps every version, and conditions too."""

    endpoint: str
    name: str
    access: str = ACCESS
    secret: str = SECRET
    keeps_versions: bool = True

    @property
    def port(self):
        return int(self.endpoint.rpartition(":")[2])

    def client(self):
        session = botocore.session.get_session()
        config = Config(s3={"addressing_style": "path"}, connect_timeout=5, read_timeout=20)
        return session.create_client(
            "s3", region_name="us-east-1", endpoint_url=self.endpoint, config=config,
            aws_access_key_id=self.access, aws_secret_access_key=self.secret,
        )  # fmt: skip

    def create(self):
        client = self.client()
        client.create_bucket(Bucket=self.name)
        if self.keeps_versions:
            wanted = {"Status": "Enabled"}
            client.put_bucket_versioning(Bucket=self.name, VersioningConfiguration=wanted)
        return self


class Beside:
    """Reads a bucket for the tests. One client; safe to share between threads."""

    def __init__(self, bucket):
        self.bucket = bucket
        self.client = bucket.client()

    def read(self, key):
        """The object, or None."""
        try:
            return self.client.get_object(Bucket=self.bucket.name, Key=key)["Body"].read()
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                return None
            raise

    def versions(self, prefix):
        """(key, etag, is a deletion), one row a version."""
        pages = self.client.get_paginator("list_object_versions").paginate(
            Bucket=self.bucket.name, Prefix=prefix
        )
        return [
            (row["Key"], row.get("ETag", ""), kind == "DeleteMarkers")
            for page in pages
            for kind in ("Versions", "DeleteMarkers")
            for row in page.get(kind, [])
        ]

    def close(self):
        self.client.close()


@contextlib.contextmanager
def serve(folder):
    """Its endpoint. Raises FileNotFoundError where it was not built (`make servers`)."""
    if not MINIO.exists():
        raise FileNotFoundError(f"{MINIO} is not built: run `make servers`")
    drive = Path(folder) / "drive"
    drive.mkdir(parents=True)
    port, console = _free_port(), _free_port()
    environ = {
        "PATH": os.environ["PATH"], "HOME": str(folder), "MINIO_ROOT_USER": ACCESS,
        "MINIO_ROOT_PASSWORD": SECRET, "MINIO_BROWSER": "off", "MINIO_UPDATE": "off",
    }  # fmt: skip
    command = [
        str(MINIO), "server", "--quiet", "--address", f"127.0.0.1:{port}",
        "--console-address", f"127.0.0.1:{console}", str(drive),
    ]  # fmt: skip
    log = Path(folder) / "minio.log"
    with log.open("wb") as file:
        process = subprocess.Popen(command, env=environ, cwd=folder, stdout=file, stderr=file)
    endpoint = f"http://127.0.0.1:{port}"
    try:
        _wait_until_ready(process, endpoint, log)
        yield endpoint
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(process, endpoint, log):
    for _ in range(300):
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{endpoint}/minio/health/ready", timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"MinIO did not start:\n{log.read_text(errors='replace')[-2000:]}")


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
