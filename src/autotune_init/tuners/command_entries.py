"""What --tuner command is asked for where the engine uses FlashInfer's own store: entries below a scratch root.

The command runs with FLASHINFER_AUTOTUNE_CACHE_DIR (and vLLM's own variable for the same) pointing at an empty root;
whatever appears there below this pod's environment is its result. A command that has nothing to tune says so by leaving
the folder `v2/<env_hash>` behind, e.g. with a manifest; one that leaves nothing at all may have tuned elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from autotune_init.engines.flashinfer_store import POLICIES, SCHEMA, hash_of
from autotune_init.tuners import TunerFailed
from cache_store.dataclass import dataclass
from cache_store.rank_file import RankFile
from cache_store.store_entries import (
    ENTRIES_FOLDER,
    MANIFEST_NAME,
    MAX_ENTRIES,
    MAX_ENTRY_BYTES,
    BadEntry,
    as_rank_file,
    check_entries,
    encode_manifest,
    manifest_difference,
    parse_manifest,
)


@dataclass(frozen=True)
class EntriesWanted:
    """Implements `command.Wanted`. `root` is empty or absent; `manifest` is this pod's environment."""

    root: Path
    manifest: Mapping[str, str]

    def variables(self) -> dict[str, str]:
        root = str(self.root.resolve())
        return {
            "AUTOTUNE_RANK_FILES": "[]",
            "FLASHINFER_AUTOTUNE_CACHE_DIR": root,
            "VLLM_FLASHINFER_AUTOTUNE_CACHE_DIR": root,
        }

    def collect(self) -> tuple[dict[str, bytes], dict[str, RankFile]]:
        """(entries by file name with their manifest, the same as one rank file). Raises `TunerFailed`."""
        folder = self.root / SCHEMA / hash_of(self.manifest)
        if not folder.is_dir():
            raise self._nothing()
        try:
            files = _read_all(folder / ENTRIES_FOLDER)
            if not files:
                return {}, {}
            # FlashInfer reads no manifest back, so the folder's name is what says that it is the right one
            files[MANIFEST_NAME] = encode_manifest(self.manifest)
            entries = check_entries(files, self.manifest)
        except BadEntry as problem:
            raise TunerFailed("tuner-bad-file", str(problem)) from None
        except OSError as error:
            raise TunerFailed("tuner-bad-file", f"{error.filename}: {error.strerror}") from None
        return files, {SCHEMA: as_rank_file(entries, self.manifest)}

    def job(self) -> dict[str, object]:
        """Of inside/verify.py."""
        policy = {name: value for name, value in self.manifest.items() if name in POLICIES}
        return {"mode": "store", "root": str(self.root), "policy": policy}

    def judge(self, answer: Mapping[str, object]) -> str:
        """What FlashInfer itself says of the store: "loads", "metadata" where it could not tell, or `TunerFailed`."""
        there, refused, served = (answer.get(name) for name in ("manifest", "refused", "served"))
        if not isinstance(there, dict):
            return "metadata"  # no FlashInfer with a store in the engine's Python
        if there != dict(self.manifest):
            if there.get("gpu") in (None, "unknown"):
                return "metadata"  # no GPU in sight: it then looks below another environment
            found = {str(name): str(value) for name, value in there.items()}
            raise TunerFailed(
                "tuner-environment",
                f"FlashInfer looks below another environment: {manifest_difference(found, self.manifest)}",
            )
        if isinstance(refused, list) and refused:
            raise TunerFailed("tuner-bad-file", f"FlashInfer does not serve {str(refused[0])[:80]}")
        return "loads" if served else "metadata"

    def _nothing(self) -> TunerFailed:
        others = sorted((self.root / SCHEMA).glob(f"*/{MANIFEST_NAME}")) if self.root.is_dir() else []
        if not others:
            return TunerFailed(
                "tuner-wrote-nothing", "nothing appeared below FLASHINFER_AUTOTUNE_CACHE_DIR while it ran"
            )
        try:
            made_in = parse_manifest(_read(others[0]))
        except (BadEntry, OSError):
            made_in = {}
        why = manifest_difference(made_in, self.manifest) if made_in else "its manifest cannot be read"
        return TunerFailed("tuner-environment", f"entries appeared below {others[0].parent.name}: {why}")


def _read_all(folder: Path) -> dict[str, bytes]:
    """Every `*.json`, which is what FlashInfer's `preload` looks at: its temporary files end in `.tmp`."""
    if not folder.is_dir():
        return {}
    paths = sorted(folder.glob("*.json"))
    if len(paths) > MAX_ENTRIES:
        raise BadEntry("too-large", f"{len(paths)} entries; the limit is {MAX_ENTRIES}")
    return {path.name: _read(path) for path in paths}


def _read(path: Path) -> bytes:
    """One byte past the limit is enough to see that a file is too large."""
    with path.open("rb") as file:
        return file.read(MAX_ENTRY_BYTES + 1)
