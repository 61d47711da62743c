"""Container images without a daemon and without a registry: buildah builds them, containerd imports them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tools.cluster.debian import install, run
from tools.cluster.errors import ClusterError
from tools.cluster.layout import CACHE, PAUSE_IMAGE, Layout
from tools.cluster.node import ctr

_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
_PAUSE_SOURCE = """#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
static void end(int s) { (void)s; _exit(0); }
static void reap(int s) { (void)s; while (waitpid(-1, 0, WNOHANG) > 0) {} }
int main(void) { signal(SIGINT, end); signal(SIGTERM, end); signal(SIGCHLD, reap); for (;;) pause(); }
"""
_PAUSE_DOCKERFILE = 'FROM scratch\nCOPY pause /pause\nUSER 65535:65535\nENTRYPOINT ["/pause"]\n'


def buildah(*arguments: str) -> str:
    """Runs it on our own image store; returns its stdout."""
    install({"buildah": "buildah", "runc": "runc"})
    store = [
        "--root",
        str(CACHE / "buildah"),
        "--runroot",
        str(CACHE / "buildah-run"),
        "--storage-driver",
        "overlay",
    ]
    return run(["buildah", *store, *arguments])


def full_name(name: str) -> str:
    """A name without a host becomes localhost/NAME, as buildah names it; a pod must say exactly that."""
    first, slash, _ = name.partition("/")
    has_host = bool(slash) and (first == "localhost" or "." in first or ":" in first)
    return name if has_host else f"localhost/{name}"


def build_image(name: str, folder: Path, arguments: Sequence[str]) -> str:
    """`buildah bud` of a folder's Dockerfile; returns the full name. Base images come from `make_base`, never a registry.

    The machine's certificates are mounted into the build, so that `pip install` works behind a TLS-inspecting proxy.
    Of the two mounts only an empty /etc/pip.conf stays in the image.
    """
    mounts: list[str] = []
    if _BUNDLE.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        pip = CACHE / "pip.conf"
        pip.write_text(f"[global]\ncert = {_BUNDLE}\ndisable-pip-version-check = true\n")
        mounts = ["-v", f"{_BUNDLE.parent}:{_BUNDLE.parent}:ro", "-v", f"{pip}:/etc/pip.conf:ro"]
    full = full_name(name)
    buildah(
        "bud",
        "--quiet",
        "--isolation=chroot",
        "--layers",
        "--pull-never",
        *mounts,
        "-t",
        full,
        *arguments,
        str(folder),
    )
    return full


def save(name: str, archive: Path) -> None:
    """Writes it as an oci-archive that `load` and other tools read."""
    archive.unlink(missing_ok=True)
    buildah("push", "--quiet", "--disable-compression", name, f"oci-archive:{archive}:{name}")


def load(layout: Layout, archive: Path) -> None:
    """Imports an oci- or docker-archive into the node."""
    if not layout.containerd_socket.exists():
        raise ClusterError("the cluster is not up")
    ctr(layout, "images", "import", str(archive))


def image(layout: Layout, name: str, folder: Path, arguments: Sequence[str] = ()) -> str:
    """Builds it and puts it on the node; returns the name that pods must say (with imagePullPolicy: Never)."""
    full = build_image(name, folder, arguments)
    put_on_node(layout, full)
    return full


def put_on_node(layout: Layout, full: str) -> None:
    """From our image store into the node's."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        archive = Path(scratch) / "image.tar"
        save(full, archive)
        load(layout, archive)


def commit_rootfs(name: str, root: Path) -> str:
    """An image of one layer from a folder, under the very name that a Dockerfile's FROM uses."""
    full = full_name(name)
    container = buildah("from", "scratch").strip()
    try:
        buildah("copy", "--quiet", container, str(root), "/")
        path = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
        buildah("config", "--env", f"PATH={path}", "--cmd", "/bin/sh", container)
        buildah("commit", "--quiet", "--timestamp", "0", container, full)
    finally:
        buildah("rm", container)
    return full


def ensure_pause_archive() -> Path:
    """The image that holds a pod's namespaces: a static C program of ten lines."""
    archive = CACHE / "pause.tar"
    if archive.exists():
        return archive
    install({"gcc": "gcc", "/usr/include/stdlib.h": "libc6-dev"})
    folder = Path(tempfile.mkdtemp())
    try:
        (folder / "pause.c").write_text(_PAUSE_SOURCE)
        (folder / "Dockerfile").write_text(_PAUSE_DOCKERFILE)
        run(["gcc", "-Os", "-static", "-s", "-o", str(folder / "pause"), str(folder / "pause.c")])
        buildah("bud", "--quiet", "--isolation=chroot", "-t", PAUSE_IMAGE, str(folder))
        fresh = CACHE / "pause.tar.new"
        save(PAUSE_IMAGE, fresh)
        fresh.replace(archive)
    finally:
        shutil.rmtree(folder)
    return archive
