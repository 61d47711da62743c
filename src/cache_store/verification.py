"""Is one bundle what it says it is? Pure: bytes in, findings out.

Checked here: size, nesting, schema, that its identity is the address it lies at, every digest, and that every rank
file is JSON whose `_metadata` is the bundle's environment (FlashInfer 0.6.11 to 0.7.2, flashinfer/autotuner/autotuner.py,
compares exactly that before it accepts a file). An entry of FlashInfer's own store names no environment, but its `key`
leads to its file name (flashinfer/autotune_cache.py `_entry_path`, 0.7.0 to 0.7.2), and the manifest beside the entries
spells the environment out. Not checked: whether a tactic is any good, and who wrote it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from cache_store.bundle import MAX_DEPTH, BadBundle, Bundle, Tombstone, check_content
from cache_store.bundle_json import parse_register, read_register
from cache_store.dataclass import dataclass
from cache_store.identity import Address
from cache_store.json_depth import depth_of
from cache_store.sha256 import sha256_hex
from cache_store.store_entries import MANIFEST_NAME

MAX_RANK_FILE_DEPTH = 2 * MAX_DEPTH
STORE_KEY_TEXT = "flashinfer-v2|"  # how the key text of a bundle of FlashInfer's own store begins
# problems of a document that nevertheless fits the schema: there is more to look at
_PARSES = frozenset({"bundle-digest-mismatch", "bundle-foreign"})


@dataclass(frozen=True)
class Finding:
    """`code` is stable, `where` names the object or rank file, `detail` is for a person and may quote the bucket.

    `is_corrupt` False: worth knowing, but every byte that a pod would use is sound.
    """

    code: str
    where: str
    detail: str
    is_corrupt: bool = True


@dataclass(frozen=True)
class Examined:
    """`register` is None where the bytes are no bundle at all."""

    register: Bundle | Tombstone | None
    findings: tuple[Finding, ...]


def examine_register(address: Address, body: bytes) -> Examined:
    """What `bundle.json` at `address` says, and every problem that its own bytes show (inline files included)."""
    findings: list[Finding] = []
    try:
        register = parse_register(body)
    except BadBundle as problem:
        if problem.reason not in _PARSES:
            return Examined(None, (Finding(problem.reason, "bundle.json", problem.detail),))
        register = read_register(body)
        if problem.reason == "bundle-foreign":  # a wrong digest is found again below, with all the others
            findings.append(Finding(problem.reason, "bundle.json", problem.detail))
    findings += _check_place(address, register)
    if isinstance(register, Bundle):
        for digest, text in sorted(register.files.items()):
            findings += examine_content(register, digest, text.encode("utf-8", "surrogatepass"))
    return Examined(register, tuple(findings))


def _check_place(address: Address, register: Bundle | Tombstone) -> list[Finding]:
    if register.identity is None:
        return []
    try:
        described = register.identity.address
    except ValueError as error:
        return [Finding("bundle-corrupt", "bundle.json", f"identity: {error}")]
    if described != address:
        return [Finding("bundle-foreign", "bundle.json", f"it describes {described} and lies at {address}")]
    return []


def examine_content(bundle: Bundle, digest: str, body: bytes) -> list[Finding]:
    """The problems of one content, inline or blob, and of the rank files that it is."""
    names = sorted(name for name, wanted in bundle.ranks.items() if wanted == digest)
    if not names:
        return [Finding("content-unreferenced", digest, "no rank uses this content; no pod reads it", False)]
    where = names[0] if len(names) == 1 else f"{names[0]} (and {len(names) - 1} more of the same content)"
    try:
        check_content(body, digest)
    except BadBundle as problem:
        return [Finding(problem.reason, where, problem.detail)]
    if bundle.identity.key_text.startswith(STORE_KEY_TEXT):
        return _check_store_file(names, body, bundle.identity.metadata)
    return _check_rank_file(where, body, bundle.identity.metadata)


def examine_blob(bundle: Bundle, digest: str, body: bytes | None) -> list[Finding]:
    """One content outside of `bundle.json`; `body` None for an object that is not there."""
    if body is None:
        return [Finding("blob-missing", f"blobs/{digest}", "the bundle names it and it is not there")]
    return examine_content(bundle, digest, body)


def examine_leftovers(bundle: Bundle, stored: frozenset[str]) -> list[Finding]:
    """Blobs of which no pod reads a byte. `stored` are the digests that a listing shows under the address."""
    unread = (bundle.blobs.keys() | stored) - bundle.digests
    return [
        Finding("content-unreferenced", f"blobs/{digest}", "no rank uses it; no pod reads it", False)
        for digest in sorted(unread)
    ]


def _check_store_file(names: list[str], body: bytes, metadata: Mapping[str, str]) -> list[Finding]:
    """One entry or the manifest. A measurement policy may stand in the manifest besides the environment."""
    document = _parsed(names[0], body)
    if isinstance(document, Finding):
        return [document]
    if names == [MANIFEST_NAME]:
        written = {name: document.get(name) for name in metadata}
        if written != dict(metadata):
            return [Finding("rank-file-foreign", MANIFEST_NAME, _difference(written, metadata))]
        return []
    key = document.get("key")
    belongs = sha256_hex(key.encode("utf-8", "surrogatepass"))[:24] if isinstance(key, str) else ""
    if names != [f"{belongs}.json"]:
        told = f"its key belongs to {belongs}.json" if belongs else "it has no key"
        return [Finding("rank-file-foreign", names[0], f"FlashInfer would not serve it: {told}")]
    return []


def _check_rank_file(where: str, body: bytes, metadata: Mapping[str, str]) -> list[Finding]:
    document = _parsed(where, body)
    if isinstance(document, Finding):
        return [document]
    written = document.get("_metadata")
    if written is None:
        return [
            Finding("rank-file-no-metadata", where, "FlashInfer would load such a file without any check")
        ]
    if written != dict(metadata):
        return [Finding("rank-file-foreign", where, _difference(written, metadata))]
    return []


def _parsed(where: str, body: bytes) -> dict[str, object] | Finding:
    if depth_of(body, MAX_RANK_FILE_DEPTH) > MAX_RANK_FILE_DEPTH:
        return Finding("rank-file-not-json", where, f"nested deeper than {MAX_RANK_FILE_DEPTH}")
    try:
        document = json.loads(body)
    except ValueError as error:
        return Finding("rank-file-not-json", where, str(error)[:200])
    if not isinstance(document, dict):
        return Finding("rank-file-not-json", where, "it is JSON, but no object")
    return document


def _difference(written: object, metadata: Mapping[str, str]) -> str:
    if not isinstance(written, dict):
        return "_metadata is no JSON object"
    names = sorted(
        name for name in {*written, *metadata} if written.get(name, ...) != metadata.get(name, ...)
    )
    name = names[0]
    more = f" (and {len(names) - 1} more fields)" if len(names) > 1 else ""
    there, here = (repr(one[name])[:100] if name in one else "nothing" for one in (written, dict(metadata)))
    return f"_metadata says {name[:100]} {there}, the bundle's environment {here}{more}"
