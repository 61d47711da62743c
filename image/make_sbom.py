"""The bill of materials of the images, CycloneDX 1.5: `make_sbom.py OUT`, or `-` for stdout.

What the lock puts into them, by uv, and what is in them beside it. The base image and the engine's have their own.
The same lock gives the same bytes: the document has no time, and its number comes from its content.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import uuid
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from build_tree import ROOT, version

# what zig 0.17 links into the launcher; it ships the sources of this release
MUSL = "1.2.5"


def components() -> list[dict[str, object]]:
    """What is in the images and in no lock."""
    launcher = {
        "type": "library",
        "bom-ref": "musl",
        "name": "musl",
        "version": MUSL,
        "licenses": [{"license": {"id": "MIT"}}],
    }
    return [
        {**launcher, "purl": f"pkg:generic/musl@{MUSL}", "description": "linked into /opt/autotune/start"}
    ]


def sbom(uv: str) -> dict[str, object]:
    export = [uv, "export", "--quiet", "--frozen", "--no-dev", "--extra", "cli", "--format", "cyclonedx1.5"]
    told = subprocess.run(export, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    document: dict[str, object] = json.loads(told)
    metadata = document["metadata"]
    found = document["components"]
    if not isinstance(metadata, dict) or not isinstance(found, list):
        raise SystemExit("uv's export has another shape than CycloneDX 1.5")
    metadata.pop("timestamp", None)
    metadata["component"] = {**metadata["component"], "type": "container", "version": version()}
    document["components"] = [*found, *components()]
    document.pop("serialNumber", None)
    number = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(document, sort_keys=True))
    return {"bomFormat": "CycloneDX", "specVersion": "1.5", "serialNumber": f"urn:uuid:{number}", **document}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out")
    parser.add_argument("--uv", default=str(ROOT / ".uv/bin/uv") if (ROOT / ".uv/bin/uv").exists() else "uv")
    chosen = parser.parse_args()
    text = json.dumps(sbom(chosen.uv), indent=1) + "\n"
    if chosen.out == "-":
        sys.stdout.write(text)
    else:
        Path(chosen.out).parent.mkdir(parents=True, exist_ok=True)
        Path(chosen.out).write_text(text)


if __name__ == "__main__":
    main()
