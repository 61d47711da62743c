"""python -m tools.cluster COMMAND: see README.md beside this file."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from tools.cluster import bare_api, base_images, images, s3_server
from tools.cluster.cluster import Cluster
from tools.cluster.control_plane import ApiOptions
from tools.cluster.errors import ClusterError
from tools.cluster.layout import NODE_ADDRESS, S3_PORT, Layout


def main(arguments: list[str]) -> int:
    asked = parser().parse_args(arguments)
    try:
        act(asked, Cluster(Layout.of(os.environ, os.getuid())))
    except ClusterError as error:
        say(f"ERROR: {error}")
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m tools.cluster", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="start the cluster (idempotent; cleans up after a crash)")
    commands.add_parser("down", help="end it: its processes, mounts and run folder")
    commands.add_parser("status", help="processes and their memory")
    commands.add_parser("env", help='exports for a shell: eval "$(python -m tools.cluster env)"')
    image = commands.add_parser("image", help="build DIR with buildah and put it on the node")
    image.add_argument("name")
    image.add_argument("folder", metavar="DIR", type=Path)
    image.add_argument("arguments", metavar="ARG", nargs=argparse.REMAINDER, help="for `buildah bud`")
    base = commands.add_parser("base", help="make a base image that a Dockerfile's FROM then finds")
    base.add_argument("name")
    base.add_argument("kind", help="busybox, debian[:SUITE], python[:SUITE], python-from:PREFIX, dir:PATH")
    load = commands.add_parser("load", help="put an oci- or docker-archive on the node")
    load.add_argument("archive", metavar="FILE", type=Path)
    gpus = commands.add_parser("gpus", help="let the node claim N nvidia.com/gpu")
    gpus.add_argument("count", metavar="N", type=int)
    commands.add_parser("minio-up", help="an S3 server that pods reach; ends with the cluster")
    api = commands.add_parser("api-up", help="only etcd and an API server on loopback; prints its exports")
    api.add_argument("--emulated-version", default="")
    api.add_argument("--feature-gates", default="", metavar="A=true,B=false")
    api.add_argument("--runtime-config", default="", metavar="GROUP/VERSION=true")
    commands.add_parser("api-down", help="end it").add_argument("folder", metavar="DIR", type=Path)
    return top


def act(asked: argparse.Namespace, cluster: Cluster) -> None:
    layout = cluster.layout
    if asked.command == "up":
        started = time.monotonic()
        is_new = cluster.up()
        say(f"up in {time.monotonic() - started:.0f} s" if is_new else "already up")
    elif asked.command == "down":
        cluster.down()
        say("down")
    elif asked.command == "status":
        for name, memory in cluster.memory_bytes().items():
            print(f"{name:24} {f'{memory / 2**20:5.0f} MiB' if memory else '-'}")
    elif asked.command == "env":
        print_exports(layout.exports(os.environ))
    elif asked.command == "image":
        say(f"image {images.image(layout, asked.name, asked.folder, asked.arguments)}")
    elif asked.command == "base":
        say(f"base {base_images.make_base(asked.name, asked.kind)}")
    elif asked.command == "load":
        images.load(layout, asked.archive)
    elif asked.command == "gpus":
        cluster.set_gpus(asked.count)
    elif asked.command == "minio-up":
        if not cluster.is_up():
            raise ClusterError("the cluster is not up, so there is no bridge for pods to reach it on")
        server = s3_server.start(cluster.daemons, layout.run / "objects", NODE_ADDRESS, S3_PORT)
        print_exports({**server.settings, "S3_FOLDER": str(server.folder)})
    elif asked.command == "api-up":
        options = ApiOptions(
            asked.emulated_version, switches(asked.feature_gates), switches(asked.runtime_config)
        )
        api = bare_api.start(Path(tempfile.mkdtemp(prefix="atc-api-")), options)
        names = ("KUBECONFIG", "PATH", "NO_PROXY", "no_proxy")
        print_exports({name: api.environ[name] for name in names} | {"API_DIR": str(api.folder)})
    elif asked.command == "api-down":
        bare_api.stop(asked.folder)


def switches(text: str) -> dict[str, bool]:
    """ "A=true,B=false" as a mapping."""
    pairs = [part.partition("=") for part in text.split(",") if part]
    return {name: value == "true" for name, _, value in pairs}


def print_exports(names: Mapping[str, str]) -> None:
    for name, value in names.items():
        print(f"export {name}={shlex.quote(value)}")


def say(text: str) -> None:
    print(f"[cluster] {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
