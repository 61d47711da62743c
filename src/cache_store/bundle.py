"""`bundle.json`: a register that is absent, then published, then a tombstone, then published again, ...

Every step is one conditional PutObject. A reader needs exactly one request for a hit. Everything in here came over
the network from a bucket that others can write to: size and depth are limited before anything is parsed
(bundle_json.py), names are checked before anybody builds a path, and digests before anybody uses a byte.

Plain records, because every pod that starts pays for what this module imports: with pydantic it took 100 ms of a
hit's 230 (docs/evidence/hit-path.json).
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from cache_store.annotation import Final, Literal
from cache_store.dataclass import dataclass, field
from cache_store.identity import Address, Identity, environment_name
from cache_store.objects import MIB
from cache_store.pattern import pattern
from cache_store.sha256 import sha256_hex

BUNDLE_SCHEMA: Final = "autotune-cache/bundle/v1"
TOMBSTONE_SCHEMA: Final = "autotune-cache/tombstone/v1"

# FlashInfer's own store is one file an entry: 10,000 of 1.3 KiB (a dense FP8 GEMM's, FlashInfer 0.7.2) ride inline, so
# that a hit stays one request. JSON at most doubles an inline text (quotes, line ends), and 180 bytes of digests join
# each entry: whatever `pack` puts inline is below the register's limit
MAX_REGISTER_BYTES = 32 * MIB
MAX_INLINE_BYTES = 14 * MIB
MAX_FILE_BYTES = 16 * MIB
MAX_FILES = 10_240
# what a pod, an export or a copy holds in memory; eight ranks with 16 MiB each are a quarter of it
MAX_BLOBS_BYTES = 512 * MIB
MAX_DEPTH = 32

_PLAIN_NONCE = pattern(r"[A-Za-z0-9_-]{1,128}\Z")


class BadBundle(ValueError):  # noqa: N818 -- reads as what it is
    """Bytes that are no usable bundle. `reason` is stable, the message is for a person."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, kw_only=True)
class IdentityRecord:
    """Every input of the address, in clear."""

    engine: str
    flashinfer_version: str
    arch: str
    key: str
    key_text: str
    key_inputs: dict[str, str | int | bool | None]
    environment: str
    metadata: dict[str, str]
    extra: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, identity: Identity) -> IdentityRecord:
        return cls(
            engine=identity.engine,
            flashinfer_version=identity.flashinfer_version,
            arch=identity.arch,
            key=identity.key,
            key_text=identity.key_text,
            key_inputs=dict(identity.key_inputs),
            environment=identity.environment.name,
            metadata=dict(identity.environment.metadata),
            extra=dict(identity.environment.extra),
        )

    @property
    def address(self) -> Address:
        """Recomputed from the metadata, so that a record cannot claim an environment that it does not describe."""
        name = environment_name(self.metadata, self.extra)
        return Address(self.flashinfer_version, self.arch, self.key, name)

    @property
    def stated_address(self) -> Address:
        """As the record has it: the same as `address` in a bundle that `check_contents` has seen, for less."""
        return Address(self.flashinfer_version, self.arch, self.key, self.environment)


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Who made it and how: facts for people, never part of identity."""

    created_at: str | None = None
    created_by_clock: Literal["server", "pod"] = "server"
    holder: str = ""
    tuner: str = ""
    tune_s: float = 0.0
    verified: str = ""
    engine_version: str = ""
    image: str | None = None
    driver: str | None = None
    program: str = ""
    restored_by: str | None = None
    restored_at: str | None = None
    restored_why: str | None = None


@dataclass(frozen=True, kw_only=True)
class CoverageRecord:
    """What the tune covered, counted in entries of the rank that has most, and what is known of the rest.

    `ops`: op -> entries. `max_bucket`: tokens. `excluded`: what was left out on purpose, and why. `buckets`: op ->
    shapes (the token count written "M") -> buckets that every rank has which has the shape at all; `rows_left_out`
    more shapes were too many to list. `expected` and `missing` count the keys that the model's config.json asks for
    and those that no rank may lack but some does; None: not known. `first_missing` are the first few, for a person.
    `undecided`: what config.json does not decide, and why. Bundles of earlier releases have none of the last six.
    """

    ops: dict[str, int] = field(default_factory=dict)
    entries: int = 0
    max_bucket: int = 0
    excluded: dict[str, str] = field(default_factory=dict)
    buckets: dict[str, dict[str, tuple[int, ...]]] = field(default_factory=dict)
    rows_left_out: int = 0
    expected: int | None = None
    missing: int | None = None
    first_missing: tuple[str, ...] = ()
    undecided: dict[str, str] = field(default_factory=dict)

    @property
    def completeness(self) -> Literal["complete", "incomplete", "unknown"]:
        """Complete only where everything that the model will ask for is known and is there."""
        if self.missing:
            return "incomplete"
        if self.expected is None or self.missing is None or self.undecided:
            return "unknown"
        return "complete"

    def brief(self) -> dict[str, object]:
        """Without the table: for a report that must fit into a pod's termination message."""
        told = {name: value for name, value in vars(self).items() if name not in {"buckets", "rows_left_out"}}
        return {**told, "first_missing": list(self.first_missing), "completeness": self.completeness}


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """The published state. `files` holds each distinct text once even if eight ranks share it."""

    identity: IdentityRecord
    ranks: dict[str, str]
    files: dict[str, str]
    blobs: dict[str, int] = field(default_factory=dict)
    epoch: int
    nonce: str
    provenance: Provenance
    coverage: CoverageRecord
    signature: str | None = None

    def encode(self) -> bytes:
        parts = {"identity": self.identity, "provenance": self.provenance, "coverage": self.coverage}
        return _encoded(BUNDLE_SCHEMA, {**vars(self), **{name: vars(part) for name, part in parts.items()}})

    @property
    def is_empty(self) -> bool:
        """The tuner ran and there was nothing to tune: a result like any other."""
        return not self.ranks

    @property
    def digests(self) -> frozenset[str]:
        return frozenset(self.ranks.values())


@dataclass(frozen=True, kw_only=True)
class Tombstone:
    """What ops leave in a bundle's place: seen as a miss (or, for a quarantine, as "do not tune either").

    `ranks` are those of the bundle that it took out: a pod that has these files on a volume of its own can tell.
    """

    reason: str
    retired_by: str
    retired_at: str | None = None
    may_retune: bool = True
    epoch: int
    nonce: str
    identity: IdentityRecord | None = None
    retired_copy: str | None = None
    ranks: dict[str, str] = field(default_factory=dict)
    expected_tune_s: float | None = None

    def encode(self) -> bytes:
        identity = vars(self.identity) if self.identity else None
        return _encoded(TOMBSTONE_SCHEMA, {**vars(self), "identity": identity})


def _encoded(schema: str, fields: Mapping[str, object]) -> bytes:
    """Raises ValueError for what JSON or UTF-8 cannot hold."""
    return json.dumps({"schema": schema, **fields}, indent=1, ensure_ascii=False, allow_nan=False).encode()


def copy_name(nonce: str, digest: str) -> str:
    """Where a register is kept that was taken out, below its address. A nonce from a bucket may be no name for a file."""
    return f"retired/{nonce if _PLAIN_NONCE.match(nonce) else digest}.json"


def is_copy_name(name: str) -> bool:
    """Whether a tombstone's word for its copy may be read: it came from a bucket."""
    folder, _, rest = name.partition("/")
    return folder == "retired" and rest.endswith(".json") and bool(_PLAIN_NONCE.match(rest[: -len(".json")]))


def digest_of(body: bytes) -> str:
    return sha256_hex(body)


def check_contents(bundle: Bundle) -> None:
    """Raises `BadBundle` unless every rank has its content and the identity is one."""
    if len(bundle.ranks) > MAX_FILES:
        raise BadBundle("bundle-too-large", f"{len(bundle.ranks)} rank files; the limit is {MAX_FILES}")
    digests = bundle.digests
    if absent := digests - bundle.files.keys() - bundle.blobs.keys():
        raise BadBundle("bundle-corrupt", f"no content for digest {min(absent)}")
    for digest, text in bundle.files.items():
        check_content(text.encode(), digest)
    oversized = [digest for digest, size in bundle.blobs.items() if size > MAX_FILE_BYTES]
    if oversized:
        raise BadBundle("bundle-too-large", f"blob {oversized[0]} is larger than {MAX_FILE_BYTES} bytes")
    # before the first of them is fetched: 10,240 blobs of 16 MiB each fit into a small bundle.json
    if (total := sum(bundle.blobs[digest] for digest in digests & bundle.blobs.keys())) > MAX_BLOBS_BYTES:
        raise BadBundle("bundle-too-large", f"its blobs have {total} bytes; the limit is {MAX_BLOBS_BYTES}")
    try:
        address = bundle.identity.address
    except ValueError as error:
        raise BadBundle("bundle-corrupt", f"identity: {error}") from None
    if address.environment != bundle.identity.environment:
        raise BadBundle("bundle-foreign", "the environment's name does not belong to its metadata")


def check_content(body: bytes, digest: str) -> None:
    """Raises `BadBundle` unless `body` is what `digest` names."""
    actual = digest_of(body)
    if actual != digest:
        raise BadBundle("bundle-digest-mismatch", f"content is {actual}, the bundle says {digest}")


def check_identity(bundle: Bundle, identity: Identity) -> None:
    """Raises `BadBundle` unless the bundle belongs to exactly this key and environment."""
    if bundle.identity.address != identity.address:
        raise BadBundle("bundle-foreign", f"it describes {bundle.identity.address}, not {identity.address}")
    if dict(bundle.identity.metadata) != dict(identity.environment.metadata):
        raise BadBundle("bundle-foreign", "its environment is not this pod's")


def pack(contents: Mapping[str, bytes]) -> tuple[dict[str, str], dict[str, str], dict[str, bytes]]:
    """(ranks, inline files, blobs) for rank name -> content: each distinct content once, inline while all fit.

    Raises `BadBundle` for a file that is too large or is no UTF-8.
    """
    ranks: dict[str, str] = {}
    distinct: dict[str, bytes] = {}
    for name, body in sorted(contents.items()):
        if len(body) > MAX_FILE_BYTES:
            raise BadBundle("bundle-too-large", f"{name}: {len(body)} bytes; the limit is {MAX_FILE_BYTES}")
        ranks[name] = digest_of(body)
        distinct[ranks[name]] = body
    if sum(map(len, distinct.values())) > MAX_INLINE_BYTES:
        return ranks, {}, distinct
    try:
        return ranks, {digest: body.decode() for digest, body in distinct.items()}, {}
    except UnicodeDecodeError as error:
        raise BadBundle("bundle-corrupt", f"a rank file is not UTF-8: {error.reason}") from None
