"""The manifest of a finished tree, and the mark that says that all of it is there."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

SCHEMA = "autotune-cache/tree/v1"
MANIFEST = "manifest.json"
COMPLETE = ".complete"


def seal(tree: Path, *, version: str, platform: str, epoch: int) -> str:
    """Writes both, gives every file mode 0644 or 0755 and the time `epoch`; returns the tree's digest."""
    for name in (MANIFEST, COMPLETE):
        (tree / name).unlink(missing_ok=True)
    files = [path for path in sorted(tree.rglob("*")) if not path.is_dir() or path.is_symlink()]
    document = {
        "schema": SCHEMA,
        "version": version,
        "platform": platform,
        "pythons": sorted(path.name.removeprefix("cp") for path in (tree / "lib").glob("cp*")),
        "bytes": sum(path.lstat().st_size for path in files),
        "files": {
            str(path.relative_to(tree)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
        },
    }
    manifest = (json.dumps(document, indent=1) + "\n").encode()
    digest = hashlib.sha256(manifest).hexdigest()
    (tree / MANIFEST).write_bytes(manifest)
    (tree / COMPLETE).write_text(f"sha256:{digest}\n")
    for path in [tree, *sorted(tree.rglob("*"))]:
        path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        os.utime(path, (epoch, epoch))
    return digest
