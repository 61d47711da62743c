"""Our own image for the end-to-end tests."""

from pathlib import Path

from tools.cluster.base_images import make_base
from tools.cluster.images import image
from tools.cluster.layout import Layout


def build_slim(layout: Layout) -> str:
    base = make_base("slimbase:trixie", "python:trixie")
    return image(layout, "autotune-cache:e2e", Path("/tmp/h5/slim"), ["--build-arg", f"BASE={base}"])
