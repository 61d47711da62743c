import itertools
import json
import random
from dataclasses import dataclass, replace

import jsonschema
import pytest
from click.testing import CliRunner
from tests import bundles
from tests.pods import ROOT

from cache_store.bundle import MAX_INLINE_BYTES, digest_of, pack
from cache_store.claim import Claim
from cache_store.cli.app import cli
from cache_store.cli.session import Session
from cache_store.objects import Written
from cache_store.objects.counting import Counting
from cache_store.objects.memory import MemoryStore
from cache_store.testing.clock import ManualClock
from cache_store.testing.faulty import FaultyStore

SCHEMAS = ROOT / "docs" / "schemas"


def closed(schema):
    """The schema with every object closed: a field that the page does not know fails."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {name: closed(one) for name, one in schema.items()}
    if "properties" in schema:
        schema["additionalProperties"] = False
    return schema


def check_document(document):
    name = "error" if "error" in document and "schema" not in document else document["schema"].split("/")[1]
    name = {"fleet-page": "report"}.get(name, name)  # autotune-init's report had the name first
    schema = json.loads((SCHEMAS / f"cache-store-{name}.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(document, closed(schema), jsonschema.Draft202012Validator)
    return document


@dataclass
class Ran:
    """How one command ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def document(self):
        assert self.stdout.count("\n") == 1, self.stdout
        return check_document(json.loads(self.stdout))

    @property
    def error(self):
        return check_document(json.loads(self.stderr))["error"]


class Shop:
    """A store in memory that can go wrong and counts what it is asked, and the program in front of it."""

    def __init__(self):
        self.clock = ManualClock()
        self.memory = MemoryStore(self.clock, url="s3://models/autotune")
        self.prod = MemoryStore(self.clock, url="s3://models/prod")
        self.faulty = FaultyStore(self.memory, clock=self.clock)
        self.store = self.faulty
        self.requests = {}
        self.nonces = itertools.count()

    def put(self, key, body):
        assert isinstance(self.memory.put_if_absent(key, body), Written)

    def publish(self, bundle=None, **changes):
        """A bundle where it belongs; its address."""
        bundle = bundle or bundles.bundle(**changes)
        self.put(bundle.identity.address.bundle_key, bundle.encode())
        return bundle.identity.address

    def publish_large(self, who=None):
        """A bundle whose one content is a blob; its address and the content."""
        who = who or bundles.identity(bundles.H200)
        body = bundles.rank_file(dict(who.environment.metadata)) + b" " * MAX_INLINE_BYTES
        contents = {"rank_tp0_pp0_dp0.json": body}
        address = self.publish(bundles.bundle(contents, who=who))
        for digest, content in pack(contents)[2].items():
            self.put(address.blob_key(digest), content)
        return address, body

    def publish_beside(self, who=None):
        """As `publish_large` does it, with a content that takes no time; its address."""
        who = who or bundles.identity(bundles.H200)
        body = bundles.rank_file(dict(who.environment.metadata))
        blob = {digest_of(body): len(body)}
        address = self.publish(replace(bundles.bundle(who=who), files={}, blobs=blob))
        self.put(address.blob_key(digest_of(body)), body)
        return address

    def claim(self, who=None, **changes):
        """A claim where it belongs; its address."""
        fields = {"state": "held", "epoch": 1, "counter": 1, "nonce": "n", "holder": "pod-a", "lease_s": 60.0}
        address = (who or bundles.identity()).address
        self.put(address.claim_key, Claim(**(fields | changes)).encode())
        return address

    def open(self, url, **_):
        if url == self.prod.url:
            return self.prod
        assert url == "s3://models/autotune"
        counting = Counting(self.store)
        self.requests = counting.counts.requests
        return counting

    def __call__(self, *args, environ=None, **session):
        """The program with `args`."""
        world = Session(
            environ={"AUTOTUNE_STORE": "s3://models/autotune"} if environ is None else environ,
            rng=random.Random(1),
            nonce=lambda: f"{next(self.nonces):032x}",
            **({"opener": self.open, "clock": self.clock} | session),
        )
        done = CliRunner().invoke(cli, [str(arg) for arg in args], obj=world)
        assert done.exception is None, done.exception
        return Ran(done.return_value, done.stdout, done.stderr)


@pytest.fixture
def shop():
    return Shop()
