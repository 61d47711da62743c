"""Images without a cluster: built by buildah, their root file systems run read-only in a mount namespace."""

import functools
import json
import os
import resource
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.image.trees import interpreter
from tools.cluster.base_images import make_base
from tools.cluster.images import build_image, buildah

ROOT = Path(__file__).resolve().parents[2]

# argv: root of the image, volume, where it appears, uid, command. No /proc and no shell inside: neither may be needed
RUN = """
set -e
root=$1 volume=$2 place=$3 uid=$4; shift 4
mount --bind "$root" "$root"
if [ -e "$root/bin/sh" ]; then mount --bind /dev/null "$root/bin/sh"; fi
mount -o remount,ro,bind "$root"
mount --bind "$volume" "$root$place"
exec /usr/sbin/chroot --userspec="$uid:$uid" "$root" "$@"
"""


@functools.cache  # a base that is made again is another one, and nothing built on it is taken from the cache
def build_arguments():
    """The Dockerfile's bases, made here, under names of their own; zig's open files as far as this machine lets it."""
    bases = {
        "PYTHON_IMAGE": make_base("image-python:3.13", "python:trixie"),
        "PY313_IMAGE": "localhost/image-python:3.13",
        "PY311_IMAGE": make_base("image-python:3.11", "python:bookworm"),
    }
    for version in ("3.10", "3.12"):
        prefix = Path(interpreter(version) or "/nowhere/bin/python").parents[1]
        name = f"PY{version.replace('.', '')}_IMAGE"
        bases[name] = make_base(f"image-python:{version}", f"python-from:{prefix}")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = min(most, 65536) if most != resource.RLIM_INFINITY else 65536
    arguments = ["--ulimit", f"nofile={files}:{files}"]
    return *arguments, *[word for name, image in bases.items() for word in ("--build-arg", f"{name}={image}")]


def build(target, *arguments):
    return build_image(
        f"autotune-cache-{target}:test", ROOT, ["--target", target, *build_arguments(), *arguments]
    )


def config_of(image):
    return json.loads(buildah("inspect", "--type", "image", image))["OCIv1"]["config"]


@dataclass
class Rooted:
    """The root file system of an image."""

    path: Path
    environ: dict

    def run(self, volume, *command, place="/tmp", uid=65532, timeout=120, **environ):
        done = subprocess.run(
            ["unshare", "--mount", "/bin/sh", "-c", RUN, "sh", self.path, volume, place, str(uid), *command],
            env={**self.environ, **environ},
            capture_output=True,
            check=False,
            text=True,
            timeout=timeout,
        )
        assert "mount:" not in done.stderr, done.stderr
        return done


def mounted(image):
    """(Rooted, the working container that holds it)"""
    container = buildah("from", "--pull-never", image).strip()
    config = config_of(image)
    environ = dict(line.split("=", 1) for line in config.get("Env", []))
    return Rooted(Path(buildah("mount", container).strip()), environ), container


def bytes_of(folder):
    """As a registry counts layers: the files' own sizes, a hard link once."""
    seen, total = set(), 0
    for directory, _, names in os.walk(folder):
        for name in names:
            found = os.lstat(os.path.join(directory, name))
            if (found.st_dev, found.st_ino) not in seen:
                seen.add((found.st_dev, found.st_ino))
                total += found.st_size
    return total
