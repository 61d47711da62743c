"""Brings the pinned charts and custom resource definitions into .tools/charts, verified. Needs go and git.

    python -m tools.charts.fetch            all of them
    python -m tools.charts.fetch NAME...    only these
    python -m tools.charts.fetch --list     names, versions, reasons, and which are there

CHARTS_MIRROR names a folder of git mirrors (<folder>/<owner>/<name>.git), for machines that reach a module proxy and no
git host. What a mirror gives is checked like everything else.
"""

from __future__ import annotations

import argparse
import base64
import fcntl
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from tools.charts.pins import PINS, Pin

TOOLS = Path(__file__).resolve().parent.parent.parent / ".tools"
CHARTS = TOOLS / "charts"
STAMP = ".pin"
WITHIN_S = 600


class FetchError(Exception):
    """What could not be brought, and why, in a sentence."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--list", action="store_true")
    asked = parser.parse_args(arguments)
    try:
        for pin in chosen(asked.names):
            if asked.list:
                print(
                    f"{pin.name:20} {pin.version:28} {'there' if is_there(pin) else '-':6} {pin.why}",
                    flush=True,
                )
            else:
                print(fetch(pin.name), flush=True)
    except FetchError as error:
        print(f"ERROR: {error}", flush=True)
        return 1
    return 0


def chosen(names: list[str]) -> list[Pin]:
    """The named pins, or all; FetchError for a name that pins.py does not have."""
    by_name = {pin.name: pin for pin in PINS}
    unknown = [name for name in names if name not in by_name]
    if unknown:
        raise FetchError(f"nothing is called {', '.join(unknown)}; there are {', '.join(by_name)}")
    return [by_name[name] for name in names] or list(PINS)


def fetch(name: str) -> Path:
    """The folder of one pin, brought where it is not there yet. FetchError where that is impossible or it differs."""
    (pin,) = chosen([name])
    CHARTS.mkdir(parents=True, exist_ok=True)
    with (CHARTS / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # test workers ask at once
        if not is_there(pin):
            with tempfile.TemporaryDirectory(dir=CHARTS, prefix=".new-") as folder:
                fresh = Path(folder) / pin.name
                fresh.mkdir()
                (from_go if pin.is_go_module else from_git)(pin, fresh)
                (fresh / STAMP).write_text(stamp_of(pin))
                shutil.rmtree(CHARTS / pin.name, ignore_errors=True)
                fresh.rename(CHARTS / pin.name)
    return CHARTS / pin.name


def is_there(pin: Pin) -> bool:
    stamp = CHARTS / pin.name / STAMP
    return stamp.exists() and stamp.read_text() == stamp_of(pin)


def stamp_of(pin: Pin) -> str:
    return "\n".join((pin.origin, pin.version, pin.commit, pin.digest, *pin.paths))


def from_go(pin: Pin, into: Path) -> None:
    """The `go` command keeps a whole module, read-only, in its cache; what the tests need is copied out of it."""
    environ = {**os.environ, "GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local", "GOWORK": "off"}
    # outside of any module, so that no go.mod of ours can replace it
    with tempfile.TemporaryDirectory() as nowhere:
        answer = run(
            ["go", "mod", "download", "-json", f"{pin.origin}@{pin.version}"], nowhere, environ, may_fail=True
        )
    try:
        module = json.loads(answer.stdout)
    except ValueError:
        raise FetchError(
            f"{pin.name}: go said {answer.stderr.decode(errors='replace').strip()[-300:]}"
        ) from None
    if "Dir" not in module:
        raise FetchError(f"{pin.name}: {module.get('Error', 'go named no folder')}")
    if module["Sum"] != pin.digest:
        raise FetchError(f"{pin.name} {pin.version} is {module['Sum']}, pinned is {pin.digest}")
    for path in pin.paths:
        source = Path(module["Dir"]) / path
        if not source.exists():
            raise FetchError(f"{pin.name} {pin.version} has no {path}")
        # modes are not copied: the cache's are read-only, and then nobody could remove the copy
        shutil.copytree(source, into / path, copy_function=shutil.copyfile)
        for folder in (into / path, *(into / path).rglob("*")):
            folder.chmod(0o755 if folder.is_dir() else 0o644)


def from_git(pin: Pin, into: Path) -> None:
    mirror = mirror_of(pin)
    with tempfile.TemporaryDirectory() as folder:
        repository = mirror or Path(folder)
        if not mirror:
            environ = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}  # nobody is there to type a password
            run(["git", "init", "--quiet", "--bare", folder], folder)
            run(
                ["git", "fetch", "--quiet", "--depth=1", f"https://{pin.origin}", pin.commit], folder, environ
            )
        archive = run(["git", "archive", "--format=tar", pin.commit, *pin.paths], repository).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            if not (member.isfile() or member.isdir()) or ".." in Path(member.name).parts:
                raise FetchError(f"{pin.name}: {member.name} is neither a file nor a folder")
        tar.extractall(into)
    if tree_digest(into) != pin.digest:
        raise FetchError(f"{pin.name} {pin.version} is {tree_digest(into)}, pinned is {pin.digest}")


def mirror_of(pin: Pin) -> Path | None:
    folder = os.environ.get("CHARTS_MIRROR")
    if not folder:
        return None
    owner, name = pin.origin.split("/")[-2:]
    path = Path(folder) / owner / f"{name}.git"
    if not path.is_dir():
        raise FetchError(f"CHARTS_MIRROR has no {owner}/{name}.git")
    return path


def tree_digest(folder: Path) -> str:
    """SHA-256 over the sorted lines `<sha256 of the content>  <path>`, base64: what Go's h1 is, with plain paths."""
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}\n"
        for path in sorted(folder.rglob("*"), key=lambda path: path.relative_to(folder).as_posix())
        if path.is_file()
    ]
    return "sha256:" + base64.b64encode(hashlib.sha256("".join(lines).encode()).digest()).decode()


def run(
    command: list[str],
    folder: str | Path,
    environ: dict[str, str] | None = None,
    *,
    may_fail: bool = False,
) -> subprocess.CompletedProcess[bytes]:
    try:
        done = subprocess.run(
            command, cwd=folder, env=environ, capture_output=True, timeout=WITHIN_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FetchError(f"{command[0]}: {error}") from error
    if done.returncode and not may_fail:
        raise FetchError(f"{' '.join(command[:3])}: {done.stderr.decode(errors='replace').strip()[-300:]}")
    return done


if __name__ == "__main__":
    raise SystemExit(main())
