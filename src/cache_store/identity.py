"""What two pods must have in common to share a bundle, and the one place where its address is built and parsed.

    <flashinfer_version>/<arch>/<key>/<environment>/

`key` is exactly what the engine would compute, so it says *which model served how*. `environment` covers what
FlashInfer compares before it accepts a file (GPU name, CUDA build, cuBLAS, cuDNN, ...): H100, H200, H20 and GH200 are
all sm90, and a file from the wrong one is ignored by the engine and never overwritten.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

from cache_store.dataclass import dataclass, field
from cache_store.pattern import pattern
from cache_store.sha256 import sha256_hex

# none of them matches a slash
_PARTS = {
    "flashinfer version": r"(?!\.)[A-Za-z0-9._+-]{1,64}",
    "arch": r"sm[0-9]{2,4}[a-z]?",
    "key": r"[0-9a-f]{16,64}",
    "environment": r"[a-z0-9]+(?:-[a-z0-9]+)*-[0-9a-f]{12}",
}
_ADDRESS = pattern("/".join(_PARTS.values()) + r"\Z")
_SLUG_LENGTH = 40
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)

BUNDLE_NAME = "bundle.json"
CLAIM_NAME = "claim.json"


class BadAddress(ValueError):  # noqa: N818 -- reads as what it is
    """Text that is no address; the message names the part that is wrong."""


@dataclass(frozen=True, order=True)
class Address:
    """The place of one bundle below the store's root. `str()` builds it, `parse` takes it apart."""

    flashinfer_version: str
    arch: str
    key: str
    environment: str

    def __post_init__(self) -> None:
        if _ADDRESS.match(str(self)):
            return
        parts = (self.flashinfer_version, self.arch, self.key, self.environment)
        for (name, wanted), value in zip(_PARTS.items(), parts, strict=True):
            if not re.fullmatch(wanted, value):
                raise BadAddress(f"not a valid {name}: {value[:80]!r}")
        raise AssertionError("an address is right where its parts are")

    def __str__(self) -> str:
        return f"{self.flashinfer_version}/{self.arch}/{self.key}/{self.environment}"

    @classmethod
    def parse(cls, text: str) -> Address:
        """The address in `text`. Raises `BadAddress`."""
        parts = text.strip("/").split("/")
        if len(parts) != 4:
            raise BadAddress(f"an address has 4 parts, this has {len(parts)}: {text[:200]!r}")
        return cls(*parts)

    @property
    def bundle_key(self) -> str:
        return f"{self}/{BUNDLE_NAME}"

    @property
    def claim_key(self) -> str:
        return f"{self}/{CLAIM_NAME}"

    def blob_key(self, digest: str) -> str:
        return f"{self}/blobs/{digest}"

    @classmethod
    def of_object(cls, object_key: str) -> tuple[Address, str] | None:
        """(address, rest) of an object key below the root, or None for an object that belongs to no bundle."""
        parts = object_key.split("/", 4)
        if len(parts) != 5:
            return None
        try:
            return cls(*parts[:4]), parts[4]
        except BadAddress:
            return None


@dataclass(frozen=True)
class Environment:
    """What FlashInfer compares before it accepts a file, plus what the site adds.

    `metadata` are FlashInfer's own `_metadata` fields with their own names and spelling. `extra` are the site's
    `--identity-extra name=value`. Driver, power cap and clocks are in neither: they are provenance.
    """

    metadata: Mapping[str, str]
    extra: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_gpu(self.metadata)
        object.__setattr__(self, "metadata", MappingProxyType(dict(self.metadata)))
        object.__setattr__(self, "extra", MappingProxyType(dict(self.extra)))

    @property
    def name(self) -> str:
        """`<gpu-slug>-<hash12>`: readable first, exact last."""
        return environment_name(self.metadata, self.extra)


def environment_name(metadata: Mapping[str, str], extra: Mapping[str, str]) -> str:
    """`Environment(metadata, extra).name`. Raises ValueError as making one does."""
    _check_gpu(metadata)
    return _name_of(tuple(metadata.items()), tuple(extra.items()))


def _check_gpu(metadata: Mapping[str, str]) -> None:
    if not metadata.get("gpu"):
        raise ValueError("an environment without a GPU name identifies nothing")


@lru_cache(maxsize=256)  # of a whole store, which has one environment in thousands of bundles
def _name_of(metadata: tuple[tuple[str, str], ...], extra: tuple[tuple[str, str], ...]) -> str:
    fields = dict(metadata)
    slug = re.sub(r"[^a-z0-9]+", "-", fields["gpu"].lower()).strip("-")[:_SLUG_LENGTH].strip("-")
    text = canonical_json({"metadata": fields, "extra": dict(extra)})
    return f"{slug or 'gpu'}-{sha256_hex(text)[:12]}"


@dataclass(frozen=True)
class Identity:
    """One bundle's identity with every input of the key and the environment in clear."""

    engine: str
    flashinfer_version: str
    arch: str
    key: str
    key_text: str
    key_inputs: Mapping[str, str | int | bool | None]
    environment: Environment

    @property
    def address(self) -> Address:
        return Address(self.flashinfer_version, self.arch, self.key, self.environment.name)


def canonical_json(value: object) -> bytes:
    """The one spelling that is hashed: sorted keys, no spaces, UTF-8."""
    return _CANONICAL.encode(value).encode()
