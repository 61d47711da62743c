"""Root file systems for base images, from Debian packages: there is no registry to pull from.

Kinds: `busybox`, `debian[:SUITE]` (complete, by debootstrap), `python[:SUITE]` (Debian's python3 with venv and pip,
unpacked and not configured: no apt inside; bullseye has 3.9, bookworm 3.11, trixie 3.13), `python-from:PREFIX` (the
same with the interpreter of PREFIX as python3, for versions that Debian has not), `dir:PATH`.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tools.cluster.debian import PrivateApt, install, machine_suite, mirror, run
from tools.cluster.errors import ClusterError
from tools.cluster.images import commit_rootfs
from tools.cluster.layout import CACHE

_PYTHON_PACKAGES = [
    "base-files",
    "base-passwd",
    "dash",
    "coreutils",
    "libc-bin",
    "openssl",
    "ca-certificates",
    "python3",
    "python3-venv",
]
# what a CPython built from source links to, beside the above
_INTERPRETER_LIBRARIES = [
    "libssl3",
    "libffi8",
    "zlib1g",
    "libbz2-1.0",
    "liblzma5",
    "libsqlite3-0",
    "libreadline8",
    "libuuid1",
    "libncursesw6",
]
_UNREAD = ("usr/share/doc", "usr/share/man", "usr/share/locale")


def make_base(name: str, kind: str) -> str:
    """Commits an image of that kind under `name`; returns the full name. The root file system is kept for next time."""
    return commit_rootfs(name, root_of(kind))


def root_of(kind: str) -> Path:
    what, _, argument = kind.partition(":")
    if what == "dir":
        if not Path(argument).is_dir():
            raise ClusterError(f"{argument} is no folder")
        return Path(argument)
    makers = {
        "busybox": _make_busybox,
        "debian": _make_debian,
        "python": _make_python,
        "python-from": _make_python_from,
    }
    if what not in makers or (what == "python-from" and not argument):
        raise ClusterError(
            f"{kind!r} is no kind of base: busybox, debian[:SUITE], python[:SUITE], python-from:PREFIX, dir:PATH"
        )
    if what in ("debian", "python"):
        argument = argument or machine_suite()
    root = CACHE / "base" / "-".join(part for part in (what, argument.strip("/").replace("/", "_")) if part)
    if not root.exists():
        fresh = root.with_name(f"{root.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        makers[what](fresh, argument)
        fresh.replace(root)
    return root


def _make_busybox(root: Path, _: str) -> None:
    for folder in ("bin", "etc", "tmp"):
        (root / folder).mkdir()
    (root / "tmp").chmod(0o1777)
    apt = PrivateApt.of(root / "apt", machine_suite())
    for deb in apt.download(["busybox-static"]):
        run(["dpkg-deb", "-x", str(deb), str(root / "apt" / "x")])
    program = next(
        path for path in (root / "apt" / "x").rglob("busybox") if path.is_file() and path.parent.name == "bin"
    )
    shutil.copy2(program, root / "bin" / "busybox")
    shutil.rmtree(root / "apt")
    for applet in run([str(root / "bin" / "busybox"), "--list"]).split():
        if applet != "busybox":
            (root / "bin" / applet).symlink_to("busybox")
    (root / "etc" / "passwd").write_text("root:x:0:0:root:/:/bin/sh\n")
    (root / "etc" / "group").write_text("root:x:0:\n")


def _make_debian(root: Path, suite: str) -> None:
    install({"debootstrap": "debootstrap"})
    run(["debootstrap", "--variant=minbase", suite, str(root), mirror()])
    for unread in (*_UNREAD, "var/lib/apt/lists", "var/cache/apt/archives"):
        _empty(root / unread)


def _make_python(root: Path, suite: str) -> None:
    _unpack_python(root, suite, [])


def _make_python_from(root: Path, prefix: str) -> None:
    tree = Path(prefix)
    if not (tree / "bin" / "python3").exists():
        raise ClusterError(f"{prefix} holds no bin/python3")
    _unpack_python(root, "bookworm", _INTERPRETER_LIBRARIES)
    # at the same place: an interpreter finds its library by the prefix that it was built with
    at = root / tree.resolve().relative_to("/")
    at.parent.mkdir(parents=True)
    shutil.copytree(
        tree, at, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", "test", "*.a", "site-packages")
    )
    version = next(path.name for path in (at / "lib").glob("python3.*"))
    (at / "lib" / version / "site-packages").mkdir()
    for folder in [at, *at.parents]:  # /root is closed to the users that containers run as
        if folder == root:
            break
        folder.chmod(0o755)
    (root / "usr" / "local" / "bin").mkdir(parents=True, exist_ok=True)
    for name in ("python3", "python"):
        (root / "usr" / "local" / "bin" / name).symlink_to(
            Path("/") / at.relative_to(root) / "bin" / "python3"
        )
    _must_run(root, "/usr/local/bin/python3")


def _unpack_python(root: Path, suite: str, more: list[str]) -> None:
    for folder in ("usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "tmp"):
        (root / folder).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    for folder in ("bin", "sbin", "lib", "lib64"):
        (root / folder).symlink_to(f"usr/{folder}")
    with_lists = root.with_name(f"{root.name}.apt")
    try:
        for deb in PrivateApt.of(with_lists, suite).download_with_dependencies([*_PYTHON_PACKAGES, *more]):
            _unpack(deb, root)
    finally:
        shutil.rmtree(with_lists, ignore_errors=True)
    # what the packages' scripts would have done
    for link, to in (("usr/bin/sh", "dash"), ("usr/bin/python", "python3")):
        (root / link).unlink(missing_ok=True)
        (root / link).symlink_to(to)
    for name in ("passwd", "group"):
        shutil.copyfile(root / "usr/share/base-passwd" / f"{name}.master", root / "etc" / name)
    certificates = root / "etc" / "ssl" / "certs"
    certificates.mkdir(parents=True, exist_ok=True)
    trusted = sorted((root / "usr/share/ca-certificates/mozilla").glob("*.crt"))
    (certificates / "ca-certificates.crt").write_text("".join(path.read_text() for path in trusted))
    run(["chroot", str(root), "/sbin/ldconfig"])
    _must_run(root, "/usr/bin/python3")
    for unread in _UNREAD:
        _empty(root / unread)


def _must_run(root: Path, python: str) -> None:
    try:
        run(["chroot", str(root), python, "-c", "import ssl, zlib, ctypes, sqlite3, lzma, bz2"])
    except ClusterError as error:
        raise ClusterError(f"the python of this base does not run: {error}") from error


def _unpack(deb: Path, root: Path) -> None:
    """Into a merged /usr: dpkg-deb -x would replace the links /bin and /lib by folders."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE) as archive:
        done = subprocess.run(
            ["tar", "-x", "-C", root, "--keep-directory-symlink"],
            stdin=archive.stdout,
            capture_output=True,
            check=False,
        )
    if done.returncode or archive.returncode:
        raise ClusterError(f"{deb.name} cannot be unpacked: {done.stderr.decode()[-300:]}")


def _empty(folder: Path) -> None:
    for path in folder.glob("*"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
