"""Builds the tree that `start copy` puts into pods: the launcher, our program, and its locked wheels for four Pythons.

    python image/build_tree.py --out build/tree --python /usr/bin/python3.12 [--python ...] [--arch arm64]
    python image/build_tree.py --out FILE --launcher-only      # in a Dockerfile's stages: the C part, which seldom changes
    python image/build_tree.py --out DIR --launcher FILE --unsealed
    python image/build_tree.py --out DIR --seal-only           # when every Python has compiled its part

The same lock, sources and interpreters give the same bytes (SOURCE_DATE_EPOCH is the time of every file). Beside DIR
comes DIR-licenses. Needs uv, and the `ziglang` of image/build_tools.txt in the Python that runs this.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import re
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

sys.path.insert(0, str(Path(__file__).resolve().parent))

from merge import placed
from pruned import why_pruned
from seal import seal

ROOT = Path(__file__).resolve().parent.parent
VERSIONS = ("3.10", "3.11", "3.12", "3.13")
OWN = ("autotune_init", "cache_store")


@dataclass(frozen=True)
class Arch:
    """`wheels`: the oldest C library that all locked wheels of this architecture agree on, as uv names it."""

    wheels: str
    launcher: str


ARCHS = {
    "amd64": Arch("x86_64-manylinux_2_17", "x86_64-linux-musl"),
    "arm64": Arch("aarch64-manylinux_2_28", "aarch64-linux-musl"),  # obstore has none for an older one
}


def build(out: Path, arch: str, *, uv: str, cc: Sequence[str], launcher: Path | None) -> None:
    """Everything but the compiled Python."""
    shutil.rmtree(out, ignore_errors=True)
    licenses = out.with_name(out.name + "-licenses")
    shutil.rmtree(licenses, ignore_errors=True)
    out.mkdir(parents=True)
    if launcher:
        shutil.copy(launcher, out / "start")
    else:
        compile_launcher(out / "start", ARCHS[arch].launcher, cc)
    for name in ("main.py", "own_modules.py"):
        shutil.copyfile(ROOT / "image" / name, out / name)
    with tempfile.TemporaryDirectory(prefix="autotune-tree-") as scratch:
        sites = install_wheels(Path(scratch), ARCHS[arch].wheels, uv)
        put_packages(sites, out / "lib")
        for site in sites.values():
            keep_licenses(site, licenses)
    keep_license_of_musl(licenses)
    put_own(out / "lib" / "common")


def compile_launcher(target: Path, triple: str, cc: Sequence[str], *more: str) -> None:
    sources = sorted(str(path) for path in (ROOT / "image" / "launcher").glob("*.c"))
    flags = [
        "-std=c11",
        "-D_GNU_SOURCE",
        f'-DPROGRAM_VERSION="{version()}"',
        "-Wall",
        "-Wextra",
        "-Werror",
        *more,
    ]
    raise_open_files()
    subprocess.run(
        [*cc, "-target", triple, "-static", "-Os", "-s", *flags, "-o", str(target), *sources], check=True
    )
    target.chmod(0o755)


def raise_open_files() -> None:
    """zig 0.17 opens pipes for all of musl's files at once; a container build often begins at 1024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def install_wheels(scratch: Path, platform: str, uv: str) -> dict[str, Path]:
    """{version: site-packages}, from the lock, with its hashes, wheels only."""
    requirements = scratch / "requirements.txt"
    with requirements.open("wb") as target:
        export = [uv, "export", "--quiet", "--frozen", "--no-dev", "--no-emit-project", "--no-header"]
        subprocess.run(export, check=True, cwd=ROOT, stdout=target)
    sites = {}
    for python in VERSIONS:
        sites[python] = scratch / python
        wanted = ["--target", str(sites[python]), "--python-version", python, "--python-platform", platform]
        only = ["--only-binary", ":all:", "--require-hashes", "--no-deps", "--link-mode", "copy"]
        subprocess.run(
            [uv, "pip", "install", "--quiet", *wanted, *only, "-r", str(requirements)], check=True, cwd=ROOT
        )
    return sites


def put_packages(sites: Mapping[str, Path], lib: Path) -> None:
    installed = {
        python: {
            path: hashlib.sha256((site / path).read_bytes()).hexdigest()
            for path in files_below(site)
            if why_pruned(path) is None
        }
        for python, site in sites.items()
    }
    for folder, files in placed(installed).items():
        (lib / folder).mkdir(parents=True, exist_ok=True)
        for path, python in files.items():
            put(sites[python] / path, lib / folder / path)


def put_own(common: Path) -> None:
    for name in OWN:
        for path in files_below(ROOT / "src" / name):
            if "__pycache__" not in path.parts and why_pruned(name / path) is None:
                put(ROOT / "src" / name / path, common / name / path)


def keep_licenses(site: Path, licenses: Path) -> None:
    for found in sorted(site.glob("*.dist-info")):
        for path in files_below(found):
            if re.match(r"(?i)(licen[cs]e|copying|notice|authors)", path.name) or path.parts[0] == "licenses":
                put(found / path, licenses / found.name.removesuffix(".dist-info") / path.name)


def keep_license_of_musl(licenses: Path) -> None:
    """It is linked into the launcher. Nothing to keep where another compiler than zig is used."""
    found = importlib.util.find_spec("ziglang")
    for folder in found.submodule_search_locations or [] if found else []:
        put(Path(folder, "lib", "libc", "musl", "COPYRIGHT"), licenses / "musl" / "COPYRIGHT")


def files_below(folder: Path) -> list[PurePosixPath]:
    return sorted(PurePosixPath(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def put(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def version() -> str:
    text = (ROOT / "src" / "cache_store" / "version.py").read_text()
    found = re.search(r'^__version__ = "([^"]+)"', text, re.MULTILINE)
    if not found:
        raise SystemExit("src/cache_store/version.py has no __version__")
    return found[1]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--arch", choices=sorted(ARCHS), default="amd64")
    parser.add_argument(
        "--python", action="append", default=[], metavar="PATH", help="compile for this one too"
    )
    parser.add_argument("--uv", default=str(ROOT / ".uv/bin/uv") if (ROOT / ".uv/bin/uv").exists() else "uv")
    parser.add_argument("--cc", default=f"{shlex.quote(sys.executable)} -m ziglang cc", metavar="COMMAND")
    parser.add_argument("--launcher", type=Path, metavar="FILE", help="take this one; default: compile it")
    parser.add_argument("--launcher-only", action="store_true")
    parser.add_argument("--unsealed", action="store_true", help="leave the manifest to --seal-only")
    parser.add_argument("--seal-only", action="store_true")
    chosen = parser.parse_args()
    if chosen.launcher_only:
        chosen.out.parent.mkdir(parents=True, exist_ok=True)
        compile_launcher(chosen.out, ARCHS[chosen.arch].launcher, shlex.split(chosen.cc))
        return
    if not chosen.seal_only:
        build(chosen.out, chosen.arch, uv=chosen.uv, cc=shlex.split(chosen.cc), launcher=chosen.launcher)
    for python in chosen.python:
        subprocess.run([python, str(ROOT / "image" / "compile_tree.py"), str(chosen.out)], check=True)
    if not chosen.unsealed:
        epoch = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
        print(seal(chosen.out, version=version(), platform=f"linux/{chosen.arch}", epoch=epoch))


if __name__ == "__main__":
    main()
