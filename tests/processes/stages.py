"""Where rounds are played: a bucket behind the fault proxy, or a directory. Each looks beside the product at what is there."""

import json
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.bundles import tombstone
from tests.processes.fault_proxy import FaultProxy
from tests.processes.minio import Beside, Bucket

from cache_store.clock import fresh_nonce
from cache_store.objects.directory import DirectoryStore


@dataclass(frozen=True)
class Written:
    """What became of a round's `bundle.json`. `versions`, `writes`: how often pods wrote it, by two counts.

    `unconditional`: writes of a register without a condition, as seen on the wire.
    """

    body: bytes | None
    versions: int
    writes: int
    unconditional: int


class S3Stage:
    """A bucket behind a proxy."""

    uids = groups = ()

    def __init__(self, name, bucket: Bucket, proxy: FaultProxy):
        self.name = name
        self.bucket = bucket
        self.proxy = proxy
        self.beside = Beside(bucket)
        self.retired = set()

    def close(self):
        self.beside.close()

    def url(self, prefix):
        return f"s3://{self.bucket.name}/{prefix}"

    def retire(self, prefix, folder):
        """As if ops had taken a bundle out of service: the round's publish has to replace this very object."""
        key = f"{prefix}/{folder}/bundle.json"
        self.beside.client.put_object(Bucket=self.bucket.name, Key=key, Body=tombstone().encode())
        self.retired.add(prefix)

    @property
    def environ(self):
        return self._environ(self.proxy.endpoint)

    @property
    def honest_environ(self):
        """Past the proxy."""
        return self._environ(self.bucket.endpoint)

    def late_problems(self):
        times = Counter(put.path for put in self.proxy.wire.writes_of("/bundle.json"))
        yield from (
            f"{path} was written {count} times in the end" for path, count in times.items() if count != 1
        )

    def wire(self):
        """What the proxy did, for the evidence."""
        wire = self.proxy.wire
        return {"requests": wire.requests, "faults": dict(sorted(wire.faults.items()))}

    def _environ(self, endpoint):
        return {
            "AWS_ACCESS_KEY_ID": self.bucket.access,
            "AWS_SECRET_ACCESS_KEY": self.bucket.secret,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL_S3": endpoint,
        }

    def claim(self, prefix, folder):
        body = self.beside.read(f"{prefix}/{folder}/claim.json")
        return None if body is None else json.loads(body)

    def written(self, prefix, folder):
        key = f"{prefix}/{folder}/bundle.json"
        puts = [put for put in list(self.proxy.wire.puts) if f"/{prefix}/" in put.path]
        writes = [put for put in puts if put.path.endswith("/bundle.json") and put.status == 200]
        registers = [put for put in puts if put.path.endswith(("/bundle.json", "/claim.json"))]
        if self.bucket.keeps_versions:
            versions = len([row for row in self.beside.versions(key) if row[0] == key])
            versions -= prefix in self.retired
        else:
            versions = len(writes)
        bare = [put for put in registers if not put.condition]
        return Written(self.beside.read(key), versions, len(writes), len(bare))


class DirectoryStage:
    """A directory as the store. `uids`: pods take turns with them, in one common group."""

    name = "directory"

    def __init__(self, root: Path, uids=()):
        self.root = root
        self.uids = uids
        self.groups = (COMMON_GROUP,) if uids else ()
        self.retired = set()
        self.environ = self.honest_environ = {}

    def close(self):
        pass

    def url(self, prefix):
        (self.root / prefix).mkdir(exist_ok=True)
        if self.uids:
            share_with_group(self.root / prefix)
        return (self.root / prefix).as_uri()

    def retire(self, prefix, folder):
        store = DirectoryStore(self.root / prefix, nonce=fresh_nonce)
        store.put_if_absent(f"{folder}/bundle.json", tombstone().encode())
        self.retired.add(prefix)

    def late_problems(self):
        """Each round was judged when it was over, and nothing holds a write back here."""
        return ()

    def wire(self):
        return {}

    def claim(self, prefix, folder):
        try:
            return json.loads((self.root / prefix / folder / "claim.json").read_bytes())
        except FileNotFoundError:
            return None

    def written(self, prefix, folder):
        bundle = self.root / prefix / folder / "bundle.json"
        versions = [path for path in bundle.with_name(".~bundle.json").glob("*") if path.name.isdigit()]
        times = len(versions) - (prefix in self.retired)
        body = bundle.read_bytes() if bundle.exists() else None
        return Written(body, times, times, 0)


COMMON_GROUP = 12000


def share_with_group(directory):
    """As the kubelet does for fsGroup: the group of the volume's directory, inherited by what is made in it."""
    os.chown(directory, 0, COMMON_GROUP)
    directory.chmod(0o2775)
