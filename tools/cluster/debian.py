"""Parts that come from Debian packages: by apt-get install, or unpacked aside where the machine's own are too old.

The mirror is whatever apt already uses for Debian's main archive, and apt checks the signatures as always.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.cluster.errors import ClusterError
from tools.cluster.layout import DEBIAN

_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


@dataclass(frozen=True)
class Package:
    """A package taken from a newer suite. `tried` is the version that this was tested with."""

    name: str
    program: str
    tried: str
    series: str
    suites: tuple[str, ...]

    @property
    def root(self) -> Path:
        return DEBIAN / self.name

    @property
    def path(self) -> Path:
        return self.root / "usr" / "bin" / self.program


# forky is the next stable release and will stay; sid moves, so it is only the second choice. Both packages ask for
# libc >= 2.34 only (bookworm has 2.36). Bookworm's own etcd is 3.4 and its containerd 1.6, without image volumes.
ETCD = Package("etcd-server", "etcd", "3.5.30-2", "3.", ("forky", "sid", "trixie"))
CONTAINERD = Package("containerd", "containerd", "2.1.9+ds1-5", "2.", ("forky", "sid"))


def ensure(package: Package) -> Path:
    """Its program, unpacked on the first call. ClusterError where no suite has one that runs here."""
    DEBIAN.mkdir(parents=True, exist_ok=True)
    with (DEBIAN / f".{package.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # API servers of several tests start at once
        if not package.path.exists():
            unpack(package)
    return package.path


def unpack(package: Package) -> None:
    staging = DEBIAN / f".{package.name}.new"
    said: list[str] = []
    for suite in package.suites:
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
        try:
            apt = PrivateApt.of(staging / "apt", suite)
            version = apt.version_of(package.name, package.tried)
            if not version.startswith(package.series):
                raise ClusterError(f"it has {version}, and {package.series}x is needed")
            root = staging / "root"
            for deb in apt.download([f"{package.name}={version}"]):
                run(["dpkg-deb", "-x", str(deb), str(root)])
            run([str(root / "usr" / "bin" / package.program), "--version"])
        except ClusterError as error:
            said.append(f"{suite}: {error}")
            continue
        root.replace(package.root)
        shutil.rmtree(staging)
        return
    raise ClusterError(
        f"no Debian suite has a {package.name} {package.series}x that runs here (tested: {package.tried}); "
        + "; ".join(said)
    )


@dataclass(frozen=True)
class PrivateApt:
    """apt with its own sources, lists and cache, so that another suite never touches the machine's packages."""

    folder: Path

    @classmethod
    def of(cls, folder: Path, suite: str) -> PrivateApt:
        for below in ("lists/partial", "cache/archives/partial", "none"):
            (folder / below).mkdir(parents=True, exist_ok=True)
        (folder / "status").touch()
        (folder / "sources.list").write_text(f"deb [signed-by={_KEYRING}] {mirror()} {suite} main\n")
        apt = cls(folder)
        run(["apt-get", *apt.options, "update"])
        return apt

    @property
    def options(self) -> list[str]:
        settings = {
            "Dir::Etc::sourcelist": self.folder / "sources.list",
            "Dir::Etc::sourceparts": self.folder / "none",
            "Dir::Etc::preferences": self.folder / "no-preferences",
            "Dir::Etc::preferencesparts": self.folder / "none",
            "Dir::State": self.folder,
            "Dir::State::lists": self.folder / "lists",
            "Dir::State::status": self.folder / "status",
            "Dir::Cache": self.folder / "cache",
            "Acquire::Languages": "none",
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
            "APT::Sandbox::User": "root",
        }
        return ["-qq", *(part for name, to in settings.items() for part in ("-o", f"{name}={to}"))]

    def version_of(self, package: str, tried: str) -> str:
        """The tested version where this suite still has it, else what it has."""
        shown = run(["apt-cache", *self.options, "show", package])
        versions = [line.split(": ", 1)[1] for line in shown.splitlines() if line.startswith("Version: ")]
        if not versions:
            raise ClusterError(f"it has no {package}")
        return tried if tried in versions else versions[0]

    def download(self, packages: Sequence[str]) -> list[Path]:
        """The named packages without what they depend on."""
        folder = self.folder / "debs"
        folder.mkdir(exist_ok=True)
        run(["apt-get", *self.options, "download", *packages], folder=folder)
        return sorted(folder.glob("*.deb"))

    def download_with_dependencies(self, packages: Sequence[str]) -> list[Path]:
        run(
            [
                "apt-get",
                *self.options,
                "-y",
                "--no-install-recommends",
                "--download-only",
                "install",
                *packages,
            ]
        )
        return sorted((self.folder / "cache" / "archives").glob("*.deb"))


def install(needed: dict[str, str]) -> None:
    """apt-get install of each package whose program (a name on PATH, or a path) is missing."""
    missing = sorted(
        {package for at, package in needed.items() if not (shutil.which(at) or Path(at).exists())}
    )
    if not missing:
        return
    run(["apt-get", "-qq", "update"])
    run(["apt-get", "-qq", "install", "-y", "--no-install-recommends", *missing])


def mirror() -> str:
    """Where apt on this machine takes its own suite's main archive from."""
    listed = run(
        [
            "apt-get",
            "indextargets",
            "--format",
            "$(RELEASE) $(REPO_URI)",
            "Created-By: Packages",
            "Component: main",
        ]
    )
    for line in listed.splitlines():
        release, _, address = line.partition(" ")
        if release == machine_suite():
            return address
    raise ClusterError("apt's sources name no mirror of this Debian's main archive")


def machine_suite() -> str:
    for line in Path("/etc/os-release").read_text().splitlines():
        if line.startswith("VERSION_CODENAME="):
            return line.partition("=")[2].strip('"')
    raise ClusterError("/etc/os-release names no VERSION_CODENAME: this needs Debian")


def run(command: Sequence[str], *, folder: Path | None = None) -> str:
    """Its stdout; ClusterError with the end of its stderr where it fails."""
    environ = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    try:
        done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    except OSError as error:
        raise ClusterError(f"`{command[0]}` cannot be run: {error.strerror}") from error
    if done.returncode:
        raise ClusterError(
            f"`{' '.join(command[:3])} .. {command[-1]}` failed: {(done.stderr or done.stdout)[-800:].strip()}"
        )
    return done.stdout
