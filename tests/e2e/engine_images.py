"""Images that stand in for engines: their Python is not the slim image's, and some cannot run the program at all."""

import json
import shutil
from pathlib import Path

from tools.cluster.base_images import make_base
from tools.cluster.images import image
from tools.cluster.layout import Layout

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent / "engine"
FACTS = json.loads((ROOT / "examples" / "facts-h100.json").read_text())
RECORDING = ROOT / "examples" / "h100-sample" / "bmm_fp8_tuned.json"
# what the program reads versions from; the modules themselves are not there
PACKAGES = {**FACTS["packages"], "torch": "2.11.0"}
# where an engine has a release of a package that ours could not use, ours must still be taken, and only by us
FOREIGN = 'raise ImportError("this is the engine\'s own, for the engine alone")\n'


def build_engine(layout: Layout, name: str, base_kind: str) -> str:
    """The stand-in on that base (tools.cluster.base_images); returns the name that a pod must say."""
    base = make_base(f"engine-base-{base_kind.replace(':', '-')}", base_kind)
    context = layout.run / "engine-context"
    shutil.rmtree(context, ignore_errors=True)
    packages = context / "packages"
    server = packages / "sglang"
    server.mkdir(parents=True)
    (server / "__init__.py").touch()
    shutil.copy(HERE / "launch_server.py", server)
    for module in ("pydantic", "obstore"):
        (packages / module).mkdir()
        (packages / module / "__init__.py").write_text(FOREIGN)
    for package, version in {**PACKAGES, "pydantic": "1.10.26", "obstore": "0.1.0"}.items():
        metadata = packages / f"{package.replace('-', '_')}-{version}.dist-info" / "METADATA"
        metadata.parent.mkdir()
        metadata.write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    shutil.copytree(ROOT / "examples" / "model", context / "model")
    shutil.copy(ROOT / "examples" / "replay_tuner.py", context)
    shutil.copy(RECORDING, context / "recording.json")
    shutil.copy(HERE / "Dockerfile", context)
    return image(layout, name, context, ["--build-arg", f"PYTHON_IMAGE={base}"])
